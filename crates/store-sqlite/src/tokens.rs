use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Authority, Ending, Epoch, GrantId, LogKind, Position, Seen, SessionId,
    SlotKey, Subject, Timestamp, TokenId,
};
use grantry_store::{
    AuditEntry, Holder, Issue, IssueDecision, Result, RevokeDecision, RevokeOutcome, StoredToken, TokenPage,
    TokenWrite, Tokens, WriteOutcome, decide_issue, decide_revoke,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::audit::audit_insert;
use crate::columns::{
    Coded, checked, from_json, id_below, optional_timestamp, saturating, timestamp, to_json,
};
use crate::nodes::node_upsert;
use crate::rules::{is_ended_by_rule, last_rule_select};
use crate::writer::WriteTx;
use crate::{SqliteStore, assertions, grants};

#[async_trait]
impl Tokens for SqliteStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        self.writer.run(move |tx| batch.into_iter().map(|write| apply(tx, write)).collect()).await
    }

    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        self.readers
            .run(move |snapshot| judged(snapshot, token_select(snapshot, id)?, snapshot.last_rule()?))
            .await
    }

    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        self.readers
            .run(move |snapshot| judged(snapshot, holder_select(snapshot, slot)?, snapshot.last_rule()?))
            .await
    }

    async fn token_list(
        &self,
        subject: &Subject,
        before: Option<TokenId>,
        limit: usize,
        among: usize,
    ) -> Result<TokenPage> {
        let subject = subject.clone();
        self.readers
            .run(move |snapshot| {
                let last_rule = snapshot.last_rule()?;
                let mut tokens =
                    tokens_select(snapshot, &subject, before, saturating(limit), saturating(among))?;
                for stored in &mut tokens {
                    judge(snapshot, stored, last_rule)?;
                }
                let next = if tokens.len() == limit {
                    tokens.last().map(|stored| stored.token.id)
                } else {
                    last_among_select(snapshot, before, saturating(among))?
                };
                Ok(TokenPage { tokens, next })
            })
            .await
    }

    async fn token_last_expiry(&self) -> Result<Option<Timestamp>> {
        self.readers.run(|snapshot| last_expiry_select(snapshot)).await
    }

    async fn token_count(&self) -> Result<u64> {
        self.readers.run(|snapshot| tokens_count(snapshot)).await
    }
}

fn apply(tx: &mut WriteTx<'_>, write: TokenWrite) -> rusqlite::Result<WriteOutcome> {
    match write {
        TokenWrite::Issue(issue) => self::issue(tx, &issue),
        TokenWrite::Open(opening) => grants::open(tx, &opening),
        TokenWrite::Rotate(rotation) => grants::rotate(tx, &rotation).map(WriteOutcome::Rotated),
        TokenWrite::Revoke { id, audit } => revoke(tx, id, audit.as_deref()).map(WriteOutcome::Revoked),
        TokenWrite::RevokeGrant { id, keep_until, audit } => {
            grants::revoke(tx, id, keep_until, audit.as_deref()).map(WriteOutcome::Revoked)
        }
        TokenWrite::ConsumeAssertion { key, expires_at } => assertions::consume(tx, key, expires_at),
        TokenWrite::Heartbeat { node } => {
            node_upsert(tx, node, tx.now)?;
            Ok(WriteOutcome::HeartbeatRecorded)
        }
    }
}

fn issue(tx: &mut WriteTx<'_>, issue: &Issue) -> rusqlite::Result<WriteOutcome> {
    let already_written = token_exists(tx, issue.token.id)?;
    let holder = slot_select(tx, issue.token.slot)?;
    match decide_issue(issue, already_written, holder, tx.now) {
        IssueDecision::AlreadyWritten => return Ok(WriteOutcome::Issued),
        IssueDecision::YieldTo(id) => {
            if let Some(holder) = token_find(tx, id)? {
                return Ok(WriteOutcome::SlotHeld(Box::new(holder)));
            }
        }
        IssueDecision::TakeSlotAndEnd(id) => {
            if let Some(holder) = token_select(tx, id)? {
                end(tx, &holder.token, Ending::Inactive)?;
            }
        }
        IssueDecision::TakeSlot => {}
    }
    insert(tx, &issue.token)?;
    Ok(WriteOutcome::Issued)
}

/// Gives the token its slot, whoever holds it.
pub fn displace_and_insert(
    tx: &mut WriteTx<'_>,
    token: &AccessToken,
    policy: ActiveTokenPolicy,
) -> rusqlite::Result<()> {
    if policy == ActiveTokenPolicy::Replace
        && let Some(holder) = slot_select(tx, token.slot)?
        && holder.expires_at > tx.now
        && let Some(holder) = token_select(tx, holder.id)?
    {
        end(tx, &holder.token, Ending::Inactive)?;
    }
    insert(tx, token)
}

