//! A batch of writes as one transaction, in two round trips:
//!
//! 1. Lock everything that the batch names, and read it under the locks. The order is the same everywhere, so that two
//!    transactions wait for one another in one direction alone: nodes, grants, slots, tokens, assertions, the audit
//!    trail's head, the revocation log's head; within each, by key.
//! 2. Decide, in memory, by `grantry_store::apply`.
//! 3. Write what has changed, the revocation log last, and commit.
//!
//! Each statement sees what was committed before it began, so a row that was waited for is read as it was left. What no
//! lock could hold, since it was not there yet, is met as a conflict when it is written; the batch is then tried again.

use grantry_protocol::{AccessToken, Grant, Position, Seen, Timestamp};
use grantry_store::{
    Issue, RevokeOutcome, StoredGrant, StoredToken, TokenWrite, WriteOutcome, apply, judge as foretell,
};
use tokio_postgres::types::Type;

use crate::assertions::{assertions_lock, assertions_upsert};
use crate::audit::audit_insert;
use crate::columns::{seen, timestamp};
use crate::early_ends::{early_ends_insert, early_ends_select};
use crate::errors::Result;
use crate::grants::{grants_displace, grants_find, grants_insert, grants_lock, grants_update};
use crate::link::{Begin, Link};
use crate::named::{Named, grant_ids, keys, token_ids};
use crate::nodes::{nodes_beat, nodes_lock};
use crate::overlay::{Changes, Moment, Overlay, Read};
use crate::pipeline::pipelined;
use crate::revocations::{log_append, log_hold};
use crate::rules::rules_select;
use crate::slots::{slots_delete, slots_lock, slots_select, slots_update};
use crate::statement::{Statement, now};
use crate::tokens::{tokens_end, tokens_insert, tokens_lock, tokens_select};

/// A transaction that has been decided about and not written.
pub struct Decided {
    overlay: Overlay,
    outcomes: Vec<WriteOutcome>,
}

/// Begins it, locks, reads and decides.
pub async fn decide(link: &Link, batch: &[TokenWrite], now: Option<i64>) -> Result<Decided> {
    let named = Named::of(batch);
    let mut overlay = Overlay::new(&named, lock(link, &named, now).await?)?;
    let outcomes = batch.iter().map(|write| apply(&mut overlay, write)).collect::<Result<_>>()?;
    Ok(Decided { overlay, outcomes })
}

impl Decided {
    /// Until when entries that it appends to the log have to be kept.
    pub fn entries_until(&self) -> Vec<Timestamp> {
        self.overlay.changes().entries.iter().map(|entry| entry.keep_until).collect()
    }

    /// Writes and commits it.
    pub async fn carry_out(&self, link: &Link) -> Result<Vec<WriteOutcome>> {
        let changes = self.overlay.changes();
        if changes.is_empty() {
            // With the rows that stood for slots without one.
            link.rollback().await?;
            return Ok(self.outcomes.clone());
        }
        let head = write(link, &changes).await?;
        let appended_by_others = head.map_or(0, |head| head.position.0 - self.overlay.expected_position().0);
        Ok(self.outcomes.iter().map(|outcome| moved(outcome, appended_by_others)).collect())
    }
}

/// Positions were counted from a head that others may have moved before this transaction did.
fn moved(outcome: &WriteOutcome, by: u64) -> WriteOutcome {
    match outcome {
        WriteOutcome::Revoked(RevokeOutcome::Revoked(at)) => {
            WriteOutcome::Revoked(RevokeOutcome::Revoked(Position(at.0 + by)))
        }
        WriteOutcome::SlotEnded(at) => {
            WriteOutcome::SlotEnded(Seen { position: Position(at.position.0 + by), ..*at })
        }
        other => other.clone(),
    }
}

async fn lock(link: &Link, named: &Named<'_>, now: Option<i64>) -> Result<Read> {
    let (grants, grant_slots) = (grant_ids(&named.grants), keys(&named.grant_slots));
    let (revoked, refreshed) = (token_ids(&named.revoked), grant_ids(&named.refreshed));
    let (slots, ending, contested) = (keys(named.slots.keys()), keys(&named.ending), keys(&named.contested));
    let (tokens, unwritten) = (token_ids(named.tokens.keys()), token_ids(&named.unwritten));
    let assertions: Vec<&[u8]> = named.assertions.iter().copied().collect();
    let ((), (), grants, placed, slots, locked, read, early_ends, assertions, (), rules, moment) = pipelined!(
        link.begin(Begin::Write),
        nodes_lock(link, &named.nodes),
        grants_lock(link, &grants, &grant_slots),
        slots_lock(link, &named.slots, &revoked),
        slots_select(link, &slots, &revoked),
        tokens_lock(link, &revoked, &ending),
        tokens_select(link, &tokens, &contested, &refreshed),
        early_ends_select(link, &unwritten),
        assertions_lock(link, &assertions),
        log_hold(link, named.holds_log),
        rules_select(link, &named.rules),
        moment_select(link, now),
    )?;
    // A token that is in both is locked in the first.
    let tokens = read.into_iter().chain(locked).collect();
    Ok(Read { moment, grants, slots, placed, tokens, early_ends, rules, assertions })
}

