//! The tokens that were answered and not yet written: a bounded FIFO queue in front of N writers, the journal that
//! makes them survive this process, and the index in which this node finds them meanwhile.
//!
//! The tokens of one slot go through one writer, in the order in which they came.

mod index;
mod meters;
mod record;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};

use grantry_protocol::{NodeNumber, SlotKey, Timestamp, TokenId};
use grantry_store::{Issue, Node, NodeId, Store, StoreError};
use metrics::counter;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use self::index::{Claim, Index, Job};
pub use self::index::{Entry, QueueState, Refusal};
use self::meters::Meters;
pub use self::record::{UnreadableRecord, decode as decode_record};
use self::worker::Worker;
use crate::journal::{Journal, JournalOpenError, NodeName, Recovery};

/// How often a drain looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// Where the queue is kept besides in memory.
#[expect(clippy::large_enum_variant, reason = "there is one, at the start")]
pub enum QueueJournal {
    /// Nowhere: what is in the queue is lost with the process.
    Off(NodeName),
    On(Journal, Recovery),
}

impl QueueJournal {
    /// Who this process is.
    pub fn node(&self) -> NodeId {
        match self {
            Self::Off(name) => name.id,
            Self::On(journal, _) => journal.node(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalOpenError),
    #[error(transparent)]
    Record(#[from] UnreadableRecord),
}

/// What became of the wish to answer a token before it is written.
#[derive(Debug)]
pub enum Deferral {
    /// It may be answered, and says in its text that this node has it.
    Deferred(NodeNumber),
    /// Another token of the slot is in the queue, or was a moment ago.
    Taken(Arc<Entry>),
    /// It has to be written before it is answered.
    Refused,
}

pub struct Queue {
    store: Arc<dyn Store>,
    node: Node,
    number: NodeNumber,
    index: Arc<Index>,
    journal: Option<Arc<Journal>>,
    lanes: Vec<mpsc::Sender<Job>>,
    meters: Meters,
    // Ended with the queue.
    tasks: Mutex<JoinSet<()>>,
    // Held as long as the queue.
    _name: NodeName,
}

impl Queue {
    /// Registers the node, makes what the journal holds visible, and starts `pool_size` writers; must be called inside a
    /// Tokio runtime.
    pub async fn start(
        store: Arc<dyn Store>,
        journal: QueueJournal,
        pool_size: usize,
        capacity: usize,
        max_batch: usize,
    ) -> Result<Arc<Self>, QueueError> {
        let (name, journal, recovery) = match journal {
            QueueJournal::Off(name) => (name, None, None),
            QueueJournal::On(journal, recovery) => {
                (journal.node().into(), Some(Arc::new(journal)), Some(recovery))
            }
        };
        let node = store.node_register(name.id).await?;
        let number = node
            .number
            .ok_or_else(|| StoreError::Corrupt("a node was registered and given no number".to_owned()))?;
        let index = Arc::new(Index::new(capacity.max(1), node.drained_below));
        let meters = Meters::new();
        let (mut lanes, mut tasks) = (Vec::new(), JoinSet::new());
        for _ in 0..pool_size.max(1) {
            let (lane, jobs) = mpsc::channel(capacity.max(1));
            let worker = Worker {
                store: Arc::clone(&store),
                index: Arc::clone(&index),
                journal: journal.clone(),
                meters: meters.clone(),
                max_batch: max_batch.max(1),
            };
            lanes.push(lane);
            tasks.spawn(worker.run(jobs));
        }
        let recovered = recovery.map_or(Ok(Vec::new()), |recovery| recover(&index, recovery))?;
        let queue = Arc::new(Self {
            store,
            node,
            number,
            index,
            journal,
            lanes,
            meters,
            tasks: Mutex::new(tasks),
            _name: name,
        });
        queue.feed(recovered);
        Ok(queue)
    }

    pub fn node(&self) -> NodeId {
        self.node.id
    }

    /// Puts the token where it survives this process and lets it be answered. Finishes even if the caller goes away, so
    /// that what stands in the journal is drained.
    pub async fn defer(self: &Arc<Self>, issue: &Arc<Issue>, passed: Option<TokenId>) -> Deferral {
        let mut issue = Arc::clone(issue);
        Arc::make_mut(&mut issue).token.deferred_by = Some(self.number);
        let refusal = match self.index.claim(&issue, passed) {
            Claim::Taken(entry) => return Deferral::Taken(entry),
            Claim::Mine(entry) => {
                let queue = Arc::clone(self);
                match tokio::spawn(async move { queue.accept(entry).await }).await {
                    Ok(true) => return Deferral::Deferred(self.number),
                    Ok(false) | Err(_) => Refusal::Journal,
                }
            }
            Claim::Refused(refusal) => refusal,
        };
        counter!("grantry_deferrals_refused_total", "reason" => refusal.as_str()).increment(1);
        Deferral::Refused
    }

    /// Whether the token may be answered.
    async fn accept(&self, entry: Arc<Entry>) -> bool {
        let receipt = match self.append(&entry.issue).await {
            Ok(receipt) => receipt,
            Err(error) => {
                tracing::error!(%error, "the journal cannot be written; tokens are persisted before they are answered");
                self.index.withdraw(&entry);
                return false;
            }
        };
        self.index.answer(&entry);
        // Not waited for: another node that is shown the token sooner looks again a few milliseconds later.
        self.store.token_announce(&entry.issue.token);
        self.enqueue(Job { entry, receipt }).await;
        // Not only when a batch is done: a writer may wait for the store for long.
        self.index.show(&self.meters);
        true
    }

    async fn append(&self, issue: &Issue) -> Result<Option<crate::journal::Receipt>, AppendError> {
        let Some(journal) = &self.journal else { return Ok(None) };
        Ok(Some(journal.append(record::encode(issue)?).await?))
    }

    async fn enqueue(&self, job: Job) {
        let slot = job.entry.issue.token.slot;
        let hash = usize::from(u16::from_be_bytes([slot.as_bytes()[0], slot.as_bytes()[1]]));
        // The index bounds what is in a lane; its worker ends with the queue alone.
        let _ = self.lanes[hash % self.lanes.len()].send(job).await;
    }

    /// Hands jobs to the writers in the background: there may be more than a lane takes at once.
    fn feed(self: &Arc<Self>, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let queue = Arc::downgrade(self);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            for job in jobs {
                let Some(queue) = queue.upgrade() else { return };
                queue.enqueue(job).await;
            }
        });
    }

    pub fn find(&self, id: TokenId) -> Option<Arc<Entry>> {
        self.index.find(id)
    }

    /// The latest of the slot, for a moment longer than until its row is written.
    pub fn find_by_slot(&self, slot: SlotKey) -> Option<Arc<Entry>> {
        self.index.find_by_slot(slot)
    }

    /// The drain mark that other nodes may be told from now on.
    pub fn move_mark(&self, now: Timestamp) -> TokenId {
        self.index.move_mark(now)
    }

    pub fn look(&self) -> QueueState {
        self.index.look()
    }

    /// Tries what was parked again; answers how many tokens that were.
    pub fn redrive(self: &Arc<Self>) -> usize {
        let jobs = self.index.unpark();
        let count = jobs.len();
        self.feed(jobs);
        count
    }

    /// Takes no more tokens in, and waits until all others are written; answers how many are left, parked ones that is,
    /// which the journal keeps.
    pub async fn drain(&self) -> usize {
        self.index.stop();
        loop {
            if self.index.show(&self.meters).depth == 0 {
                break;
            }
            sleep(DRAIN_LOOK).await;
        }
        if let Some(journal) = &self.journal
            && let Err(error) = journal.close().await
        {
            tracing::warn!(%error, "the journal was not closed cleanly; the next start reads it again");
        }
        self.index.look().parked
    }
}

#[derive(Debug, thiserror::Error)]
enum AppendError {
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    #[error(transparent)]
    Record(#[from] UnreadableRecord),
}

fn recover(index: &Index, recovery: Recovery) -> Result<Vec<Job>, QueueError> {
    let mut jobs = Vec::new();
    for recovered in recovery {
        let recovered = recovered?;
        let issue = record::decode(&recovered.payload)?;
        jobs.push(Job { entry: index.recover(Arc::new(issue)), receipt: Some(recovered.receipt) });
    }
    if !jobs.is_empty() {
        tracing::info!(
            count = jobs.len(),
            "the journal holds tokens of an earlier run; they are written now"
        );
    }
    Ok(jobs)
}
