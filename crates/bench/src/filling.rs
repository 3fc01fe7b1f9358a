//! Tokens that a PostgreSQL store holds already: rows in the server's own tables, as though it had issued them over a
//! stretch of time, made by SQL within minutes.
//!
//! Written against `crates/store-postgres/src/migrations`, where a test runs it.

use std::time::Duration;

use uuid::Uuid;

use crate::{baseline_postgres::first_id_at, failure::Failure, postgres::Session};

/// The time that one partition holds, as the server has it for a retention time of a day.
pub const WIDTH: Duration = Duration::from_secs(3600);

/// Which tokens there are to be.
#[derive(Debug, Clone, Copy)]
pub struct Filling {
    pub tokens: u64,
    /// Since 1970: when the first was issued, at the begin of a partition.
    pub from: Duration,
    /// In how many partitions they lie, as many in each.
    pub partitions: u32,
    pub lifetime: Duration,
}

impl Filling {
    /// The table of each partition, and the times that it is for.
    fn parts(&self) -> impl Iterator<Item = (String, Duration, Duration)> {
        let from = self.from;
        (0..self.partitions).map(move |number| {
            let begin = from + WIDTH * number;
            (format!("tokens_filled_{}", begin.as_secs()), begin, begin + WIDTH)
        })
    }

    /// When the last partition ends.
    pub fn until(&self) -> Duration {
        self.from + WIDTH * self.partitions
    }

    fn tokens_in(&self, number: u32) -> u64 {
        let before = |number: u32| self.tokens * u64::from(number) / u64::from(self.partitions);
        before(number + 1) - before(number)
    }
}

/// The begin of the partition in which a time lies.
pub fn begin_of_partition(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() - time.as_secs() % WIDTH.as_secs())
}

/// Makes the partitions, which belong to nothing yet.
pub async fn make(session: &Session, filling: &Filling) -> Result<(), Failure> {
    session.run(QUICKLY).await?;
    for (number, (name, begin, _)) in filling.parts().enumerate() {
        let rows = rows(filling.tokens_in(number as u32), begin, filling.lifetime);
        session
            .run(&format!("CREATE TABLE {name} (LIKE tokens INCLUDING ALL); INSERT INTO {name} {rows}"))
            .await?;
    }
    for (name, ..) in filling.parts() {
        session.run(&format!("VACUUM (ANALYZE) {name}")).await?;
    }
    Ok(())
}

/// Hands the partitions to the server, all at once.
pub async fn attach(session: &Session, filling: &Filling) -> Result<(), Failure> {
    let expires_until = (filling.until() + filling.lifetime).as_millis();
    let attached = filling.parts().map(|(name, begin, end)| {
        let [from, to] = [begin, end].map(first_id_at);
        format!(
            "ALTER TABLE tokens ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}');
             INSERT INTO partitions (name, parent, from_time, until_time, expires_until)
             VALUES ('{name}', 'tokens', {}, {}, {expires_until});",
            begin.as_millis(),
            end.as_millis()
        )
    });
    let attached = attached.collect::<String>();
    session.run(&format!("BEGIN; {TURN}; {attached} COMMIT")).await
}

/// The slots that tokens below `until` hold: each its own.
pub async fn hold_slots(session: &Session, until: Uuid) -> Result<(), Failure> {
    let held = format!("SELECT slot, id, expires_at FROM tokens WHERE id < '{until}' ORDER BY slot");
    session.run(&format!("INSERT INTO slots (slot, holder, expires_at) {held}")).await?;
    session.run("VACUUM (ANALYZE) slots").await
}

/// How many of the partitions the server still has.
pub async fn count_partitions(session: &Session) -> Result<u64, Failure> {
    session.number(PARTITIONS).await.map(i64::unsigned_abs)
}

