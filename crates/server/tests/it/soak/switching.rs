//! Load at two nodes on one PostgreSQL, while the mode is switched from sync to none, back, and to async, again and again.
//!
//! 1. Callers get tokens and grants at either node, see them active at both, come back to them later, refresh them, or
//!    revoke them and see them refused.
//! 2. Meanwhile an administrator switches the mode at one node or the other, as soon as both have issued tokens in the
//!    mode before and some were revoked in it.
//! 3. In the end all that was kept is active at both nodes, and all that was revoked is refused.
//!
//! A node may say 503 and is asked again: it has refused nothing.

mod caller;
mod held;
mod stage;
mod tally;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::caller::call;
use self::stage::Stage;
use crate::wait;

const NODES: usize = 2;
const CALLERS: usize = 12;
/// Before the next switch: tokens that each node has issued in this mode, and revocations of both.
const ISSUED_IN_A_MODE: f64 = 10.0;
const REVOKED_IN_A_MODE: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Mode {
    Sync,
    Async,
    None,
}

/// What one round goes through.
const ROUND: [Mode; 4] = [Mode::Sync, Mode::None, Mode::Sync, Mode::Async];

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::None => "none",
        }
    }

    fn settings(self) -> Value {
        let (enable, pool_size) = match self {
            Self::Sync => (true, 0),
            Self::Async => (true, 2),
            Self::None => (false, 2),
        };
        json!({ "token_persistence": { "enable": enable, "pool_size": pool_size } })
    }
}

pub async fn run(rounds: u32) {
    let stage = Arc::new(Stage::set().await);
    // 1.
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        callers.spawn(call(Arc::clone(&stage), number));
    }
    // 2.
    tokio::select! {
        () = switch_again_and_again(&stage, rounds) => {}
        // Before its time only by a failure.
        Some(ended) = callers.join_next() => ended.unwrap(),
    }
    stage.end_load();
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    // 3.
    stage.check_what_is_left().await;
    for mode in ["sync", "none", "async"] {
        let [first, second] = [stage.issued(0, mode).await, stage.issued(1, mode).await];
        eprintln!("switching: mode {mode}: {first} tokens at one node, {second} at the other");
    }
    eprintln!("switching: {} switches: {}", rounds as usize * ROUND.len(), stage.tally);
    Arc::into_inner(stage).expect("nobody uses the servers any more").stop().await;
}

async fn switch_again_and_again(stage: &Stage, rounds: u32) {
    for round in 0..rounds {
        for (at, mode) in ROUND.into_iter().enumerate() {
            switch(stage, (round as usize + at) % NODES, mode).await;
        }
        eprintln!("switching: round {} of {rounds}: {}", round + 1, stage.tally);
    }
}

/// At one node, and waits until both have worked in it.
async fn switch(stage: &Stage, node: usize, mode: Mode) {
    stage.change_settings(node, &mode.settings()).await;
    let revoked = stage.tally.revoked();
    let issued = [stage.issued(0, mode.as_str()).await, stage.issued(1, mode.as_str()).await];
    wait::until(format_args!("both nodes work in mode {}", mode.as_str()), async || {
        let mut is_done = stage.tally.revoked() >= revoked + REVOKED_IN_A_MODE;
        for (node, before) in issued.into_iter().enumerate() {
            is_done = is_done && stage.issued(node, mode.as_str()).await >= before + ISSUED_IN_A_MODE;
        }
        is_done.then_some(())
    })
    .await;
}
