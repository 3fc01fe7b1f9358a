//! What is compared on PostgreSQL. A setting of the server that changes its name is changed here and nowhere else.

/// A server under test.
#[derive(Debug, PartialEq, Eq)]
pub struct Contender {
    /// For `--only`, and in the names of databases.
    pub key: &'static str,
    pub name: &'static str,
    pub program: Program,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Program {
    Grantry {
        /// Beyond the defaults.
        settings: &'static [(&'static str, &'static str)],
        /// Whether rows are written after the answer.
        defers: bool,
    },
    /// See [`crate::baseline_postgres`].
    Baseline { writers: &'static str, max_batch: &'static str },
}

impl Contender {
    /// Whether it writes rows after the answer.
    pub fn defers(&self) -> bool {
        matches!(self.program, Program::Grantry { defers: true, .. })
    }
}

pub const SYNC: &str = "sync";
pub const ASYNC_FSYNC: &str = "async-fsync";
pub const ASYNC_OS: &str = "async-os";
pub const SINGLE: &str = "single";
pub const BASELINE_GROUPED: &str = "baseline-grouped";
pub const BASELINE_SINGLE: &str = "baseline-single";

const POOL_SIZE: (&str, &str) = ("GRANTRY_TOKEN_PERSISTENCE__POOL_SIZE", "2");
const JOURNAL: &str = "GRANTRY_TOKEN_PERSISTENCE__JOURNAL";

pub static CONTENDERS: [Contender; 6] = [
    Contender { key: SYNC, name: "sync", program: Program::Grantry { settings: &[], defers: false } },
    Contender {
        key: ASYNC_FSYNC,
        name: "async, journal fsync",
        program: Program::Grantry { settings: &[POOL_SIZE, (JOURNAL, "fsync")], defers: true },
    },
    Contender {
        key: ASYNC_OS,
        name: "async, journal os",
        program: Program::Grantry { settings: &[POOL_SIZE, (JOURNAL, "os")], defers: true },
    },
    Contender {
        key: SINGLE,
        name: "sync, one commit a token",
        program: Program::Grantry {
            settings: &[
                ("GRANTRY_TOKEN_PERSISTENCE__MAX_BATCH", "1"),
                ("GRANTRY_STORE__WRITE_CONNECTIONS", "8"),
            ],
            defers: false,
        },
    },
    Contender {
        key: BASELINE_GROUPED,
        name: "baseline, grouped",
        program: Program::Baseline { writers: "2", max_batch: "1024" },
    },
    Contender {
        key: BASELINE_SINGLE,
        name: "baseline, one commit a token",
        program: Program::Baseline { writers: "50", max_batch: "1" },
    },
];

/// Which is divided by which, taken within each round at equal callers.
pub const RATIOS: [(&str, &str); 6] = [
    (SYNC, ASYNC_FSYNC),
    (SYNC, ASYNC_OS),
    (SYNC, SINGLE),
    (SYNC, BASELINE_GROUPED),
    (SYNC, BASELINE_SINGLE),
    (BASELINE_GROUPED, BASELINE_SINGLE),
];

/// For a flag.
///
/// # Errors
/// There is none of this key; all keys are named.
pub fn by_key(key: &str) -> Result<&'static Contender, String> {
    CONTENDERS.iter().find(|contender| contender.key == key).ok_or_else(|| {
        let keys: Vec<_> = CONTENDERS.iter().map(|contender| contender.key).collect();
        format!("give one of {}", keys.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ratio_is_of_contenders() {
        assert!(
            RATIOS.iter().all(|(subject, reference)| by_key(subject).is_ok() && by_key(reference).is_ok())
        );
        assert!(by_key("nobody").unwrap_err().contains("baseline-single"));
    }
}
