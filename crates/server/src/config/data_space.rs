use std::fmt;
use std::path::PathBuf;

use grantry_protocol::Lifetime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::StoreUrl;
use super::store_url::HIDDEN;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataSpace {
    /// In front of every key there, so that several deployments can share a Redis. The servers of one store have the same
    /// name, and one that finds the name taken by those of another store does not start. 1 to 64 letters, digits, `.`, `_`
    /// and `-`.
    pub name: String,
    /// `redis://HOST:PORT`, or `rediss://HOST:PORT` with TLS, of one or more servers of Redis or Valkey: one alone, members
    /// of a Cluster, or Sentinels; which of them it is, is found out. Empty: there is no data space. A server that reaches
    /// none of them does not start; one that loses them later goes on without.
    #[schemars(with = "Vec<String>")]
    pub discovery: Vec<StoreUrl>,
    /// The user that logs in there (ACL), where an address names none. Absent: the default user.
    pub username: Option<String>,
    /// The password, where an address has none.
    #[schemars(with = "Option<String>")]
    pub password: Option<Password>,
    /// A file whose first line is the password, instead of `password`.
    pub password_file: Option<PathBuf>,
    /// The name of the primary that the Sentinels watch. Absent: the only one that they watch.
    pub sentinel_master: Option<String>,
    /// How many replicas ought to have what is written. -1: all that were ever seen connected. Fewer are shown as degraded,
    /// and nothing stops for it. -1 to 16.
    pub replication_count: i64,
    /// `async`: replicas get what is written when they can. `sync`: each batch is waited for until `replication_count`
    /// replicas have it, which no request waits for.
    pub replication_policy: ReplicationPolicy,
    /// With `sync`: how long a batch is waited for; then the replicas that lack it count as missing. 10ms to 60s.
    pub replication_timeout: Lifetime,
    /// How long a request waits for the data space before it goes on to the store; the data space is then left out until it
    /// answers again. 1ms to 5s.
    pub answer_timeout: Lifetime,
}

impl Default for DataSpace {
    fn default() -> Self {
        Self {
            name: "grantry".to_owned(),
            discovery: Vec::new(),
            username: None,
            password: None,
            password_file: None,
            sentinel_master: None,
            replication_count: -1,
            replication_policy: ReplicationPolicy::Async,
            replication_timeout: "500ms".parse().unwrap_or(Lifetime::from_secs(1)),
            answer_timeout: "50ms".parse().unwrap_or(Lifetime::from_secs(1)),
        }
    }
}

impl DataSpace {
    pub fn is_used(&self) -> bool {
        !self.discovery.is_empty()
    }

    /// `None`: all.
    pub fn replicas(&self) -> Option<u32> {
        u32::try_from(self.replication_count).ok()
    }
}

/// `data_space.replication_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ReplicationPolicy {
    Async,
    Sync,
}

/// What is printed, logged or serialized is not it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}
