//! The files that copies are in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Bytes.
pub const SEGMENT_SIZE: u64 = 16 * 1024 * 1024;
/// With [`SEGMENT_SIZE`] this bounds a cache on disk to 256 MiB: half a million copies of 500 bytes.
const MAX_SEGMENTS: usize = 16;
const SUFFIX: &str = ".copies";

/// Where a copy is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Place {
    pub segment: u64,
    offset: u64,
    len: u32,
    checksum: u32,
}

pub struct Segments {
    directory: PathBuf,
    segment_size: u64,
    files: BTreeMap<u64, Arc<File>>,
    /// The one that is appended to, and its length.
    current: u64,
    len: u64,
}

/// A copy that is about to be read. The file is there for as long as this is, though its name may go.
pub struct Reading {
    file: Arc<File>,
    place: Place,
}

impl Segments {
    /// Opens those that are `wanted`, as far as they are there, and removes all others.
    pub fn open(directory: &Path, segment_size: u64, wanted: impl Iterator<Item = u64>) -> io::Result<Self> {
        let wanted: BTreeSet<u64> = wanted.collect();
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let Some(number) = entry.file_name().to_str().and_then(number) else { continue };
            if wanted.contains(&number) {
                files.insert(number, Arc::new(File::open(entry.path())?));
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        let current = files.keys().next_back().map_or(1, |last| last + 1);
        let mut segments = Self { directory: directory.to_owned(), segment_size, files, current, len: 0 };
        segments.create(current)?;
        segments.remove_oldest()?;
        Ok(segments)
    }

    pub fn has(&self, segment: u64) -> bool {
        self.files.contains_key(&segment)
    }

    /// To be called before [`Self::append`]. Whether a segment had to go, which [`Self::has`] then denies.
    pub fn make_room(&mut self, copy: &[u8]) -> io::Result<bool> {
        if self.len + copy.len() as u64 <= self.segment_size {
            return Ok(false);
        }
        self.create(self.current + 1)?;
        self.remove_oldest()
    }

    fn remove_oldest(&mut self) -> io::Result<bool> {
        let mut removed = false;
        while self.files.len() > MAX_SEGMENTS
            && let Some((oldest, _)) = self.files.pop_first()
        {
            fs::remove_file(self.path(oldest))?;
            removed = true;
        }
        Ok(removed)
    }

    pub fn append(&mut self, copy: &[u8]) -> io::Result<Place> {
        let len = u32::try_from(copy.len()).map_err(io::Error::other)?;
        let place = Place { segment: self.current, offset: self.len, len, checksum: crc32fast::hash(copy) };
        if let Some(file) = self.files.get(&self.current) {
            file.write_all_at(copy, place.offset)?;
        }
        self.len += u64::from(len);
        Ok(place)
    }

    pub fn reading(&self, place: Place) -> Option<Reading> {
        Some(Reading { file: Arc::clone(self.files.get(&place.segment)?), place })
    }

    pub fn sync(&self) -> io::Result<()> {
        self.files.values().try_for_each(|file| file.sync_data())
    }

    fn create(&mut self, number: u64) -> io::Result<()> {
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.path(number))?;
        self.files.insert(number, Arc::new(file));
        self.current = number;
        self.len = 0;
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}{SUFFIX}"))
    }
}

/// Whether there are any.
pub fn are_in(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        if entry?.file_name().to_str().and_then(number).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Reading {
    /// `None` if it cannot be read or is damaged.
    pub fn read(&self) -> Option<Vec<u8>> {
        let mut copy = vec![0; usize::try_from(self.place.len).ok()?];
        self.file.read_exact_at(&mut copy, self.place.offset).ok()?;
        (crc32fast::hash(&copy) == self.place.checksum).then_some(copy)
    }
}

fn number(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_segment_goes_when_there_would_be_too_many() {
        let directory = tempfile::tempdir().unwrap();
        let mut segments = Segments::open(directory.path(), 8, std::iter::empty()).unwrap();
        let mut places = Vec::new();
        for copy in 0..2 * MAX_SEGMENTS as u64 + 2 {
            let copy = copy.to_le_bytes();
            assert_eq!(segments.make_room(&copy).unwrap(), places.len() >= MAX_SEGMENTS);
            places.push(segments.append(&copy).unwrap());
        }
        let (gone, kept) = places.split_at(places.len() - MAX_SEGMENTS);
        assert!(gone.iter().all(|place| segments.reading(*place).is_none()));
        assert!(kept.iter().all(|place| segments.reading(*place).unwrap().read().is_some()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), MAX_SEGMENTS);
    }

    #[test]
    fn reopening_does_not_add_segments_beyond_the_bound() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 * MAX_SEGMENTS {
            Segments::open(directory.path(), 8, 1..=2 * MAX_SEGMENTS as u64).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), MAX_SEGMENTS);
    }
}