/// The same rows in a table of their own, which nobody else cleans.
pub async fn make_table(session: &Session, name: &str, filling: &Filling) -> Result<(), Failure> {
    session.run(QUICKLY).await?;
    session
        .run(&format!("CREATE TABLE {name} (LIKE tokens INCLUDING ALL) WITH (autovacuum_enabled = off)"))
        .await?;
    for (number, (_, begin, _)) in filling.parts().enumerate() {
        let rows = rows(filling.tokens_in(number as u32), begin, filling.lifetime);
        session.run(&format!("INSERT INTO {name} {rows}")).await?;
    }
    session.run(&format!("VACUUM (ANALYZE) {name}")).await
}

/// Only for this session, and only while nothing is measured.
const QUICKLY: &str = "SET synchronous_commit = off; SET work_mem = '512MB'; SET jit = off";
/// Whoever changes partitions takes turns by this row.
const TURN: &str = "SELECT FROM turns WHERE name = 'tokens' FOR UPDATE";
const PARTITIONS: &str =
    "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'tokens_filled_%'";

/// A query of so many tokens issued evenly over one partition's time. Ids are UUIDv7 (RFC 9562 §5.7).
fn rows(count: u64, begin: Duration, lifetime: Duration) -> String {
    let (begin, width, lifetime) = (begin.as_millis(), WIDTH.as_millis(), lifetime.as_millis());
    format!(
        "(id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at, expires_at, seen_epoch,
          seen_position)
         SELECT (lpad(to_hex(at), 12, '0') || '7' || substr(hash, 1, 3) || 'a' || substr(hash, 5, 15))::uuid,
                sha256(decode(hash, 'hex')), 'bench', 'bench', 1, 'read write',
                '[\"https://bench.example/' || lpad(n::text, 16, '0') || '\"]', 1, at, at + {lifetime}, 1, 0
         FROM (SELECT n, {begin} + n * {width} / {count} AS at, md5({begin} || ':' || n) AS hash
               FROM generate_series(0::bigint, {count} - 1) AS n) AS numbered"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::postgres::Postgres;

    /// The server's own, so that this file cannot fall behind them; but for those about each partition, of which there is
    /// none yet, and in one transaction, as nobody else is there.
    fn migrations() -> String {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store-postgres/src/migrations");
        let mut files: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        files.sort_unstable();
        let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
        let once = texts.filter(|text| !text.contains("-- for each partition of"));
        once.map(|text| text.replace(" CONCURRENTLY", "")).collect()
    }

    #[tokio::test]
    async fn a_store_is_filled_as_though_its_server_had_issued_the_tokens() {
        let server = Postgres::start(&std::env::temp_dir()).await.unwrap();
        let session = server.create_database("filled").await.unwrap();
        session.run(&migrations()).await.unwrap();
        let from = begin_of_partition(Duration::from_secs(1_760_001_234));
        assert_eq!(from, Duration::from_secs(1_760_000_400));
        let filling = Filling { tokens: 1_000, from, partitions: 3, lifetime: Duration::from_secs(86_400) };
        make(&session, &filling).await.unwrap();
        assert_eq!(session.count("tokens").await.unwrap(), 0);
        attach(&session, &filling).await.unwrap();
        hold_slots(&session, first_id_at(from + 3 * WIDTH)).await.unwrap();
        assert_eq!(session.count("tokens").await.unwrap(), 1_000);
        assert_eq!(session.count("slots").await.unwrap(), 1_000);
        assert_eq!(session.count("partitions").await.unwrap(), 3);
        assert_eq!(count_partitions(&session).await.unwrap(), 3);
        let outside = "tokens t WHERE NOT EXISTS (SELECT FROM partitions p WHERE p.name = t.tableoid::regclass::text
            AND t.issued_at >= p.from_time AND t.issued_at < p.until_time AND t.expires_at <= p.expires_until)";
        assert_eq!(session.count(outside).await.unwrap(), 0);
        make_table(&session, "beside", &filling).await.unwrap();
        assert_eq!(session.count("(TABLE beside INTERSECT TABLE tokens) same").await.unwrap(), 1_000);
    }
}
