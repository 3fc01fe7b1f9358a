//! One issuer, three gateways with a nginx each in front of them, and one promise: no request that is sent later than
//! `max_staleness` after a revocation was acknowledged passes any of them, ever.
//!
//! 1. Callers get JWTs, get through every nginx with them, revoke them, and ask all three for three bounds more.
//! 2. Meanwhile one fault after the other, drawn from a seed (`GRANTRY_SOAK_SEED`), until so many revocations were
//!    acknowledged and each fault has happened. A gateway that is cut off for longer than the bound lets nobody in.
//! 3. The promise has held, nobody was refused whose token was not revoked, and after each fault every gateway let requests
//!    in again.
//! 4. A long run has the machine to itself. Nothing else went wrong either: without a fault nothing failed, gateways that a
//!    fault did not concern answered, and all were back within two bounds.

mod faults;
mod load;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::faults::{Fault, Kind};
use self::load::Load;
use self::stage::Stage;
use super::promise::callers::Callers;
use super::promise::faults::{Fault as _, Kind as _};
use super::promise::rest;
use super::promise::tally::Tally;
use super::random::{Random, seed};

/// From this many revocations on a run is there to measure, and has the machine to itself.
const LONG: u32 = 1000;
/// Tokens at a time.
const CALLERS: usize = 12;
const CALLERS_LONG: usize = 48;
/// From one fault to the next.
const LONGEST_REST: Duration = Duration::from_millis(400);
const LONGEST_REST_LONG: Duration = Duration::from_millis(6000);
/// Of the kinds of faults, those that a short run has to show something about.
const LEAST_PROVEN: usize = 2;
/// Of requests to gateways that a fault does not concern.
const ANSWERED_ELSEWHERE: f64 = 0.99;
/// Until a gateway refuses, without a fault, in 99 of 100 cases.
const SOON: Duration = Duration::from_millis(50);

pub async fn run(wanted: u32) {
    let is_long = wanted >= LONG;
    let seed = seed();
    eprintln!("gateways: GRANTRY_SOAK_SEED={seed}");
    let mut random = Random::new(seed);
    let count = if is_long { CALLERS_LONG } else { CALLERS };
    let longest_rest = if is_long { LONGEST_REST_LONG } else { LONGEST_REST };
    let (mut stage, load) = Stage::set(is_long, count).await;
    // 1.
    let callers = Callers::start(&load, count, &mut random);
    // 2.
    loop {
        let mut kinds = Kind::ALL.to_vec();
        random.shuffle(&mut kinds);
        for kind in kinds {
            let fault = Fault::draw(kind, &mut random);
            rest(longest_rest, &mut random).await;
            happen(&mut stage, &load, fault, &mut random).await;
        }
        if load.record.tally().revoked() >= wanted as usize {
            break;
        }
    }
    callers.finish().await;
    let tally = load.record.tally();
    tally.print("gateways");
    eprintln!("gateways: after a fault {}", stage.recoveries);
    // 3.
    check_safety(&tally, is_long);
    if is_long {
        // 4.
        check_health(&tally);
    }
}

async fn happen(stage: &mut Stage, load: &Arc<Load>, fault: Fault, random: &mut Random) {
    let begun = Instant::now();
    let back = stage.happen(fault, load, random).await;
    let (from, until) = (load.record.faults.at(begun), load.record.faults.at(Instant::now()));
    eprintln!("gateways: {from} to {until}: {fault}; back after {back:?}");
    load.record.tally().add_fault(fault.kind(), back);
}

fn check_safety(tally: &Tally<Fault>, is_long: bool) {
    assert!(tally.violations.is_empty(), "the promise was broken:\n{}", tally.violations.join("\n"));
    assert!(tally.denials.is_empty(), "what was not revoked was refused:\n{}", tally.denials.join("\n"));
    // A single fault of a kind may be over before a request comes that the promise covers: a short run may miss some.
    let proven = Kind::ALL.iter().filter(|kind| tally.was_bound(**kind)).count();
    let least = if is_long { Kind::ALL.len() } else { LEAST_PROVEN };
    assert!(proven >= least, "it proves too little: {proven} kinds");
}

fn check_health(tally: &Tally<Fault>) {
    assert!(tally.failures.is_empty(), "without a fault something failed:\n{}", tally.failures.join("\n"));
    for kind in Kind::ALL {
        let share = tally.availability_elsewhere(*kind);
        assert!(
            share >= ANSWERED_ELSEWHERE,
            "{}: gateways that it does not concern answered {share}",
            kind.name()
        );
    }
    let late = tally.delays().at(99);
    assert!(late < SOON, "in one of a hundred cases a gateway refused after {late:?}");
}
