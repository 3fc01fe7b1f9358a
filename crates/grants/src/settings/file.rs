use std::collections::BTreeMap;
use std::fmt;

use super::{InvalidTokenSettings, TokenSettings};

/// The most copies that each near cache keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCapacities {
    pub tokens: usize,
    pub token_owners: usize,
    pub clients: usize,
}

/// What a node's own file and environment say, over which operators change settings at run time.
pub struct FileSettings {
    pub tokens: TokenSettings,
    /// Absent where no copies are kept.
    pub capacities: Option<CacheCapacities>,
    /// Where a key's value comes from, `file` or `environment`; what is not in here has its default.
    pub origins: BTreeMap<String, &'static str>,
    /// Keys that exist and cannot be changed at run time.
    pub fixed: Vec<String>,
    /// Called with those that are in force from then on.
    pub set_capacities: Option<Box<dyn Fn(CacheCapacities) + Send + Sync>>,
}

impl From<TokenSettings> for FileSettings {
    fn from(tokens: TokenSettings) -> Self {
        Self { tokens, capacities: None, origins: BTreeMap::new(), fixed: Vec::new(), set_capacities: None }
    }
}

/// Names the key and the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    pub key: String,
    pub problem: String,
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for InvalidSetting {}

impl From<InvalidTokenSettings> for InvalidSetting {
    fn from(invalid: InvalidTokenSettings) -> Self {
        Self { key: invalid.key.to_owned(), problem: invalid.problem }
    }
}
