//! What a token write does to the rows of a transaction: the same in every back end. A back end brings the rows
//! ([`ReadRows`], [`WriteRows`]), which it has read under its own lock or locks as it goes; what happens to them is
//! decided here and in `decide.rs`, and nowhere else.

use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Ending, Grant, GrantId, GrantState, LogKind, Position, RuleKeys, Seen,
    SlotKey, Timestamp, TokenId,
};

use crate::decide::{SettleDecision, Settling, decide_settle};
use crate::{
    AssertionKey, AuditEntry, Holder, Issue, IssueDecision, NodeId, OpenDecision, Opening, RevokeDecision,
    RevokeOutcome, Rotation, RotationDecision, RotationOutcome, Settlement, SlotEnd, StoredGrant,
    StoredToken, TokenWrite, Unwritten, WriteOutcome, decide_issue, decide_open, decide_revoke,
    decide_rotation,
};

/// Rows as they are within one snapshot or one transaction; what the transaction has changed shows.
pub trait ReadRows {
    type Error;

    /// With all that decides its state.
    fn token(&mut self, id: TokenId) -> Result<Option<StoredToken>, Self::Error>;

    fn token_exists(&mut self, id: TokenId) -> Result<bool, Self::Error> {
        Ok(self.token(id)?.is_some())
    }

    /// Whether the token was ended before it had a row.
    fn early_end_exists(&mut self, id: TokenId) -> Result<bool, Self::Error>;

    /// Whether a rule that is later than what they have seen ends what has these keys.
    fn is_ended_by_rule(&mut self, keys: &RuleKeys<'_>) -> Result<bool, Self::Error>;

    fn holder(&mut self, slot: SlotKey) -> Result<Option<Holder>, Self::Error>;

    /// With all that decides its state.
    fn grant(&mut self, id: GrantId) -> Result<Option<StoredGrant>, Self::Error>;

    /// The grant that was last opened for the slot.
    fn slots_grant(&mut self, slot: SlotKey) -> Result<Option<StoredGrant>, Self::Error>;
}

/// The changes. Each is what was decided from rows that nobody else can change before the transaction ends.
pub trait WriteRows: ReadRows {
    /// The store's clock.
    fn now(&self) -> Timestamp;

    fn token_insert(&mut self, token: &AccessToken, ended: Option<Ending>) -> Result<(), Self::Error>;

    fn token_end(&mut self, id: TokenId, ending: Ending) -> Result<(), Self::Error>;

    /// Remembers the end of a token whose row may still come. No row of that node's may come in between unseen.
    fn early_end_insert(&mut self, id: TokenId, unwritten: Unwritten) -> Result<(), Self::Error>;

    /// Makes the token the slot's holder, whoever is it now. `displaced` is the holder that it displaces knowingly.
    fn slot_take(&mut self, token: &AccessToken, displaced: Option<TokenId>) -> Result<(), Self::Error>;

    /// Only if it is the holder.
    fn slot_free(&mut self, slot: SlotKey, holder: TokenId) -> Result<(), Self::Error>;

    /// Inserts it and makes it the last of its slot, if it has one.
    fn grant_insert(&mut self, grant: &Grant) -> Result<(), Self::Error>;

    /// Nobody spends a refresh token twice: only where the counter is still `from`.
    fn grant_rotate(&mut self, id: GrantId, from: u32, to: &GrantRotation) -> Result<(), Self::Error>;

    fn grant_end(&mut self, id: GrantId) -> Result<(), Self::Error>;

    /// `false` if it was consumed before and has not expired since.
    fn assertion_consume(&mut self, key: AssertionKey, expires_at: Timestamp) -> Result<bool, Self::Error>;

    /// Inserts or renews the node's row; its mark only rises.
    fn node_beat(&mut self, node: NodeId, drained_below: Option<TokenId>) -> Result<(), Self::Error>;

    /// Appends to the revocation log.
    fn announce(&mut self, kind: LogKind, key: &[u8], keep_until: Timestamp) -> Result<Seen, Self::Error>;

    fn record(&mut self, entry: &AuditEntry) -> Result<(), Self::Error>;
}

/// What a refresh changes in its grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantRotation {
    pub counter: u32,
    pub rotated_at: Timestamp,
    pub idle_expires_at: Timestamp,
    pub access_token: TokenId,
}

