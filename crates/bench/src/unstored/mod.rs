//! What it costs to issue tokens that are never stored.
//!
//! 1. For each algorithm: a server with `token_persistence.enable = false` on SQLite, and a server that only signs.
//! 2. In each round: token requests at every server, one right after the other. No row may come.
//! 3. At last a steady rate for long: latency, memory, and what the process writes meanwhile against what it writes while
//!    nobody asks.
//! 4. Then tokens are revoked, a million of them, and a subscriber of the feed asks for all that is in force.

mod figures;
pub mod signing;
mod snapshot;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, value_parser};
use indicatif::ProgressBar;

use self::figures::{Compared, Figure, Held, Unstored};
use self::signing::Algorithm;
use crate::{
    baseline,
    child::{Guarded, STOP_WITHIN, unless_told_to_stop},
    failure::Failure,
    form::Param,
    grantry::{self, Grantry, JWT_CLIENT, SCOPE, Setup},
    load::{self, Load, Measured},
    options::{self, Stand, Timing},
    progress, raw_sqlite,
    report::{self, Report},
    scenario::{Endpoints, Scenario, Spec, token_form},
    supply::Supply,
    turns::in_turn,
};

#[derive(Args)]
#[command(after_long_help = HOW)]
pub struct UnstoredArgs {
    #[command(flatten)]
    stand: Stand,
    #[command(flatten)]
    timing: Timing,
    /// How tokens are signed, a server for each
    #[arg(long, value_name = "ALGORITHM,...", value_delimiter = ',', default_value = "EdDSA,ES256,RS256")]
    algorithms: Vec<Algorithm>,
    /// Tokens a second at the steady rate, signed by the first algorithm
    #[arg(long, default_value = "1000", value_parser = value_parser!(u32).range(1..=100_000))]
    hold_rate: u32,
    /// How long the steady rate is held, in seconds; 0 leaves it out
    #[arg(long, default_value = "600", value_parser = options::seconds_or_none)]
    hold: Duration,
    /// How many tokens are revoked to measure a snapshot of them; 0 leaves it out
    #[arg(long, default_value = "1000000", value_parser = value_parser!(u64).range(..=10_000_000))]
    snapshot: u64,
}

const HOW: &str = "Each request is for a JWT in a slot of its own. The server that only signs makes the
same claims into a token with the same library and the same kind of key, and
reads nothing of the request.

  cargo build --release --workspace
  target/release/grantry-bench unstored --out unstored.json
  target/release/grantry-bench unstored --algorithms ES256 --rounds 3 --hold 0 --snapshot 0";

/// How long nobody asks, to see what the server writes by itself.
const IDLE: Duration = Duration::from_secs(20);

pub async fn run(args: &UnstoredArgs) -> Result<ExitCode, Failure> {
    unless_told_to_stop(measure(args)).await
}

