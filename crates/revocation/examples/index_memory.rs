//! What a subscriber's index costs: `cargo run --release -p grantry-revocation --example index_memory [ENTRIES]...`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures, and says what it has measured"
)]

use std::time::{Duration, Instant};

use grantry_protocol::{Epoch, LogKind, Position, Seen, Timestamp, TokenId};
use grantry_revocation::{FeedEntry, FeedIndex, FeedKey, FeedPage, FeedPageKind};
use sha2::{Digest, Sha256};

const KEEP_UNTIL: Timestamp = Timestamp::from_secs(2_000_000_000);

fn main() {
    let mut sizes: Vec<u64> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000];
    }
    for kind in [LogKind::Token, LogKind::Grant] {
        for size in &sizes {
            measure(kind, *size);
        }
    }
}

fn measure(kind: LogKind, size: u64) {
    let before = resident_bytes();
    let mut index = FeedIndex::default();
    let mut slowest = Duration::ZERO;
    // In pages, so that what is measured is the index.
    for first in (0..size).step_by(1_000) {
        let entries = (first..size.min(first + 1_000)).map(|number| entry(kind, number)).collect();
        let page = FeedPage {
            kind: FeedPageKind::Snapshot,
            head: at(size),
            age: Duration::ZERO,
            max_staleness: Duration::from_secs(1),
            now: Timestamp::from_secs(0),
            entries,
        };
        let started = Instant::now();
        let _ = index.apply(&page);
        slowest = slowest.max(started.elapsed());
    }
    let bytes = resident_bytes().saturating_sub(before);
    let entry = serde_json::to_string(&entry(kind, size)).unwrap_or_default().len() + 1;
    let started = Instant::now();
    index.forget(Timestamp::from_secs(1));
    let forget = started.elapsed();
    println!(
        "{kind:?} {:>9} entries: {:>5.1} MB, {:>4.1} bytes an entry; slowest page of 1,000 {slowest:.1?}; forget {forget:.1?}; \
         a snapshot has {:.1} MB",
        index.len(),
        bytes as f64 / 1e6,
        bytes as f64 / size as f64,
        (entry as u64 * size) as f64 / 1e6,
    );
}

const fn at(position: u64) -> Seen {
    Seen { epoch: Epoch(1), position: Position(position) }
}

fn entry(kind: LogKind, number: u64) -> FeedEntry {
    // As the ids of one evening: the first bytes are the time.
    let made = TokenId::lower_bound(Timestamp::from_millis(1_700_000_000_000 + (number / 10) as i64));
    let mut key = *made.as_bytes();
    key[6..].copy_from_slice(&Sha256::digest(number.to_be_bytes())[..10]);
    FeedEntry { at: at(number), kind, key: FeedKey::from_bytes(key), keep_until: KEEP_UNTIL }
}

/// `/proc/self/statm`, in pages of 4096 bytes.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}
