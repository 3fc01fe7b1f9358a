use std::fmt;
use std::time::Duration;

/// When a write is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationPolicy {
    /// When its primary has it.
    Async,
    /// When `replication_count` replicas have it, too, or `replication_timeout` has passed: that it took longer is shown,
    /// and the write stands.
    Sync,
}

/// How to reach Redis or Valkey, and what is expected of it.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://` or `rediss://` addresses of any of its servers: one alone, members of a Cluster, or Sentinels. Which of
    /// them it is, is asked.
    pub discovery: Vec<String>,
    /// In front of every key; nodes that use the same name share what is there.
    pub name: String,
    /// For every server, where the addresses name nobody.
    pub username: Option<String>,
    pub password: Option<String>,
    /// Which of the primaries that the Sentinels watch; needed if there are several.
    pub sentinel_master: Option<String>,
    pub connect_timeout: Duration,
    /// For an answer, waiting for replicas apart.
    pub answer_timeout: Duration,
    /// How many replicas ought to have a write; absent: all that there are.
    pub replication_count: Option<u32>,
    pub replication_policy: ReplicationPolicy,
    pub replication_timeout: Duration,
}

impl RedisOptions {
    /// Copies on one server of that address, replicated as it happens to be.
    pub fn new(discovery: Vec<String>, name: impl Into<String>) -> Self {
        Self {
            discovery,
            name: name.into(),
            username: None,
            password: None,
            sentinel_master: None,
            connect_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(2),
            replication_count: None,
            replication_policy: ReplicationPolicy::Async,
            replication_timeout: Duration::from_millis(500),
        }
    }

    /// The servers of a URL such as `rediss://user:password@one:6379,two:6379/0`; the credentials are for all of them. After
    /// `?` may follow `sentinel_master=NAME`.
    pub fn of_url(url: &str, name: impl Into<String>) -> Self {
        let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = address.split_once("://").unwrap_or(("redis", address));
        let (credentials, places) =
            rest.rsplit_once('@').map_or(("", rest), |(before, after)| (before, after));
        let (hosts, database) = places.split_once('/').unwrap_or((places, ""));
        let at = if credentials.is_empty() { "" } else { "@" };
        let of_host = |host: &str| format!("{scheme}://{credentials}{at}{host}/{database}");
        let master = parameters.split('&').find_map(|parameter| parameter.strip_prefix("sentinel_master="));
        Self {
            sentinel_master: master.map(str::to_owned),
            ..Self::new(hosts.split(',').map(of_host).collect(), name)
        }
    }
}

/// Without what lets somebody in.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("name", &self.name)
            .field("replication_count", &self.replication_count)
            .field("replication_policy", &self.replication_policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_one_server_or_several() {
        for (url, discovery, master) in [
            ("redis://a:1", vec!["redis://a:1/"], None),
            ("rediss://u:p@a:1,b:2/3", vec!["rediss://u:p@a:1/3", "rediss://u:p@b:2/3"], None),
            ("redis://a:1?sentinel_master=m", vec!["redis://a:1/"], Some("m")),
        ] {
            let options = RedisOptions::of_url(url, "grantry");
            assert_eq!(options.discovery, discovery);
            assert_eq!(options.sentinel_master.as_deref(), master);
        }
    }
}
