//! `[store]` and `[token_persistence]`: bounds, and keys that mean nothing with the store or the mode that was chosen.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::check::Check;
use super::{Journal, Place, Store, TokenPersistence};

const SECOND: Duration = Duration::from_secs(1);
/// As `grantry-store-postgres` has them; said here with the key's name.
const BUSY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_millis(10);
const MOST_WRITE_CONNECTIONS: usize = 8;
const MOST_READ_CONNECTIONS: usize = 16;
/// Partitions have a width.
const LEAST_RETENTION: Duration = Duration::from_secs(60);

const MOST_QUEUE: usize = 1 << 24;
const MOST_RETRIES: usize = 1000;
const MOST_WRITERS: usize = 64;
const MOST_BATCH: usize = 4096;
const JOURNAL_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;

impl Check<'_> {
    pub fn store(&mut self) {
        let Store { url, busy_timeout, .. } = &self.config.store.clone();
        if let Some(problem) = url.problem() {
            return self.refuse("store.url", problem);
        }
        let (busy, request) = (*busy_timeout, self.config.limits.request_timeout);
        if busy >= request {
            self.refuse(
                "store.busy_timeout",
                format!(
                    "{busy} is not less than limits.request_timeout ({request}), so no request would live to be told \
                     that the store is busy: shorten the one or lengthen the other"
                ),
            );
        }
        self.clients_file();
        if url.is_postgres() {
            return self.postgres();
        }
        self.no_postgres();
    }

    fn clients_file(&mut self) {
        let Some(path) = self.config.store.clients_file.clone() else { return };
        self.not_empty("store.clients_file", &path);
        if !matches!(self.config.store.url.place(), Place::Memory | Place::Redis(_)) {
            self.refuse(
                "store.clients_file",
                "is for memory: and redis://, which can forget their clients, and store.url is a store that keeps them: a \
                 second copy would only go out of step. Remove it",
            );
        }
    }

    /// Keys of another store than the chosen one; one that is at its default does no harm.
    fn no_postgres(&mut self) {
        let (given, default) = (&self.config.store, Store::default());
        for (key, is_default) in [
            ("store.prepared", given.prepared == default.prepared),
            ("store.statement_timeout", given.statement_timeout == default.statement_timeout),
            ("store.lock_timeout", given.lock_timeout == default.lock_timeout),
            (
                "store.connect_timeout",
                self.config.store.url.is_redis() || given.connect_timeout == default.connect_timeout,
            ),
            ("store.write_connections", given.write_connections == default.write_connections),
            ("store.read_connections", given.read_connections == default.read_connections),
        ] {
            if !is_default {
                self.refuse(
                    key,
                    "means something for postgres:// only, and store.url is something else; remove it",
                );
            }
        }
    }

    fn postgres(&mut self) {
        let store = self.config.store.clone();
        let busy = store.busy_timeout.as_duration();
        self.lasting("store.busy_timeout", busy, BUSY);
        self.lasting("store.connect_timeout", store.connect_timeout.as_duration(), SHORTEST..=60 * SECOND);
        for (key, given, most, bound) in [
            ("store.statement_timeout", store.statement_timeout, busy, "store.busy_timeout"),
            ("store.lock_timeout", store.lock_timeout, store.statement_timeout(), "store.statement_timeout"),
        ] {
            let Some(given) = given else { continue };
            if given.as_duration() < SHORTEST || given.as_duration() > most {
                self.refuse(
                    key,
                    format!(
                        "{given} is out of bounds; choose something from {} to that of {bound} ({}), or remove it",
                        humantime::format_duration(SHORTEST),
                        humantime::format_duration(most)
                    ),
                );
            }
        }
        self.within("store.write_connections", store.write_connections, 1, MOST_WRITE_CONNECTIONS);
        self.within("store.read_connections", store.read_connections, 1, MOST_READ_CONNECTIONS);
        let retention = self.config.tokens.retention_time;
        if retention.as_duration() < LEAST_RETENTION {
            self.refuse(
                "tokens.retention_time",
                format!("{retention} is too short for postgres://, where rows leave a partition at a time; choose 1m or more"),
            );
        }
    }

    pub fn lasting(&mut self, key: &str, span: Duration, bounds: RangeInclusive<Duration>) {
        if !bounds.contains(&span) {
            let [span, least, most] = [span, *bounds.start(), *bounds.end()].map(humantime::format_duration);
            self.refuse(key, format!("{span} is out of bounds; choose something from {least} to {most}"));
        }
    }

    pub fn token_persistence(&mut self) {
        let TokenPersistence { pool_size, retry_count, queue_capacity, max_batch, .. } =
            self.config.token_persistence;
        self.within("token_persistence.pool_size", pool_size, 0, MOST_WRITERS);
        self.within("token_persistence.retry_count", retry_count as usize, 0, MOST_RETRIES);
        self.within("token_persistence.queue_capacity", queue_capacity, 1, MOST_QUEUE);
        self.within("token_persistence.max_batch", max_batch, 1, MOST_BATCH);
        if pool_size > 0
            && self.config.store.url.place() == Place::Memory
            && self.config.store.url.problem().is_none()
        {
            self.refuse(
                "token_persistence.pool_size",
                format!(
                    "{pool_size} lets tokens wait for the store, but store.url is memory:, where they are written at \
                     once; set it to 0, or choose sqlite:PATH or postgres://"
                ),
            );
        }
        self.journal();
    }

    fn journal(&mut self) {
        let (persistence, default) = (self.config.token_persistence.clone(), TokenPersistence::default());
        let why = match persistence.journal {
            _ if !persistence.has_queue() => Some(
                "while token_persistence.pool_size is 0, since no token waits for its row then; set that to 1 or more, or \
                 remove it",
            ),
            Journal::Off => Some(
                "while token_persistence.journal is \"off\"; set that to \"fsync\" or \"os\", or remove it",
            ),
            Journal::Fsync | Journal::Os => None,
        };
        for (key, is_default) in [
            ("token_persistence.journal", persistence.has_queue() || persistence.journal == default.journal),
            (
                "token_persistence.journal_dir",
                persistence.has_queue() || persistence.journal_dir == default.journal_dir,
            ),
            (
                "token_persistence.journal_max_bytes",
                persistence.journal_max_bytes == default.journal_max_bytes,
            ),
        ] {
            if let Some(why) = why.filter(|_| !is_default) {
                self.refuse(
                    key,
                    format!(
                        "means nothing {why} (if a journal is left from before, grantry journal drain DIR writes it to the \
                         store)"
                    ),
                );
            }
        }
        self.not_empty("token_persistence.journal_dir", &persistence.journal_dir);
        if !JOURNAL_BYTES.contains(&persistence.journal_max_bytes) {
            self.refuse(
                "token_persistence.journal_max_bytes",
                format!(
                    "{} is out of bounds; choose something from {} to {}",
                    persistence.journal_max_bytes,
                    JOURNAL_BYTES.start(),
                    JOURNAL_BYTES.end()
                ),
            );
        }
    }
}
