//! What each failure may take away in each mode, and that it takes nothing else. A round:
//!
//! 1. Load on two nodes: new slots, slots that both are asked for, refreshes, revocations.
//! 2. In some rounds the commits of the first node are held, so that tokens are in its queue, or all its callers wait.
//! 3. The event, with requests under way.
//! 4. What was ended is started again.
//! 5. Every token that was answered is active at both nodes and has its row, what was revoked stays revoked, no slot has
//!    two tokens, refresh tokens work. Where the mode gives no guarantee, no more is missing than the node counted as at
//!    risk right before.

mod check;
mod load;
mod power_loss;
mod proxy;
mod small_disk;
mod stage;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::load::{Load, Seen};
use self::power_loss::UNSYNCED;
use self::proxy::CUTS;
use self::stage::Stage;
use super::postgres::{Postgres, Slots};
use crate::wait;

/// Tokens of the first node in a round before something happens.
const ENOUGH: usize = 60;
/// Tokens that it answers while none is written.
const QUEUED: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Sync,
    Fsync,
    Os,
    Off,
}

impl Mode {
    /// The setting.
    const fn journal(self) -> &'static str {
        match self {
            Self::Sync | Self::Fsync => "fsync",
            Self::Os => "os",
            Self::Off => "off",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Fsync => "async, journal fsync",
            Self::Os => "async, journal os",
            Self::Off => "async, journal off",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    ServerKilled,
    DatabaseCrashed,
    BothAtOnce,
    ConnectionCut,
    JournalDiskFull,
    PowerLost,
}

const EVENTS: [Event; 6] = [
    Event::ServerKilled,
    Event::DatabaseCrashed,
    Event::BothAtOnce,
    Event::ConnectionCut,
    Event::JournalDiskFull,
    Event::PowerLost,
];

impl Event {
    const fn name(self) -> &'static str {
        match self {
            Self::ServerKilled => "kill -9 of the server",
            Self::DatabaseCrashed => "immediate stop of the database",
            Self::BothAtOnce => "both at once",
            Self::ConnectionCut => "connection cut in a commit",
            Self::JournalDiskFull => "journal's disk full, kill -9, restart",
            Self::PowerLost => "power loss of the server's machine",
        }
    }

    fn happens_in(self, mode: Mode) -> bool {
        match self {
            Self::JournalDiskFull => matches!(mode, Mode::Fsync | Mode::Os),
            // Without a journal it is no other event than `kill -9`.
            Self::PowerLost => mode != Mode::Off,
            _ => true,
        }
    }

    const fn ends_first(self) -> bool {
        !matches!(self, Self::DatabaseCrashed | Self::ConnectionCut)
    }

    const fn ends_database(self) -> bool {
        matches!(self, Self::DatabaseCrashed | Self::BothAtOnce)
    }
}

/// What docs/guarantees.md gives up.
fn may_lose(mode: Mode, event: Event) -> bool {
    match mode {
        Mode::Sync | Mode::Fsync => false,
        Mode::Os => event == Event::PowerLost,
        Mode::Off => event.ends_first(),
    }
}

/// Of all rounds.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    revoked: usize,
    unanswered: u32,
    at_risk: u64,
    lost: usize,
}

pub async fn run(mode: Mode, rounds: u32) {
    let mut postgres = Postgres::start().await;
    for event in EVENTS.into_iter().filter(|event| event.happens_in(mode)) {
        postgres = run_event(mode, event, rounds, postgres).await;
    }
    postgres.assert_no_deadlock();
}

async fn run_event(mode: Mode, event: Event, rounds: u32, postgres: Postgres) -> Postgres {
    let mut stage = Stage::set(mode, event, postgres).await;
    let mut tally = Tally::default();
    for round in 0..rounds {
        run_round(&mut stage, event, round, &mut tally).await;
    }
    let slots = Slots::of(&stage.postgres.connect(&stage.database).await).await;
    assert_eq!((slots.with_several_unended, slots.with_a_missing_holder), (0, 0), "{slots:?}");
    let Tally { answered, revoked, unanswered, at_risk, lost } = tally;
    eprintln!(
        "crash-matrix: {}: {}: {rounds} rounds, {unanswered} requests unanswered at the event, {answered} tokens and \
         {revoked} revocations answered, {at_risk} tokens in the queue at the event, {lost} lost",
        mode.name(),
        event.name()
    );
    // Behind the answer nobody but the writers may notice.
    if mode == Mode::Sync || event != Event::ConnectionCut {
        assert!(unanswered > 0, "no request was under way at the event: this proves nothing");
    }
    assert_eq!(lost > 0, may_lose(mode, event), "{lost} tokens lost");
    if mode != Mode::Sync && rounds > 1 && event != Event::ConnectionCut {
        assert!(at_risk > 0, "the queue was empty at the event: this proves nothing");
    }
    let [first, second] = stage.nodes;
    first.stop().await;
    second.stop().await;
    stage.postgres
}

