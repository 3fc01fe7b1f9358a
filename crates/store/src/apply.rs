//! What a token write does to the rows of a transaction: the same in every back end. A back end brings the rows
//! ([`ReadRows`], [`WriteRows`]), which it has read under its own lock or locks as it goes; what happens to them is
//! decided here and in `decide.rs`, and nowhere else.

use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Ending, Grant, GrantId, GrantState, LogKind, Position, RuleKeys, SlotKey,
    Timestamp, TokenId,
};

use crate::decide::{SettleDecision, Settling, decide_settle};
use crate::{
    AssertionKey, AuditEntry, Holder, Issue, IssueDecision, NodeId, OpenDecision, Opening, RevokeDecision,
    RevokeOutcome, Rotation, RotationDecision, RotationOutcome, Settlement, StoredGrant, StoredToken,
    TokenWrite, Unwritten, WriteOutcome, decide_issue, decide_open, decide_revoke, decide_rotation,
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
    fn announce(&mut self, kind: LogKind, key: &[u8], keep_until: Timestamp)
    -> Result<Position, Self::Error>;

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
        TokenWrite::Open(opening) => open(rows, opening)?,
        TokenWrite::Rotate(rotation) => WriteOutcome::Rotated(rotate(rows, rotation)?),
        TokenWrite::Revoke { id, unwritten, audit } => {
            WriteOutcome::Revoked(recorded(rows, audit.as_deref(), |rows| revoke(rows, *id, *unwritten))?)
        }
        TokenWrite::RevokeGrant { id, keep_until, audit } => {
            WriteOutcome::Revoked(recorded(rows, audit.as_deref(), |rows| {
                revoke_grant(rows, *id, *keep_until)
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
    displace_and_insert(rows, &opening.token, opening.policy)?;
    Ok(WriteOutcome::Opened)
}

fn rotate<R: WriteRows>(rows: &mut R, rotation: &Rotation) -> Result<RotationOutcome, R::Error> {
    let Some(stored) = rows.grant(rotation.grant)? else { return Ok(RotationOutcome::Unknown) };
    let (grant, now) = (&stored.grant, rows.now());
    let mut counter = grant.counter;
    // An earlier attempt may have been committed and its answer lost.
    let is_written = rows.token_exists(rotation.token.id)?;
    let moved = |counter, rotated_at| GrantRotation {
        counter,
        rotated_at,
        idle_expires_at: now + rotation.idle,
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
        }
        RotationDecision::Keep if is_written => {}
        RotationDecision::Keep => rows.grant_rotate(grant.id, counter, &moved(counter, grant.rotated_at))?,
        RotationDecision::Rotate { from } => {
            counter = from + 1;
            rows.grant_rotate(grant.id, from, &moved(counter, now))?;
        }
    }
    if !is_written {
        displace_and_insert(rows, &rotation.token, rotation.policy)?;
    }
    Ok(RotationOutcome::Refreshed { counter })
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
            RevokeOutcome::Revoked(rows.announce(LogKind::Token, id.as_bytes(), unwritten.expires_by)?)
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
    keep_until: Timestamp,
) -> Result<RevokeOutcome, R::Error> {
    Ok(match rows.grant(id)? {
        None => RevokeOutcome::Unknown,
        Some(stored) if stored.state(rows.now()) == GrantState::Revoked => RevokeOutcome::AlreadyOver,
        Some(_) => RevokeOutcome::Revoked(end_grant(rows, id, keep_until)?),
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

/// Gives the token its slot, whoever holds it.
fn displace_and_insert<R: WriteRows>(
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
    insert(rows, token, None)
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
    rows.announce(LogKind::Token, token.id.as_bytes(), token.expires_at)
}

/// The rule in the log ends the tokens.
fn end_grant<R: WriteRows>(rows: &mut R, id: GrantId, keep_until: Timestamp) -> Result<Position, R::Error> {
    rows.grant_end(id)?;
    rows.announce(LogKind::Grant, id.as_bytes(), keep_until)
}
