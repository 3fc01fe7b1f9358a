//! A disk in memory that can lose power. It remembers what was synced, bytes and directory entries apart, and a crash
//! takes of the rest what it likes: pages in any subset, entries in any subset. Faults come on demand.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grantry_protocol::Rng;

use super::disk::{Disk, DiskFile, DiskLock};

/// What reaches a real disk whole or not at all.
const PAGE: usize = 512;

/// A handle; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Handles of an earlier one are dead.
    generation: u64,
    locked: bool,
    entries: Entries,
    durable_entries: Entries,
    /// What was done to the entries since they were synced.
    changes: Vec<Change>,
    faults: Faults,
}

type Entries = BTreeMap<String, Arc<Mutex<Content>>>;

enum Change {
    Create(String, Arc<Mutex<Content>>),
    Rename(String, String),
    Remove(String),
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// A sync failed: the kernel holds the pages for clean and never writes them again.
    lost: bool,
}

#[derive(Default)]
struct Faults {
    sync: bool,
    truncate: bool,
    write_after: Option<usize>,
    free: Option<u64>,
    changes_left: Option<usize>,
}

impl SimulatedDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Pulls the plug. What was synced stays, anything of the rest may; handles and locks are gone.
    pub fn crash(&self, rng: &dyn Rng) {
        let mut state = self.state();
        state.end_process();
        let changes = std::mem::take(&mut state.changes);
        let mut entries = std::mem::take(&mut state.durable_entries);
        for change in changes.into_iter().filter(|_| below(rng, 2) == 0) {
            change.apply(&mut entries);
        }
        for content in entries.values() {
            lock(content).crash(rng);
        }
        state.durable_entries.clone_from(&entries);
        state.entries = entries;
    }

    /// Kills the process. What it wrote stays, synced or not; handles and locks are gone.
    pub fn kill(&self) {
        self.state().end_process();
    }

    /// The next sync of a file or of the directory fails, and what it was to make durable never is.
    pub fn fail_next_sync(&self) {
        self.state().faults.sync = true;
    }

    /// The next write to a file fails after this many bytes.
    pub fn fail_next_write_after(&self, bytes: usize) {
        self.state().faults.write_after = Some(bytes);
    }

    /// The next truncation fails.
    pub fn fail_next_truncate(&self) {
        self.state().faults.truncate = true;
    }

    /// How many bytes can still be written; a write of more writes what fits. `None`: no end of them.
    pub fn set_free_bytes(&self, bytes: Option<u64>) {
        self.state().faults.free = bytes;
    }

    /// While it is broken every change fails.
    pub fn set_broken(&self, broken: bool) {
        self.state().faults.changes_left = broken.then_some(0);
    }

    /// It breaks after this many changes.
    pub fn break_after(&self, changes: usize) {
        self.state().faults.changes_left = Some(changes);
    }

    /// From here on nothing fails but what is asked for again.
    pub fn forget_faults(&self) {
        self.state().faults = Faults::default();
    }

    /// The bytes of a file as a process sees them.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        Some(lock(self.state().entries.get(name)?).bytes.clone())
    }

    /// Puts a file there, or other bytes in its place, durably.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let content = Content { bytes: bytes.to_vec(), durable: bytes.to_vec(), lost: false };
        let content = Arc::new(Mutex::new(content));
        let mut state = self.state();
        state.entries.insert(name.to_owned(), Arc::clone(&content));
        state.durable_entries.insert(name.to_owned(), content);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn end_process(&mut self) {
        self.generation += 1;
        self.locked = false;
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.faults.count_change()?;
        change.apply(&mut self.entries);
        self.changes.push(change);
        Ok(())
    }

    fn find(&self, name: &str) -> io::Result<&Arc<Mutex<Content>>> {
        self.entries.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Change {
    fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Create(name, content) => {
                entries.insert(name.clone(), Arc::clone(content));
            }
            Self::Rename(from, to) => {
                if let Some(content) = entries.remove(from) {
                    entries.insert(to.clone(), content);
                }
            }
            Self::Remove(name) => {
                entries.remove(name);
            }
        }
    }
}

