//! `[cache]`: bounds, and keys that mean nothing with the coherence that was chosen or without copies.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::check::Check;
use super::{Cache, Coherence};

/// As `grantry-revocation` has it; said here with the key's name.
const STALENESS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const MOST_COPIES: usize = 100_000_000;
const MOST_LOADED: usize = 65_536;

impl Check<'_> {
    pub fn cache(&mut self) {
        let cache = self.config.cache.clone();
        self.staleness(&cache);
        match cache.enabled {
            true => self.copies(&cache),
            false => self.no_copies(&cache),
        }
    }

    fn staleness(&mut self, cache: &Cache) {
        let key = "cache.max_staleness";
        if cache.coherence == Coherence::None {
            if cache.max_staleness != Cache::default().max_staleness {
                self.refuse(
                    key,
                    "means nothing while cache.coherence is \"none\", which promises no bound; set that to \"bounded\" or \
                     \"strict\", or remove it",
                );
            }
            return;
        }
        self.lasting(key, cache.max_staleness.as_duration(), STALENESS);
        let (staleness, request) = (cache.max_staleness, self.config.limits.request_timeout);
        if staleness >= request {
            self.refuse(
                key,
                format!(
                    "{staleness} is not less than limits.request_timeout ({request}), so a request that waits to know \
                     every revocation would be given up first: shorten the one or lengthen the other"
                ),
            );
        }
    }

    fn copies(&mut self, cache: &Cache) {
        let caches = [
            ("cache.tokens.capacity", cache.tokens),
            ("cache.token_owners.capacity", cache.token_owners),
            ("cache.clients.capacity", cache.clients),
        ];
        for (key, near) in caches {
            self.within(key, near.capacity, 1, MOST_COPIES);
        }
        self.within("cache.load_batch_size", cache.load_batch_size, 1, MOST_LOADED);
        self.not_empty("cache.directory", &cache.directory);
        let is_used = caches.iter().any(|(_, near)| near.needs_disk());
        if !is_used && cache.directory != Cache::default().directory {
            self.refuse(
                "cache.directory",
                "means nothing while no copies go to disk; set disk_offload or flush_to_disk_on_stop below \
                 [cache.tokens], [cache.token_owners] or [cache.clients], or remove it",
            );
        }
    }

    /// One that is at its default does no harm.
    fn no_copies(&mut self, given: &Cache) {
        let default = Cache::default();
        let mut keys = vec![
            ("cache.load_batch_size".to_owned(), given.load_batch_size == default.load_batch_size),
            ("cache.directory".to_owned(), given.directory == default.directory),
        ];
        for (name, given, default) in [
            ("tokens", given.tokens, default.tokens),
            ("token_owners", given.token_owners, default.token_owners),
            ("clients", given.clients, default.clients),
        ] {
            keys.extend(
                [
                    ("capacity", given.capacity == default.capacity),
                    ("eviction_policy", given.eviction_policy == default.eviction_policy),
                    ("disk_offload", given.disk_offload == default.disk_offload),
                    ("flush_to_disk_on_stop", given.flush_to_disk_on_stop == default.flush_to_disk_on_stop),
                ]
                .map(|(key, is_default)| (format!("cache.{name}.{key}"), is_default)),
            );
        }
        for (key, _) in keys.iter().filter(|(_, is_default)| !is_default) {
            self.refuse(
                key,
                "means nothing while cache.enabled is false, since no copies are kept; set that to true, or remove it",
            );
        }
    }
}
