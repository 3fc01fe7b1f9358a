//! What was in the journal when it was opened, read from the files as it is asked for: a long journal does not have to
//! fit in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::Receipt;
use super::disk::Disk;
use super::errors::JournalOpenError;
use super::finding::{self, Finding};
use super::header::segment_name;
use super::segment::{Next, Record, SegmentReader};

/// A record that was acknowledged, or at least written, before the journal was opened.
#[derive(Debug)]
pub struct Recovered {
    pub receipt: Receipt,
    pub payload: Vec<u8>,
}

/// The good part of a segment.
#[derive(Debug, Clone, Copy)]
pub struct Remainder {
    pub first: u64,
    pub below: u64,
    pub end: u64,
    pub records: u64,
}

/// The records in order. Those that are not asked for stay in the journal, for the next start. Reading blocks for as
/// long as the disk takes.
pub struct Recovery {
    disk: Arc<dyn Disk>,
    segments: VecDeque<Remainder>,
    reading: Option<Reading>,
    records: u64,
    findings: Vec<Finding>,
}

struct Reading {
    name: String,
    reader: SegmentReader,
    left: u64,
}

impl Recovery {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, segments: VecDeque::new(), reading: None, records: 0, findings: Vec::new() }
    }

    pub(super) fn add(&mut self, segment: Remainder) {
        self.records += segment.records;
        self.segments.push_back(segment);
    }

    pub(super) fn report(&mut self, finding: Option<Finding>) {
        self.findings.extend(finding);
    }

    /// How many records there were when the journal was opened.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What was cut off and kept aside.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(super) fn next_record(&mut self) -> Result<Option<Record>, JournalOpenError> {
        loop {
            let Some(reading) = &mut self.reading else {
                let Some(segment) = self.segments.pop_front() else { return Ok(None) };
                self.reading = self.start(segment)?;
                continue;
            };
            if reading.left == 0 {
                self.reading = None;
                continue;
            }
            let unread = JournalOpenError::io(self.disk.directory(), &reading.name, "read");
            match reading.reader.next_record().map_err(unread)? {
                Next::Record(record) => {
                    reading.left -= 1;
                    return Ok(Some(record));
                }
                Next::End | Next::Bad => return Err(changed(self.disk.as_ref(), &reading.name)),
            }
        }
    }

    fn start(&self, segment: Remainder) -> Result<Option<Reading>, JournalOpenError> {
        if segment.records == 0 {
            return Ok(None);
        }
        let name = segment_name(segment.first);
        let (file, _) = finding::open(self.disk.as_ref(), &name)?;
        let opened = SegmentReader::open(file, segment.end, segment.first, segment.below);
        let opened = opened.map_err(JournalOpenError::io(self.disk.directory(), &name, "read"))?;
        let Some((reader, _)) = opened else { return Err(changed(self.disk.as_ref(), &name)) };
        Ok(Some(Reading { name, reader, left: segment.records }))
    }
}

impl Iterator for Recovery {
    type Item = Result<Recovered, JournalOpenError>;

    /// Ends with the first error: what comes after it is out of reach.
    fn next(&mut self) -> Option<Self::Item> {
        match self.next_record() {
            Ok(record) => {
                let Record { sequence, payload } = record?;
                Some(Ok(Recovered { receipt: Receipt(sequence), payload }))
            }
            Err(error) => {
                self.segments.clear();
                self.reading = None;
                Some(Err(error))
            }
        }
    }
}

fn changed(disk: &dyn Disk, name: &str) -> JournalOpenError {
    let source =
        io::Error::new(io::ErrorKind::InvalidData, "it is not what it was when the journal was opened");
    JournalOpenError::io(disk.directory(), name, "read")(source)
}
