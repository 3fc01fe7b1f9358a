use std::sync::Arc;

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, Authority, Ending, GrantId, NodeNumber, SessionId, SlotKey, Subject, Timestamp, TokenId,
};
use grantry_store::{
    DeferredToken, Issue, Result as StoreResult, StoredToken, TokenPage, TokenWrite, TokenWriters, Tokens,
    WriteOutcome,
};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::PostgresStore;
use crate::columns::{
    Coded, bytes, checked, from_json, get, id, id_below, optional_byte, optional_id, optional_timestamp,
    saturating, seen, status_index, timestamp, to_json, unsigned, uuid,
};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::pipeline::pipelined;
use crate::readers::Ask;
use crate::rules::ended_by_rule;
use crate::slots::changed_all;
use crate::statement::Statement;
use crate::store::reading;
use crate::transaction;

#[async_trait]
impl Tokens for PostgresStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> StoreResult<Vec<WriteOutcome>> {
        self.write_batch(&batch).await
    }

    fn token_writers(&self) -> TokenWriters {
        TokenWriters::UpTo(self.write_links)
    }

    async fn token_find(&self, id: TokenId) -> StoreResult<Option<StoredToken>> {
        self.readers.ask(|answer| Ask::Token(id, answer)).await
    }

    async fn token_find_deferred(&self, id: TokenId, by: NodeNumber) -> StoreResult<DeferredToken> {
        self.readers.ask(|answer| Ask::Deferred(id, by, answer)).await
    }

    async fn token_judge(&self, issue: Arc<Issue>) -> StoreResult<StoredToken> {
        reading!(self, |link| { transaction::judge(link, &issue, self.time.param()).await })
    }

    async fn token_judge_unstored(&self, token: AccessToken) -> StoreResult<StoredToken> {
        reading!(self, |link| { transaction::judge_unstored(link, &token, self.time.param()).await })
    }

    async fn token_find_holder(&self, slot: SlotKey) -> StoreResult<Option<StoredToken>> {
        self.readers.ask(|answer| Ask::Holder(slot, answer)).await
    }

    async fn token_list(
        &self,
        subject: &Subject,
        before: Option<TokenId>,
        limit: usize,
        among: usize,
    ) -> StoreResult<TokenPage> {
        let before = id_below(before.as_ref().map(TokenId::as_bytes));
        let (rows, among) = (saturating(limit), saturating(among));
        reading!(self, |link| {
            let ((), tokens, last, ()) = pipelined!(
                link.begin(Begin::Snapshot),
                tokens_list(link, subject, before, rows, among),
                last_among(link, before, among),
                link.commit()
            )?;
            let next = match tokens.last() {
                Some(last) if tokens.len() == limit => Some(last.token.id),
                _ => last,
            };
            Ok(TokenPage { tokens, next })
        })
    }

    async fn token_newest(&self, before: Option<TokenId>, limit: usize) -> StoreResult<Vec<StoredToken>> {
        let before = id_below(before.as_ref().map(TokenId::as_bytes));
        let limit = saturating(limit);
        reading!(self, |link| { tokens_newest(link, before, limit).await })
    }

    async fn token_last_expiry(&self) -> StoreResult<Option<Timestamp>> {
        reading!(self, |link| { optional_timestamp(&link.query_one(&TOKENS_LAST_EXPIRY, &[]).await?, 0) })
    }

    async fn token_count(&self) -> StoreResult<u64> {
        reading!(self, |link| { unsigned(&link.query_one(&TOKENS_COUNT, &[]).await?, 0) })
    }
}

/// What [`stored_token`] reads, of `tokens t` and `log_head h`. The holder is fetched rather than looked for, since the
/// planner might fetch all slots to look among.
macro_rules! token_columns {
    () => {
        concat!(
            "t.id, t.slot, t.client_id, t.subject, t.subject_kind, t.scope, t.audience, t.format, t.issued_at,
             t.expires_at, t.seen_epoch, t.seen_position, t.grant_id, t.session_id, t.deferred_by, t.ended,
             t.status_index, coalesce((SELECT s.holder FROM slots s WHERE s.slot = t.slot) = t.id, false), ",
            ended_by_rule!("t", ".grant_id")
        )
    };
}

/// A token by the id in `$id`. The limit keeps the look-up what it is: one partition for each id, found when it runs.
macro_rules! token_of {
    ($id:literal) => {
        token_of!($id, "LIMIT 1")
    };
    ($id:literal, $how:literal) => {
        concat!("CROSS JOIN LATERAL (SELECT * FROM tokens t WHERE t.id = ", $id, " ", $how, ") t")
    };
}

