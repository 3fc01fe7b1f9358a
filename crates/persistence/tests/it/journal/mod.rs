//! The journal, mostly on the disk that loses power: one module a promise.

mod appending;
mod crashes;
mod damage;
mod draining;
mod failing;
mod files;
mod held_disk;
mod inspecting;
mod opening;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grantry_persistence::journal::{
    Disk, Journal, JournalMode, JournalOptions, Receipt, Recovered, Recovery, SimulatedDisk,
};
use grantry_protocol::Rng;
use grantry_store::NodeId;

pub const NODE: NodeId = NodeId([7; 16]);
/// Bytes in front of the first record, and in front of each payload.
pub const HEADER: usize = 40;
pub const RECORD_HEADER: usize = 16;

/// Small segments, and a disk that is tried again at once.
pub fn options(mode: JournalMode) -> JournalOptions {
    JournalOptions { segment_bytes: 4096, retry_period: Duration::ZERO, ..JournalOptions::new(mode) }
}

pub fn open(disk: &SimulatedDisk, mode: JournalMode) -> (Journal, Recovery) {
    open_with(disk, options(mode))
}

pub fn open_with(disk: &SimulatedDisk, options: JournalOptions) -> (Journal, Recovery) {
    Journal::inline(Arc::new(disk.clone()), NODE, options).unwrap()
}

/// Opens a journal that is empty.
pub fn fresh(disk: &SimulatedDisk, mode: JournalMode) -> Journal {
    let (journal, recovery) = open(disk, mode);
    assert_eq!(recovery.records(), 0);
    journal
}

pub async fn append(journal: &Journal, payload: &[u8]) -> Receipt {
    journal.append(payload.to_vec()).await.unwrap()
}

/// Appends a record that nobody will drain.
pub async fn leave(journal: &Journal, payload: &[u8]) {
    drop(append(journal, payload).await);
}

/// What comes back, as text.
pub fn texts(recovery: Recovery) -> Vec<String> {
    recovery.map(|record| String::from_utf8(record.unwrap().payload).unwrap()).collect()
}

pub fn receipts(recovery: Recovery) -> Vec<Receipt> {
    recovery.map(|record| record.unwrap()).map(|Recovered { receipt, .. }| receipt).collect()
}

/// The names of the segments, in order.
pub fn segments(disk: &dyn Disk) -> Vec<String> {
    let mut names = disk.list().unwrap();
    names.retain(|name| name.ends_with(".journal"));
    names.sort_unstable();
    names
}

pub fn set_aside(disk: &dyn Disk) -> Vec<String> {
    let mut names = disk.list().unwrap();
    names.retain(|name| name.contains(".torn-"));
    names.sort_unstable();
    names
}

/// SplitMix64.
pub struct SeededRng(AtomicU64);

impl SeededRng {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Rng for SeededRng {
    fn fill(&self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            let mut mixed = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}
