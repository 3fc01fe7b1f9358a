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

use std::time::Duration;

use self::faults::Kind;
use self::stage::Stage;
use super::promise::callers::Callers;
use super::promise::faults::Kind as _;
use super::promise::run::Run;
use super::random::{Random, seed};

/// Tokens at a time.
const CALLERS: usize = 12;
const CALLERS_LONG: usize = 48;
/// Of the kinds of faults, those that a short run has to show something about.
const LEAST_PROVEN: usize = 2;
/// Until a gateway refuses, without a fault, in 99 of 100 cases.
const SOON: Duration = Duration::from_millis(50);

pub async fn run(wanted: u32) {
    let run = Run::new("gateways", wanted);
    let seed = seed();
    eprintln!("gateways: GRANTRY_SOAK_SEED={seed}");
    let mut random = Random::new(seed);
    let count = if run.is_long { CALLERS_LONG } else { CALLERS };
    let (mut stage, load) = Stage::set(count).await;
    // 1.
    let callers = Callers::start(&load, count, &mut random);
    // 2.
    run.faults(&mut stage, &load, Kind::ALL, &mut random).await;
    callers.finish().await;
    let tally = load.record.tally();
    tally.print("gateways");
    eprintln!("gateways: after a fault {}", stage.recoveries);
    // 3.
    tally.assert_promise_was_kept();
    let least = if run.is_long { Kind::ALL.len() } else { LEAST_PROVEN };
    tally.assert_proves(Kind::ALL, least, |kind| tally.was_bound(kind));
    if run.is_long {
        // 4.
        tally.assert_nothing_else_failed(Kind::ALL);
        tally.assert_told_within(SOON);
    }
}
