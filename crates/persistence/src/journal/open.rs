//! Opening a directory, step by step. Nothing is changed before it is clear that the directory is ours.
//!
//! 1. Lock it.
//! 2. Find out whose it is: the file `node`, else the headers of its segments, else the id that was handed in.
//! 3. Refuse segments of another node or of a newer format.
//! 4. Read every segment to its end. What is no record is cut off and kept aside.
//! 5. Go on behind the highest number that any file tells of, in a segment of its own.

use std::sync::Arc;

use grantry_store::NodeId;
use metrics::counter;

use super::disk::{Disk, DiskLock, read_full};
use super::errors::JournalOpenError;
use super::finding::{self, Finding, FindingKind, Scan};
use super::header::{HEADER, SegmentHeader, VERSION, first_of_aside, first_of_name, segment_name};
use super::ledger::Ledger;
use super::log::Log;
use super::node;
use super::options::JournalOptions;
use super::recovery::{Recovery, Remainder};

const LOCK: &str = "lock";

pub struct Opened {
    pub log: Log,
    pub ledger: Arc<Ledger>,
    pub node: NodeId,
    pub recovery: Recovery,
}

pub fn open(
    disk: Arc<dyn Disk>,
    fresh_node: NodeId,
    options: JournalOptions,
) -> Result<Opened, JournalOpenError> {
    let lock = lock(disk.as_ref())?;
    let names = list(disk.as_ref())?;
    let firsts = segments(&names);
    let node = own(disk.as_ref(), &firsts, fresh_node)?;

    let ledger = Arc::new(Ledger::default());
    let mut recovery = Recovery::new(Arc::clone(&disk));
    // A number that was used is never used again, so that no file is ever taken for another.
    let mut highest = names.iter().filter_map(|name| first_of_aside(name)).max().unwrap_or(0);
    for (index, &first) in firsts.iter().enumerate() {
        let below = firsts.get(index + 1).copied().unwrap_or(u64::MAX);
        let scan = read(disk.as_ref(), first, below)?;
        highest = highest.max(scan.last.unwrap_or(first));
        if scan.good > 0 {
            ledger.open(first, scan.good, scan.records);
            recovery.add(Remainder { first, below, end: scan.good, records: scan.records });
        }
        recovery.report(scan.finding);
    }
    let log = Log::new(disk, lock, options, node, Arc::clone(&ledger), highest.saturating_add(1));
    Ok(Opened { log, ledger, node, recovery })
}

/// Steps 1 to 3 alone, for a node that keeps its name and no journal.
pub fn claim(disk: &dyn Disk, fresh_node: NodeId) -> Result<(NodeId, DiskLock), JournalOpenError> {
    let lock = lock(disk)?;
    let firsts = segments(&list(disk)?);
    Ok((own(disk, &firsts, fresh_node)?, lock))
}

fn lock(disk: &dyn Disk) -> Result<DiskLock, JournalOpenError> {
    let failed = |name, doing| JournalOpenError::io(disk.directory(), name, doing);
    disk.make_directory().map_err(failed("", "made"))?;
    let lock = disk.lock(LOCK).map_err(failed(LOCK, "locked"))?;
    lock.ok_or_else(|| JournalOpenError::Locked { directory: disk.directory().to_owned() })
}

fn list(disk: &dyn Disk) -> Result<Vec<String>, JournalOpenError> {
    disk.list().map_err(JournalOpenError::io(disk.directory(), "", "listed"))
}

/// The numbers of the segments' first records, in order.
pub fn segments(names: &[String]) -> Vec<u64> {
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| first_of_name(name)).collect();
    firsts.sort_unstable();
    firsts
}

/// `None` for a header that cannot be read.
pub fn header(disk: &dyn Disk, first: u64) -> Result<Option<SegmentHeader>, JournalOpenError> {
    let name = segment_name(first);
    let (file, _) = finding::open(disk, &name)?;
    let mut bytes = [0; HEADER];
    let read = read_full(file.as_ref(), 0, &mut bytes);
    let len = read.map_err(JournalOpenError::io(disk.directory(), &name, "read"))?;
    Ok(SegmentHeader::decode(&bytes[..len]))
}

/// The node that the directory belongs to, once nothing in it says otherwise.
fn own(disk: &dyn Disk, firsts: &[u64], fresh: NodeId) -> Result<NodeId, JournalOpenError> {
    let recorded = node::read(disk)?;
    let mut node = recorded;
    for &first in firsts {
        let Some(header) = header(disk, first)? else { continue };
        let path = || disk.directory().join(segment_name(first));
        if header.version != VERSION {
            return Err(JournalOpenError::NewerFormat { path: path(), version: header.version });
        }
        let node = *node.get_or_insert(header.node);
        if header.node != node {
            let (segment_node, node) = (node::hex(header.node), node::hex(node));
            return Err(JournalOpenError::ForeignSegment { path: path(), segment_node, node });
        }
    }
    let node = node.unwrap_or(fresh);
    if recorded.is_none() {
        node::write(disk, node)?;
    }
    Ok(node)
}

fn read(disk: &dyn Disk, first: u64, below: u64) -> Result<Scan, JournalOpenError> {
    let name = segment_name(first);
    let mut scan = finding::scan(disk, &name, first, below)?;
    match &mut scan.finding {
        // Made and never written: there is nothing to keep.
        Some(finding) if finding.offset + finding.bytes == 0 => {
            disk.remove(&name).map_err(JournalOpenError::io(disk.directory(), &name, "removed"))?;
            scan.finding = None;
        }
        Some(finding) => {
            finding::set_aside(disk, finding)?;
            report(finding);
        }
        None => {}
    }
    Ok(scan)
}

fn report(finding: &Finding) {
    let Finding { kind, segment, offset, bytes, kept_as } = finding;
    let kept_as = kept_as.as_deref().unwrap_or("nothing: the disk has no room, and they stay where they are");
    match kind {
        FindingKind::Torn => {
            counter!("grantry_journal_torn_total").increment(1);
            tracing::warn!(
                segment,
                offset,
                bytes,
                kept_as,
                "the end of a journal segment was not written whole, as is normal after a crash; {bytes} bytes are \
                 kept as {kept_as}"
            );
        }
        FindingKind::Damaged => {
            counter!("grantry_journal_damaged_total").increment(1);
            tracing::error!(
                segment,
                offset,
                bytes,
                kept_as,
                "a journal segment is damaged: good records follow a bad one; {bytes} bytes are kept as {kept_as}"
            );
        }
    }
}
