//! A simulation of three nodes over one store: the shipped persister, sync and async, on simulated disks, clocks and a
//! simulated network, all of it driven by one number. What clients were told is kept beside it (`model.rs`), and
//! compared with what becomes of it once everything has come to rest (`checks.rs`).
//!
//! `GRANTRY_SIM_SEED=n` runs one seed and prints what happened; `GRANTRY_SIM_SEEDS=n` runs as many in each range.

mod checks;
mod clients;
mod clock;
mod cluster;
mod disk;
mod far_end;
mod model;
mod mutants;
mod network;
mod random;
mod replay;
mod script;
mod weather;

use std::sync::Arc;

use tokio::time::Instant;

use self::cluster::Cluster;
use self::far_end::Commit;
use self::model::{Counts, Model};
use self::mutants::Mutant;
use self::random::Random;

const NODES: usize = 3;

/// Seeds of each of the parallel tests.
const RANGE: u64 = 2_500;
/// Within how many seeds a mutant is found.
const MUTANT_SEEDS: u64 = 300;

struct Run {
    violations: Vec<String>,
    trace: Vec<String>,
    counts: Counts,
    commits: Vec<Commit>,
}

fn run(seed: u64, mutant: Option<Mutant>, traced: bool) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let random = Arc::new(Random::new(seed));
        let model = Arc::new(Model::new(Instant::now(), traced));
        model.knowledge().wild_clocks = random.percent(10);
        let mut cluster = Cluster::start(Arc::clone(&random), Arc::clone(&model), mutant).await;
        cluster.far_end.weather.begin([0, 2, 10, 30][random.below(4)]);
        cluster.play(20 + random.below(60)).await;
        cluster.heal().await;
        let before = cluster.check().await;
        cluster.restart_all().await;
        let after = cluster.check().await;
        cluster.check_unchanged(&before, &after);
        cluster.stop_all().await;
        let mut known = model.knowledge();
        Run {
            violations: std::mem::take(&mut known.violations),
            trace: model.trace(),
            counts: known.counts,
            commits: cluster.far_end.commits(),
        }
    })
}

/// Runs the seeds from `first` on; the first that fails is run again, for its trace.
fn check(first: u64) {
    let count = number("GRANTRY_SIM_SEEDS").unwrap_or(RANGE);
    for seed in first..first + count {
        if !run(seed, None, false).violations.is_empty() {
            let run = run(seed, None, true);
            panic!(
                "{}\nseed {seed} fails: {:#?}\nrun it again with GRANTRY_SIM_SEED={seed} and --nocapture",
                run.trace.join("\n"),
                run.violations
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Whether one of the first seeds has a violation with these words.
fn is_found(mutant: Mutant, words: &str) -> bool {
    (0..MUTANT_SEEDS).any(|seed| {
        run(seed, Some(mutant), false).violations.iter().any(|violation| violation.contains(words))
    })
}

#[test]
fn the_seed_of_the_environment_keeps_every_promise() {
    let seed = number("GRANTRY_SIM_SEED").unwrap_or(0);
    let run = run(seed, None, true);
    run.trace.iter().for_each(|line| println!("{line}"));
    assert!(run.violations.is_empty(), "seed {seed} fails: {:#?}", run.violations);
}

#[test]
fn seeds_of_the_first_range_keep_every_promise() {
    check(0);
}

#[test]
fn seeds_of_the_second_range_keep_every_promise() {
    check(1_000_000);
}

#[test]
fn seeds_of_the_third_range_keep_every_promise() {
    check(2_000_000);
}

#[test]
fn seeds_of_the_fourth_range_keep_every_promise() {
    check(3_000_000);
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 0..20 {
        assert_eq!(run(seed, None, true).trace, run(seed, None, true).trace, "seed {seed}");
    }
}

#[test]
fn the_runs_are_about_something() {
    let mut sum = Counts::default();
    for seed in 0..500 {
        sum.add(run(seed, None, false).counts);
    }
    let Counts { answered, deferred, reused, refused, revoked, restarts, unwritten, inactive, .. } = sum;
    let Counts { ended_early, parked, .. } = sum;
    let often = [answered, deferred, reused, refused, revoked, restarts, unwritten, inactive];
    assert!(often.into_iter().min() >= Some(100), "{sum:?}");
    assert!(ended_early.min(parked) >= 20, "{sum:?}");
}

#[test]
fn a_retry_under_a_new_id_is_found() {
    assert!(is_found(Mutant::NewIdEachAttempt, "is lost"));
}

#[test]
fn a_winner_by_the_order_of_writing_is_found() {
    assert!(is_found(Mutant::WinnerByOrder, "no other token has ended it"));
}

#[test]
fn a_decision_without_the_lock_is_found() {
    assert!(is_found(Mutant::StaleDecision, "no other token has retired it"));
}

#[test]
fn a_lost_tail_of_the_journal_is_found() {
    assert!(is_found(Mutant::LostTail, "is lost"));
}

#[test]
fn a_forgotten_early_end_is_found() {
    assert!(is_found(Mutant::ForgottenEarlyEnd, "after its end was answered"));
}

#[test]
fn a_drain_mark_that_is_told_too_early_is_found() {
    assert!(is_found(Mutant::EarlyMark, "the mark of its node"));
}