async fn run_round(stage: &mut Stage, event: Event, round: u32, tally: &mut Tally) {
    let may_lose = may_lose(stage.ground.mode, event);
    // 1.
    let Stage { nodes: [first, second], client, refreshers, pairs, .. } = &*stage;
    let load = Load::start(&round.to_string(), [first, second], client, refreshers, pairs);
    let seen = Arc::clone(&load.seen);
    wait_for_answers(&seen, ENOUGH).await;
    // 2.
    let is_held = may_lose || (round % 2 == 1 && event != Event::ConnectionCut);
    if is_held {
        hold_commits(stage, &seen).await;
    }
    if may_lose {
        pause_issuers(&seen).await;
    }
    let at_risk = stage.at_risk().await;
    // 3.
    happen(stage, event, round, &seen).await;
    seen.is_over.store(true, Ordering::SeqCst);
    // 4.
    if event.ends_database() {
        stage.postgres.resume().await;
    }
    stage.pairs = load.finish().await;
    stage.wait_for_service(1).await;
    if event.ends_first() {
        if is_held && !may_lose {
            check::second_denies_nothing(stage, &seen).await;
        }
        stage.restart_first().await;
    }
    stage.wait_for_service(0).await;
    // 5.
    let lost = check::everything_holds(stage, &seen, may_lose).await;
    assert!(!may_lose || lost as u64 <= at_risk, "{lost} tokens are lost, and {at_risk} were at risk");
    if let Some(disk) = &stage.ground.small_disk {
        disk.make_room();
    }

    tally.answered += seen.answered.lock().unwrap().len();
    tally.revoked += seen.revoked.lock().unwrap().len();
    tally.unanswered += seen.unanswered.load(Ordering::SeqCst);
    tally.at_risk += at_risk;
    tally.lost += lost;
}

async fn wait_for_answers(seen: &Seen, more: usize) {
    let wanted = seen.answered_by_first.load(Ordering::SeqCst) + more;
    wait::until("tokens are answered and requests are under way", async || {
        let enough = seen.answered_by_first.load(Ordering::SeqCst) >= wanted;
        (enough && seen.under_way.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
}

/// So that nothing is answered between the look at what is at risk and the event.
async fn pause_issuers(seen: &Seen) {
    seen.is_paused.store(true, Ordering::SeqCst);
    wait::until("the issuers pause", async || (seen.issuing.load(Ordering::SeqCst) == 0).then_some(())).await;
}

/// From here on nothing that the first node commits arrives.
async fn hold_commits(stage: &Stage, seen: &Seen) {
    seen.is_expected_to_fail.store(true, Ordering::SeqCst);
    stage.proxy.hold();
    wait::until("a commit is held", async || (stage.proxy.waiting() > 0).then_some(())).await;
    if stage.ground.mode != Mode::Sync {
        wait_for_answers(seen, QUEUED).await;
    }
}

async fn happen(stage: &mut Stage, event: Event, round: u32, seen: &Seen) {
    if event == Event::JournalDiskFull {
        fill_the_journal(stage, seen).await;
    }
    seen.is_expected_to_fail.store(true, Ordering::SeqCst);
    match event {
        Event::ServerKilled | Event::JournalDiskFull | Event::PowerLost => stage.nodes[0].process.kill(),
        Event::DatabaseCrashed => stage.postgres.crash().await,
        Event::BothAtOnce => {
            let Stage { postgres, nodes, .. } = stage;
            tokio::join!(postgres.crash(), async { nodes[0].process.kill() });
        }
        Event::ConnectionCut => cut_commits(stage).await,
    }
    if event != Event::ConnectionCut {
        stage.proxy.drop_links();
    }
    stage.proxy.release();
    if let Some(disk) = &stage.ground.disk {
        disk.lose_power(UNSYNCED[round as usize % UNSYNCED.len()]);
    }
}

async fn cut_commits(stage: &Stage) {
    for cut in CUTS {
        let made = stage.proxy.cuts_made();
        stage.proxy.cut(cut);
        wait::until("a connection is cut", async || (stage.proxy.cuts_made() > made).then_some(())).await;
    }
}

/// The node notices, and persists synchronously: no request fails.
async fn fill_the_journal(stage: &Stage, seen: &Seen) {
    let refused =
        async || stage.nodes[0].metric("grantry_deferrals_refused_total", "reason=\"journal\"").await;
    let before = refused().await;
    stage.ground.small_disk.as_ref().expect("a disk for the journal").fill();
    wait::until("a token is not deferred", async || (refused().await > before).then_some(())).await;
    if !seen.is_expected_to_fail.load(Ordering::SeqCst) {
        wait_for_answers(seen, QUEUED).await;
    }
}
