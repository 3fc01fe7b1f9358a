//! Three nodes with the shipped persister, each with its own disk and clock, over one store.

use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::journal::{Journal, JournalMode, JournalOptions, SimulatedDisk};
use grantry_persistence::{Persistence, PersistenceError, PersistenceSettings, QueueJournal};
use grantry_protocol::{Clock, TimeOrderedIds, TokenId};
use grantry_store::{NodeId, StoreError};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::NODES;
use super::clients::Process;
use super::clock::{SkewedClock, pass};
use super::disk::{ProcessDisk, Pulse, lose_tail, records};
use super::far_end::FarEnd;
use super::model::Model;
use super::mutants::Mutant;
use super::network::Link;
use super::random::Random;

/// How far the clocks of two machines are apart when nobody has moved them.
const SKEW: Duration = Duration::from_millis(300);
/// How long a node that is told to stop may take.
const STOPPING: Duration = Duration::from_secs(5);

pub struct Cluster {
    pub far_end: Arc<FarEnd>,
    pub random: Arc<Random>,
    pub model: Arc<Model>,
    pub nodes: [Node; NODES],
    mutant: Option<Mutant>,
}

pub struct Node {
    pub disk: SimulatedDisk,
    pub clock: Arc<SkewedClock>,
    /// Without one the queue is lost with the process.
    pub journal: Option<JournalOptions>,
    settings: PersistenceSettings,
    run: u32,
    running: Option<Running>,
}

struct Running {
    process: Process,
    pulse: Pulse,
    requests: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Kill,
    PowerLoss,
}

impl Cluster {
    pub async fn start(random: Arc<Random>, model: Arc<Model>, mutant: Option<Mutant>) -> Self {
        let since = Instant::now();
        let clock = Arc::new(SkewedClock::new(since, 0));
        let far_end = FarEnd::new(clock, Arc::clone(&random), Arc::clone(&model), mutant);
        let nodes = std::array::from_fn(|_| Node::new(&random, since));
        let mut cluster = Self { far_end: Arc::new(far_end), random, model, nodes, mutant };
        for index in 0..NODES {
            cluster.start_node(index).await;
        }
        cluster
    }

