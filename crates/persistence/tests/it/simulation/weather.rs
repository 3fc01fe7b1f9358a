//! What becomes of a call on its way to the store and back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grantry_protocol::TokenId;
use tokio::time::Instant;

use super::NODES;
use super::random::Random;

/// The longest that an answer is under way: shorter than a written token stays in the index of its node.
const LONGEST_DELAY: Duration = Duration::from_millis(1_200);
/// How late a request may reach the store that its caller has given up.
const LATEST: Duration = Duration::from_secs(5);

pub struct Fate {
    pub there: Duration,
    pub back: Duration,
    pub kind: FateKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FateKind {
    Arrives,
    RequestLost,
    AnswerLost,
    /// The caller gives up at once, and the request reaches the store after this.
    Late(Duration),
}

#[derive(Default)]
pub struct Weather(Mutex<State>);

#[derive(Default)]
struct State {
    /// How many of 100 calls meet something.
    faults: usize,
    /// Whether a call takes time.
    is_slow: bool,
    outage_until: Option<Instant>,
    cut_until: [Option<Instant>; NODES],
    stuck_until: [Option<Instant>; NODES],
    poison: Option<TokenId>,
}

impl Weather {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, faults: usize) {
        *self.state() = State { faults, is_slow: true, ..State::default() };
    }

    /// The store is gone for every node.
    pub fn outage(&self, span: Duration) {
        self.state().outage_until = Some(Instant::now() + span);
    }

    /// The store is gone for one node.
    pub fn cut(&self, node: usize, span: Duration) {
        self.state().cut_until[node] = Some(Instant::now() + span);
    }

    /// What the node writes does not arrive, while it can read.
    pub fn stick(&self, node: usize, span: Duration) {
        self.state().stuck_until[node] = Some(Instant::now() + span);
    }

    /// The store refuses every batch with this token.
    pub fn poison(&self, id: TokenId) {
        self.state().poison = Some(id);
    }

    pub fn poisoned(&self) -> Option<TokenId> {
        self.state().poison
    }

    /// From now on nothing fails, and nothing takes time.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    pub fn fate(&self, node: usize, writes: bool, random: &Random) -> Fate {
        let now = Instant::now();
        let state = self.state();
        let is_gone = |until: Option<Instant>| until.is_some_and(|until| now < until);
        let kind = match () {
            () if is_gone(state.outage_until) || is_gone(state.cut_until[node]) => FateKind::RequestLost,
            () if writes && is_gone(state.stuck_until[node]) => FateKind::RequestLost,
            () if !random.percent(state.faults) => FateKind::Arrives,
            () => match random.below(5) {
                0 | 1 => FateKind::RequestLost,
                2 | 3 => FateKind::AnswerLost,
                _ => FateKind::Late(random.up_to(LATEST)),
            },
        };
        let delay = || match random.below(20) {
            _ if !state.is_slow => Duration::ZERO,
            0 => random.up_to(LONGEST_DELAY),
            1..5 => random.up_to(Duration::from_millis(50)),
            _ => random.up_to(Duration::from_millis(3)),
        };
        Fate { there: delay(), back: delay(), kind }
    }
}