impl Faults {
    fn count_change(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            Some(0) => Err(io::Error::other("the simulated disk is broken")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// How many bytes of a write arrive, and the error if those are not all.
    fn admit(&mut self, wanted: usize) -> (usize, io::Result<()>) {
        if let Err(error) = self.count_change() {
            return (0, Err(error));
        }
        if let Some(bytes) = self.write_after.take() {
            return (bytes.min(wanted), Err(io::Error::other("the simulated disk failed to write")));
        }
        match &mut self.free {
            Some(free) if *free < wanted as u64 => {
                (std::mem::take(free) as usize, Err(io::ErrorKind::StorageFull.into()))
            }
            Some(free) => {
                *free -= wanted as u64;
                (wanted, Ok(()))
            }
            None => (wanted, Ok(())),
        }
    }

    fn give_back(&mut self, bytes: usize) {
        if let Some(free) = &mut self.free {
            *free += bytes as u64;
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.count_change()?;
        if std::mem::take(&mut self.sync) {
            return Err(io::Error::other("the simulated disk failed to sync"));
        }
        Ok(())
    }

    fn truncate(&mut self) -> io::Result<()> {
        self.count_change()?;
        if std::mem::take(&mut self.truncate) {
            return Err(io::Error::other("the simulated disk failed to truncate"));
        }
        Ok(())
    }
}

impl Content {
    fn sync(&mut self) {
        if !self.lost {
            self.durable.clone_from(&self.bytes);
        }
    }

    /// Any length between the durable and the written one, and each page as it was or as it is; a page that never
    /// arrived reads as zeros.
    fn crash(&mut self, rng: &dyn Rng) {
        let (short, long) =
            (self.durable.len().min(self.bytes.len()), self.durable.len().max(self.bytes.len()));
        let len = short + below(rng, long - short + 1);
        let mut survivor = vec![0; len];
        for (index, page) in survivor.chunks_mut(PAGE).enumerate() {
            let from = if below(rng, 2) == 0 { &self.durable } else { &self.bytes };
            let from = from.get(index * PAGE..).unwrap_or_default();
            let arrived = from.len().min(page.len());
            page[..arrived].copy_from_slice(&from[..arrived]);
        }
        self.bytes = survivor;
        self.durable.clone_from(&self.bytes);
        self.lost = false;
    }
}

impl Disk for SimulatedDisk {
    fn directory(&self) -> &Path {
        Path::new("simulated")
    }

    fn make_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _name: &str) -> io::Result<Option<DiskLock>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(HeldLock { disk: self.clone(), generation: state.generation })))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().entries.keys().cloned().collect())
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        if state.entries.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::<Mutex<Content>>::default();
        state.change(Change::Create(name.to_owned(), Arc::clone(&content)))?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), generation: state.generation, content }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        let content = Arc::clone(state.find(name)?);
        Ok(Box::new(SimulatedFile { disk: self.clone(), generation: state.generation, content }))
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        let mut file = self.open(name)?;
        file.truncate(len)?;
        file.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.find(from)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let bytes = lock(state.find(name)?).bytes.len();
        state.change(Change::Remove(name.to_owned()))?;
        state.faults.give_back(bytes);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        state.faults.sync()?;
        state.changes.clear();
        state.durable_entries = state.entries.clone();
        Ok(())
    }
}

struct HeldLock {
    disk: SimulatedDisk,
    generation: u64,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.generation == self.generation {
            state.locked = false;
        }
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    generation: u64,
    content: Arc<Mutex<Content>>,
}

impl SimulatedFile {
    fn with<T>(&self, work: impl FnOnce(&mut Faults, &mut Content) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.generation != self.generation {
            return Err(io::Error::other("the process that opened the file has ended"));
        }
        work(&mut state.faults, &mut lock(&self.content))
    }
}

impl DiskFile for SimulatedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|faults, content| {
            let (arrived, outcome) = faults.admit(bytes.len());
            content.bytes.extend_from_slice(&bytes[..arrived]);
            outcome
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.with(|faults, content| {
            let outcome = faults.sync();
            content.lost |= outcome.is_err();
            content.sync();
            outcome
        })
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.with(|faults, content| {
            faults.truncate()?;
            let cut = content.bytes.len().saturating_sub(len as usize);
            content.bytes.truncate(len as usize);
            faults.give_back(cut);
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|_, content| {
            let rest = content.bytes.get(offset as usize..).unwrap_or_default();
            let read = rest.len().min(into.len());
            into[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|_, content| Ok(content.bytes.len() as u64))
    }
}

/// A number below `bound`, which is not 0. Not evenly spread, which does not matter here.
fn below(rng: &dyn Rng, bound: usize) -> usize {
    let mut bytes = [0; 8];
    rng.fill(&mut bytes);
    (u64::from_le_bytes(bytes) % bound as u64) as usize
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