async fn measure(args: &UnstoredArgs) -> Result<ExitCode, Failure> {
    let program = grantry::program(args.stand.server_bin.as_deref())?;
    let directory = grantry::temporary_directory(&args.stand.work_dir)?;
    let mut lanes = Vec::new();
    // 1.
    for algorithm in &args.algorithms {
        lanes.push(Lane::start(&program, directory.path(), *algorithm).await?);
    }
    // 2.
    let bar = progress::bar(
        u64::from(args.timing.rounds) * 2 * lanes.len() as u64,
        args.stand.quiet,
        "{bar:40} {pos}/{len} {msg}",
    );
    let load = args.timing.load();
    for round in 0..args.timing.rounds {
        for lane in &mut lanes {
            lane.round(round, &load, &bar).await?;
        }
    }
    bar.finish_and_clear();
    // 3.
    let held = match lanes.first() {
        Some(lane) if !args.hold.is_zero() => Some(lane.hold(args).await?),
        _ => None,
    };
    // 4.
    let snapshot = match lanes.first() {
        Some(lane) if args.snapshot > 0 => {
            Some(snapshot::measure(&lane.server, args.snapshot, args.stand.quiet).await?)
        }
        _ => None,
    };
    let compared = lanes.into_iter().map(Lane::stop).collect::<Result<Vec<_>, _>>()?;
    let found = Unstored::new(
        args.timing.rounds,
        args.timing.seconds,
        args.timing.connections,
        compared,
        (held, snapshot),
    );
    report::print(&found.markdown())?;
    if let Some(path) = &args.stand.out {
        report::write_json("--out", path, &found)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One algorithm.
struct Lane {
    algorithm: Algorithm,
    server: Grantry,
    database: PathBuf,
    /// Ends with the value.
    _signer: Guarded,
    signer_url: String,
    figures: Compared,
}

impl Lane {
    async fn start(program: &Path, directory: &Path, algorithm: Algorithm) -> Result<Self, Failure> {
        let own = directory.join(algorithm.name());
        fs::create_dir(&own)
            .map_err(|error| Failure::new(format!("{} cannot be made: {error}", own.display())))?;
        let database = own.join("grantry.db");
        let setup = Setup::sqlite(&database).with(&[
            ("GRANTRY_TOKEN_PERSISTENCE__ENABLE", "false"),
            ("GRANTRY_KEYS__SIGNING_ALGORITHM", algorithm.name()),
        ]);
        let server = Grantry::start(program, &own, &setup).await?;
        let (signer, signer_url) = baseline::start(&["baseline-signing", "--algorithm", algorithm.name()])?;
        let figures = Compared::new(algorithm);
        Ok(Self { algorithm, server, database, _signer: signer, signer_url, figures })
    }

    async fn round(&mut self, round: u32, load: &Load, bar: &ProgressBar) -> Result<(), Failure> {
        for signs_only in in_turn(vec![false, true], round) {
            let name = if signs_only { "signer" } else { "server" };
            bar.set_message(format!("round {}, {}, {name}", round + 1, self.algorithm.name()));
            let endpoints = match signs_only {
                true => grantry::endpoints(&self.signer_url)?,
                false => self.server.endpoints()?,
            };
            let before = self.rows()?;
            let figure = measure_one(endpoints, load.clone()).await?.0;
            let written = self.rows()? - before;
            if written > 0 {
                return Err(Failure::new(format!("{written} rows came for tokens that are never stored")));
            }
            self.figures.add(signs_only, figure);
            bar.inc(1);
        }
        Ok(())
    }

    async fn hold(&self, args: &UnstoredArgs) -> Result<Held, Failure> {
        let written_before = self.server.written()?;
        tokio::time::sleep(IDLE).await;
        let idle = (self.server.written()? - written_before) as f64 / IDLE.as_secs_f64();
        let load = Load {
            rate: Some(f64::from(args.hold_rate)),
            warmup: args.timing.warmup,
            max_backlog: u64::from(args.hold_rate),
            quiet: args.stand.quiet,
            ..Load::closed_loop(args.timing.connections, args.timing.warmup, args.hold)
        };
        let rows = self.rows()?;
        let (written_before, memory_before) = (self.server.written()?, self.server.memory()?);
        let (figure, tokens) = measure_one(self.server.endpoints()?, load).await?;
        let under_load =
            (self.server.written()? - written_before) as f64 / (args.timing.warmup + args.hold).as_secs_f64();
        Ok(Held {
            algorithm: self.algorithm,
            seconds: args.hold.as_secs_f64(),
            rate: args.hold_rate,
            tokens,
            figure,
            memory_before,
            memory_after: self.server.memory()?,
            written_per_second_idle: idle,
            written_per_second: under_load,
            rows: self.rows()? - rows,
        })
    }

    fn rows(&self) -> Result<u64, Failure> {
        raw_sqlite::count(&self.database)
    }

    fn stop(self) -> Result<Compared, Failure> {
        self.server.stop(STOP_WITHIN)?;
        Ok(self.figures)
    }
}

/// Also how many tokens were answered.
async fn measure_one(endpoints: Endpoints, load: Load) -> Result<(Figure, u64), Failure> {
    let credentials = grantry::credentials(JWT_CLIENT);
    let resource = Param { name: "resource".into(), value: "https://bench.example/{n}".into() };
    let form = token_form(Some(SCOPE), &[resource], &credentials);
    let spec = Spec { scenario: Scenario::Issue, endpoints, credentials, form, pool: 0, grants: None, load };
    let measured: Measured = load::measure(&spec, &Supply::obtain(&spec).await?).await?;
    let tokens = measured.tally.tokens;
    let Report { per_second, latency_us, .. } = Report::new(&spec, &measured, None)?.into_usable()?;
    Ok((Figure { per_second, latency_us }, tokens))
}
