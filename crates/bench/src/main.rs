//! A load generator for any OAuth 2.0 server. It speaks HTTP and knows nothing of how the server is built, so that a
//! figure for one server means the same as a figure for another. Only what it compares Grantry with, and the counting
//! of rows, touch databases.

mod assertion;
mod baseline;
mod baseline_postgres;
mod bodies;
mod caches;
mod caller;
mod child;
mod cleanup;
mod clock;
mod compare;
mod credentials;
mod discovery;
mod draws;
mod failure;
mod filling;
mod form;
mod grantry;
mod grants;
mod growth;
mod http1;
mod latency_proxy;
mod load;
mod machine;
mod mix;
mod modes;
mod options;
mod pace;
mod pool;
mod postgres;
mod progress;
mod raw_sqlite;
mod redis;
mod report;
mod rows;
mod run;
mod scenario;
mod stats;
mod supply;
mod table;
mod tables;
mod tally;
mod target;
mod turns;
mod unstored;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use failure::Failure;

#[derive(Parser)]
#[command(name = "grantry-bench", version, about, long_about = LONG_ABOUT, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put one kind of load on a server and measure it
    Run(Box<run::RunArgs>),
    /// Serve one fixed answer from the HTTP stack that Grantry uses: the ceiling for any server built on it
    Baseline(baseline::BaselineArgs),
    /// Insert token rows into SQLite without any server: the ceiling for issuing on SQLite
    RawSqlite(raw_sqlite::RawSqliteArgs),
    /// Write each request's token into PostgreSQL and answer: the ceiling for issuing on PostgreSQL
    BaselinePostgres(baseline_postgres::BaselinePostgresArgs),
    /// Start a Grantry server and compare it with both ceilings in alternating rounds
    Compare(compare::CompareArgs),
    /// Refresh a server's grants a million times: does it slow down, does the store grow by more than tokens?
    Growth(growth::GrowthArgs),
    /// Compare the modes of token persistence on PostgreSQL, near and far, with disks fast and slow
    Modes(modes::ModesArgs),
    /// Issue and introspect on PostgreSQL with ever more tokens there: does it slow down?
    Tables(tables::TablesArgs),
    /// Let a million expired tokens go from PostgreSQL, by partition and by DELETE: what does it cost, who feels it?
    Cleanup(cleanup::CleanupArgs),
    /// What the caches gain and cost on PostgreSQL: introspection by where the answer comes from, capacities under a Zipf
    /// distribution, issuing with them and without
    Caches(caches::CachesArgs),
    /// Issue tokens that are never stored, by each algorithm, against a server that only signs; then hold a steady rate
    Unstored(unstored::UnstoredArgs),
    /// Sign the claims of each token and do nothing else: the ceiling for issuing without a store
    BaselineSigning(unstored::signing::BaselineSigningArgs),
    /// Make a key with which `run --subjects` signs assertions, and print the JWK set that the client registers
    AssertionKey(assertion::AssertionKeyArgs),
}

const LONG_ABOUT: &str = "A load generator for any OAuth 2.0 server, over HTTP only.

closed loop     Each connection has one request in flight and sends the next
                when the answer is there. It finds the highest throughput; its
                latencies are those of a server that is never asked for more
                than it gives.
fixed rate      Requests start at fixed times (--rate), whether or not earlier
                ones have been answered, as independent callers do.
intended start  When the schedule says that a request starts. At a fixed rate
                latency counts from there, even if every connection is busy
                then: a stall is felt by every request that it delays, not by
                the one that met it (no \"coordinated omission\").";

/// `{n}` with an invisible sequence in it, since clap would make a line break of the bare one.
macro_rules! placeholder {
    () => {
        "{\u{1b}[0mn}"
    };
}
pub(crate) use placeholder;

const EXAMPLE: &str = concat!(
    "Example: 500 new tokens a second for half a minute, each in a slot of its own
  export GRANTRY_BENCH_CLIENT_SECRET=...
  grantry-bench run --scenario issue --client-id bench \\
      --token-url http://127.0.0.1:8080/oauth2/token \\
      --param 'resource=https://bench.example/",
    placeholder!(),
    "' --rate 500 --seconds 30"
);

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("grantry-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => one_core()?.block_on(run::run(&args)),
        Command::Baseline(args) => all_cores()?.block_on(baseline::run(&args)),
        Command::RawSqlite(args) => one_core()?.block_on(raw_sqlite::run(&args)),
        Command::BaselinePostgres(args) => all_cores()?.block_on(baseline_postgres::run(&args)),
        Command::Compare(args) => one_core()?.block_on(compare::run(&args)),
        Command::Growth(args) => one_core()?.block_on(growth::run(&args)),
        Command::Modes(args) => one_core()?.block_on(modes::run(&args)),
        Command::Tables(args) => one_core()?.block_on(tables::run(&args)),
        Command::Cleanup(args) => one_core()?.block_on(cleanup::run(&args)),
        Command::Caches(args) => one_core()?.block_on(caches::run(&args)),
        Command::Unstored(args) => one_core()?.block_on(unstored::run(&args)),
        Command::BaselineSigning(args) => all_cores()?.block_on(unstored::signing::run(&args)),
        Command::AssertionKey(args) => assertion::make(&args),
    }
}

/// For generating load: one thread leaves the other cores to the server under test.
fn one_core() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)
}

/// For serving: the same runtime as the real server's.
fn all_cores() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_runtime)
}

#[expect(clippy::needless_pass_by_value, reason = "it is used as a function for map_err")]
fn no_runtime(error: std::io::Error) -> Failure {
    Failure::new(format!("the async runtime does not start: {error}"))
}
