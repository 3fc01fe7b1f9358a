//! Changes of several rows at once, without locks: what is decided about is read in one command, and written by a script
//! that first looks whether it still is so.

use std::collections::{BTreeSet, HashMap};

use grantry_store::Result as StoreResult;
use redis::Pipeline;

use crate::RedisStore;
use crate::errors::{Cause, Error, Result};
use crate::names::{Key, hex};
use crate::rows::{RowError, RowResult, Rows};

/// Rows lead to other rows: a slot to its holder, the holder to its rules.
const ROUNDS: usize = 8;
/// Of those who want the same rows one gets on each time.
const ATTEMPTS: usize = 200;

impl RedisStore {
    /// What `look` makes of rows that were read at one instant.
    pub(crate) async fn look<T>(&self, look: impl Fn(&mut Rows) -> RowResult<T> + Send) -> StoreResult<T> {
        Ok(self.decide(&mut BTreeSet::new(), look).await?.0)
    }

    /// Does what `change` makes of the rows, all or nothing.
    pub(crate) async fn transact<T>(
        &self,
        change: impl Fn(&mut Rows) -> RowResult<T> + Send,
    ) -> StoreResult<T> {
        Ok(self.transact_knowing(BTreeSet::new(), change).await?)
    }

    /// The same where some of the rows are known beforehand.
    pub(crate) async fn transact_knowing<T>(
        &self,
        mut known: BTreeSet<Key>,
        change: impl Fn(&mut Rows) -> RowResult<T> + Send,
    ) -> Result<T> {
        for _ in 0..ATTEMPTS {
            let (decided, rows) = self.decide(&mut known, &change).await?;
            if !rows.is_changed() || self.commit(&rows).await? {
                return Ok(decided);
            }
            self.metrics.repeated.increment(1);
            // Others had their turn: let them finish theirs.
            tokio::task::yield_now().await;
        }
        Err(Error::new(Cause::Collision, "others changed the same rows in Redis again and again"))
    }

    async fn decide<T>(
        &self,
        known: &mut BTreeSet<Key>,
        change: impl Fn(&mut Rows) -> RowResult<T>,
    ) -> Result<(T, Rows)> {
        for _ in 0..ROUNDS {
            let mut rows = self.read_rows(known).await?;
            match change(&mut rows) {
                Ok(decided) => return Ok((decided, rows)),
                Err(RowError::Unread) => known.extend(rows.into_unread()),
                Err(RowError::Failed(error)) => return Err(error),
            }
        }
        Err(Error::new(Cause::Corrupt, "rows in Redis lead from one to the next without an end"))
    }

    /// One command: all of them as they were at the same instant.
    async fn read_rows(&self, keys: &BTreeSet<Key>) -> Result<Rows> {
        let mut commands = Pipeline::new();
        commands.cmd("TIME");
        if !keys.is_empty() {
            commands.cmd("MGET").arg(keys);
        }
        type Values = Vec<Option<Vec<u8>>>;
        let tag = self.names.head();
        let (time, values) = match keys.is_empty() {
            true => (self.links.read::<((i64, i64),)>(&tag, &commands).await?.0, Vec::new()),
            false => self.links.read::<((i64, i64), Values)>(&tag, &commands).await?,
        };
        let read: HashMap<_, _> = keys.iter().cloned().zip(values).collect();
        Ok(Rows::new(self.names.clone(), self.time.now(time), self.retention, read))
    }

    /// `false` where a row was changed since.
    async fn commit(&self, rows: &Rows) -> Result<bool> {
        let mut number = [0; 12];
        self.rng.fill(&mut number);
        let (keys, arguments) = rows.commit(self.names.commit(&hex(&number)));
        Ok(self.commit.run::<u64>(&self.links, &keys, &arguments).await? == 0)
    }
}
