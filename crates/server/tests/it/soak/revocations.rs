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
mod random;
pub mod road;
mod stage;
mod tally;
mod verdict;
mod wall_clock;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::faults::{Fault, Kind, REPEATABLE};
use self::load::Load;
use self::random::{Random, seed};
use self::stage::Stage;
use self::tally::Tally;

const NODES: usize = 3;
/// The default, which is what the servers are given, too.
pub const MAX_STALENESS: Duration = Duration::from_secs(1);
/// From this many revocations on a run is there to measure, and has the machine to itself.
const LONG: u32 = 1000;
/// Tokens at a time.
const CALLERS: usize = 24;
const CALLERS_LONG: usize = 64;
/// From one fault to the next.
const LEAST_REST: Duration = Duration::from_millis(300);
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
    let callers = load.start(if is_long { CALLERS_LONG } else { CALLERS }, &mut random);
    // 2.
    loop {
        let mut kinds = REPEATABLE;
        random.shuffle(&mut kinds);
        for kind in kinds {
            let fault = Fault::draw(kind, &mut random);
            rest(is_long, &mut random).await;
            happen(&mut stage, &load, fault, &mut random).await;
        }
        if load.tally().revoked() >= wanted as usize {
            break;
        }
    }
    // 3.
    rest(is_long, &mut random).await;
    happen(&mut stage, &load, Fault::StandbyPromoted, &mut random).await;
    load.finish(callers).await;
    // 4.
    let tally = std::mem::take(&mut *load.tally());
    tally.print();
    check(&tally, is_long);
    stage.stop().await;
}

async fn rest(is_long: bool, random: &mut Random) {
    // wait: for a time without a fault, in which everything has to succeed.
    sleep(random.between(LEAST_REST, if is_long { LONGEST_REST_LONG } else { LONGEST_REST })).await;
}

async fn happen(stage: &mut Stage, load: &Arc<Load>, fault: Fault, random: &mut Random) {
    let begun = Instant::now();
    let back = stage.happen(fault, load, random).await;
    let (from, until) = (load.faults.at(begun), load.faults.at(Instant::now()));
    eprintln!("revocations: {from} to {until}: {fault}");
    load.tally().add_fault(fault.kind(), back);
}

fn check(tally: &Tally, is_long: bool) {
    assert!(tally.violations.is_empty(), "the promise was broken:\n{}", tally.violations.join("\n"));
    assert!(tally.failures.is_empty(), "without a fault something failed:\n{}", tally.failures.join("\n"));
    assert!(tally.denials.is_empty(), "what was not revoked was denied:\n{}", tally.denials.join("\n"));
    let kinds = REPEATABLE.into_iter().chain([Kind::StandbyPromoted]);
    // A single fault of a kind may be over before a request comes that the promise covers: a short run may miss some.
    let proven = kinds.clone().filter(|kind| tally.proves_something_about(*kind)).count();
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
