//! Two ways for a million expired tokens to go.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    baseline_postgres::first_id_at,
    clock,
    failure::Failure,
    filling::{self, Filling, WIDTH},
    postgres::Session,
};

/// The server sweeps every half minute.
const DROPPED_WITHIN: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How many tokens a DELETE takes at once.
pub const CHUNK: u64 = 10_000;
const TABLE: &str = "old_tokens";
const WAL: &str = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Way {
    /// The server's own retention drops the partitions.
    Drop,
    /// What a server without partitions has to do, at its best: chunks by ranges of the primary key, a commit each, and
    /// a VACUUM afterwards, without which no space is free.
    Delete,
}

/// When it happened, and what it wrote to the write-ahead log.
#[derive(Debug, Clone, Copy)]
pub struct Removal {
    pub from: Instant,
    pub until: Instant,
    pub wal_bytes: u64,
}

impl Removal {
    pub fn took(&self) -> Duration {
        self.until.saturating_duration_since(self.from)
    }
}

impl Way {
    /// Makes the tokens, out of everybody's reach.
    pub async fn prepare(self, session: &Session, filling: &Filling) -> Result<(), Failure> {
        match self {
            Self::Drop => filling::make(session, filling).await,
            Self::Delete => filling::make_table(session, TABLE, filling).await,
        }
    }

    /// Lets them go, and returns when they are gone.
    pub async fn remove(self, session: &Session, filling: &Filling) -> Result<Removal, Failure> {
        match self {
            Self::Drop => drop_partitions(session, filling).await,
            Self::Delete => delete(session, filling).await,
        }
    }
}

/// Hands them to the server and watches it drop them. What it waits before it begins is not counted.
async fn drop_partitions(session: &Session, filling: &Filling) -> Result<Removal, Failure> {
    filling::attach(session, filling).await?;
    let give_up = clock::now() + DROPPED_WITHIN;
    let mut begin = (clock::now(), wal(session).await?);
    while clock::now() < give_up {
        let seen = (clock::now(), wal(session).await?);
        match filling::count_partitions(session).await? {
            0 => {
                let (until, wal_until) = (clock::now(), wal(session).await?);
                return Ok(Removal { from: begin.0, until, wal_bytes: wal_until.saturating_sub(begin.1) });
            }
            there if there == u64::from(filling.partitions) => begin = seen,
            _ => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(Failure::new(format!("the server has not dropped the old partitions within {DROPPED_WITHIN:?}")))
}

async fn delete(session: &Session, filling: &Filling) -> Result<Removal, Failure> {
    let (from, wal_from) = (clock::now(), wal(session).await?);
    let chunks = filling.tokens.div_ceil(CHUNK) as u32;
    let step = WIDTH * filling.partitions / chunks;
    for number in 0..chunks {
        let begin = first_id_at(filling.from + step * number);
        // The division of the time may leave a rest.
        let end = if number + 1 == chunks {
            first_id_at(filling.until())
        } else {
            first_id_at(filling.from + step * (number + 1))
        };
        session.run(&format!("DELETE FROM {TABLE} WHERE id >= '{begin}' AND id < '{end}'")).await?;
    }
    session.run(&format!("VACUUM {TABLE}")).await?;
    let removal =
        Removal { from, until: clock::now(), wal_bytes: wal(session).await?.saturating_sub(wal_from) };
    let left = session.count(TABLE).await?;
    session.run(&format!("DROP TABLE {TABLE}")).await?;
    if left == 0 { Ok(removal) } else { Err(Failure::new(format!("DELETE left {left} tokens"))) }
}

/// Bytes since the database cluster was made.
async fn wal(session: &Session) -> Result<u64, Failure> {
    session.number(WAL).await.map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Postgres;

    const SCHEMA: &str = "CREATE TABLE tokens (id uuid PRIMARY KEY, slot bytea, client_id text, subject text,
        subject_kind smallint, scope text, audience text, format smallint, issued_at bigint, expires_at bigint,
        seen_epoch bigint, seen_position bigint) PARTITION BY RANGE (id);
        CREATE TABLE partitions (name text, parent text, from_time bigint, until_time bigint, expires_until bigint);
        CREATE TABLE turns (name text)";

    #[tokio::test]
    async fn tokens_are_gone_when_it_says_so() {
        let server = Postgres::start(&std::env::temp_dir()).await.unwrap();
        let session = server.create_database("cleanup").await.unwrap();
        session.run(SCHEMA).await.unwrap();
        let (from, lifetime) = (Duration::from_secs(1_760_000_400), Duration::from_secs(3600));
        let filling = Filling { tokens: 25_003, from, partitions: 2, lifetime };
        Way::Delete.prepare(&session, &filling).await.unwrap();
        let deleted = Way::Delete.remove(&session, &filling).await.unwrap();
        assert!(deleted.wal_bytes > 25_003 && !deleted.took().is_zero());

        Way::Drop.prepare(&session, &filling).await.unwrap();
        let other = Session::open(&server.url("cleanup")).await.unwrap();
        // In the place of the server that sweeps: it sees partitions only once they are attached.
        let sweeping = async {
            let attached = "SELECT count(*) FROM partitions";
            while other.number(attached).await.unwrap() == 0 {}
            assert_eq!(other.count("tokens").await.unwrap(), 25_003);
            for begin in [1_760_000_400, 1_760_004_000] {
                let name = format!("tokens_filled_{begin}");
                other
                    .run(&format!("ALTER TABLE tokens DETACH PARTITION {name}; DROP TABLE {name}"))
                    .await
                    .unwrap();
            }
        };
        let (dropped, ()) = tokio::join!(Way::Drop.remove(&session, &filling), sweeping);
        let dropped = dropped.unwrap();
        assert!(dropped.wal_bytes > 0 && !dropped.took().is_zero());
        assert_eq!(session.count("tokens").await.unwrap(), 0);
    }
}
