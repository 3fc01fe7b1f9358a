//! `grantry journal drain`: the rescue of tokens whose server is gone.
//!
//! 1. Take the journal's lock, so that no server can use it meanwhile.
//! 2. Look whether the store knows that server: in another deployment's its tokens would be of no use.
//! 3. Go on as the server that wrote it, under its own node id, as its restart would.
//! 4. Write everything, and tell the other servers that it is written.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use grantry_grants::node_text;
use grantry_persistence::journal::{JournalMode, JournalOpenError, JournalOptions, RealDisk, inspect};
use grantry_persistence::{Persistence, PersistenceSettings, QueueJournal};
use grantry_store::{NodeId, Store};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::interval;

use crate::ambient::clock;
use crate::cli::Output;
use crate::commands::print;
use crate::config::Loaded;
use crate::failure::Failure;
use crate::persistence::open_journal;
use crate::telemetry::{self, RenderMetrics};
use crate::{offline, wire};

const LOOK: Duration = Duration::from_millis(100);
const LEAST_WRITERS: usize = 1;
/// A line of the metrics up to its outcome.
const SETTLED: &str = "grantry_settlements_total{outcome=\"";

pub fn run(loaded: &Loaded, directory: &Path, yes: bool, output: Output) -> Result<(), Failure> {
    // An outage is waited for, and that is said.
    telemetry::start_logging(&loaded.config.log);
    offline::run(Box::pin(drain(loaded, directory, yes, output)))
}

async fn drain(loaded: &Loaded, directory: &Path, yes: bool, output: Output) -> Result<(), Failure> {
    let config = &loaded.config;
    let node = journal_node(directory)?;
    let (metrics, upkeep) = telemetry::start_metrics()?;
    // 1.
    let (journal, recovery) = open_journal(directory, node, JournalOptions::new(JournalMode::Fsync))
        .await
        .map_err(|error| in_use(error, directory))?;
    let records = recovery.records();
    // 2.
    wire::expect_store(config).await?;
    let store = wire::open(config, clock()).await?;
    expect_node(store.as_ref(), node, yes).await?;
    // 3.
    let bar = print::bar("writing", records);
    let settings = config.persistence_settings();
    let settings = PersistenceSettings { pool_size: settings.pool_size.max(LEAST_WRITERS), ..settings };
    let queue = QueueJournal::On(journal, recovery);
    let persistence = Persistence::start_with_queue(store, clock(), settings, queue).await?;
    // 4.
    let parked = tokio::select! {
        parked = persistence.drain() => parked?,
        never = show_progress(&persistence, &bar, records) => match never {},
    };
    bar.finish_and_clear();
    upkeep.abort();
    say(output, directory, records, &settled(&metrics), parked);
    if parked == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the store refuses {parked} tokens, which are still in {}; the log says why. Run this again when the cause is gone",
        directory.display()
    )))
}

/// The node that wrote the journal. A name that was mistyped must not become a new and empty one.
fn journal_node(directory: &Path) -> Result<NodeId, Failure> {
    let found = directory.is_dir().then(|| inspect(&RealDisk::new(directory))).transpose()?;
    let node =
        found.and_then(|found| found.node.or_else(|| found.segments.iter().find_map(|part| part.node)));
    node.ok_or_else(|| Failure::new(format!("{} is not the directory of a journal", directory.display())))
}

/// In the wrong store the tokens would be rows that nobody can present, and gone from the journal.
async fn expect_node(store: &dyn Store, node: NodeId, yes: bool) -> Result<(), Failure> {
    if yes || store.node_list().await?.iter().any(|known| known.id == node) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the store (store.url) does not know the server {} that wrote this journal: it is another deployment's, or the \
         server has been gone for longer than tokens.retention_time. If you are sure that it belongs here, give --yes",
        node_text(node)
    )))
}

fn in_use(error: JournalOpenError, directory: &Path) -> Failure {
    match error {
        JournalOpenError::Locked { .. } => Failure::new(format!(
            "a server uses the journal {} and writes what it holds by itself; only that of a server that is gone is \
             drained",
            directory.display()
        )),
        error => error.into(),
    }
}

async fn show_progress(persistence: &Persistence, bar: &ProgressBar, records: u64) -> Infallible {
    let mut ticks = interval(LOOK);
    loop {
        ticks.tick().await;
        bar.set_position(records.saturating_sub(persistence.queue_state().depth as u64));
    }
}

/// How many tokens came to which end. The writers count for the metrics, which are read here.
fn settled(metrics: &RenderMetrics) -> BTreeMap<String, u64> {
    let text = metrics();
    let counted = text.lines().filter_map(|line| {
        let (outcome, count) = line.strip_prefix(SETTLED)?.split_once("\"} ")?;
        Some((outcome.to_owned(), count.parse().ok()?))
    });
    counted.collect()
}

fn say(output: Output, directory: &Path, records: u64, settled: &BTreeMap<String, u64>, parked: usize) {
    let count = |outcome: &str| settled.get(outcome).copied().unwrap_or_default();
    let (present, expired) = (count("already_written"), count("expired"));
    let written = settled.values().sum::<u64>() - present - expired;
    if output.json {
        let directory = directory.display().to_string();
        return print::json(&json!({
            "directory": directory, "records": records, "written": written, "already_written": present,
            "expired": expired, "parked": parked, "outcomes": settled,
        }));
    }
    print::line(format_args!(
        "{records} records: {written} tokens were written, {present} were in the store already, {expired} have expired \
         and need no row, {parked} are refused by the store"
    ));
    if parked == 0 {
        print::line(format_args!("Nothing is left in {}; it can be removed.", directory.display()));
    }
}