/// Does one write of a batch.
pub fn apply<R: WriteRows>(rows: &mut R, write: &TokenWrite) -> Result<WriteOutcome, R::Error> {
    Ok(match write {
        TokenWrite::Issue(issue) => self::issue(rows, issue)?,
        TokenWrite::Settle(issue) => WriteOutcome::Settled(settle(rows, issue)?),
        TokenWrite::EndSlot(end) => end_slot(rows, end)?,
        TokenWrite::Open(opening) => open(rows, opening)?,
        TokenWrite::Rotate(rotation) => WriteOutcome::Rotated(rotate(rows, rotation)?),
        TokenWrite::Revoke { id, unwritten, audit } => {
            WriteOutcome::Revoked(recorded(rows, audit.as_deref(), |rows| revoke(rows, *id, *unwritten))?)
        }
        TokenWrite::RevokeGrant { id, origin, keep_until, audit } => {
            WriteOutcome::Revoked(recorded(rows, audit.as_deref(), |rows| {
                revoke_grant(rows, *id, origin.as_deref(), *keep_until)
            })?)
        }
        TokenWrite::ConsumeAssertion { key, expires_at } => {
            match rows.assertion_consume(*key, *expires_at)? {
                true => WriteOutcome::AssertionConsumed,
                false => WriteOutcome::AssertionReplayed,
            }
        }
        TokenWrite::Heartbeat { node, drained_below } => {
            rows.node_beat(*node, *drained_below)?;
            WriteOutcome::HeartbeatRecorded
        }
    })
}

/// What [`TokenWrite::Settle`] would make of the token now; its row, if it has one.
pub fn judge<R: ReadRows>(rows: &mut R, issue: &Issue, now: Timestamp) -> Result<StoredToken, R::Error> {
    if let Some(stored) = rows.token(issue.token.id)? {
        return Ok(stored);
    }
    let settling = settling(rows, issue)?;
    let (ended, holds_slot) = match decide_settle(issue, &settling, now) {
        SettleDecision::InsertEnded(ending) => (Some(ending), false),
        SettleDecision::TakeSlot | SettleDecision::TakeSlotAndEnd(_) => (None, true),
        SettleDecision::Insert | SettleDecision::Skip | SettleDecision::AlreadyWritten => (None, false),
    };
    let token = issue.token.clone();
    Ok(StoredToken { token, ended, ended_by_rule: settling.ended_by_rule, holds_slot })
}

/// Where a token stands that gets no row: only the revocation log ends it.
pub fn judge_unstored<R: ReadRows>(rows: &mut R, token: AccessToken) -> Result<StoredToken, R::Error> {
    // Both are asked for before either is waited for.
    let ended = rows.early_end_exists(token.id);
    let ended_by_rule = rows.is_ended_by_rule(&(&token).into());
    let ended = ended?.then_some(Ending::Revoked);
    Ok(StoredToken { ended, ended_by_rule: ended_by_rule?, holds_slot: false, token })
}

/// Where a grant stands that a refresh token brings along: what its row adds, if it has one.
pub fn judge_unstored_grant<R: ReadRows>(rows: &mut R, origin: &Grant) -> Result<StoredGrant, R::Error> {
    Ok(grant_with_row(rows, origin)?.0)
}

/// Also whether it has a row. What was granted stands in the refresh token; how often it was used, in the row.
fn grant_with_row<R: ReadRows>(rows: &mut R, origin: &Grant) -> Result<(StoredGrant, bool), R::Error> {
    let row = rows.grant(origin.id);
    let ended_by_rule = rows.is_ended_by_rule(&origin.into());
    let (row, mut ended_by_rule, mut grant) = (row?, ended_by_rule?, origin.clone());
    let (has_row, mut ended_at) = (row.is_some(), None);
    if let Some(row) = row {
        grant.counter = row.grant.counter;
        grant.rotated_at = row.grant.rotated_at;
        grant.idle_expires_at = row.grant.idle_expires_at;
        grant.access_token = row.grant.access_token;
        grant.status_index = row.grant.status_index;
        ended_at = row.ended_at;
        ended_by_rule |= row.ended_by_rule;
    }
    Ok((StoredGrant { grant, ended_at, ended_by_rule }, has_row))
}

