use std::sync::Arc;

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, Authority, Ending, Epoch, GrantId, NodeNumber, Position, Seen, SessionId, SlotKey,
    StatusIndex, Subject, Timestamp, TokenId,
};
use grantry_store::{
    DeferredToken, Holder, Issue, ReadRows, Result, StoredToken, TokenPage, TokenWrite, Tokens, WriteOutcome,
    apply, judge, judge_unstored,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::columns::{
    Coded, checked, from_json, id_below, optional_timestamp, saturating, timestamp, to_json,
};
use crate::nodes::node_of_number;
use crate::readers::Snapshot;
use crate::rows::{Rows, judge as judge_token};

#[async_trait]
impl Tokens for SqliteStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        self.writer
            .run(move |tx| {
                let mut rows = Rows(tx);
                batch.iter().map(|write| apply(&mut rows, write)).collect()
            })
            .await
    }

    async fn token_judge(&self, issue: Arc<Issue>) -> Result<StoredToken> {
        let now = self.clock.now();
        self.readers.run(move |snapshot| judge(&mut Rows(snapshot), &issue, now)).await
    }

    async fn token_judge_unstored(&self, token: AccessToken) -> Result<StoredToken> {
        self.readers.run(move |snapshot| judge_unstored(&mut Rows(snapshot), token)).await
    }

    async fn token_find_deferred(&self, id: TokenId, by: NodeNumber) -> Result<DeferredToken> {
        self.readers.run(move |snapshot| find_deferred(&mut Rows(snapshot), id, by)).await
    }

    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        self.readers.run(move |snapshot| judged(snapshot, token_select(snapshot, id)?)).await
    }

    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        self.readers.run(move |snapshot| judged(snapshot, holder_select(snapshot, slot)?)).await
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
                let tokens = tokens_select(snapshot, &subject, before, saturating(limit), saturating(among))?;
                let tokens: Vec<StoredToken> = tokens
                    .into_iter()
                    .map(|stored| judge_token(snapshot, stored))
                    .collect::<rusqlite::Result<_>>()?;
                let next = if tokens.len() == limit {
                    tokens.last().map(|stored| stored.token.id)
                } else {
                    last_among_select(snapshot, before, saturating(among))?
                };
                Ok(TokenPage { tokens, next })
            })
            .await
    }

    async fn token_newest(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<StoredToken>> {
        self.readers
            .run(move |snapshot| {
                let tokens = newest_select(snapshot, before, saturating(limit))?;
                tokens.into_iter().map(|stored| judge_token(snapshot, stored)).collect()
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

fn find_deferred(
    rows: &mut Rows<&Snapshot<'_>>,
    id: TokenId,
    by: NodeNumber,
) -> rusqlite::Result<DeferredToken> {
    if let Some(stored) = rows.token(id)? {
        return Ok(DeferredToken::Stored(Box::new(stored)));
    }
    if rows.early_end_exists(id)? {
        return Ok(DeferredToken::EndedEarly);
    }
    Ok(match node_of_number(rows.0, by)? {
        Some(node) if node.drained_below.is_none_or(|mark| mark <= id) => DeferredToken::Expected,
        Some(_) | None => DeferredToken::Absent,
    })
}

fn judged(snapshot: &Snapshot<'_>, stored: Option<StoredToken>) -> rusqlite::Result<Option<StoredToken>> {
    stored.map(|stored| judge_token(snapshot, stored)).transpose()
}

macro_rules! select_stored {
    ($where:literal) => {
        concat!(
            "SELECT t.id, t.slot, t.client_id, t.subject, t.subject_kind, t.scope, t.audience, t.format,
                    t.issued_at, t.expires_at, t.seen_epoch, t.seen_position, t.grant_id, t.session_id, t.ended,
                    t.deferred_by, EXISTS (SELECT 1 FROM slots WHERE slot = t.slot AND holder = t.id),
                    t.status_index
             FROM tokens t ",
            $where
        )
    };
}

const TOKEN_SELECT: &str = select_stored!("WHERE t.id = ?1");

pub fn token_select(connection: &Connection, id: TokenId) -> rusqlite::Result<Option<StoredToken>> {
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

const NEWEST_SELECT: &str = select_stored!("WHERE t.id < ?1 ORDER BY t.id DESC LIMIT ?2");

fn newest_select(
    connection: &Connection,
    before: Option<TokenId>,
    limit: i64,
) -> rusqlite::Result<Vec<StoredToken>> {
    let before = id_below(before.as_ref().map(TokenId::as_bytes));
    let mut statement = connection.prepare_cached(NEWEST_SELECT)?;
    statement.query_map(params![before, limit], stored_token)?.collect()
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
        deferred_by: row.get::<_, Option<u8>>(15)?.and_then(NodeNumber::new),
        status_index: row.get::<_, Option<_>>(17)?.map(StatusIndex),
    };
    let ended = row.get::<_, Option<i64>>(14)?.map(|_| Ending::of_column(row, 14)).transpose()?;
    Ok(StoredToken { token, ended, holds_slot: row.get(16)?, ended_by_rule: false })
}

const TOKEN_EXISTS: &str = "SELECT 1 FROM tokens WHERE id = ?1";

pub fn token_exists(connection: &Connection, id: TokenId) -> rusqlite::Result<bool> {
    connection.prepare_cached(TOKEN_EXISTS)?.exists([id.as_bytes()])
}

const TOKEN_INSERT: &str = "
    INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format,
                        issued_at, expires_at, seen_epoch, seen_position, grant_id, session_id, deferred_by, ended,
                        status_index)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

pub fn token_insert(
    connection: &Connection,
    token: &AccessToken,
    ended: Option<Ending>,
) -> rusqlite::Result<()> {
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
        token.deferred_by.map(NodeNumber::get),
        ended.map(Ending::code),
        token.status_index.map(|index| saturating(index.0)),
    ])?;
    Ok(())
}

const TOKEN_END: &str = "UPDATE tokens SET ended = ?2 WHERE id = ?1";

pub fn token_end(connection: &Connection, id: TokenId, ending: Ending) -> rusqlite::Result<()> {
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

const SLOT_SELECT: &str = "SELECT holder, expires_at, displaced FROM slots WHERE slot = ?1";

/// Read under the write lock, so that nobody moves the slot before the transaction does.
pub fn slot_select(connection: &Connection, slot: SlotKey) -> rusqlite::Result<Option<Holder>> {
    let holder = |row: &Row<'_>| {
        Ok(Holder {
            id: TokenId::from_bytes(row.get(0)?),
            expires_at: timestamp(row, 1)?,
            displaced: row.get::<_, Option<_>>(2)?.map(TokenId::from_bytes),
        })
    };
    connection.prepare_cached(SLOT_SELECT)?.query_row([slot.as_bytes()], holder).optional()
}

const SLOT_UPSERT: &str = "
    INSERT INTO slots (slot, holder, expires_at, displaced) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (slot) DO UPDATE SET
        holder = excluded.holder, expires_at = excluded.expires_at, displaced = excluded.displaced";

pub fn slot_upsert(
    connection: &Connection,
    token: &AccessToken,
    displaced: Option<TokenId>,
) -> rusqlite::Result<()> {
    connection.prepare_cached(SLOT_UPSERT)?.execute(params![
        token.slot.as_bytes(),
        token.id.as_bytes(),
        token.expires_at.as_millis(),
        displaced.as_ref().map(TokenId::as_bytes),
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
pub const HOT: [&str; 9] = [
    TOKEN_SELECT,
    HOLDER_SELECT,
    NEWEST_SELECT,
    TOKEN_EXISTS,
    TOKEN_INSERT,
    TOKEN_END,
    SLOT_SELECT,
    SLOT_UPSERT,
    SLOT_FREE,
];
