//! The rows that were read at one instant, and what the changes so far have made of them. Whoever asks for a row that was
//! not read is told so, and asked again once it was: nothing has to be said beforehand about which rows matter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use grantry_protocol::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::errors::{Cause, Error};
use crate::names::{Key, Names};

/// The clean-up comes first, where it runs.
const MARGIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub enum RowError {
    /// It was noted which row is needed.
    Unread,
    Failed(Error),
}

impl From<Error> for RowError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub type RowResult<T> = Result<T, RowError>;

/// A row's new value, none to remove it, and how long it is kept.
pub struct Written {
    pub value: Option<Vec<u8>>,
    pub keep: Option<Duration>,
}

pub struct Rows {
    pub names: Names,
    pub now: Timestamp,
    /// How long what is over stays to be looked at.
    pub retention: Duration,
    read: HashMap<Key, Option<Vec<u8>>>,
    unread: BTreeSet<Key>,
    written: BTreeMap<Key, Written>,
    commands: Vec<Vec<Vec<u8>>>,
    indexes: BTreeSet<Key>,
}

impl Rows {
    pub fn new(
        names: Names,
        now: Timestamp,
        retention: Duration,
        read: HashMap<Key, Option<Vec<u8>>>,
    ) -> Self {
        Self {
            names,
            now,
            retention,
            read,
            unread: BTreeSet::new(),
            written: BTreeMap::new(),
            commands: Vec::new(),
            indexes: BTreeSet::new(),
        }
    }

    pub fn get<T: DeserializeOwned>(&mut self, key: Key) -> RowResult<Option<T>> {
        match self.bytes(key)? {
            None => Ok(None),
            Some(value) => Ok(Some(decode(value)?)),
        }
    }

    pub fn exists(&mut self, key: Key) -> RowResult<bool> {
        Ok(self.bytes(key)?.is_some())
    }

    fn bytes(&mut self, key: Key) -> RowResult<Option<&[u8]>> {
        if let Some(written) = self.written.get(&key) {
            return Ok(written.value.as_deref());
        }
        if let Some(read) = self.read.get(&key) {
            return Ok(read.as_deref());
        }
        self.unread.insert(key);
        Err(RowError::Unread)
    }

    pub fn put<T: Serialize>(&mut self, key: Key, value: &T, keep: Option<Duration>) -> RowResult<()> {
        let value = serde_json::to_vec(value)
            .map_err(|error| Error::new(Cause::Rejected, format!("it cannot be written: {error}")))?;
        self.written.insert(key, Written { value: Some(value), keep });
        Ok(())
    }

    /// Until some time after `end`: the clean-up looks at what it removes, and the clocks of a test stand still.
    pub fn keep_until(&self, end: Timestamp) -> Option<Duration> {
        Some(end.since(self.now) + self.retention + MARGIN)
    }

    pub fn remove(&mut self, key: Key) {
        self.written.insert(key, Written { value: None, keep: None });
    }

    /// Something that is done to an index, whatever it holds.
    pub fn command(&mut self, name: &str, index: Key, arguments: &[&[u8]]) {
        let mut words = vec![name.as_bytes().to_vec(), index.clone()];
        words.extend(arguments.iter().map(|argument| argument.to_vec()));
        self.indexes.insert(index);
        self.commands.push(words);
    }

    pub fn has_command(&self, name: &str) -> bool {
        self.commands.iter().any(|words| words[0] == name.as_bytes())
    }

    /// What is missing to decide.
    pub fn into_unread(self) -> BTreeSet<Key> {
        self.unread
    }

    pub fn is_changed(&self) -> bool {
        !self.written.is_empty() || !self.commands.is_empty()
    }

    /// The keys and arguments of the script that commits this.
    pub fn commit(&self, mark: Key) -> (Vec<Key>, Vec<Vec<u8>>) {
        let mut keys = vec![mark];
        let mut arguments: Vec<Vec<u8>> = [self.read.len(), self.written.len(), self.commands.len()]
            .map(|count| count.to_string().into_bytes())
            .to_vec();
        for (key, value) in &self.read {
            keys.push(key.clone());
            arguments.push(value.clone().unwrap_or_default());
        }
        for (key, written) in &self.written {
            keys.push(key.clone());
            arguments.push(written.value.clone().unwrap_or_default());
            let keep = written.keep.map_or(0, |keep| keep.as_millis().max(1));
            arguments.push(keep.to_string().into_bytes());
        }
        for words in &self.commands {
            arguments.push(words.len().to_string().into_bytes());
            arguments.extend(words.iter().cloned());
        }
        keys.extend(self.indexes.iter().cloned());
        (keys, arguments)
    }
}

pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    // The text is not repeated: it is a row.
    serde_json::from_slice(value).map_err(|error| {
        Error::new(Cause::Corrupt, format!("a row in Redis cannot be read: {:?}", error.classify()))
    })
}
