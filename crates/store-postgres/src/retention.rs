use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{GrantId, Timestamp, TokenId};
use grantry_store::{GrantsSwept, Result as StoreResult, Retention, Swept};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::PostgresStore;
use crate::assertions::ASSERTIONS_SWEEP;
use crate::columns::{get, id_above, optional_id, saturating, timestamp, unsigned};
use crate::early_ends::EARLY_ENDS_SWEEP;
use crate::errors::Result;
use crate::grants::GRANTS_SWEEP;
use crate::link::{Begin, Link};
use crate::nodes::NODES_SWEEP;
use crate::partitions;
use crate::pipeline::pipelined;
use crate::rules::RULES_SWEEP;
use crate::slots::slots_sweep;
use crate::statement::{Statement, now};
use crate::store::transact;

/// How many slots the walk looks at for each that it may remove.
const SLOTS_LOOKED_AT: i64 = 20;

#[async_trait]
impl Retention for PostgresStore {
    /// Tokens and log entries leave by whole partitions, and so a while later than they could: those partitions are
    /// what is counted. Each call walks on over the slots for a bounded number of them.
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> StoreResult<Swept> {
        let limit = saturating(limit);
        let partitions =
            transact!(self, |link| { Ok(partitions::maintain(link, &self.time, retention).await?) })?;
        let swept = transact!(self, |link| { Ok(self.sweep_rows(link, retention, limit).await?) })?;
        Ok(Swept { partitions: partitions.tokens.dropped + partitions.log.dropped, ..swept })
    }

    async fn retention_sweep_grants(
        &self,
        after: Option<GrantId>,
        retention: Duration,
        limit: usize,
    ) -> StoreResult<GrantsSwept> {
        let after = id_above(after.as_ref().map(GrantId::as_bytes));
        transact!(self, |link| {
            let ((), oldest) = pipelined!(link.begin(Begin::Write), oldest_select(link, self.time.param()))?;
            let over_by = oldest.now.saturating_sub(retention).as_millis();
            let (row, ()) = pipelined!(
                async { link.query_one(&GRANTS_SWEEP, &[&after, &saturating(limit), &over_by]).await },
                link.commit()
            )?;
            let last = optional_id(&row, 0, GrantId::from_bytes)?;
            Ok(GrantsSwept { removed: unsigned(&row, 1)?, last })
        })
    }
}

impl PostgresStore {
    async fn sweep_rows(&self, link: &Link, retention: Duration, limit: i64) -> Result<Swept> {
        let ((), oldest) = pipelined!(link.begin(Begin::Write), oldest_select(link, self.time.param()))?;
        let now = oldest.now.as_millis();
        let silent_since = oldest.now.saturating_sub(retention);
        let after = *self.slots_walked.lock().unwrap_or_else(PoisonError::into_inner);
        let (log_entries, nodes, assertions, early_ends, slots, ()) = pipelined!(
            async { link.execute(&RULES_SWEEP, &[&now, &oldest.token, &oldest.grant, &limit]).await },
            async { link.execute(&NODES_SWEEP, &[&silent_since.as_millis(), &limit]).await },
            async { link.execute(&ASSERTIONS_SWEEP, &[&now, &limit]).await },
            async { link.execute(&EARLY_ENDS_SWEEP, &[&now, &limit]).await },
            slots_sweep(link, after, silent_since, limit.saturating_mul(SLOTS_LOOKED_AT), limit),
            link.commit()
        )?;
        *self.slots_walked.lock().unwrap_or_else(PoisonError::into_inner) = slots.last;
        Ok(Swept { tokens: 0, slots: slots.freed, log_entries, nodes, assertions, early_ends, partitions: 0 })
    }
}

/// When the oldest of what a rule may concern was made, in milliseconds.
struct Oldest {
    now: Timestamp,
    token: i64,
    /// Concerned by rules alone; the end of a single grant stands in its own row.
    grant: i64,
}

pub const OLDEST_SELECT: Statement = Statement {
    name: "oldest_select",
    sql: concat!(
        "SELECT ",
        now!("$1"),
        ", (SELECT id FROM tokens ORDER BY id LIMIT 1), (SELECT id FROM grants ORDER BY id LIMIT 1)"
    ),
    types: &[Type::INT8],
};

async fn oldest_select(link: &Link, now: Option<i64>) -> Result<Oldest> {
    let row = link.query_one(&OLDEST_SELECT, &[&now]).await?;
    let made = |id: Option<Uuid>| id.map_or(i64::MAX, |id| millis_of(*id.as_bytes()));
    Ok(Oldest { now: timestamp(&row, 0)?, token: made(get(&row, 1)?), grant: made(get(&row, 2)?) })
}

fn millis_of(id: [u8; TokenId::LEN]) -> i64 {
    TokenId::from_bytes(id).made_at().as_millis()
}
