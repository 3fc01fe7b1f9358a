//! Reading a segment: its header, then one record after the other, up to the first that is not good.

use std::io;

use super::disk::{DiskFile, read_full};
use super::header::{HEADER, SegmentHeader};
use super::record::{MAX_PAYLOAD, RECORD_HEADER, RecordHeader};

/// Bytes that are read at a time, and more than a record has.
const CHUNK: usize = 256 * 1024;

pub struct Record {
    pub sequence: u64,
    pub payload: Vec<u8>,
}

pub enum Next {
    Record(Record),
    /// Every byte was part of a good record.
    End,
    /// The bytes from here on are no record, or not a whole one.
    Bad,
}

/// Walks over the records of one segment in constant memory.
pub struct SegmentReader {
    window: Window,
    /// A record has a number above this one, which is that of the record before it.
    above: u64,
    /// And below this one, which is the first of the next segment. Together they keep out what a disk might bring back
    /// of an earlier file.
    below: u64,
}

impl SegmentReader {
    /// Reads the bytes of `file` up to `end`. `None` when they do not begin with the header of the segment that starts
    /// with the record `first`.
    pub fn open(
        file: Box<dyn DiskFile>,
        end: u64,
        first: u64,
        below: u64,
    ) -> io::Result<Option<(Self, SegmentHeader)>> {
        let mut window = Window { file, end, offset: 0, buffer: Vec::new(), at: 0 };
        let Some(header) = SegmentHeader::decode(window.peek(HEADER)?) else { return Ok(None) };
        if header.first != first || first == 0 {
            return Ok(None);
        }
        window.skip(HEADER);
        Ok(Some((Self { window, above: first - 1, below }, header)))
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.window.offset
    }

    pub fn next_record(&mut self) -> io::Result<Next> {
        if self.window.peek(1)?.is_empty() {
            return Ok(Next::End);
        }
        let Some((sequence, len)) = self.window.record(self.above, self.below)? else { return Ok(Next::Bad) };
        let payload = self.window.peek(len)?[RECORD_HEADER..].to_vec();
        self.window.skip(len);
        self.above = sequence;
        Ok(Next::Record(Record { sequence, payload }))
    }

    /// Whether good records follow somewhere behind what is bad. Looks at every byte, since where a record begins is
    /// not known without the one before it. What it finds is reported and nothing else: a payload can be made to look
    /// like records, so none is ever taken from there.
    pub fn followed_by_good(self) -> io::Result<bool> {
        let Self { window, above, below } = self;
        window.has_record(above, below)
    }
}

/// Whether there is a good record anywhere in a file whose header cannot be read.
pub fn has_good(file: Box<dyn DiskFile>, end: u64, first: u64, below: u64) -> io::Result<bool> {
    let window = Window { file, end, offset: 0, buffer: Vec::new(), at: 0 };
    window.has_record(first.saturating_sub(1), below)
}

/// The bytes of a file from `offset` up to `end`, of which a bounded number is in memory.
struct Window {
    file: Box<dyn DiskFile>,
    end: u64,
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Window {
    /// The next `want` bytes, or as many as there are.
    fn peek(&mut self, want: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.at < want {
            self.fill(want)?;
        }
        let ahead = &self.buffer[self.at..];
        Ok(&ahead[..want.min(ahead.len())])
    }

    fn skip(&mut self, len: usize) {
        self.at += len;
        self.offset += len as u64;
    }

    fn fill(&mut self, want: usize) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let have = self.buffer.len();
        let from = self.offset + have as u64;
        let ahead = usize::try_from(self.end - from).unwrap_or(usize::MAX);
        self.buffer.resize(have + ahead.min(want.max(CHUNK)), 0);
        let read = read_full(self.file.as_ref(), from, &mut self.buffer[have..])?;
        self.buffer.truncate(have + read);
        Ok(())
    }

    /// The number of the record that begins here and how many bytes it has; `None` when none does.
    fn record(&mut self, above: u64, below: u64) -> io::Result<Option<(u64, usize)>> {
        let Some(header) = RecordHeader::read(self.peek(RECORD_HEADER)?) else { return Ok(None) };
        let (sequence, payload_len) = (header.sequence(), header.payload_len());
        if payload_len > MAX_PAYLOAD || sequence <= above || sequence >= below {
            return Ok(None);
        }
        let len = RECORD_HEADER + payload_len;
        let record = self.peek(len)?;
        let good = record.len() == len && header.fits(&record[RECORD_HEADER..]);
        Ok(good.then_some((sequence, len)))
    }

    fn has_record(mut self, above: u64, below: u64) -> io::Result<bool> {
        // Numbers rise by little, so one that is ahead by more than there are bytes is none: a cheap test that spares
        // most bytes the checksum.
        let below = below.min(above.saturating_add(self.end - self.offset));
        while !self.peek(1)?.is_empty() {
            if self.record(above, below)?.is_some() {
                return Ok(true);
            }
            self.skip(1);
        }
        Ok(false)
    }
}