async fn write(link: &Link, changes: &Changes<'_>) -> Result<Option<Seen>> {
    let displaced = grant_ids(&changes.displaced_grants);
    let now = changes.now;
    let grants = async {
        pipelined!(
            grants_displace(link, &displaced),
            grants_insert(link, &changes.new_grants),
            grants_update(link, &changes.changed_grants),
        )
    };
    let tokens = async {
        pipelined!(
            slots_update(link, &changes.moved_slots),
            slots_delete(link, &changes.freed_slots),
            tokens_insert(link, &changes.new_tokens),
            tokens_end(link, &changes.ended_tokens),
            early_ends_insert(link, changes.early_ends),
        )
    };
    let (_, _, (), (), (), head, ()) = pipelined!(
        grants,
        tokens,
        assertions_upsert(link, changes.assertions, now),
        nodes_beat(link, &changes.beats, now),
        audit_insert(link, changes.audit),
        log_append(link, changes.entries, Some(now.as_millis())),
        link.commit(),
    )?;
    Ok(head)
}

/// What settling the token would come to, as of one moment, without doing it.
pub async fn judge(link: &Link, issue: &Issue, now: Option<i64>) -> Result<StoredToken> {
    let named = Named::settled(issue);
    let (slots, tokens) = (keys(named.slots.keys()), token_ids(named.tokens.keys()));
    let ((), slots, tokens, early_ends, rules, moment, ()) = pipelined!(
        link.begin(Begin::Snapshot),
        slots_select(link, &slots, &[]),
        tokens_select(link, &tokens, &slots, &[]),
        early_ends_select(link, &tokens),
        rules_select(link, &named.rules),
        moment_select(link, now),
        link.commit(),
    )?;
    let read = Read { moment, slots, tokens, early_ends, rules, ..Read::default() };
    foretell(&mut Overlay::new(&named, read)?, issue, moment.now)
}

/// Where a token stands that gets no row, as of one moment.
pub async fn judge_unstored(link: &Link, token: &AccessToken, now: Option<i64>) -> Result<StoredToken> {
    let named = Named::unstored(token);
    let ids = token_ids(&named.unwritten);
    let ((), early_ends, rules, moment, ()) = pipelined!(
        link.begin(Begin::Snapshot),
        early_ends_select(link, &ids),
        rules_select(link, &named.rules),
        moment_select(link, now),
        link.commit(),
    )?;
    let read = Read { moment, early_ends, rules, ..Read::default() };
    grantry_store::judge_unstored(&mut Overlay::new(&named, read)?, token.clone())
}

/// The same for a grant, with what its row adds.
pub async fn judge_unstored_grant(link: &Link, grant: &Grant, now: Option<i64>) -> Result<StoredGrant> {
    let named = Named::unstored_grant(grant);
    let ids = grant_ids(&named.grants);
    let ((), found, rules, moment, ()) = pipelined!(
        link.begin(Begin::Snapshot),
        grants_find(link, &ids),
        rules_select(link, &named.rules),
        moment_select(link, now),
        link.commit(),
    )?;
    let grants = found.into_iter().map(|(_, stored)| (stored, false)).collect();
    let read = Read { moment, grants, rules, ..Read::default() };
    grantry_store::judge_unstored_grant(&mut Overlay::new(&named, read)?, grant)
}

/// The moment at which a transaction decides: sent after everything that it may have waited for.
pub const MOMENT_SELECT: Statement = Statement {
    name: "moment_select",
    sql: concat!("SELECT ", now!("$1"), ", epoch, position FROM log_head WHERE one"),
    types: &[Type::INT8],
};

pub async fn moment_select(link: &Link, now: Option<i64>) -> Result<Moment> {
    let row = link.query_one(&MOMENT_SELECT, &[&now]).await?;
    Ok(Moment { now: timestamp(&row, 0)?, head: seen(&row, 1)? })
}