fn issue<R: WriteRows>(rows: &mut R, issue: &Issue) -> Result<WriteOutcome, R::Error> {
    let already_written = rows.token_exists(issue.token.id)?;
    let holder = rows.holder(issue.token.slot)?;
    match decide_issue(issue, already_written, holder, rows.now()) {
        IssueDecision::AlreadyWritten => return Ok(WriteOutcome::Issued),
        IssueDecision::YieldTo(id) => {
            if let Some(holder) = rows.token(id)? {
                return Ok(WriteOutcome::SlotHeld(Box::new(holder)));
            }
        }
        IssueDecision::TakeSlotAndEnd(id) => end_holder(rows, id)?,
        IssueDecision::TakeSlot => {}
    }
    insert(rows, &issue.token, issue.observed)?;
    Ok(WriteOutcome::Issued)
}

fn settle<R: WriteRows>(rows: &mut R, issue: &Issue) -> Result<Settlement, R::Error> {
    let token = &issue.token;
    let settling = settling(rows, issue)?;
    Ok(match decide_settle(issue, &settling, rows.now()) {
        SettleDecision::AlreadyWritten => Settlement::AlreadyWritten,
        SettleDecision::Skip => Settlement::Expired,
        SettleDecision::TakeSlot => {
            insert(rows, token, issue.observed)?;
            Settlement::Active
        }
        SettleDecision::TakeSlotAndEnd(earlier) => {
            end_holder(rows, earlier)?;
            insert(rows, token, issue.observed)?;
            Settlement::ActiveAfter(earlier)
        }
        SettleDecision::Insert => {
            rows.token_insert(token, None)?;
            if settling.ended_by_rule { Settlement::Revoked } else { Settlement::Retired }
        }
        SettleDecision::InsertEnded(Ending::Revoked) => {
            rows.token_insert(token, Some(Ending::Revoked))?;
            Settlement::Revoked
        }
        SettleDecision::InsertEnded(Ending::Inactive) => {
            rows.token_insert(token, Some(Ending::Inactive))?;
            rows.announce(LogKind::Token, token.id.as_bytes(), token.expires_at)?;
            Settlement::Inactive
        }
    })
}

fn settling<R: ReadRows>(rows: &mut R, issue: &Issue) -> Result<Settling, R::Error> {
    let holder = rows.holder(issue.token.slot)?;
    Ok(Settling {
        already_written: rows.token_exists(issue.token.id)?,
        ended_early: rows.early_end_exists(issue.token.id)?,
        ended_by_rule: rows.is_ended_by_rule(&(&issue.token).into())?,
        displaced_by_holder: holder.and_then(|holder| holder.displaced) == Some(issue.token.id),
        holder: holder.map_or(Ok(None), |holder| rows.token(holder.id))?,
    })
}

/// The token is to carry the position of this entry, and with it would have seen every earlier one: so none of those may
/// concern it that came since its authority was checked. Another end of the slot may: the later one is the slot's.
fn end_slot<R: WriteRows>(rows: &mut R, end: &SlotEnd) -> Result<WriteOutcome, R::Error> {
    let keys = RuleKeys { slot: None, ..(&end.token).into() };
    if rows.is_ended_by_rule(&keys)? {
        return Ok(WriteOutcome::RuledOut);
    }
    let slot = end.token.slot;
    Ok(WriteOutcome::SlotEnded(rows.announce(LogKind::Slot, slot.as_bytes(), end.keep_until)?))
}

fn open<R: WriteRows>(rows: &mut R, opening: &Opening) -> Result<WriteOutcome, R::Error> {
    let grant = &opening.grant;
    let already_written = rows.grant(grant.id)?.is_some();
    let holder = grant.slot.map_or(Ok(None), |slot| rows.slots_grant(slot))?;
    match (decide_open(opening, already_written, holder.as_ref(), rows.now()), holder) {
        (OpenDecision::AlreadyWritten, _) => return Ok(WriteOutcome::Opened),
        (OpenDecision::Yield, Some(holder)) => return Ok(WriteOutcome::GrantHeld(Box::new(holder))),
        (OpenDecision::Yield | OpenDecision::Open, _) => {}
    }
    rows.grant_insert(grant)?;
    displace(rows, &opening.token, opening.policy)?;
    if opening.is_stored {
        insert(rows, &opening.token, None)?;
    }
    Ok(WriteOutcome::Opened)
}

