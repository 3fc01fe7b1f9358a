//! A file with any byte changed, or cut at any place: the records in front come back, what is behind is kept, and
//! nothing is made up.

use grantry_persistence::journal::{JournalMode, SimulatedDisk};

use super::{HEADER, RECORD_HEADER, fresh, leave, open};

const FIRST: &str = "00000000000000000001.journal";

struct Written {
    bytes: Vec<u8>,
    payloads: Vec<Vec<u8>>,
    /// Where each record ends.
    ends: Vec<usize>,
}

async fn written() -> Written {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Os);
    // The last but one looks like records itself.
    let payloads = vec![
        b"one".to_vec(),
        Vec::new(),
        vec![0; 40],
        vec![0xff; 20],
        [1, 0, 0, 0].repeat(12),
        b"end".to_vec(),
    ];
    let mut ends = Vec::new();
    let mut end = HEADER;
    for payload in &payloads {
        leave(&journal, payload).await;
        end += RECORD_HEADER + payload.len();
        ends.push(end);
    }
    Written { bytes: disk.content(FIRST).unwrap(), payloads, ends }
}

impl Written {
    /// `bytes` are these, good up to `good` and not behind.
    fn check(&self, bytes: &[u8], good: usize, why: &str) {
        let disk = SimulatedDisk::new();
        disk.put(FIRST, bytes);
        let (_journal, recovery) = open(&disk, JournalMode::Os);
        let cut = match good < HEADER {
            true => 0,
            false => *self.ends.iter().rfind(|&&end| end <= good).unwrap_or(&HEADER),
        };
        let kept: Vec<_> = recovery.findings().iter().filter_map(|finding| finding.kept_as.clone()).collect();
        let whole = self.ends.iter().take_while(|&&end| good >= HEADER && end <= good).count();
        let recovered: Vec<_> = recovery.map(|record| record.unwrap()).collect();
        assert_eq!(recovered.len(), whole, "{why}");
        for ((record, payload), sequence) in recovered.iter().zip(&self.payloads).zip(1..) {
            assert_eq!((record.receipt.sequence(), &record.payload), (sequence, payload), "{why}");
        }
        match kept.first() {
            Some(kept) => assert_eq!(disk.content(kept).unwrap(), bytes[cut..], "{why}"),
            None => assert_eq!(bytes.len(), cut, "{why}: something was cut off and not kept"),
        }
    }
}

#[tokio::test]
async fn any_changed_byte_costs_its_record_and_what_follows_and_nothing_before() {
    let written = written().await;
    for index in 0..written.bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = written.bytes.clone();
            bytes[index] ^= mask;
            written.check(&bytes, index, &format!("byte {index} changed by {mask:#x}"));
        }
    }
}

#[tokio::test]
async fn a_file_cut_at_any_place_gives_what_is_whole() {
    let written = written().await;
    for len in 0..=written.bytes.len() {
        written.check(&written.bytes[..len], len, &format!("cut to {len} bytes"));
    }
}

#[tokio::test]
async fn any_page_that_reads_as_zeros_costs_what_follows_and_nothing_before() {
    let written = written().await;
    for from in 0..written.bytes.len() {
        for len in [1, 16, 64, 512] {
            let mut bytes = written.bytes.clone();
            let to = bytes.len().min(from + len);
            bytes[from..to].fill(0);
            let good = bytes.iter().zip(&written.bytes).position(|(now, then)| now != then);
            written.check(&bytes, good.unwrap_or(bytes.len()), &format!("{len} zeros from {from}"));
        }
    }
}
