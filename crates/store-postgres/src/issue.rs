//! Tokens that need nothing but their slot: one statement gives each slot to the token that asks for it, if the slot is
//! free for it, and writes that token. What the statement leaves out is decided elsewhere.

use std::collections::HashSet;
use std::time::Duration;

use grantry_protocol::{ActiveTokenPolicy, TokenId};
use grantry_store::{Issue, TokenWrite};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::columns::{id, saturating, uuid};
use crate::errors::Result;
use crate::link::Link;
use crate::statement::{Statement, now};
use crate::tokens::{TokenColumns, token_column_types};

/// A batch of one kind whose tokens ask for slots, with their places in it.
pub enum Asking<'b> {
    Issues(Vec<(usize, &'b Issue)>),
    Settlements(Vec<(usize, &'b Issue)>),
}

impl<'b> Asking<'b> {
    /// `None` if something in the batch is of another kind, or may end the token that it displaces.
    pub fn of(batch: &'b [TokenWrite]) -> Option<Self> {
        let issues = |pick: fn(&TokenWrite) -> Option<&Issue>| {
            let issues = batch.iter().enumerate().map(|(place, write)| Some((place, pick(write)?)));
            issues.collect::<Option<Vec<_>>>()
        };
        let issued = issues(|write| match write {
            TokenWrite::Issue(issue) if issue.policy != ActiveTokenPolicy::Replace => Some(issue),
            _ => None,
        });
        let settled = issues(|write| match write {
            TokenWrite::Settle(issue) if issue.policy != ActiveTokenPolicy::Replace => Some(issue),
            _ => None,
        });
        issued.map(Self::Issues).or(settled.map(Self::Settlements))
    }
}

/// The first that asks for each slot, in the order of their ids.
pub fn first_of_slots<'b>(asking: &[(usize, &'b Issue)]) -> Vec<(usize, &'b Issue)> {
    let (mut slots, mut ids) = (HashSet::new(), HashSet::new());
    let is_first =
        |(_, issue): &(usize, &Issue)| slots.insert(issue.token.slot) && ids.insert(issue.token.id);
    let mut first: Vec<_> = asking.iter().copied().filter(is_first).collect();
    first.sort_unstable_by_key(|(_, issue)| issue.token.id);
    first
}

/// What every token has to bring besides its columns: the holder that it knew, and how much life a holder must have
/// left to keep the slot.
fn displacing(issues: &[(usize, &Issue)]) -> (Vec<Option<Uuid>>, Vec<i64>) {
    issues
        .iter()
        .map(|(_, issue)| (issue.observed.map(|id| uuid(id.as_bytes())), life_that_keeps(issue)))
        .unzip()
}

/// Under `multiple` no holder has enough.
fn life_that_keeps(issue: &Issue) -> i64 {
    const MOST: i64 = i64::MAX / 4;
    match issue.policy {
        ActiveTokenPolicy::Multiple => MOST,
        _ if issue.min_life == Duration::MAX => MOST,
        _ => saturating(issue.min_life.as_millis()).min(MOST),
    }
}