fn rotate<R: WriteRows>(rows: &mut R, rotation: &Rotation) -> Result<RotationOutcome, R::Error> {
    let (stored, has_row) = match &rotation.origin {
        Some(origin) => grant_with_row(rows, origin)?,
        None => match rows.grant(rotation.grant)? {
            Some(stored) => (stored, true),
            None => return Ok(RotationOutcome::Unknown),
        },
    };
    let (grant, now) = (&stored.grant, rows.now());
    let mut counter = grant.counter;
    // An earlier attempt may have been committed and its answer lost.
    let is_written = match rotation.is_stored {
        true => rows.token_exists(rotation.token.id)?,
        false => grant.access_token == rotation.token.id,
    };
    // The row is there for as long as any refresh token that it has spent says it is good: no other row would know.
    let not_before = rotation.origin.as_ref().map(|_| grant.idle_expires_at);
    let moved = |counter, rotated_at| GrantRotation {
        counter,
        rotated_at,
        idle_expires_at: not_before.map_or(now + rotation.idle, |end| end.max(now + rotation.idle)),
        access_token: rotation.token.id,
    };
    match decide_rotation(rotation, &stored, now) {
        RotationDecision::Over => return Ok(RotationOutcome::Over),
        RotationDecision::Ahead => return Ok(RotationOutcome::Ahead),
        RotationDecision::TooSlow => return Ok(RotationOutcome::TooSlow),
        RotationDecision::Reuse => {
            end_grant(rows, rotation.grant, rotation.keep_until)?;
            rows.record(&rotation.reuse_audit)?;
            return Ok(RotationOutcome::Reused);
        }
        RotationDecision::Repeat => {
            if let Some(token) = given_before(rows, rotation, grant.access_token)? {
                return Ok(RotationOutcome::Repeated { counter, token: Box::new(token) });
            }
            // Nothing else would tell the next refresh which token it is to end.
            if is_replaced_by_name(rotation) && !is_written {
                let to = GrantRotation {
                    idle_expires_at: grant.idle_expires_at,
                    ..moved(counter, grant.rotated_at)
                };
                rows.grant_rotate(grant.id, counter, &to)?;
            }
        }
        RotationDecision::Keep if is_written => {}
        RotationDecision::Keep => {
            grant_move(rows, grant, has_row, &moved(counter, grant.rotated_at))?;
        }
        RotationDecision::Rotate { from } => {
            counter = from + 1;
            grant_move(rows, grant, has_row, &moved(counter, now))?;
        }
    }
    if !is_written {
        if rotation.policy == ActiveTokenPolicy::Replace {
            end_last_unstored(rows, rotation, grant, has_row)?;
        }
        displace(rows, &rotation.token, rotation.policy)?;
        if rotation.is_stored {
            insert(rows, &rotation.token, None)?;
        }
    }
    Ok(RotationOutcome::Refreshed { counter })
}

/// Only the grant knows which token without a row is to end.
fn is_replaced_by_name(rotation: &Rotation) -> bool {
    !rotation.is_stored && rotation.policy == ActiveTokenPolicy::Replace
}

/// Its first rotation gives a row to a grant that had none. The row names no slot: whoever opens a grant for the slot
/// does not have to yield to one that nothing was written for.
fn grant_move<R: WriteRows>(
    rows: &mut R,
    grant: &Grant,
    has_row: bool,
    to: &GrantRotation,
) -> Result<(), R::Error> {
    if has_row {
        return rows.grant_rotate(grant.id, grant.counter, to);
    }
    rows.grant_insert(&Grant {
        slot: None,
        counter: to.counter,
        rotated_at: to.rotated_at,
        idle_expires_at: to.idle_expires_at,
        access_token: to.access_token,
        ..grant.clone()
    })
}

/// Ends the last access token of the grant if it has no row and can still be alive.
fn end_last_unstored<R: WriteRows>(
    rows: &mut R,
    rotation: &Rotation,
    grant: &Grant,
    has_row: bool,
) -> Result<(), R::Error> {
    let (last, now) = (grant.access_token, rows.now());
    let expires_by = last.made_at() + rotation.token_life;
    // Before a grant has a row, none of its tokens has.
    let has_no_row = !has_row || !rows.token_exists(last)?;
    if has_no_row && expires_by > now && !rows.early_end_exists(last)? {
        rows.early_end_insert(last, Unwritten { by: None, expires_by })?;
        rows.announce(LogKind::Token, last.as_bytes(), expires_by)?;
    }
    Ok(())
}