fn insert(tx: &WriteTx<'_>, token: &AccessToken) -> rusqlite::Result<()> {
    slot_upsert(tx, token)?;
    token_insert(tx, token)
}

fn revoke(tx: &mut WriteTx<'_>, id: TokenId, audit: Option<&AuditEntry>) -> rusqlite::Result<RevokeOutcome> {
    let stored = token_find(tx, id)?;
    match (decide_revoke(stored.as_ref(), tx.now), stored) {
        (RevokeDecision::End(ending), Some(stored)) => {
            audit.map_or(Ok(()), |audit| audit_insert(tx, audit))?;
            end(tx, &stored.token, ending).map(RevokeOutcome::Revoked)
        }
        (RevokeDecision::AlreadyOver, _) => Ok(RevokeOutcome::AlreadyOver),
        (RevokeDecision::Unknown | RevokeDecision::End(_), _) => Ok(RevokeOutcome::Unknown),
    }
}

fn end(tx: &mut WriteTx<'_>, token: &AccessToken, ending: Ending) -> rusqlite::Result<Position> {
    token_end(tx, token.id, ending)?;
    slot_free(tx, token.slot, token.id)?;
    tx.announce(LogKind::Token, token.id.as_bytes(), token.expires_at)
}

pub fn token_find(tx: &WriteTx<'_>, id: TokenId) -> rusqlite::Result<Option<StoredToken>> {
    judged(tx, token_select(tx, id)?, last_rule_select(tx)?)
}

fn judged(
    connection: &Connection,
    mut stored: Option<StoredToken>,
    last_rule: Option<Seen>,
) -> rusqlite::Result<Option<StoredToken>> {
    if let Some(stored) = &mut stored {
        judge(connection, stored, last_rule)?;
    }
    Ok(stored)
}

/// Adds what the rules say.
fn judge(connection: &Connection, stored: &mut StoredToken, last_rule: Option<Seen>) -> rusqlite::Result<()> {
    stored.ended_by_rule = is_ended_by_rule(connection, &(&stored.token).into(), last_rule)?;
    Ok(())
}

macro_rules! select_stored {
    ($where:literal) => {
        concat!(
            "SELECT t.id, t.slot, t.client_id, t.subject, t.subject_kind, t.scope, t.audience, t.format,
                    t.issued_at, t.expires_at, t.seen_epoch, t.seen_position, t.grant_id, t.session_id, t.ended,
                    EXISTS (SELECT 1 FROM slots WHERE slot = t.slot AND holder = t.id)
             FROM tokens t ",
            $where
        )
    };
}

const TOKEN_SELECT: &str = select_stored!("WHERE t.id = ?1");

fn token_select(connection: &Connection, id: TokenId) -> rusqlite::Result<Option<StoredToken>> {
    connection.prepare_cached(TOKEN_SELECT)?.query_row([id.as_bytes()], stored_token).optional()
}

const HOLDER_SELECT: &str = select_stored!("WHERE t.id = (SELECT holder FROM slots WHERE slot = ?1)");

fn holder_select(connection: &Connection, slot: SlotKey) -> rusqlite::Result<Option<StoredToken>> {
    connection.prepare_cached(HOLDER_SELECT)?.query_row([slot.as_bytes()], stored_token).optional()
}

const TOKENS_SELECT: &str = select_stored!(
    "WHERE t.subject = ?1 AND t.id IN (SELECT id FROM tokens WHERE id < ?2 ORDER BY id DESC LIMIT ?4)
     ORDER BY t.id DESC LIMIT ?3"
);

/// Those of the subject among the next so many.
fn tokens_select(
    connection: &Connection,
    subject: &Subject,
    before: Option<TokenId>,
    limit: i64,
    among: i64,
) -> rusqlite::Result<Vec<StoredToken>> {
    let before = id_below(before.as_ref().map(TokenId::as_bytes));
    let mut statement = connection.prepare_cached(TOKENS_SELECT)?;
    statement.query_map(params![subject.as_str(), before, limit, among], stored_token)?.collect()
}

const LAST_AMONG_SELECT: &str = "SELECT id FROM tokens WHERE id < ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2 - 1";

/// The last of the next so many; `None` where there are fewer.
fn last_among_select(
    connection: &Connection,
    before: Option<TokenId>,
    among: i64,
) -> rusqlite::Result<Option<TokenId>> {
    let before = id_below(before.as_ref().map(TokenId::as_bytes));
    let id = |row: &Row<'_>| Ok(TokenId::from_bytes(row.get(0)?));
    connection.prepare_cached(LAST_AMONG_SELECT)?.query_row(params![before, among], id).optional()
}

