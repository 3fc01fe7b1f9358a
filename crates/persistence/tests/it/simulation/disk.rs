//! The disk as one process sees it: once the process has ended, nothing of it reaches the disk any more.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use grantry_persistence::journal::{Disk, DiskFile, DiskLock, SimulatedDisk, inspect};

/// Whether a process still runs.
#[derive(Clone)]
pub struct Pulse(Arc<AtomicBool>);

impl Pulse {
    pub fn start() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub fn stop(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub fn beats(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> io::Result<()> {
        if self.beats() { Ok(()) } else { Err(io::Error::other("the process has ended")) }
    }
}

pub struct ProcessDisk {
    pub disk: SimulatedDisk,
    pub pulse: Pulse,
}

impl Disk for ProcessDisk {
    fn directory(&self) -> &Path {
        self.disk.directory()
    }

    fn make_directory(&self) -> io::Result<()> {
        self.disk.make_directory()
    }

    fn lock(&self, name: &str) -> io::Result<Option<DiskLock>> {
        self.pulse.check()?;
        self.disk.lock(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.pulse.check()?;
        self.disk.list()
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.pulse.check()?;
        self.disk.create_new(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.pulse.check()?;
        self.disk.open(name)
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.pulse.check()?;
        self.disk.truncate(name, len)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.pulse.check()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.pulse.check()?;
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.pulse.check()?;
        self.disk.sync_directory()
    }
}

/// How many records its journal holds.
pub fn records(disk: &SimulatedDisk) -> u64 {
    inspect(disk).unwrap().segments.iter().map(|segment| segment.records).sum()
}

/// The last record of the journal vanishes.
pub fn lose_tail(disk: &SimulatedDisk) {
    let segments = inspect(disk).unwrap().segments;
    if let Some(segment) = segments.iter().rfind(|segment| segment.records > 0)
        && let Some(mut bytes) = disk.content(&segment.name)
    {
        bytes.truncate(bytes.len() - 1);
        disk.put(&segment.name, &bytes);
    }
}