    pub fn process(&self, node: usize) -> Option<&Process> {
        self.nodes[node].running.as_ref().map(|running| &running.process)
    }

    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        (0..NODES).filter_map(|node| self.process(node))
    }

    /// Does nothing if it runs, and leaves it down if it cannot start.
    pub async fn start_node(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.running.is_some() {
            return;
        }
        if self.mutant == Some(Mutant::LostTail) && node.run > 0 {
            lose_tail(&node.disk);
        }
        node.run += 1;
        let pulse = Pulse::start();
        let store = Arc::new(Link { far_end: Arc::clone(&self.far_end), node: index, pulse: pulse.clone() });
        let started = node.open(&self.random, Arc::clone(&store), &pulse).await;
        let persistence = match started {
            Ok(persistence) => persistence,
            Err(why) => {
                self.model.note(|| format!("n{index}: cannot start: {why}"));
                pulse.stop();
                return node.disk.kill();
            }
        };
        let process = Process {
            node: index,
            run: node.run,
            store,
            persistence,
            clock: Arc::clone(&node.clock),
            ids: Arc::new(TimeOrderedIds::default()),
            random: Arc::clone(&self.random),
            model: Arc::clone(&self.model),
        };
        process.note(|| format!("runs, its queue is {:?}", process.persistence.queue_state()));
        self.model.knowledge().counts.restarts += u64::from(node.run > 1);
        node.running = Some(Running { process, pulse, requests: JoinSet::new() });
    }

    pub async fn end_node(&mut self, index: usize, death: Death) {
        self.model.note(|| format!("n{index}: {death:?}"));
        self.end_process(index).await;
        let node = &self.nodes[index];
        match death {
            Death::Kill => node.disk.kill(),
            Death::PowerLoss => node.disk.crash(self.random.as_ref()),
        }
        let keeps = match (&node.journal, death) {
            (None, _) => false,
            (Some(_), Death::Kill) => true,
            (Some(options), Death::PowerLoss) => options.mode == JournalMode::Fsync,
        };
        if !keeps {
            let lost = self.unwritten(index).await;
            self.model.put_at_risk(&lost);
        }
    }

    /// SIGTERM: drains, if the store lets it, and leaves nothing in the journal then.
    pub async fn stop_node(&mut self, index: usize) {
        let Some(process) = self.process(index).cloned() else { return };
        self.nodes[index].disk.forget_faults();
        match timeout(STOPPING, process.persistence.drain()).await {
            Ok(Ok(0)) => {
                process.note(|| "has drained".to_owned());
                for id in self.unwritten(index).await {
                    if self.model.is_needed(id, self.far_end.clock.now()) {
                        self.model.violation(format!("n{index} has drained, and {id} has no row"));
                    }
                }
                let left = records(&self.nodes[index].disk);
                if self.nodes[index].journal.is_some() && left > 0 {
                    self.model.violation(format!("{left} records are left after a drain of n{index}"));
                }
            }
            other => process.note(|| format!("could not drain: {other:?}")),
        }
        self.end_node(index, Death::Kill).await;
    }

    /// Starts a request at a node that is up.
    pub fn request<F>(&mut self, node: usize, request: impl FnOnce(Process) -> F)
    where
        F: Future<Output = Result<(), PersistenceError>> + Send + 'static,
    {
        let Some(running) = &mut self.nodes[node].running else { return };
        let model = Arc::clone(&self.model);
        let poisoned = self.far_end.weather.poisoned();
        let answer = request(running.process.clone());
        running.requests.spawn(async move {
            let Err(error) = answer.await else { return };
            model.note(|| format!("n{node}: refuses: {error}"));
            model.knowledge().counts.refused += 1;
            let is_allowed = match &error {
                PersistenceError::Store(StoreError::Rejected(_)) => poisoned.is_some(),
                PersistenceError::Store(error) => error.is_outage(),
                PersistenceError::SlotContended { .. } | PersistenceError::OtherGrant => true,
            };
            if !is_allowed {
                model.violation(format!("n{node} failed: {error}"));
            }
        });
    }

    /// One of the requests that are under way loses its caller.
    pub fn abandon(&mut self, node: usize) {
        let Some(running) = &mut self.nodes[node].running else { return };
        running.requests.abort_all();
    }

    /// Waits until every request was answered.
    pub async fn finish_requests(&mut self) {
        for node in &mut self.nodes {
            let Some(running) = &mut node.running else { continue };
            while let Some(request) = running.requests.join_next().await {
                if request.is_err_and(|error| error.is_panic()) {
                    self.model.violation("a request panicked".to_owned());
                }
            }
        }
    }

    /// Waits until nothing is queued anywhere.
    pub async fn settle(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        for process in self.processes() {
            self.model.knowledge().counts.parked += process.persistence.redrive() as u64;
            while process.persistence.queue_state().depth > 0 {
                if Instant::now() > deadline {
                    let state = process.persistence.queue_state();
                    return self.model.violation(format!("n{} does not drain: {state:?}", process.node));
                }
                pass(Duration::from_millis(20)).await;
            }
            if process.persistence.queue_state().parked > 0 {
                self.model.violation(format!("n{} parks what the store takes", process.node));
            }
        }
        let (parked, poisoned) = {
            let known = self.model.knowledge();
            (known.counts.parked, known.poisoned)
        };
        if parked > poisoned {
            self.model.violation(format!("{parked} tokens were parked, and {poisoned} were poisoned"));
        }
    }

    async fn end_process(&mut self, index: usize) {
        let Some(mut running) = self.nodes[index].running.take() else { return };
        running.pulse.stop();
        running.requests.shutdown().await;
    }

    /// What the node has answered and the store does not have.
    async fn unwritten(&self, index: usize) -> Vec<TokenId> {
        let answered: Vec<TokenId> = {
            let known = self.model.knowledge();
            let own = known.answered.values().filter(|answered| {
                answered.token.deferred_by.is_some()
                    && known.made.get(&answered.token.id).is_some_and(|made| made.process.0 == index)
            });
            own.map(|answered| answered.token.id).collect()
        };
        let mut unwritten = Vec::new();
        for id in answered {
            if self.far_end.store.token_find(id).await.unwrap().is_none() {
                unwritten.push(id);
            }
        }
        unwritten
    }
}

impl Node {
    fn new(random: &Random, since: Instant) -> Self {
        let mode = match random.below(10) {
            0 => None,
            1..4 => Some(JournalMode::Os),
            _ => Some(JournalMode::Fsync),
        };
        let journal = mode.map(|mode| {
            let (segment_bytes, max_bytes) = match random.below(3) {
                0 => (2_000, 5_000),
                1 => (2_000, 1 << 20),
                _ => (1 << 20, 1 << 20),
            };
            JournalOptions { segment_bytes, max_bytes, ..JournalOptions::new(mode) }
        });
        let settings = PersistenceSettings {
            retry_count: 3,
            queue_capacity: if random.percent(20) { 3 } else { 256 },
            pool_size: 1 + random.below(3),
            max_batch: 1 + random.below(8),
            retention_time: Duration::from_secs(24 * 3600),
        };
        let clock = Arc::new(SkewedClock::new(since, random.around_zero(SKEW)));
        Self { disk: SimulatedDisk::new(), clock, journal, settings, run: 0, running: None }
    }

    async fn open(
        &self,
        random: &Random,
        store: Arc<Link>,
        pulse: &Pulse,
    ) -> Result<Arc<Persistence>, String> {
        let id = NodeId::random(random);
        let journal = match self.journal {
            None => QueueJournal::Off(id.into()),
            Some(options) => {
                let disk = Arc::new(ProcessDisk { disk: self.disk.clone(), pulse: pulse.clone() });
                let (journal, recovery) =
                    Journal::inline(disk, id, options).map_err(|error| error.to_string())?;
                QueueJournal::On(journal, recovery)
            }
        };
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let started = Persistence::start_with_queue(store, clock, self.settings, journal).await;
        started.map_err(|error| error.to_string())
    }
}
