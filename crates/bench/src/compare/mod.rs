//! One run that compares a real server with what it is built on, in alternating rounds.

mod figures;
mod rounds;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, value_parser};

use crate::{
    baseline,
    child::{STOP_WITHIN, unless_told_to_stop},
    failure::Failure,
    grantry::{self, Grantry, Setup},
    options, report,
};
use figures::Comparison;
use rounds::{Databases, Rounds};

#[derive(Args)]
#[command(after_long_help = HOW)]
pub struct CompareArgs {
    /// The server to compare [default: `grantry` beside this program]
    #[arg(long, value_name = "FILE")]
    server_bin: Option<PathBuf>,
    /// How often everything is measured, one after the other
    #[arg(long, default_value = "7", value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value = "5", value_parser = options::seconds)]
    seconds: Duration,
    /// How long to load before each measurement, in seconds
    #[arg(long, default_value = "1", value_parser = options::seconds_or_none)]
    warmup: Duration,
    /// Connections, and callers of the raw insert
    #[arg(long, default_value = "64", value_parser = options::connections)]
    connections: usize,
    /// Where the databases are made, in a directory that is removed at the end: a disk, not memory, as their
    /// flushes are part of what is measured
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    work_dir: PathBuf,
    /// Write every round here as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also put the table into this file, between its marks
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/benchmarks.md")]
    markdown: Option<PathBuf>,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

const HOW: &str = "Each round measures, one right after the other: issuing and refreshing on the
server and the raw grouped insert of such rows; refreshing and issuing on the
server; reusing, introspecting and the mix on the server and the same requests to
the baseline server. The ratio of each pair is taken within its round, because a
machine's own speed changes by the hour; the table shows the median of the ratios
and their range. Every other round measures each pair the other way round.

  cargo build --release --workspace
  target/release/grantry-bench compare --markdown --out benchmarks.json";

pub async fn run(args: &CompareArgs) -> Result<ExitCode, Failure> {
    unless_told_to_stop(compare(args)).await
}

async fn compare(args: &CompareArgs) -> Result<ExitCode, Failure> {
    // Found before the long part, not after it.
    args.markdown.as_deref().map(figures::check_marks).transpose()?;
    let server_bin = grantry::program(args.server_bin.as_deref())?;
    let directory = grantry::temporary_directory(&args.work_dir)?;
    let databases = Databases::prepare(&server_bin, directory.path())?;
    let server =
        Grantry::start(&server_bin, directory.path(), &Setup::sqlite(&databases.of_the_server)).await?;
    let (baseline, baseline_url) = baseline::start(&["baseline"])?;
    let rounds = Rounds::new(args, &server, &baseline_url, databases)?;
    let subjects = rounds.measure().await?;
    baseline.stop(STOP_WITHIN)?;
    server.stop(STOP_WITHIN)?;
    let comparison = Comparison::new(args.rounds, args.seconds, args.connections, subjects)?;
    report::print(&comparison.markdown())?;
    if let Some(path) = &args.out {
        report::write_json("--out", path, &comparison)?;
    }
    if let Some(path) = &args.markdown {
        figures::put_into(path, &comparison.markdown())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Databases {
    /// The one for the raw insert gets the server's tables and nothing else.
    fn prepare(program: &Path, directory: &Path) -> Result<Self, Failure> {
        let raw = grantry::temporary_directory(directory)?;
        let of_the_raw_insert = directory.join("raw.db");
        grantry::migrate(program, raw.path(), &Setup::sqlite(&of_the_raw_insert))?;
        Ok(Self { of_the_server: directory.join("grantry.db"), of_the_raw_insert })
    }
}