fn stored_token(row: &Row, first: usize) -> Result<StoredToken> {
    let token = AccessToken {
        id: id(row, first, TokenId::from_bytes)?,
        slot: SlotKey::from_bytes(bytes(row, first + 1)?),
        client_id: checked(row, first + 2)?,
        subject: checked(row, first + 3)?,
        subject_kind: Coded::of_column(row, first + 4)?,
        scope: checked(row, first + 5)?,
        audience: from_json(row, first + 6)?,
        format: Coded::of_column(row, first + 7)?,
        issued_at: timestamp(row, first + 8)?,
        expires_at: timestamp(row, first + 9)?,
        authority: Authority {
            seen: seen(row, first + 10)?,
            grant: optional_id(row, first + 12, GrantId::from_bytes)?,
            session: optional_id(row, first + 13, SessionId::from_bytes)?,
        },
        deferred_by: optional_byte(row, first + 14)?.and_then(NodeNumber::new),
        status_index: status_index(row, first + 16)?,
    };
    Ok(StoredToken {
        token,
        ended: Ending::of_optional_column(row, first + 15)?,
        holds_slot: get(row, first + 17)?,
        ended_by_rule: get(row, first + 18)?,
    })
}

pub const TOKENS_FIND: Statement = Statement {
    name: "tokens_find",
    sql: concat!(
        "SELECT w.n, ",
        token_columns!(),
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS w(id, n) CROSS JOIN log_head h ",
        token_of!("w.id")
    ),
    types: &[Type::UUID_ARRAY],
};

/// By their place among the ids.
pub async fn tokens_find(link: &Link, ids: &[Uuid]) -> Result<Vec<(usize, StoredToken)>> {
    link.query(&TOKENS_FIND, &[&ids]).await?.iter().map(placed).collect()
}

pub const HOLDERS_FIND: Statement = Statement {
    name: "holders_find",
    sql: concat!(
        "SELECT w.n, ",
        token_columns!(),
        " FROM unnest($1::bytea[]) WITH ORDINALITY AS w(slot, n) CROSS JOIN log_head h
          CROSS JOIN LATERAL (SELECT holder FROM slots WHERE slot = w.slot LIMIT 1) held ",
        token_of!("held.holder")
    ),
    types: &[Type::BYTEA_ARRAY],
};

/// By their place among the slots.
pub async fn holders_find(link: &Link, slots: &[&[u8]]) -> Result<Vec<(usize, StoredToken)>> {
    link.query(&HOLDERS_FIND, &[&slots]).await?.iter().map(placed).collect()
}

fn placed(row: &Row) -> Result<(usize, StoredToken)> {
    Ok((unsigned::<usize>(row, 0)? - 1, stored_token(row, 1)?))
}

/// The token, its early end and its node, all in one snapshot.
pub const TOKENS_FIND_DEFERRED: Statement = Statement {
    name: "tokens_find_deferred",
    sql: concat!(
        "SELECT w.n,
                EXISTS (SELECT FROM early_ends e WHERE e.id = w.id),
                (SELECT coalesce(o.drained_below <= w.id, true) FROM nodes o WHERE o.number = w.by), ",
        token_columns!(),
        " FROM unnest($1::uuid[], $2::smallint[]) WITH ORDINALITY AS w(id, by, n) CROSS JOIN log_head h
          LEFT JOIN LATERAL (SELECT * FROM tokens t WHERE t.id = w.id LIMIT 1) t ON true"
    ),
    types: &[Type::UUID_ARRAY, Type::INT2_ARRAY],
};

/// By their place among the ids.
pub async fn tokens_find_deferred(
    link: &Link,
    ids: &[Uuid],
    by: &[i16],
) -> Result<Vec<(usize, DeferredToken)>> {
    let deferred = |row: &Row| {
        let found = match get::<Option<Uuid>>(row, 3)? {
            Some(_) => DeferredToken::Stored(Box::new(stored_token(row, 3)?)),
            None if get(row, 1)? => DeferredToken::EndedEarly,
            // Absent where no node has the number.
            None if get::<Option<bool>>(row, 2)? == Some(true) => DeferredToken::Expected,
            None => DeferredToken::Absent,
        };
        Ok((unsigned::<usize>(row, 0)? - 1, found))
    };
    link.query(&TOKENS_FIND_DEFERRED, &[&ids, &by]).await?.iter().map(deferred).collect()
}

/// Those of the subject among the next so many.
pub const TOKENS_LIST: Statement = Statement {
    name: "tokens_list",
    sql: concat!(
        "SELECT ",
        token_columns!(),
        " FROM (SELECT * FROM (SELECT * FROM tokens WHERE id < $2 ORDER BY id DESC LIMIT $4) t
                WHERE t.subject = $1 ORDER BY t.id DESC LIMIT $3) t
          CROSS JOIN log_head h ORDER BY t.id DESC"
    ),
    types: &[Type::TEXT, Type::UUID, Type::INT8, Type::INT8],
};

