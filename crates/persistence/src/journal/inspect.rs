//! Looking at a journal without touching it: that of a running node, or a copy of a dead machine's.

use std::sync::Arc;

use grantry_store::NodeId;

use super::disk::Disk;
use super::errors::JournalOpenError;
use super::finding::{self, Finding};
use super::header::{first_of_aside, segment_name};
use super::node;
use super::open::{header, segments};
use super::recovery::{Recovered, Recovery, Remainder};

/// What a directory holds. Which records were drained is not written down, so all that are there are counted.
#[derive(Debug)]
pub struct Inspection {
    /// `None` when the directory has not been opened as a journal, or its file `node` is not good.
    pub node: Option<NodeId>,
    /// In the order of their numbers.
    pub segments: Vec<InspectedSegment>,
    /// What earlier starts cut off and kept.
    pub set_aside: Vec<SetAside>,
}

#[derive(Debug)]
pub struct InspectedSegment {
    /// Of its file.
    pub name: String,
    /// `None` when the header cannot be read.
    pub node: Option<NodeId>,
    pub bytes: u64,
    pub records: u64,
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// What would be cut off if the journal were opened now. A running node's last segment may have a torn end, which
    /// is a group that is being written.
    pub finding: Option<Finding>,
    good: Remainder,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    pub name: String,
    pub bytes: u64,
}

/// Reads every segment once. Takes no lock and changes nothing.
pub fn inspect(disk: &dyn Disk) -> Result<Inspection, JournalOpenError> {
    let mut names = disk.list().map_err(JournalOpenError::io(disk.directory(), "", "listed"))?;
    names.sort_unstable();
    let firsts = segments(&names);
    let node = match node::read(disk) {
        Err(JournalOpenError::InvalidNode { .. }) => None,
        node => node?,
    };
    let mut inspection = Inspection { node, segments: Vec::new(), set_aside: Vec::new() };
    for (index, &first) in firsts.iter().enumerate() {
        let below = firsts.get(index + 1).copied().unwrap_or(u64::MAX);
        match segment(disk, first, below) {
            Ok(segment) => inspection.segments.push(segment),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    for name in names.into_iter().filter(|name| first_of_aside(name).is_some()) {
        let (_, bytes) = finding::open(disk, &name)?;
        inspection.set_aside.push(SetAside { name, bytes });
    }
    Ok(inspection)
}

impl InspectedSegment {
    /// The number and the payload of each good record, in order.
    pub fn payloads(
        &self,
        disk: Arc<dyn Disk>,
    ) -> impl Iterator<Item = Result<(u64, Vec<u8>), JournalOpenError>> + use<> {
        let mut recovery = Recovery::new(disk);
        recovery.add(self.good);
        recovery.map(|record| record.map(|Recovered { receipt, payload }| (receipt.sequence(), payload)))
    }
}

fn segment(disk: &dyn Disk, first: u64, below: u64) -> Result<InspectedSegment, JournalOpenError> {
    let name = segment_name(first);
    let header = header(disk, first)?;
    let scan = finding::scan(disk, &name, first, below)?;
    let bytes = scan.good + scan.finding.as_ref().map_or(0, |finding| finding.bytes);
    Ok(InspectedSegment {
        name,
        node: header.map(|header| header.node),
        bytes,
        records: scan.records,
        first: scan.first,
        last: scan.last,
        good: Remainder { first, below, end: scan.good, records: scan.records },
        finding: scan.finding,
    })
}

/// A running node removed it since the directory was listed.
fn is_gone(error: &JournalOpenError) -> bool {
    matches!(error, JournalOpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}
