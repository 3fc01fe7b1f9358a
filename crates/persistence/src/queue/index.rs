//! What this node has answered and not yet written: found by id and by slot from the moment of the answer, and bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grantry_protocol::{ActiveTokenPolicy, SlotKey, Timestamp, TokenId};
use grantry_store::Issue;
use tokio::sync::SetOnce;
use tokio::time::Instant;

use crate::journal::Receipt;
use crate::queue::meters::Meters;

/// How long a token stays findable here after its row was written: a request that looked before it was answered, and
/// in the store before it was written, claims its slot in the meantime and must meet it.
const LINGER: Duration = Duration::from_secs(2);

/// How many written tokens linger however small the queue is: a busy node would forget them before their time.
const LINGERING: usize = 8_192;

/// How far the drain mark stays behind the clock, so that a request under way is not overtaken by it.
const MARK_DISTANCE: Duration = Duration::from_secs(1);

/// A token in the queue.
#[derive(Debug)]
pub struct Entry {
    pub issue: Arc<Issue>,
    pub since: Instant,
    /// Whether it may be answered: once it stands in the journal, or could not be put there.
    journalled: SetOnce<bool>,
}

impl Entry {
    fn new(issue: Arc<Issue>) -> Arc<Self> {
        Arc::new(Self { issue, since: Instant::now(), journalled: SetOnce::new() })
    }

    pub fn id(&self) -> TokenId {
        self.issue.token.id
    }

    /// Waits until it is decided whether the token may be answered.
    pub async fn is_journalled(&self) -> bool {
        *self.journalled.wait().await
    }
}

/// A token to be written, and its place in the journal, if there is one.
#[derive(Debug)]
pub struct Job {
    pub entry: Arc<Entry>,
    pub receipt: Option<Receipt>,
}

/// What becomes of a wish to put a token into the queue.
#[derive(Debug)]
pub enum Claim {
    /// It is in the index, and nobody else's request gets the slot here. It may not be answered yet.
    Mine(Arc<Entry>),
    /// Another token of the slot is there.
    Taken(Arc<Entry>),
    Refused(Refusal),
}

/// Why a token is persisted synchronously after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The queue is full.
    Full,
    /// The journal cannot be written.
    Journal,
    /// Other nodes were told that this node has no token below this one.
    Mark,
    /// The node is shutting down.
    Stopping,
}

impl Refusal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Journal => "journal",
            Self::Mark => "mark",
            Self::Stopping => "stopping",
        }
    }
}

/// How much is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueState {
    /// Tokens that wait for their row, parked ones aside.
    pub depth: usize,
    /// Tokens whose write can never succeed as things are.
    pub parked: usize,
    /// Age of the oldest that waits, parked ones aside.
    pub lag: Duration,
}

pub struct Index {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of their ids: the first is what the drain mark stops at.
    unwritten: BTreeMap<TokenId, Arc<Entry>>,
    /// The latest of each slot that came through here, written ones included while they linger.
    by_slot: HashMap<SlotKey, Arc<Entry>>,
    lingering: VecDeque<(Instant, Arc<Entry>)>,
    parked: BTreeMap<TokenId, Job>,
    announced: Option<TokenId>,
    is_stopping: bool,
}