/// The tokens that ask, as rows of `w` in the order of their ids, and after `$guard` whichever of them may not be
/// written here; then those that get their slots, in the order of the slots' keys, by the condition `$free` on the row
/// `s` that is there; then the rows of those. The set of winners is looked up by hash: a join of the two might be
/// planned for ten rows and run with hundreds.
macro_rules! take_slots {
    ($guard:expr, $free:expr) => {
        concat!(
            "WITH w AS MATERIALIZED (
                 SELECT w.* FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::smallint[], $6::text[],
                                        $7::text[], $8::smallint[], $9::bigint[], $10::bigint[], $11::bigint[],
                                        $12::bigint[], $13::uuid[], $14::uuid[], $15::smallint[], $16::bigint[],
                                        $17::uuid[])
                     AS w(id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at, expires_at,
                          seen_epoch, seen_position, grant_id, session_id, deferred_by, status_index, displaced)
                 LEFT JOIN LATERAL (SELECT true AS is_written FROM tokens WHERE id = w.id LIMIT 1) t ON true
                 CROSS JOIN log_head h
                 WHERE t.is_written IS NULL",
            $guard,
            "), won AS (
                 INSERT INTO slots AS s (slot, holder, expires_at, displaced)
                 SELECT slot, id, expires_at, displaced FROM w ORDER BY slot
                 ON CONFLICT (slot) DO UPDATE SET
                     holder = excluded.holder, expires_at = excluded.expires_at, displaced = excluded.displaced
                 WHERE ",
            $free,
            "    RETURNING holder
             )
             INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at,
                                 expires_at, seen_epoch, seen_position, grant_id, session_id, deferred_by,
                                 status_index)
             SELECT id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at,
                    expires_at, seen_epoch, seen_position, grant_id, session_id, deferred_by, status_index
             FROM w WHERE (id IN (SELECT holder FROM won)) IS TRUE RETURNING id"
        )
    };
}

/// As `decide_issue`: the slot is free for a token that knew its holder, or whose holder has too little life left.
pub const TOKENS_ISSUE: Statement = Statement {
    name: "tokens_issue",
    sql: take_slots!(
        "",
        concat!(
            "s.holder = excluded.displaced OR s.expires_at <= ",
            now!("$19"),
            " + ($18::bigint[])[array_position($1, excluded.holder)] "
        )
    ),
    types: token_column_types!(Type::UUID_ARRAY, Type::INT8_ARRAY, Type::INT8),
};

/// As `decide_settle`, where no end and no rule can be involved: of the holders that may live on, it is known only of
/// an earlier one that was displaced knowingly that it retires.
pub const TOKENS_SETTLE: Statement = Statement {
    name: "tokens_settle",
    sql: take_slots!(
        concat!(
            " AND w.expires_at > ",
            now!("$18"),
            " AND NOT coalesce((h.last_rule_epoch, h.last_rule_position) > (w.seen_epoch, w.seen_position), false)
              AND (SELECT e.id FROM early_ends e WHERE e.id = w.id) IS NULL"
        ),
        concat!(
            "s.expires_at <= ",
            now!("$18"),
            " OR (s.holder = excluded.displaced AND s.holder < excluded.holder) "
        )
    ),
    types: token_column_types!(Type::UUID_ARRAY, Type::INT8),
};

/// Writes those that get their slots; answers which. Each slot once, in the order of the ids.
pub async fn tokens_issue(
    link: &Link,
    issues: &[(usize, &Issue)],
    now: Option<i64>,
) -> Result<HashSet<TokenId>> {
    let columns = TokenColumns::of(issues.iter().map(|(_, issue)| &issue.token))?;
    let (displaced, life_that_keeps) = displacing(issues);
    let more: [&(dyn ToSql + Sync); 3] = [&displaced, &life_that_keeps, &now];
    winners(link, &TOKENS_ISSUE, &columns, &more).await
}

/// The same for tokens that were answered before. To be sent after their nodes were locked.
pub async fn tokens_settle(
    link: &Link,
    issues: &[(usize, &Issue)],
    now: Option<i64>,
) -> Result<HashSet<TokenId>> {
    let columns = TokenColumns::of(issues.iter().map(|(_, issue)| &issue.token))?;
    let (displaced, _) = displacing(issues);
    winners(link, &TOKENS_SETTLE, &columns, &[&displaced, &now]).await
}

async fn winners(
    link: &Link,
    statement: &Statement,
    columns: &TokenColumns<'_>,
    more: &[&(dyn ToSql + Sync)],
) -> Result<HashSet<TokenId>> {
    let params: Vec<_> = columns.params().into_iter().chain(more.iter().copied()).collect();
    let rows = link.query(statement, &params).await?;
    rows.iter().map(|row| id(row, 0, TokenId::from_bytes)).collect()
}
