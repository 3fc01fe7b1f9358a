//! The journal of asynchronous persistence: what makes an answered request true after a crash, until the store has it.
//!
//! [`Journal::append`] answers when the record is written, [`Journal::drained`] says that the store has it, and what was
//! not drained comes back from [`Journal::open`]. A record is opaque here: bytes with a number.
//!
//! ```text
//! DIR/lock                                     held by the process that has the journal open
//! DIR/node                                     the id of the node, kept across restarts
//! DIR/00000000000000000001.journal             a segment, named after its first record: a header, then records
//! DIR/00000000000000000001.journal.torn-4711   what did not get written whole before a crash, kept aside
//! ```
//!
//! Which records were drained is not written down. A segment goes when all of its records are, so after a crash drained
//! ones of the segments that are left come back too: the store must take a record twice without harm.
//!
//! How a group is written is in `log`, how a directory is opened in `open`.

mod disk;
mod errors;
mod finding;
mod header;
mod inspect;
mod ledger;
mod log;
mod node;
mod open;
mod options;
mod record;
mod recovery;
mod segment;
#[cfg(any(test, feature = "testing"))]
mod simulated;
mod thread;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grantry_store::NodeId;

pub use self::disk::{Disk, DiskFile, DiskLock, RealDisk};
pub use self::errors::{JournalError, JournalOpenError};
pub use self::finding::{Finding, FindingKind};
pub use self::inspect::{InspectedSegment, Inspection, SetAside, inspect};
use self::ledger::Ledger;
use self::log::Log;
use self::open::Opened;
pub use self::options::{JournalMode, JournalOptions};
pub use self::record::MAX_PAYLOAD;
pub use self::recovery::{Recovered, Recovery};
#[cfg(any(test, feature = "testing"))]
pub use self::simulated::SimulatedDisk;
use self::thread::Writer;

/// The name of a node that keeps no journal, but its place in a directory: after a restart it goes on under the same
/// name, and no other process does meanwhile.
pub struct NodeName {
    pub id: NodeId,
    _lock: Option<DiskLock>,
}

impl NodeName {
    /// Locks the directory and reads or writes its node id, as opening a journal does. Blocks.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn claim(disk: &dyn Disk, fresh_node: NodeId) -> Result<Self, JournalOpenError> {
        let (id, lock) = open::claim(disk, fresh_node)?;
        Ok(Self { id, _lock: Some(lock) })
    }
}

impl From<NodeId> for NodeName {
    /// A name that ends with the process.
    fn from(id: NodeId) -> Self {
        Self { id, _lock: None }
    }
}

/// That a record stands in the journal. It is handed back once, to [`Journal::drained`]; a record whose receipt is lost
/// stays until the next start.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "without its receipt a record cannot be drained"]
pub struct Receipt(u64);

impl Receipt {
    /// The number of the record. Numbers rise in the order in which records were written; some are left out.
    pub fn sequence(&self) -> u64 {
        self.0
    }
}

/// An open journal. Dropping it without [`Journal::close`] leaves its files as a crash of the process would.
pub struct Journal {
    node: NodeId,
    ledger: Arc<Ledger>,
    way: Way,
}

/// How a caller gets to the log.
enum Way {
    Thread(Writer),
    /// `None` once it is closed.
    Inline(Box<Mutex<Option<Log>>>),
}

impl Journal {
    /// Opens the directory, and starts the thread that writes. `fresh_node` becomes the node's id if the directory has
    /// none. Blocks for as long as reading the whole journal takes.
    pub fn open(
        disk: Arc<dyn Disk>,
        fresh_node: NodeId,
        options: JournalOptions,
    ) -> Result<(Self, Recovery), JournalOpenError> {
        let no_thread = JournalOpenError::io(disk.directory(), "", "given a thread");
        let Opened { log, ledger, node, recovery } = open::open(disk, fresh_node, options)?;
        let writer = Writer::start(log, options.queue_capacity).map_err(no_thread)?;
        Ok((Self { node, ledger, way: Way::Thread(writer) }, recovery))
    }

    /// Without a thread and without a queue: each append is a group of its own, written by the caller. For a simulator
    /// that runs everything on one thread.
    pub fn inline(
        disk: Arc<dyn Disk>,
        fresh_node: NodeId,
        options: JournalOptions,
    ) -> Result<(Self, Recovery), JournalOpenError> {
        let Opened { log, ledger, node, recovery } = open::open(disk, fresh_node, options)?;
        Ok((Self { node, ledger, way: Way::Inline(Box::new(Mutex::new(Some(log)))) }, recovery))
    }

    /// The id of the node that the directory belongs to.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Answers when the record is written, in mode `fsync` to the disk, in mode `os` to the kernel. `payload` has at most
    /// [`MAX_PAYLOAD`] bytes.
    ///
    /// Await it to its end, in a task that nobody cancels: a record may be written although nobody waits for its receipt
    /// any more.
    pub async fn append(&self, payload: Vec<u8>) -> Result<Receipt, JournalError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(JournalError::TooLarge { bytes: payload.len() });
        }
        match &self.way {
            Way::Thread(writer) => writer.append(payload).await,
            Way::Inline(log) => {
                let mut log = lock(log);
                log.as_mut().ok_or(JournalError::Closed)?.append(&[payload]).map(Receipt)
            }
        }
    }

    /// The store has the record: it need not come back. In any order, from any thread; does not wait for the disk, unless
    /// the journal is [`Journal::inline`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a receipt is spent here, so that a record is drained once"
    )]
    pub fn drained(&self, receipt: Receipt) {
        if !self.ledger.drain(receipt.0) {
            return;
        }
        match &self.way {
            Way::Thread(writer) => writer.sweep(),
            Way::Inline(log) => {
                if let Some(log) = lock(log).as_ref() {
                    log.sweep();
                }
            }
        }
    }

    /// Closes the segment that is being written; the next record begins a new one.
    pub async fn seal(&self) -> Result<(), JournalError> {
        match &self.way {
            Way::Thread(writer) => writer.seal().await,
            Way::Inline(log) => {
                lock(log).as_mut().ok_or(JournalError::Closed)?.seal();
                Ok(())
            }
        }
    }

    /// Writes what waits, removes the segments of which everything was drained, and lets go of the directory. Returns how
    /// many records were not drained; without any, no segment is left. From here on every call gives
    /// [`JournalError::Closed`].
    pub async fn close(&self) -> Result<u64, JournalError> {
        match &self.way {
            Way::Thread(writer) => writer.close().await,
            Way::Inline(log) => Ok(lock(log).take().ok_or(JournalError::Closed)?.close()),
        }
    }
}

fn lock(log: &Mutex<Option<Log>>) -> MutexGuard<'_, Option<Log>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
