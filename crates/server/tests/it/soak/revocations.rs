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

use std::sync::atomic::Ordering;
use std::time::Duration;

use self::faults::{Fault, Kind, REPEATABLE};
use self::load::Load;
use self::stage::Stage;
pub use super::promise::MAX_STALENESS;
use super::promise::callers::Callers;
use super::promise::faults::Kind as _;
use super::promise::run::Run;
use super::promise::tally::Tally;
use super::random::{Random, seed};

/// Tokens at a time.
const CALLERS: usize = 24;
const CALLERS_LONG: usize = 64;
/// Of the kinds of faults, those that a short run has to show something about.
const LEAST_PROVEN: usize = 3;
/// Until a node says `inactive`, without a fault, in 99 of 100 cases.
const SOON: Duration = Duration::from_millis(20);

pub async fn run(wanted: u32) {
    let run = Run::new("revocations", wanted);
    let seed = seed();
    eprintln!("revocations: GRANTRY_SOAK_SEED={seed}");
    let mut random = Random::new(seed);
    let (mut stage, clients) = Stage::set(run.is_long).await;
    // 1.
    let load = Load::new(stage.addresses(), clients);
    let callers = Callers::start(&load, if run.is_long { CALLERS_LONG } else { CALLERS }, &mut random);
    // 2.
    run.faults(&mut stage, &load, &REPEATABLE, &mut random).await;
    // 3.
    run.fault(&mut stage, &load, Fault::StandbyPromoted, &mut random).await;
    callers.finish().await;
    stage.stop().await;
    // 4.
    let tally = load.record.tally();
    tally.print("revocations");
    eprintln!(
        "revocations: within {MAX_STALENESS:?} after the promotion new tokens were denied {} times by nodes that read from \
         the old primary",
        load.denials_at_promotion.load(Ordering::SeqCst)
    );
    tally.assert_promise_was_kept();
    let least = if run.is_long { Kind::ALL.len() } else { LEAST_PROVEN };
    tally.assert_proves(Kind::ALL, least, |kind| proves_something(&tally, kind));
    tally.assert_nothing_else_failed(Kind::ALL);
    if run.is_long {
        tally.assert_told_within(SOON);
    }
}

/// At a node that the fault concerns, if there is one, a request came so late that the promise covers it, and, but for a
/// database that nobody can write to, a revocation was acknowledged meanwhile.
fn proves_something(tally: &Tally<Fault>, kind: Kind) -> bool {
    let bound = if kind == Kind::RedisGone { tally.was_bound_elsewhere(kind) } else { tally.was_bound(kind) };
    bound && (tally.was_revoked_in(kind) || kind == Kind::DatabaseRestarted)
}
