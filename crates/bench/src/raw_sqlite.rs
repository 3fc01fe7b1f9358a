//! The raw grouped insert: the rows that issuing writes, without a server in front of SQLite. Whatever has arrived
//! while the last transaction was committed makes the next one; nobody waits for a timer.
//!
//! All that this program says to SQLite is in this file. It is written against `crates/store-sqlite/src/migrations`,
//! and a test runs it there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use clap::Args;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    clock,
    failure::Failure,
    machine::Machine,
    options,
    pace::{ClosedLoop, Gate},
    report,
    rows::Rows,
    scenario::Scenario,
    table::{markdown, millis, thousands},
    tally::{Latency, Tally},
};

#[derive(Args)]
pub struct RawSqliteArgs {
    /// A database that `grantry migrate` has made; rows are added to it
    #[arg(long, value_name = "FILE")]
    db: PathBuf,
    /// Tasks that each hand in a row and wait until it is committed
    #[arg(long, default_value = "64", value_parser = options::connections)]
    callers: usize,
    /// How long to measure, in seconds
    #[arg(long, default_value = "10", value_parser = options::seconds)]
    seconds: Duration,
    /// How long to insert before measuring, in seconds
    #[arg(long, default_value = "1", value_parser = options::seconds_or_none)]
    warmup: Duration,
    /// Write the result here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The same as the server's connection has.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 20000;
    PRAGMA cache_size = -65536;";

const INSERT_TOKEN: &str = "INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, \
    issued_at, expires_at, seen_epoch, seen_position) VALUES (?1, ?2, 'bench', 'bench', 1, 'read write', ?3, 1, ?4, \
    ?5, 1, 0)";
const INSERT_SLOT: &str = "INSERT INTO slots (slot, holder, expires_at) VALUES (?1, ?2, ?3)";
/// SQLite's own tables are its affair.
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";

/// The most rows in one transaction.
const MAX_BATCH: usize = 4096;
const LIFETIME_MILLIS: i64 = 3_600_000;

/// What one insertion found.
#[derive(Serialize)]
pub struct Inserted {
    pub per_second: f64,
    pub latency_us: Latency,
    pub rows: Rows,
}

#[derive(Serialize)]
struct RawReport {
    at: String,
    machine: Machine,
    callers: usize,
    #[serde(flatten)]
    inserted: Inserted,
}

pub async fn run(args: &RawSqliteArgs) -> Result<ExitCode, Failure> {
    let inserted = insert(&args.db, args.callers, args.warmup, args.seconds).await?;
    let Latency { p50, p90, p99, p99_9, max } = inserted.latency_us;
    let mut row = vec![format!("raw insert, {} callers", args.callers), thousands(inserted.per_second)];
    row.extend([p50, p90, p99, p99_9, max].map(millis));
    let header = ["what", "rows a second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];
    report::print(&markdown(&header, &[row]))?;
    if let Some(path) = &args.json {
        let report =
            RawReport { at: clock::date(), machine: Machine::here(), callers: args.callers, inserted };
        report::write_json("--json", path, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How many token rows a database has; it may be in use.
pub fn count(db: &Path) -> Result<u64, Failure> {
    count_of(db, "tokens")
}

/// The same of another table.
pub fn count_of(db: &Path, table: &str) -> Result<u64, Failure> {
    let read = || count_in(&Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY)?, table);
    read().map_err(|error| failed(db, &error))
}

/// The rows of every table that there is.
pub fn count_all(db: &Path) -> Result<BTreeMap<String, u64>, Failure> {
    let read = || {
        let connection = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut tables = connection.prepare(TABLES)?;
        let names = tables.query_map([], |row| row.get::<_, String>(0))?;
        let counted = names.map(|name| {
            let name = name?;
            let count = count_in(&connection, &name)?;
            Ok((name, count))
        });
        counted.collect::<rusqlite::Result<_>>()
    };
    read().map_err(|error| failed(db, &error))
}

fn count_in(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    let quoted = table.replace('"', "\"\"");
    let count = format!("SELECT count(*) FROM \"{quoted}\"");
    connection.query_row(&count, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

/// # Errors
/// The rows do not agree with what was acknowledged.
pub async fn insert(
    db: &Path,
    callers: usize,
    warmup: Duration,
    seconds: Duration,
) -> Result<Inserted, Failure> {
    let before = count(db)?;
    let (jobs, arrivals) = mpsc::channel(callers);
    let writer = start_writer(db, arrivals)?;
    let tally = call(jobs, callers, warmup, seconds).await?;
    let written = writer.join().map_err(|_| Failure::new("the writer thread panicked"))?;
    written.map_err(|error| failed(db, &error))?;
    let rows = Rows { before, after: count(db)?, answered: tally.right, lost: 0 };
    rows.check(Scenario::Issue)?;
    Ok(Inserted { per_second: tally.per_second(), latency_us: tally.latency(), rows })
}

/// A closed loop of callers, each waiting for its row.
async fn call(
    jobs: mpsc::Sender<Job>,
    callers: usize,
    warmup: Duration,
    seconds: Duration,
) -> Result<Tally, Failure> {
    let start = clock::now();
    let gate = Arc::new(Gate::Closed(ClosedLoop::new(None, start + warmup + seconds)));
    let tally = Arc::new(Mutex::new(Tally::new(start + warmup)?));
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (jobs, gate, tally) = (jobs.clone(), gate.clone(), tally.clone());
        tasks.spawn(async move {
            while let Some(ticket) = gate.next().await {
                let (done, committed) = oneshot::channel();
                let handed_in = jobs.send(Job { row: Row::new(caller, ticket.index), done }).await;
                // The writer has failed and will say why.
                if handed_in.is_err() || committed.await.is_err() {
                    return;
                }
                tally.lock().unwrap_or_else(PoisonError::into_inner).right(ticket, clock::now());
            }
        });
    }
    drop(jobs);
    while tasks.join_next().await.is_some() {}
    let tally = Arc::into_inner(tally).ok_or_else(|| Failure::new("a caller is still running"))?;
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Row {
    id: [u8; 16],
    slot: [u8; 32],
    audience: String,
    issued_at: i64,
}

impl Row {
    /// A time-ordered id and a slot anywhere in the table, as the server makes them.
    fn new(caller: usize, index: u64) -> Self {
        let now = clock::since_epoch();
        let hash =
            Sha256::new().chain_update(now.as_nanos().to_be_bytes()).chain_update(caller.to_be_bytes());
        let slot: [u8; 32] = hash.chain_update(index.to_be_bytes()).finalize().into();
        let mut random = [0; 10];
        random.copy_from_slice(&slot[..10]);
        let millis = now.as_millis() as u64;
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into_bytes();
        Self {
            id,
            slot,
            audience: format!("[\"https://bench.example/{index:016}\"]"),
            issued_at: millis as i64,
        }
    }
}

struct Job {
    row: Row,
    done: oneshot::Sender<()>,
}

fn start_writer(
    db: &Path,
    arrivals: mpsc::Receiver<Job>,
) -> Result<thread::JoinHandle<rusqlite::Result<()>>, Failure> {
    let opened = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let connection = opened.map_err(|error| failed(db, &error))?;
    connection.execute_batch(PRAGMAS).map_err(|error| failed(db, &error))?;
    let thread = thread::Builder::new().name("writer".into()).spawn(move || write_all(connection, arrivals));
    thread.map_err(|error| Failure::new(format!("the writer thread does not start: {error}")))
}

fn write_all(mut connection: Connection, mut arrivals: mpsc::Receiver<Job>) -> rusqlite::Result<()> {
    let mut batch = Vec::new();
    while let Some(first) = arrivals.blocking_recv() {
        batch.push(first);
        while batch.len() < MAX_BATCH
            && let Ok(job) = arrivals.try_recv()
        {
            batch.push(job);
        }
        write(&mut connection, &batch)?;
        for job in batch.drain(..) {
            // A caller that is gone needs no answer.
            let _ = job.done.send(());
        }
    }
    Ok(())
}

fn write(connection: &mut Connection, batch: &[Job]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert_token = transaction.prepare_cached(INSERT_TOKEN)?;
        let mut insert_slot = transaction.prepare_cached(INSERT_SLOT)?;
        for Job { row, .. } in batch {
            let expires_at = row.issued_at + LIFETIME_MILLIS;
            insert_token.execute(params![row.id, row.slot, row.audience, row.issued_at, expires_at])?;
            insert_slot.execute(params![row.slot, row.id, expires_at])?;
        }
    }
    transaction.commit()
}

fn failed(db: &Path, error: &rusqlite::Error) -> Failure {
    Failure::new(format!(
        "{}: {error}; it must be a database that `grantry --config FILE migrate` of this version has made",
        db.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's own, so that this file cannot fall behind them.
    fn migrations() -> String {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store-sqlite/src/migrations");
        let mut files: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort_unstable();
        files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }

    #[tokio::test]
    async fn every_acknowledged_row_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("raw.db");
        Connection::open(&db).unwrap().execute_batch(&migrations()).unwrap();
        let inserted = insert(&db, 8, Duration::ZERO, Duration::from_millis(200)).await.unwrap();
        assert!(inserted.rows.answered > 0 && inserted.per_second > 0.0);
        assert_eq!(count(&db).unwrap(), inserted.rows.answered);
        let all = count_all(&db).unwrap();
        assert_eq!((all["tokens"], all["grants"]), (inserted.rows.answered, 0));
    }

    #[tokio::test]
    async fn a_file_without_the_tables_says_how_to_make_them() {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("empty.db");
        Connection::open(&db).unwrap().execute_batch("CREATE TABLE other (id INT)").unwrap();
        let error =
            insert(&db, 1, Duration::ZERO, Duration::from_millis(100)).await.err().unwrap().to_string();
        assert!(error.contains("migrate"), "{error}");
    }
}
