//! `[data_space]`: bounds, addresses, and keys that mean nothing as things are.

use std::ops::RangeInclusive;
use std::time::Duration;

use grantry_protocol::Lifetime;
use url::Url;

use super::check::Check;
use super::{DataSpace, Place, ReplicationPolicy};

const MOST_ADDRESSES: usize = 64;
const LONGEST_NAME: usize = 64;
const REPLICAS: RangeInclusive<i64> = -1..=16;
const REPLICATION: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const ANSWER: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(5);

impl Check<'_> {
    pub fn data_space(&mut self) {
        let space = self.config.data_space.clone();
        self.data_space_bounds(&space);
        if !space.is_used() {
            return self.no_data_space(&space);
        }
        for (number, address) in space.discovery.iter().enumerate() {
            if let Some(problem) = address_problem(address.expose()) {
                self.refuse("data_space.discovery", format!("address {} {problem}", number + 1));
            }
        }
        let why = match self.config.store.url.place() {
            _ if self.config.store.url.problem().is_some() => None,
            Place::Memory => {
                Some("copies outlive this process, but store.url is memory:, whose tokens do not")
            }
            Place::Redis(_) => {
                Some("store.url is redis://, and copies in Redis of what is in Redis are of no use")
            }
            Place::Sqlite(_) | Place::Postgres(_) => None,
        };
        if let Some(why) = why {
            self.refuse(
                "data_space.discovery",
                format!("{why}; remove it, or choose sqlite:PATH or postgres://"),
            );
        }
        self.data_space_replication(&space);
    }

    fn data_space_replication(&mut self, space: &DataSpace) {
        let is_sync = space.replication_policy == ReplicationPolicy::Sync;
        if is_sync && space.replication_count == 0 {
            self.refuse(
                "data_space.replication_policy",
                "\"sync\" waits for replicas, but data_space.replication_count is 0; write \"async\", or a count of 1 or more",
            );
        }
        if !is_sync && space.replication_timeout != DataSpace::default().replication_timeout {
            self.refuse(
                "data_space.replication_timeout",
                "means nothing while data_space.replication_policy is \"async\", which waits for nobody; set that to \
                 \"sync\", or remove it",
            );
        }
    }

    fn data_space_bounds(&mut self, space: &DataSpace) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=LONGEST_NAME).contains(&space.name.len()) || !space.name.bytes().all(is_plain) {
            self.refuse(
                "data_space.name",
                format!(
                    "must be 1 to {LONGEST_NAME} letters, digits, '.', '_' and '-'; write for example \"grantry\""
                ),
            );
        }
        if space.discovery.len() > MOST_ADDRESSES {
            self.refuse(
                "data_space.discovery",
                format!("has more than {MOST_ADDRESSES} addresses; a few of the servers are enough to find the others"),
            );
        }
        if !REPLICAS.contains(&space.replication_count) {
            self.refuse(
                "data_space.replication_count",
                format!(
                    "{} is out of bounds; choose something from {} to {}, -1 for all",
                    space.replication_count,
                    REPLICAS.start(),
                    REPLICAS.end()
                ),
            );
        }
        for (key, text) in
            [("username", space.username.as_deref()), ("sentinel_master", space.sentinel_master.as_deref())]
        {
            if text == Some("") {
                self.refuse(&format!("data_space.{key}"), "is empty; remove it");
            }
        }
        if space.password.as_ref().is_some_and(|password| password.expose().is_empty()) {
            self.refuse("data_space.password", "is empty; remove it");
        }
        let [replication, answer] =
            [space.replication_timeout, space.answer_timeout].map(Lifetime::as_duration);
        self.lasting("data_space.replication_timeout", replication, REPLICATION);
        self.lasting("data_space.answer_timeout", answer, ANSWER);
        let request = self.config.limits.request_timeout;
        if space.answer_timeout >= request && ANSWER.contains(&answer) {
            self.refuse(
                "data_space.answer_timeout",
                format!(
                    "{} is not less than limits.request_timeout ({request}), so a request that waits for the data space \
                     would be given up first: shorten the one or lengthen the other",
                    space.answer_timeout
                ),
            );
        }
    }

    /// One that is at its default does no harm.
    fn no_data_space(&mut self, given: &DataSpace) {
        if self.config.store.url.is_redis() {
            // The data space is the store, and store.url has its addresses.
            if given.answer_timeout != DataSpace::default().answer_timeout {
                self.refuse(
                    "data_space.answer_timeout",
                    "means nothing while store.url is redis://, where a request has to wait for the answer: set \
                     store.busy_timeout, or remove it",
                );
            }
            return self.data_space_replication(given);
        }
        let default = DataSpace::default();
        for (key, is_default) in [
            ("name", given.name == default.name),
            ("username", given.username == default.username),
            ("password", given.password == default.password || given.password_file.is_some()),
            ("password_file", given.password_file == default.password_file),
            ("sentinel_master", given.sentinel_master == default.sentinel_master),
            ("replication_count", given.replication_count == default.replication_count),
            ("replication_policy", given.replication_policy == default.replication_policy),
            ("replication_timeout", given.replication_timeout == default.replication_timeout),
            ("answer_timeout", given.answer_timeout == default.answer_timeout),
        ] {
            if !is_default {
                self.refuse(
                    &format!("data_space.{key}"),
                    "means nothing while data_space.discovery is empty, since there is no data space; set that to the \
                     addresses of Redis or Valkey, or remove it",
                );
            }
        }
    }
}

/// Never repeats the address, which may hold a password.
fn address_problem(address: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(address) else {
        return Some("is no URL; write for example \"redis://127.0.0.1:6379\"");
    };
    match url.scheme() {
        "redis" | "rediss" | "valkey" | "valkeys" => {}
        _ => return Some("must begin with redis://, or rediss:// for TLS"),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Some("names no host; write for example \"redis://127.0.0.1:6379\"");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Some(
            "has something behind host and port; remove it: deployments are kept apart by data_space.name, not by \
             numbered databases",
        );
    }
    None
}
