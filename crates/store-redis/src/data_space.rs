//! Copies for all nodes, as the keys `NAME:copy:KIND:KEY`. Each is where Redis wants it: there is nothing that would have to
//! be changed together.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use grantry_store::{ClusterId, CopyKind, DataSpace, Precedence, Replicas, Result, SharedCopy, StoreError};
use redis::cluster_routing::Slot;
use redis::{Pipeline, Value};

use crate::errors::{Cause, Error};
use crate::link::{self, Kind, Links};
use crate::options::RedisOptions;

/// How copies are written. Nodes that write them otherwise must not meet.
const SCHEMA: &str = "1";
/// What is sent to a Cluster at the same time.
const AT_ONCE: usize = 64;
/// Values are compared as text; those that come here are ids in hexadecimal digits.
const PUT_GREATEST: &str = "\
    local present = redis.call('GET', KEYS[1]) \
    if present and present > ARGV[1] then return 0 end \
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
    return 1";

/// Why a node cannot use the data space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error(
        "the data space cannot be reached at {addresses}: {error}; see to it that Redis or Valkey runs there, correct \
         data_space.discovery, or remove it to go without a data space"
    )]
    Unreachable { addresses: String, error: Error },
    #[error("data_space: {0}")]
    Refused(Error),
    #[error(
        "data_space.name is \"{name}\", and at {addresses} that name belongs to the nodes of another store (cluster {found}; \
         this one is {own}); give this one another data_space.name, or, if the other is gone for good, remove the key \
         {name}:meta there"
    )]
    OtherCluster { addresses: String, name: String, found: String, own: ClusterId },
    #[error(
        "data_space.name is \"{name}\", and at {addresses} the copies of that name were written by another version of Grantry \
         (schema {found}; this one has {SCHEMA}); give the nodes of this version another data_space.name until all have it"
    )]
    OtherSchema { addresses: String, name: String, found: String },
    #[error(
        "data_space.name is \"{name}\", and at {addresses} the key {name}:meta is not Grantry's; give the nodes another \
         data_space.name"
    )]
    NotOurs { addresses: String, name: String },
}

/// One Redis or Valkey, shared by the nodes of one store.
pub struct RedisDataSpace {
    links: Arc<Links>,
    name: String,
    cluster: ClusterId,
}

impl RedisDataSpace {
    /// Claims the name for the store's nodes, where it is free.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(options: &RedisOptions, cluster: ClusterId) -> std::result::Result<Self, JoinError> {
        let links = Links::open(options).await.map_err(|error| match error.cause() {
            Cause::Rejected => JoinError::Refused(error),
            _ => JoinError::Unreachable { addresses: link::addresses(options), error },
        })?;
        let space = Self { links, name: options.name.clone(), cluster };
        space.claim().await?;
        space.links.watch_replicas();
        Ok(space)
    }

    fn meta(&self) -> String {
        format!("{}:meta", self.name)
    }

    fn key(&self, kind: CopyKind, key: &str) -> String {
        format!("{}:copy:{}:{key}", self.name, kind.as_str())
    }

    /// Whose it is after this.
    async fn claim(&self) -> std::result::Result<(), JoinError> {
        let (meta, own) = (self.meta(), format!("{SCHEMA} {}", self.cluster));
        let (addresses, name) = (self.links.addresses(), self.name.clone());
        let unreachable = |error| JoinError::Unreachable { addresses: addresses.clone(), error };
        let mut look = Pipeline::new();
        look.get(&meta);
        let (found,): (Option<String>,) =
            self.links.read(meta.as_bytes(), &look).await.map_err(|error| match error.cause() {
                Cause::Corrupt => JoinError::NotOurs { addresses: addresses.clone(), name: name.clone() },
                _ => unreachable(error),
            })?;
        let found = match found {
            Some(found) => found,
            None => {
                let mut claim = Pipeline::new();
                claim.set_nx(&meta, &own).ignore().get(&meta);
                let (_, found): (Value, Option<String>) =
                    self.links.write(meta.as_bytes(), &claim).await.map_err(unreachable)?;
                found.unwrap_or_default()
            }
        };
        match found.split_once(' ') {
            _ if found == own => Ok(()),
            Some((SCHEMA, cluster)) => {
                Err(JoinError::OtherCluster { addresses, name, found: cluster.to_owned(), own: self.cluster })
            }
            Some((schema, _)) if schema.parse::<u32>().is_ok() => {
                Err(JoinError::OtherSchema { addresses, name, found: schema.to_owned() })
            }
            _ => Err(JoinError::NotOurs { addresses, name }),
        }
    }

    /// A Cluster takes what is in one hash slot at a time, any other Redis everything.
    fn batches<'a>(&self, copies: &'a [SharedCopy]) -> Vec<(String, Vec<(String, &'a SharedCopy)>)> {
        let mut batches = HashMap::<Option<Slot>, Vec<_>>::new();
        for copy in copies {
            let key = self.key(copy.kind, &copy.key);
            let slot = (self.links.kind() == Kind::Cluster).then(|| Slot::for_key(key.as_bytes()));
            batches.entry(slot).or_default().push((key, copy));
        }
        batches.into_values().map(|batch| (batch[0].0.clone(), batch)).collect()
    }
}

#[async_trait]
impl DataSpace for RedisDataSpace {
    async fn copy_find(&self, kind: CopyKind, key: &str) -> Result<Option<Vec<u8>>> {
        let key = self.key(kind, key);
        let mut look = Pipeline::new();
        look.get(&key);
        let (found,): (Option<Vec<u8>>,) = self.links.read(key.as_bytes(), &look).await?;
        Ok(found)
    }

    async fn copy_put(&self, copies: &[SharedCopy]) -> Result<()> {
        let puts = self.batches(copies).into_iter().map(|(first, batch)| {
            let mut commands = Pipeline::new();
            batch.iter().for_each(|(key, copy)| put(&mut commands, key, copy));
            async move { self.links.write::<Value>(first.as_bytes(), &commands).await }
        });
        let mut puts = stream::iter(puts.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        while let Some(put) = puts.next().await {
            put?;
        }
        Ok(())
    }

    async fn probe(&self) -> Result<()> {
        // It may have been emptied, and claimed by others since.
        self.claim().await.map_err(|error| match error {
            JoinError::Unreachable { error, .. } | JoinError::Refused(error) => error.into(),
            other => StoreError::Corrupt(other.to_string()),
        })?;
        self.links.field_of_primaries("server", "redis_mode").await?;
        // Changes nothing, but only where changes are taken, and even where memory is full.
        let mut write = Pipeline::new();
        write.persist(self.meta());
        self.links.write::<Value>(self.meta().as_bytes(), &write).await?;
        Ok(())
    }

    fn replicas(&self) -> Option<Replicas> {
        let state = self.links.replication();
        Some(Replicas { wanted: state.wanted, achieved: state.achieved })
    }
}

fn put(commands: &mut Pipeline, key: &str, copy: &SharedCopy) {
    let millis = u64::try_from(copy.ttl.as_millis()).unwrap_or(u64::MAX);
    match copy.precedence {
        Precedence::Last => commands.cmd("SET").arg(key).arg(&copy.value).arg("PX").arg(millis),
        Precedence::Greatest => {
            commands.cmd("EVAL").arg(PUT_GREATEST).arg(1).arg(key).arg(&copy.value).arg(millis)
        }
    };
}