async fn tokens_list(
    link: &Link,
    subject: &Subject,
    before: Uuid,
    limit: i64,
    among: i64,
) -> Result<Vec<StoredToken>> {
    let rows = link.query(&TOKENS_LIST, &[&subject.as_str(), &before, &limit, &among]).await?;
    rows.iter().map(|row| stored_token(row, 0)).collect()
}

pub const TOKENS_NEWEST: Statement = Statement {
    name: "tokens_newest",
    sql: concat!(
        "SELECT ",
        token_columns!(),
        " FROM (SELECT * FROM tokens WHERE id < $1 ORDER BY id DESC LIMIT $2) t
          CROSS JOIN log_head h ORDER BY t.id DESC"
    ),
    types: &[Type::UUID, Type::INT8],
};

async fn tokens_newest(link: &Link, before: Uuid, limit: i64) -> Result<Vec<StoredToken>> {
    let rows = link.query(&TOKENS_NEWEST, &[&before, &limit]).await?;
    rows.iter().map(|row| stored_token(row, 0)).collect()
}

/// The last of the next so many; none where there are fewer.
pub const LAST_AMONG: Statement = Statement {
    name: "last_among",
    sql: "SELECT id FROM tokens WHERE id < $1 ORDER BY id DESC LIMIT 1 OFFSET $2 - 1",
    types: &[Type::UUID, Type::INT8],
};

async fn last_among(link: &Link, before: Uuid, among: i64) -> Result<Option<TokenId>> {
    let row = link.query_opt(&LAST_AMONG, &[&before, &among]).await?;
    row.map(|row| id(&row, 0, TokenId::from_bytes)).transpose()
}

pub const TOKENS_COUNT: Statement =
    Statement { name: "tokens_count", sql: "SELECT count(*) FROM tokens", types: &[] };

pub const TOKENS_LAST_EXPIRY: Statement =
    Statement { name: "tokens_last_expiry", sql: "SELECT max(expires_at) FROM tokens", types: &[] };

/// The tokens of `$1` and the holders of the slots of `$2`, locked in the order of their ids.
pub const TOKENS_LOCK: Statement = Statement {
    name: "tokens_lock",
    sql: concat!(
        "SELECT ",
        token_columns!(),
        " FROM (SELECT * FROM (SELECT unnest($1::uuid[]) AS id
                               UNION
                               SELECT s.holder FROM unnest($2::bytea[]) AS k(slot)
                               CROSS JOIN LATERAL (SELECT holder FROM slots WHERE slot = k.slot LIMIT 1) s) k
                ORDER BY k.id) w
          CROSS JOIN log_head h ",
        token_of!("w.id", "FOR NO KEY UPDATE")
    ),
    types: &[Type::UUID_ARRAY, Type::BYTEA_ARRAY],
};

/// For those that may be ended.
pub async fn tokens_lock(link: &Link, ids: &[Uuid], holders_of: &[&[u8]]) -> Result<Vec<StoredToken>> {
    if ids.is_empty() && holders_of.is_empty() {
        return Ok(Vec::new());
    }
    let rows = link.query(&TOKENS_LOCK, &[&ids, &holders_of]).await?;
    rows.iter().map(|row| stored_token(row, 0)).collect()
}

/// The tokens of `$1`, the holders of the slots of `$2` and the last access tokens of the grants of `$3`.
pub const TOKENS_SELECT: Statement = Statement {
    name: "tokens_select",
    sql: concat!(
        "SELECT ",
        token_columns!(),
        " FROM (SELECT unnest($1::uuid[]) AS id
                UNION
                SELECT s.holder FROM unnest($2::bytea[]) AS k(slot)
                CROSS JOIN LATERAL (SELECT holder FROM slots WHERE slot = k.slot LIMIT 1) s
                UNION
                SELECT g.access_token FROM unnest($3::uuid[]) AS k(id)
                CROSS JOIN LATERAL (SELECT access_token FROM grants WHERE id = k.id LIMIT 1) g) w
          CROSS JOIN log_head h ",
        token_of!("w.id")
    ),
    types: &[Type::UUID_ARRAY, Type::BYTEA_ARRAY, Type::UUID_ARRAY],
};

pub async fn tokens_select(
    link: &Link,
    ids: &[Uuid],
    holders_of: &[&[u8]],
    of_grants: &[Uuid],
) -> Result<Vec<StoredToken>> {
    if ids.is_empty() && holders_of.is_empty() && of_grants.is_empty() {
        return Ok(Vec::new());
    }
    let rows = link.query(&TOKENS_SELECT, &[&ids, &holders_of, &of_grants]).await?;
    rows.iter().map(|row| stored_token(row, 0)).collect()
}