impl Index {
    pub fn new(capacity: usize, announced: Option<TokenId>) -> Self {
        Self { capacity, state: Mutex::new(State { announced, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under `reuse` a slot has room for one request at a time. `passed` is the token that the caller has looked at and
    /// found not good enough.
    pub fn claim(&self, issue: &Arc<Issue>, passed: Option<TokenId>) -> Claim {
        let mut state = self.state();
        state.forget_written();
        let (id, slot) = (issue.token.id, issue.token.slot);
        if issue.policy == ActiveTokenPolicy::Reuse
            && let Some(present) = state.by_slot.get(&slot)
            && passed != Some(present.id())
        {
            return Claim::Taken(Arc::clone(present));
        }
        let refusal = match () {
            () if state.is_stopping => Refusal::Stopping,
            () if state.unwritten.len() >= self.capacity => Refusal::Full,
            () if state.announced.is_some_and(|mark| id < mark) => Refusal::Mark,
            () => return Claim::Mine(state.insert(Arc::clone(issue))),
        };
        Claim::Refused(refusal)
    }

    /// A token that the journal had at the start: it was answered before.
    pub fn recover(&self, issue: Arc<Issue>) -> Arc<Entry> {
        let entry = self.state().insert(issue);
        self.answer(&entry);
        entry
    }

    /// The token may be answered.
    pub fn answer(&self, entry: &Entry) {
        // Set once, here or in `withdraw`.
        let _ = entry.journalled.set(true);
    }

    /// The token will not be answered by way of the queue.
    pub fn withdraw(&self, entry: &Arc<Entry>) {
        let mut state = self.state();
        state.unwritten.remove(&entry.id());
        state.forget_slot(entry);
        drop(state);
        let _ = entry.journalled.set(false);
    }

    /// The token has its row, or needs none.
    pub fn settled(&self, entry: &Arc<Entry>) {
        let mut state = self.state();
        state.unwritten.remove(&entry.id());
        state.lingering.push_back((Instant::now() + LINGER, Arc::clone(entry)));
        while state.lingering.len() > self.capacity.max(LINGERING) {
            state.forget_oldest_written();
        }
        state.forget_written();
    }

    /// The token stays where it is, but nobody works on it.
    pub fn park(&self, job: Job) {
        self.state().parked.insert(job.entry.id(), job);
    }

    /// All that were parked, to be worked on again.
    pub fn unpark(&self) -> Vec<Job> {
        std::mem::take(&mut self.state().parked).into_values().collect()
    }

    pub fn find(&self, id: TokenId) -> Option<Arc<Entry>> {
        self.state().unwritten.get(&id).cloned()
    }

    pub fn find_by_slot(&self, slot: SlotKey) -> Option<Arc<Entry>> {
        self.state().by_slot.get(&slot).cloned()
    }

    /// Every id below it is settled, and from now on none below it is taken in.
    pub fn move_mark(&self, now: Timestamp) -> TokenId {
        let mut state = self.state();
        let oldest = state.unwritten.first_key_value().map(|(id, _)| *id);
        let mark = oldest.unwrap_or_else(|| TokenId::lower_bound(now.saturating_sub(MARK_DISTANCE)));
        let mark = state.announced.map_or(mark, |announced| announced.max(mark));
        state.announced = Some(mark);
        mark
    }

    /// Takes no more tokens in.
    pub fn stop(&self) {
        self.state().is_stopping = true;
    }

    pub fn look(&self) -> QueueState {
        self.state().look()
    }

    /// Under the lock: a writer that looked earlier must not overwrite what a later one shows.
    pub fn show(&self, meters: &Meters) -> QueueState {
        let state = self.state();
        let look = state.look();
        meters.show(look);
        look
    }
}

impl State {
    fn look(&self) -> QueueState {
        let mut waiting = self.unwritten.values().filter(|entry| !self.parked.contains_key(&entry.id()));
        let oldest = waiting.next().map(|entry| entry.since);
        QueueState {
            depth: self.unwritten.len().saturating_sub(self.parked.len()),
            parked: self.parked.len(),
            lag: oldest.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    fn insert(&mut self, issue: Arc<Issue>) -> Arc<Entry> {
        let entry = Entry::new(issue);
        self.unwritten.insert(entry.id(), Arc::clone(&entry));
        self.by_slot.insert(entry.issue.token.slot, Arc::clone(&entry));
        entry
    }

    fn forget_written(&mut self) {
        let now = Instant::now();
        while self.lingering.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest_written();
        }
    }

    fn forget_oldest_written(&mut self) {
        if let Some((_, entry)) = self.lingering.pop_front() {
            self.forget_slot(&entry);
        }
    }

    /// Unless a later one has the slot.
    fn forget_slot(&mut self, entry: &Entry) {
        let slot = entry.issue.token.slot;
        if self.by_slot.get(&slot).is_some_and(|present| present.id() == entry.id()) {
            self.by_slot.remove(&slot);
        }
    }
}
