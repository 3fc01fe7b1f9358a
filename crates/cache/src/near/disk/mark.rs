//! The mark of a clean stop: a checksum, then the place of every copy as JSON.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::hash::Hash;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::segments::Place;
use super::sync_directory;

const NAME: &str = "clean";
const UNFINISHED_NAME: &str = "clean.unfinished";

/// Reads and removes the mark, the removal being durable before this returns: what is done from here on, the mark does
/// not know. `None` where there is none, or a damaged one.
pub fn take<K: Eq + Hash + DeserializeOwned>(directory: &Path) -> io::Result<Option<HashMap<K, Place>>> {
    let content = match fs::read(directory.join(NAME)) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    forget(directory)?;
    Ok(read(&content))
}

/// Removes the mark, durably, if there is one.
pub fn forget(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(NAME)) {
        Ok(()) => sync_directory(directory),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(error),
    }
}

fn read<K: Eq + Hash + DeserializeOwned>(content: &[u8]) -> Option<HashMap<K, Place>> {
    let (checksum, places) = content.split_first_chunk()?;
    if crc32fast::hash(places) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let places: Vec<(K, Place)> = serde_json::from_slice(places).ok()?;
    Some(places.into_iter().collect())
}

/// Whole or not at all, durably.
pub fn leave<K: Serialize>(directory: &Path, places: &HashMap<K, Place>) -> io::Result<()> {
    let places = serde_json::to_vec(&places.iter().collect::<Vec<_>>())?;
    let unfinished = directory.join(UNFINISHED_NAME);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&crc32fast::hash(&places).to_le_bytes())?;
    file.write_all(&places)?;
    file.sync_all()?;
    fs::rename(unfinished, directory.join(NAME))?;
    sync_directory(directory)
}
