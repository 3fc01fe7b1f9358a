//! Three nodes on one PostgreSQL with a synchronous standby and a data space in Redis, and one promise: no introspection that is sent later than
//! `max_staleness` after a revocation was acknowledged is answered `active`, by any node, ever.
//!
//! 1. Callers get tokens, see them active at every node, revoke them, and ask all nodes for three bounds more.
//! 2. Meanwhile one fault after the other, drawn from a seed (`GRANTRY_SOAK_SEED`), until so many revocations were
//!    acknowledged and each fault has happened.
//! 3. At last the standby is promoted while the old primary goes on and one node stays with it.
//! 4. The promise has held. Nodes that a fault did not concern have answered, and without a fault all of them; after each
//!    fault all of them answered again within two bounds.

mod databases;
mod faults;
mod load;
mod stage;
mod wall_clock;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use self::faults::{Fault, Kind, REPEATABLE};
use self::load::Load;
use self::stage::Stage;
pub use super::promise::MAX_STALENESS;
use super::promise::callers::Callers;
use super::promise::faults::{Fault as _, Kind as _};
use super::promise::rest;
use super::promise::tally::Tally;
use super::random::{Random, seed};

/// From this many revocations on a run is there to measure, and has the machine to itself.
const LONG: u32 = 1000;
/// Tokens at a time.
const CALLERS: usize = 24;
const CALLERS_LONG: usize = 64;
/// From one fault to the next.
const LONGEST_REST: Duration = Duration::from_millis(700);
const LONGEST_REST_LONG: Duration = Duration::from_millis(6000);
/// Of the kinds of faults, those that a short run has to show something about.
const LEAST_PROVEN: usize = 3;
/// Of introspections at nodes that a fault does not concern.
const ANSWERED_ELSEWHERE: f64 = 0.99;
/// Until a node says `inactive`, without a fault, in 99 of 100 cases.
const SOON: Duration = Duration::from_millis(20);

pub async fn run(wanted: u32) {
    let is_long = wanted >= LONG;
    let seed = seed();
    eprintln!("revocations: GRANTRY_SOAK_SEED={seed}");
    let mut random = Random::new(seed);
    let (mut stage, clients) = Stage::set(is_long).await;
    // 1.
    let load = Load::new(stage.addresses(), clients);
    let callers = Callers::start(&load, if is_long { CALLERS_LONG } else { CALLERS }, &mut random);
    let longest_rest = if is_long { LONGEST_REST_LONG } else { LONGEST_REST };
    // 2.
    loop {
        let mut kinds = REPEATABLE;
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
    // 3.
    rest(longest_rest, &mut random).await;
    happen(&mut stage, &load, Fault::StandbyPromoted, &mut random).await;
    callers.finish().await;
    // 4.
    load.record.tally().print("revocations");
    eprintln!(
        "revocations: within {MAX_STALENESS:?} after the promotion new tokens were denied {} times by nodes that read from \
         the old primary",
        load.denials_at_promotion.load(Ordering::SeqCst)
    );
    check(&load.record.tally(), is_long);
    stage.stop().await;
}

async fn happen(stage: &mut Stage, load: &Arc<Load>, fault: Fault, random: &mut Random) {
    let begun = Instant::now();
    let back = stage.happen(fault, load, random).await;
    let (from, until) = (load.record.faults.at(begun), load.record.faults.at(Instant::now()));
    eprintln!("revocations: {from} to {until}: {fault}");
    load.record.tally().add_fault(fault.kind(), back);
}

fn check(tally: &Tally<Fault>, is_long: bool) {
    assert!(tally.violations.is_empty(), "the promise was broken:\n{}", tally.violations.join("\n"));
    assert!(tally.failures.is_empty(), "without a fault something failed:\n{}", tally.failures.join("\n"));
    assert!(tally.denials.is_empty(), "what was not revoked was denied:\n{}", tally.denials.join("\n"));
    let kinds = REPEATABLE.into_iter().chain([Kind::StandbyPromoted]);
    // A single fault of a kind may be over before a request comes that the promise covers: a short run may miss some.
    let proven = kinds.clone().filter(|kind| proves_something(tally, *kind)).count();
    assert!(
        proven >= if is_long { kinds.clone().count() } else { LEAST_PROVEN },
        "it proves too little: {proven} kinds"
    );
    for kind in kinds {
        let share = tally.availability_elsewhere(kind);
        assert!(
            share >= ANSWERED_ELSEWHERE,
            "{}: nodes that it does not concern answered {share}",
            kind.name()
        );
    }
    let late = tally.delays().at(99);
    assert!(!is_long || late < SOON, "in one of a hundred cases a node was told after {late:?}");
}

/// At a node that the fault concerns, if there is one, a request came so late that the promise covers it, and, but for a
/// database that nobody can write to, a revocation was acknowledged meanwhile.
fn proves_something(tally: &Tally<Fault>, kind: Kind) -> bool {
    let bound = if kind == Kind::RedisGone { tally.was_bound_elsewhere(kind) } else { tally.was_bound(kind) };
    bound && (tally.was_revoked_in(kind) || kind == Kind::DatabaseRestarted)
}
