//! The copies that are on disk, and nothing else of value: any file here may be lost or damaged, and then there is one
//! copy less.
//!
//! ```text
//! DIR/00000000000000000001.copies   a segment: copies as JSON, one behind the other
//! DIR/clean                         where each copy is; its presence says that the last stop was clean
//! ```
//!
//! Where the copies are is kept in memory, with a checksum of each, and is written down only at a clean stop. So an entry
//! that was removed or replaced cannot come back, and after a crash there is nothing to recover. The oldest segment goes
//! when a new one would be too many.
//!
//! Foyer's own disk tier was not taken: it aligns each copy to 4 KiB, and ours have a few hundred bytes; and it drops
//! copies without a word when many are evicted at once.

mod mark;
mod segments;

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::hash::Hash;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::{Counter, counter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::segments::{Place, SEGMENT_SIZE, Segments};

pub use self::mark::forget;

pub struct Disk<K> {
    cache: &'static str,
    directory: PathBuf,
    /// `None` once it is closed.
    open: Mutex<Option<Open<K>>>,
    failures: Counter,
}

struct Open<K> {
    segments: Segments,
    places: HashMap<K, Place>,
}

impl<K: Eq + Hash + Clone + Serialize + DeserializeOwned> Disk<K> {
    /// Takes up what is there if the last stop was clean; else throws it away. Blocks.
    ///
    /// # Errors
    /// A directory that cannot be made, read or written. Damaged content is none.
    pub fn open(cache: &'static str, directory: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let mark = mark::take(&directory)?;
        if mark.is_none() && segments::are_in(&directory)? {
            tracing::warn!(
                cache,
                "the server was not stopped cleanly: what the cache has on disk is thrown away"
            );
        }
        let mut places = mark.unwrap_or_default();
        let wanted = places.values().map(|place: &Place| place.segment);
        let segments = Segments::open(&directory, SEGMENT_SIZE, wanted)?;
        places.retain(|_, place| segments.has(place.segment));
        Ok(Self {
            cache,
            directory,
            open: Mutex::new(Some(Open { segments, places })),
            failures: counter!("grantry_cache_disk_failures_total", "cache" => cache),
        })
    }

    pub fn has(&self, key: &K) -> bool {
        self.lock().as_ref().is_some_and(|open| open.places.contains_key(key))
    }

    /// One write to the page cache. A copy that cannot be written is dropped and counted.
    pub fn put<V: Serialize>(&self, key: &K, value: &V) {
        let put = || -> io::Result<()> {
            let copy = serde_json::to_vec(&(key, value))?;
            let mut open = self.lock();
            let Some(open) = open.as_mut() else { return Ok(()) };
            if open.segments.make_room(&copy)? {
                open.places.retain(|_, place| open.segments.has(place.segment));
            }
            open.places.insert(key.clone(), open.segments.append(&copy)?);
            Ok(())
        };
        if let Err(error) = put() {
            self.remove(key);
            self.failures.increment(1);
            tracing::debug!(cache = self.cache, %error, "a copy cannot be written to disk");
        }
    }

    /// The copy, which is then no longer here. One that is damaged is absent. Blocks.
    pub fn take<V: DeserializeOwned>(&self, key: &K) -> Option<V> {
        let reading = {
            let mut open = self.lock();
            let open = open.as_mut()?;
            let place = open.places.remove(key)?;
            open.segments.reading(place)?
        };
        let (copied, value): (K, V) = serde_json::from_slice(&reading.read()?).ok()?;
        (copied == *key).then_some(value)
    }

    pub fn remove(&self, key: &K) {
        if let Some(open) = self.lock().as_mut() {
            open.places.remove(key);
        }
    }

    /// Makes everything durable and leaves the mark of a clean stop. Blocks.
    pub fn close(&self) {
        let Some(Open { segments, places }) = self.lock().take() else { return };
        if let Err(error) = segments.sync().and_then(|()| mark::leave(&self.directory, &places)) {
            self.failures.increment(1);
            tracing::warn!(cache = self.cache, %error, "what the cache has on disk will be missing at the next start");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open<K>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes durable which files there are, and by what names.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
