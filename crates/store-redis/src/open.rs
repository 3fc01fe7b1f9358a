use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::Rng;
use grantry_store::ClusterId;
use metrics::{counter, describe_counter};
use redis::Pipeline;
use serde::{Deserialize, Serialize};

use crate::errors::Error;
use crate::link::Links;
use crate::names::{self, Key, Names, hex, unhex};
use crate::options::RedisOptions;
use crate::rows::decode;
use crate::script::Script;
use crate::time::StoreTime;
use crate::{Metrics, RedisStore};

/// How rows are written; another number is another way.
const SCHEMA: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("Redis at {addresses} cannot be reached: {error}")]
    Unreachable { addresses: String, error: Error },
    #[error("{0}")]
    Failed(#[from] Error),
    #[error(
        "Redis evicts keys when it is full (maxmemory-policy is {0}), and what is evicted here is lost. Set \
         maxmemory-policy noeviction on every server"
    )]
    Evicts(String),
    #[error(
        "what is in Redis under the name {name} was written by another version (schema {found}, this one has {SCHEMA})"
    )]
    OtherSchema { name: String, found: u32 },
    #[error("a name in Redis is 1 to 64 letters, digits, '.', '_' and '-', not {0:?}")]
    Name(String),
}

#[derive(Serialize, Deserialize)]
struct Meta {
    schema: u32,
    cluster: String,
}

impl RedisStore {
    /// # Errors
    /// Where nobody answers, or what answers would lose tokens.
    pub async fn open(
        options: &RedisOptions,
        retention: Duration,
        time: StoreTime,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, OpenError> {
        check_name(&options.name)?;
        let links = connect(options).await?;
        let policies = links.field_of_primaries("memory", "maxmemory_policy").await?;
        if let Some(policy) = policies.into_iter().flatten().find(|policy| policy != "noeviction") {
            return Err(OpenError::Evicts(policy));
        }
        let names = Names::new(&options.name);
        let cluster_id = join(&links, &names, options, rng.as_ref()).await?;
        describe_counter!(
            "grantry_store_repeated_total",
            "Transactions that met another and were tried again."
        );
        Ok(Self {
            links,
            names,
            time,
            rng,
            retention,
            cluster_id,
            commit: Script::new(include_str!("commit.lua")),
            probe: Script::new(include_str!("probe.lua")),
            metrics: Metrics { repeated: counter!("grantry_store_repeated_total") },
        })
    }

    /// How many replicas have what is written.
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Members of an index in the order of their bytes, from one bound to the other.
    pub(crate) async fn index_page<T: std::str::FromStr>(
        &self,
        index: Key,
        from: &str,
        to: &str,
        reversed: bool,
        limit: usize,
    ) -> grantry_store::Result<Vec<T>> {
        let mut commands = Pipeline::new();
        let (low, high) = (bound(from), bound(to));
        let range = commands.cmd("ZRANGE").arg(index).arg(low).arg(high).arg("BYLEX");
        if reversed {
            range.arg("REV");
        }
        range.arg("LIMIT").arg(0).arg(names::limit(limit));
        let (texts,): (Vec<String>,) = self.links.read(&self.names.head(), &commands).await?;
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }
}

/// Open ends and exclusive bounds say so; whatever else is meant to be among what is found.
fn bound(text: &str) -> String {
    match text {
        "-" | "+" => text.to_owned(),
        exclusive if exclusive.starts_with('(') => exclusive.to_owned(),
        inclusive => format!("[{inclusive}"),
    }
}

/// # Errors
/// Where nobody answers; it names the addresses.
pub async fn connect(options: &RedisOptions) -> Result<Arc<Links>, OpenError> {
    Links::open(options)
        .await
        .map_err(|error| OpenError::Unreachable { addresses: crate::link::addresses(options), error })
}

pub fn check_name(name: &str) -> Result<(), OpenError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=64).contains(&name.len()) && name.bytes().all(is_legal) {
        true => Ok(()),
        false => Err(OpenError::Name(name.to_owned())),
    }
}

/// Whoever comes first says what the store is called; the others read it.
async fn join(
    links: &Links,
    names: &Names,
    options: &RedisOptions,
    rng: &dyn Rng,
) -> Result<ClusterId, OpenError> {
    let own = Meta { schema: SCHEMA, cluster: hex(&ClusterId::random(rng).0) };
    let text = serde_json::to_string(&own)
        .map_err(|_| Error::new(crate::Cause::Rejected, "a description that has no text"))?;
    let mut commands = Pipeline::new();
    commands.cmd("SET").arg(names.meta()).arg(text).arg("NX");
    commands.cmd("GET").arg(names.meta());
    let (_, present): (Option<String>, Vec<u8>) = links.write(&names.meta(), &commands).await?;
    let present: Meta = decode(&present)?;
    if present.schema != SCHEMA {
        return Err(OpenError::OtherSchema { name: options.name.clone(), found: present.schema });
    }
    let unreadable =
        || Error::new(crate::Cause::Corrupt, "the description of the store in Redis cannot be read");
    let cluster = unhex(&present.cluster).and_then(|bytes| bytes.try_into().ok());
    Ok(ClusterId(cluster.ok_or_else(unreadable)?))
}