/// What the same refresh gave before, if it is still good and what is asked for now, too.
fn given_before<R: WriteRows>(
    rows: &mut R,
    rotation: &Rotation,
    access_token: TokenId,
) -> Result<Option<StoredToken>, R::Error> {
    let (given, now) = (rows.token(access_token)?, rows.now());
    Ok(given.filter(|given| given.state(now).is_honoured() && given.token.slot == rotation.token.slot))
}

fn revoke<R: WriteRows>(
    rows: &mut R,
    id: TokenId,
    unwritten: Option<Unwritten>,
) -> Result<RevokeOutcome, R::Error> {
    let stored = rows.token(id)?;
    let ended_early = stored.is_none() && unwritten.is_some() && rows.early_end_exists(id)?;
    Ok(match (decide_revoke(stored.as_ref(), unwritten, ended_early, rows.now()), stored) {
        (RevokeDecision::AlreadyOver, _) => RevokeOutcome::AlreadyOver,
        (RevokeDecision::EndEarly(unwritten), _) => {
            rows.early_end_insert(id, unwritten)?;
            let at = rows.announce(LogKind::Token, id.as_bytes(), unwritten.expires_by)?;
            RevokeOutcome::Revoked(at.position)
        }
        (RevokeDecision::End(ending), Some(stored)) => {
            RevokeOutcome::Revoked(end(rows, &stored.token, ending)?)
        }
        (RevokeDecision::Unknown | RevokeDecision::End(_), _) => RevokeOutcome::Unknown,
    })
}

fn revoke_grant<R: WriteRows>(
    rows: &mut R,
    id: GrantId,
    origin: Option<&Grant>,
    keep_until: Timestamp,
) -> Result<RevokeOutcome, R::Error> {
    let found = match origin {
        Some(origin) => Some(grant_with_row(rows, origin)?),
        None => rows.grant(id)?.map(|stored| (stored, true)),
    };
    Ok(match found {
        None => RevokeOutcome::Unknown,
        Some((stored, _)) if stored.state(rows.now()) == GrantState::Revoked => RevokeOutcome::AlreadyOver,
        Some((_, true)) => RevokeOutcome::Revoked(end_grant(rows, id, keep_until)?),
        Some((_, false)) => {
            RevokeOutcome::Revoked(rows.announce(LogKind::Grant, id.as_bytes(), keep_until)?.position)
        }
    })
}

/// An administrator's deed leaves its audit row if it did something.
fn recorded<R: WriteRows>(
    rows: &mut R,
    audit: Option<&AuditEntry>,
    deed: impl FnOnce(&mut R) -> Result<RevokeOutcome, R::Error>,
) -> Result<RevokeOutcome, R::Error> {
    let outcome = deed(rows)?;
    if let (RevokeOutcome::Revoked(_), Some(audit)) = (outcome, audit) {
        rows.record(audit)?;
    }
    Ok(outcome)
}

/// What becomes of the slot's holder where the token comes in its place.
fn displace<R: WriteRows>(
    rows: &mut R,
    token: &AccessToken,
    policy: ActiveTokenPolicy,
) -> Result<(), R::Error> {
    if policy == ActiveTokenPolicy::Replace
        && let Some(holder) = rows.holder(token.slot)?
        && holder.expires_at > rows.now()
    {
        end_holder(rows, holder.id)?;
    }
    Ok(())
}

fn insert<R: WriteRows>(
    rows: &mut R,
    token: &AccessToken,
    displaced: Option<TokenId>,
) -> Result<(), R::Error> {
    rows.slot_take(token, displaced)?;
    rows.token_insert(token, None)
}

fn end_holder<R: WriteRows>(rows: &mut R, id: TokenId) -> Result<(), R::Error> {
    if let Some(holder) = rows.token(id)? {
        end(rows, &holder.token, Ending::Inactive)?;
    }
    Ok(())
}

fn end<R: WriteRows>(rows: &mut R, token: &AccessToken, ending: Ending) -> Result<Position, R::Error> {
    rows.token_end(token.id, ending)?;
    rows.slot_free(token.slot, token.id)?;
    Ok(rows.announce(LogKind::Token, token.id.as_bytes(), token.expires_at)?.position)
}

/// The rule in the log ends the tokens.
fn end_grant<R: WriteRows>(rows: &mut R, id: GrantId, keep_until: Timestamp) -> Result<Position, R::Error> {
    rows.grant_end(id)?;
    Ok(rows.announce(LogKind::Grant, id.as_bytes(), keep_until)?.position)
}