/// Tokens as one array a column, in the order of the table's.
#[derive(Default)]
pub struct TokenColumns<'t> {
    pub ids: Vec<Uuid>,
    pub slots: Vec<&'t [u8]>,
    client_ids: Vec<&'t str>,
    subjects: Vec<&'t str>,
    subject_kinds: Vec<i16>,
    scopes: Vec<&'t str>,
    audiences: Vec<String>,
    formats: Vec<i16>,
    issued_at: Vec<i64>,
    expires_at: Vec<i64>,
    seen_epochs: Vec<i64>,
    seen_positions: Vec<i64>,
    grants: Vec<Option<Uuid>>,
    sessions: Vec<Option<Uuid>>,
    deferred_by: Vec<Option<i16>>,
    status_indexes: Vec<Option<i64>>,
}

impl<'t> TokenColumns<'t> {
    pub fn of(tokens: impl IntoIterator<Item = &'t AccessToken>) -> Result<Self> {
        let mut columns = Self::default();
        tokens.into_iter().try_for_each(|token| columns.push(token))?;
        Ok(columns)
    }

    fn push(&mut self, token: &'t AccessToken) -> Result<()> {
        let Authority { seen, grant, session } = token.authority;
        self.audiences.push(to_json(&token.audience)?);
        self.ids.push(uuid(token.id.as_bytes()));
        self.slots.push(token.slot.as_bytes());
        self.client_ids.push(token.client_id.as_str());
        self.subjects.push(token.subject.as_str());
        self.subject_kinds.push(token.subject_kind.code());
        self.scopes.push(token.scope.as_str());
        self.formats.push(token.format.code());
        self.issued_at.push(token.issued_at.as_millis());
        self.expires_at.push(token.expires_at.as_millis());
        self.seen_epochs.push(saturating(seen.epoch.0));
        self.seen_positions.push(saturating(seen.position.0));
        self.grants.push(grant.map(|id| uuid(id.as_bytes())));
        self.sessions.push(session.map(|id| uuid(id.as_bytes())));
        self.deferred_by.push(token.deferred_by.map(|number| number.get().into()));
        self.status_indexes.push(token.status_index.map(|index| saturating(index.0)));
        Ok(())
    }

    pub fn params(&self) -> [&(dyn ToSql + Sync); 16] {
        [
            &self.ids,
            &self.slots,
            &self.client_ids,
            &self.subjects,
            &self.subject_kinds,
            &self.scopes,
            &self.audiences,
            &self.formats,
            &self.issued_at,
            &self.expires_at,
            &self.seen_epochs,
            &self.seen_positions,
            &self.grants,
            &self.sessions,
            &self.deferred_by,
            &self.status_indexes,
        ]
    }
}

/// The types of [`TokenColumns::params`], with room for more after them.
macro_rules! token_column_types {
    ($($more:expr),*) => {
        &[
            Type::UUID_ARRAY,
            Type::BYTEA_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT2_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT2_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::UUID_ARRAY,
            Type::UUID_ARRAY,
            Type::INT2_ARRAY,
            Type::INT8_ARRAY,
            $($more),*
        ]
    };
}

pub(crate) use token_column_types;

pub const TOKENS_INSERT: Statement = Statement {
    name: "tokens_insert",
    sql: "INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at, expires_at,
                              seen_epoch, seen_position, grant_id, session_id, deferred_by, status_index, ended)
          SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::text[],
                               $8::smallint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::uuid[],
                               $14::uuid[], $15::smallint[], $16::bigint[], $17::smallint[])",
    types: token_column_types!(Type::INT2_ARRAY),
};

/// In the order of their ids.
pub async fn tokens_insert(link: &Link, tokens: &[&StoredToken]) -> Result<()> {
    if tokens.is_empty() {
        return Ok(());
    }
    let columns = TokenColumns::of(tokens.iter().map(|stored| &stored.token))?;
    let ended: Vec<Option<i16>> = tokens.iter().map(|stored| stored.ended.map(Ending::code)).collect();
    let mut params = columns.params().to_vec();
    params.push(&ended);
    link.execute(&TOKENS_INSERT, &params).await.map(drop)
}

pub const TOKENS_END: Statement = Statement {
    name: "tokens_end",
    sql: "UPDATE tokens t SET ended = w.ended FROM unnest($1::uuid[], $2::smallint[]) AS w(id, ended) WHERE t.id = w.id",
    types: &[Type::UUID_ARRAY, Type::INT2_ARRAY],
};

/// They are locked.
pub async fn tokens_end(link: &Link, endings: &[(TokenId, Ending)]) -> Result<()> {
    if endings.is_empty() {
        return Ok(());
    }
    let (ids, ended): (Vec<Uuid>, Vec<i16>) =
        endings.iter().map(|(id, ending)| (uuid(id.as_bytes()), ending.code())).unzip();
    changed_all(link.execute(&TOKENS_END, &[&ids, &ended]).await?, ids.len())
}
