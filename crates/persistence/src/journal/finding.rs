//! The bytes at the end of a segment that are no records: why they are there and how they are kept.

use std::io;

use super::disk::{Disk, DiskFile, read_full};
use super::errors::JournalOpenError;
use super::header::{HEADER, aside_name};
use super::log::is_full;
use super::segment::{Next, SegmentReader, has_good};

/// Bytes that are copied at a time.
const CHUNK: usize = 256 * 1024;
/// Names that are tried for one end. More than one is taken only when earlier starts were killed over the same end.
const MAX_COPIES: u32 = 100;

/// What is wrong with the end of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// No good record follows: a crash while it was being written, which is normal.
    Torn,
    /// Good records follow the first bad one. After a crash of the machine that can be a group of which the later pages
    /// reached the disk and the earlier did not, so nothing that was acknowledged; otherwise the disk lost something.
    Damaged,
}

/// The end of a segment, from its first bad byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    /// The name of the segment's file.
    pub segment: String,
    /// Where the end begins: 0 when already the header cannot be read.
    pub offset: u64,
    pub bytes: u64,
    /// The file that has the bytes now; `None` when they are where they were.
    pub kept_as: Option<String>,
}

/// What a segment has, from its first byte to its last.
pub struct Scan {
    pub records: u64,
    /// The number of the last good record.
    pub last: Option<u64>,
    pub first: Option<u64>,
    /// Where the good ones end.
    pub good: u64,
    pub finding: Option<Finding>,
}

/// Reads the whole segment that starts with the record `first`; the next one starts with `below`.
pub fn scan(disk: &dyn Disk, segment: &str, first: u64, below: u64) -> Result<Scan, JournalOpenError> {
    let unread = || JournalOpenError::io(disk.directory(), segment, "read");
    let (file, end) = open(disk, segment)?;
    let mut scan = Scan { records: 0, first: None, last: None, good: 0, finding: None };
    let found = |kind, offset| Finding {
        kind,
        segment: segment.to_owned(),
        offset,
        bytes: end - offset,
        kept_as: None,
    };
    let Some((mut reader, _)) = SegmentReader::open(file, end, first, below).map_err(unread())? else {
        let (file, _) = open(disk, segment)?;
        let kind = kind(has_good(file, end, first, below).map_err(unread())?);
        scan.finding = Some(found(kind, 0));
        return Ok(scan);
    };
    scan.good = HEADER as u64;
    loop {
        match reader.next_record().map_err(unread())? {
            Next::Record(record) => {
                scan.records += 1;
                scan.first = scan.first.or(Some(record.sequence));
                scan.last = Some(record.sequence);
                scan.good = reader.offset();
            }
            Next::End => return Ok(scan),
            Next::Bad => break,
        }
    }
    let kind = kind(reader.followed_by_good().map_err(unread())?);
    scan.finding = Some(found(kind, scan.good));
    Ok(scan)
}

/// Cuts the end off its segment and keeps it in a file of its own; a segment without a header is kept whole. A kill at
/// any point leaves the end in its segment, in its own file, or in both. Where the disk has no room for the copy, the end
/// stays in its segment, which nobody appends to: a full disk must not keep a server from starting.
pub fn set_aside(disk: &dyn Disk, finding: &mut Finding) -> Result<(), JournalOpenError> {
    let failed = |name: &str, doing| JournalOpenError::io(disk.directory(), name, doing);
    let segment = finding.segment.as_str();
    let names = disk.list().map_err(failed("", "listed"))?;
    let aside = (0..MAX_COPIES)
        .map(|copy| aside_name(segment, finding.offset, copy))
        .find(|name| !names.contains(name))
        .ok_or_else(|| failed(segment, "set aside")(std::io::Error::other("too many files of that name")))?;
    if finding.offset == 0 {
        disk.rename(segment, &aside).map_err(failed(segment, "set aside"))?;
        disk.sync_directory().map_err(failed("", "synced"))?;
    } else {
        match copy_end(disk, finding, &aside) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                let _ = disk.remove(&aside);
                return Ok(());
            }
            Err(error) => {
                return Err(failed(&aside, "written, to set aside the torn end of a segment")(error));
            }
        }
        disk.truncate(segment, finding.offset).map_err(failed(segment, "cut"))?;
    }
    finding.kept_as = Some(aside);
    Ok(())
}

fn copy_end(disk: &dyn Disk, finding: &Finding, aside: &str) -> io::Result<()> {
    let from = disk.open(&finding.segment)?;
    let (mut offset, end) = (finding.offset, from.size()?);
    let mut chunk = vec![0; CHUNK];
    let mut to = disk.create_new(aside)?;
    while offset < end {
        let read = read_full(from.as_ref(), offset, &mut chunk)?;
        if read == 0 {
            break;
        }
        to.write_all(&chunk[..read])?;
        offset += read as u64;
    }
    to.sync_data()?;
    disk.sync_directory()
}

pub fn open(disk: &dyn Disk, segment: &str) -> Result<(Box<dyn DiskFile>, u64), JournalOpenError> {
    let opened = disk.open(segment).and_then(|file| file.size().map(|size| (file, size)));
    opened.map_err(JournalOpenError::io(disk.directory(), segment, "opened"))
}

fn kind(followed_by_good: bool) -> FindingKind {
    if followed_by_good { FindingKind::Damaged } else { FindingKind::Torn }
}