/// All but what the rules say.
fn stored_token(row: &Row<'_>) -> rusqlite::Result<StoredToken> {
    let token = AccessToken {
        id: TokenId::from_bytes(row.get(0)?),
        slot: SlotKey::from_bytes(row.get(1)?),
        client_id: checked(row, 2)?,
        subject: checked(row, 3)?,
        subject_kind: Coded::of_column(row, 4)?,
        scope: checked(row, 5)?,
        audience: from_json(row, 6)?,
        format: Coded::of_column(row, 7)?,
        issued_at: timestamp(row, 8)?,
        expires_at: timestamp(row, 9)?,
        authority: Authority {
            seen: Seen { epoch: Epoch(row.get(10)?), position: Position(row.get(11)?) },
            grant: row.get::<_, Option<_>>(12)?.map(GrantId::from_bytes),
            session: row.get::<_, Option<_>>(13)?.map(SessionId::from_bytes),
        },
    };
    let ended = row.get::<_, Option<i64>>(14)?.map(|_| Ending::of_column(row, 14)).transpose()?;
    Ok(StoredToken { token, ended, holds_slot: row.get(15)?, ended_by_rule: false })
}

const TOKEN_EXISTS: &str = "SELECT 1 FROM tokens WHERE id = ?1";

pub fn token_exists(connection: &Connection, id: TokenId) -> rusqlite::Result<bool> {
    connection.prepare_cached(TOKEN_EXISTS)?.exists([id.as_bytes()])
}

const TOKEN_INSERT: &str = "
    INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format,
                        issued_at, expires_at, seen_epoch, seen_position, grant_id, session_id)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

fn token_insert(connection: &Connection, token: &AccessToken) -> rusqlite::Result<()> {
    connection.prepare_cached(TOKEN_INSERT)?.execute(params![
        token.id.as_bytes(),
        token.slot.as_bytes(),
        token.client_id.as_str(),
        token.subject.as_str(),
        token.subject_kind.code(),
        token.scope.as_str(),
        to_json(&token.audience)?,
        token.format.code(),
        token.issued_at.as_millis(),
        token.expires_at.as_millis(),
        token.authority.seen.epoch.0,
        token.authority.seen.position.0,
        token.authority.grant.as_ref().map(GrantId::as_bytes),
        token.authority.session.as_ref().map(SessionId::as_bytes),
    ])?;
    Ok(())
}

const TOKEN_END: &str = "UPDATE tokens SET ended = ?2 WHERE id = ?1";

fn token_end(connection: &Connection, id: TokenId, ending: Ending) -> rusqlite::Result<()> {
    connection.prepare_cached(TOKEN_END)?.execute(params![id.as_bytes(), ending.code()])?;
    Ok(())
}

const TOKENS_COUNT: &str = "SELECT count(*) FROM tokens";

fn tokens_count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached(TOKENS_COUNT)?.query_row([], |row| row.get(0))
}

const LAST_EXPIRY_SELECT: &str = "SELECT max(expires_at) FROM tokens";

fn last_expiry_select(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection.prepare_cached(LAST_EXPIRY_SELECT)?.query_row([], |row| optional_timestamp(row, 0))
}

const SLOT_SELECT: &str = "SELECT holder, expires_at FROM slots WHERE slot = ?1";

/// Read under the write lock, so that nobody moves the slot before the transaction does.
fn slot_select(connection: &Connection, slot: SlotKey) -> rusqlite::Result<Option<Holder>> {
    let holder =
        |row: &Row<'_>| Ok(Holder { id: TokenId::from_bytes(row.get(0)?), expires_at: timestamp(row, 1)? });
    connection.prepare_cached(SLOT_SELECT)?.query_row([slot.as_bytes()], holder).optional()
}

const SLOT_UPSERT: &str = "
    INSERT INTO slots (slot, holder, expires_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (slot) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at";

fn slot_upsert(connection: &Connection, token: &AccessToken) -> rusqlite::Result<()> {
    connection.prepare_cached(SLOT_UPSERT)?.execute(params![
        token.slot.as_bytes(),
        token.id.as_bytes(),
        token.expires_at.as_millis()
    ])?;
    Ok(())
}

const SLOT_FREE: &str = "DELETE FROM slots WHERE slot = ?1 AND holder = ?2";

/// Whether the token held the slot.
pub fn slot_free(connection: &Connection, slot: SlotKey, holder: TokenId) -> rusqlite::Result<bool> {
    let freed = connection.prepare_cached(SLOT_FREE)?.execute(params![slot.as_bytes(), holder.as_bytes()])?;
    Ok(freed == 1)
}

/// Those that run for each request; none may walk through a table.
#[cfg(test)]
pub const HOT: [&str; 8] =
    [TOKEN_SELECT, HOLDER_SELECT, TOKEN_EXISTS, TOKEN_INSERT, TOKEN_END, SLOT_SELECT, SLOT_UPSERT, SLOT_FREE];
