//! A disk of which the writes wait while a test holds them up.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use grantry_persistence::journal::{Disk, DiskFile, DiskLock, SimulatedDisk};
use tokio::sync::Notify;

#[derive(Clone, Default)]
pub struct HeldDisk {
    disk: SimulatedDisk,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
    arrived: Notify,
    writes: AtomicUsize,
}

impl HeldDisk {
    /// Writes wait until [`HeldDisk::release`]. Counting starts again.
    pub fn hold(&self) {
        *self.gate.closed.lock().unwrap() = true;
        self.gate.writes.store(0, Ordering::SeqCst);
    }

    pub fn release(&self) {
        *self.gate.closed.lock().unwrap() = false;
        self.gate.opened.notify_all();
    }

    /// Until the first write after [`HeldDisk::hold`] waits.
    pub async fn wait_until_held(&self) {
        while self.writes() == 0 {
            self.gate.arrived.notified().await;
        }
    }

    pub fn writes(&self) -> usize {
        self.gate.writes.load(Ordering::SeqCst)
    }
}

impl Disk for HeldDisk {
    fn directory(&self) -> &Path {
        self.disk.directory()
    }

    fn make_directory(&self) -> io::Result<()> {
        self.disk.make_directory()
    }

    fn lock(&self, name: &str) -> io::Result<Option<DiskLock>> {
        self.disk.lock(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create_new(name)?;
        Ok(Box::new(HeldFile { file, gate: Arc::clone(&self.gate) }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(name)
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.disk.truncate(name, len)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

struct HeldFile {
    file: Box<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for HeldFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gate.writes.fetch_add(1, Ordering::SeqCst);
        self.gate.arrived.notify_one();
        let closed = self.gate.closed.lock().unwrap();
        drop(self.gate.opened.wait_while(closed, |closed| *closed).unwrap());
        self.file.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}
