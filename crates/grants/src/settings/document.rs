//! What operators change at run time, as the store has it: a JSON object of the sections and keys of the configuration,
//! with those alone that were changed.

use std::collections::BTreeMap;

use grantry_protocol::{ActiveTokenPolicy, Lifetime, PersistenceMode, nearest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CacheCapacities, FileSettings, InvalidSetting, TokenSettings};

/// All that can be changed at run time.
pub const RUNTIME_KEYS: [&str; 11] = [
    "token_persistence.enable",
    "token_persistence.pool_size",
    "tokens.access_token_lifetime",
    "tokens.refresh_token_lifetime",
    "tokens.refresh_token_idle",
    "tokens.refresh_grace",
    "tokens.active_token_policy",
    "tokens.reuse_minimum_life",
    "cache.tokens.capacity",
    "cache.token_owners.capacity",
    "cache.clients.capacity",
];

/// Of a path that is shown to whoever sent it.
const SHOWN: usize = 80;
/// As the configuration has it.
const MOST_COPIES: usize = 100_000_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    #[serde(skip_serializing_if = "is_default")]
    token_persistence: TokenPersistence,
    #[serde(skip_serializing_if = "is_default")]
    tokens: Tokens,
    #[serde(skip_serializing_if = "is_default")]
    cache: Cache,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct TokenPersistence {
    #[serde(skip_serializing_if = "Option::is_none")]
    enable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_size: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Tokens {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_lifetime: Option<Lifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_lifetime: Option<Lifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_idle: Option<Lifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_grace: Option<Lifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_token_policy: Option<ActiveTokenPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reuse_minimum_life: Option<Lifetime>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Cache {
    #[serde(skip_serializing_if = "is_default")]
    tokens: Near,
    #[serde(skip_serializing_if = "is_default")]
    token_owners: Near,
    #[serde(skip_serializing_if = "is_default")]
    clients: Near,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Near {
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<usize>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Document {
    /// # Errors
    /// Names the key that is wrong. One that is not known may be of a newer version; one that is fixed needs a restart.
    pub fn parse(document: &Map<String, Value>, file: &FileSettings) -> Result<Self, InvalidSetting> {
        for path in leaves(document).keys() {
            if !RUNTIME_KEYS.contains(&path.as_str()) {
                return Err(unchangeable(path, file));
            }
        }
        serde_path_to_error::deserialize(Value::Object(document.clone())).map_err(|error| InvalidSetting {
            key: error.path().to_string(),
            problem: error.inner().to_string(),
        })
    }

    /// What is in force where the file says the rest.
    pub fn over(
        &self,
        file: &FileSettings,
    ) -> Result<(TokenSettings, Option<CacheCapacities>), InvalidSetting> {
        let mut tokens = file.tokens.clone();
        put(&mut tokens.access_token_lifetime, self.tokens.access_token_lifetime);
        put(&mut tokens.refresh_token_lifetime, self.tokens.refresh_token_lifetime);
        put(&mut tokens.refresh_token_idle, self.tokens.refresh_token_idle);
        put(&mut tokens.refresh_grace, self.tokens.refresh_grace);
        put(&mut tokens.active_token_policy, self.tokens.active_token_policy);
        put(&mut tokens.reuse_minimum_life, self.tokens.reuse_minimum_life);
        put(&mut tokens.pool_size, self.token_persistence.pool_size);
        let enable = self.token_persistence.enable.unwrap_or(tokens.persistence != PersistenceMode::None);
        tokens.persistence = TokenSettings::mode(enable, tokens.pool_size);
        tokens.validate()?;
        Ok((tokens, self.capacities_over(file)?))
    }

    fn capacities_over(&self, file: &FileSettings) -> Result<Option<CacheCapacities>, InvalidSetting> {
        let changed = [
            ("cache.tokens.capacity", self.cache.tokens.capacity),
            ("cache.token_owners.capacity", self.cache.token_owners.capacity),
            ("cache.clients.capacity", self.cache.clients.capacity),
        ];
        for (key, capacity) in changed {
            let Some(capacity) = capacity else { continue };
            let problem = match () {
                () if file.capacities.is_none() => {
                    "means nothing while cache.enabled is false in grantry.toml, since no copies are kept"
                        .to_owned()
                }
                () if !(1..=MOST_COPIES).contains(&capacity) => {
                    format!("{capacity} is out of bounds; choose something from 1 to {MOST_COPIES}")
                }
                () => continue,
            };
            return Err(InvalidSetting { key: key.to_owned(), problem });
        }
        Ok(file.capacities.map(|mut capacities| {
            put(&mut capacities.tokens, self.cache.tokens.capacity);
            put(&mut capacities.token_owners, self.cache.token_owners.capacity);
            put(&mut capacities.clients, self.cache.clients.capacity);
            capacities
        }))
    }

    /// What is in force, with every key.
    pub fn of(tokens: &TokenSettings, capacities: Option<CacheCapacities>) -> Self {
        let near = |of: fn(CacheCapacities) -> usize| Near { capacity: capacities.map(of) };
        Self {
            token_persistence: TokenPersistence {
                enable: Some(tokens.persistence != PersistenceMode::None),
                pool_size: Some(tokens.pool_size),
            },
            tokens: Tokens {
                access_token_lifetime: Some(tokens.access_token_lifetime),
                refresh_token_lifetime: Some(tokens.refresh_token_lifetime),
                refresh_token_idle: Some(tokens.refresh_token_idle),
                refresh_grace: Some(tokens.refresh_grace),
                active_token_policy: Some(tokens.active_token_policy),
                reuse_minimum_life: Some(tokens.reuse_minimum_life),
            },
            cache: Cache {
                tokens: near(|capacities| capacities.tokens),
                token_owners: near(|capacities| capacities.token_owners),
                clients: near(|capacities| capacities.clients),
            },
        }
    }

    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(document)) => document,
            _ => Map::new(),
        }
    }
}

fn put<T>(value: &mut T, changed: Option<T>) {
    if let Some(changed) = changed {
        *value = changed;
    }
}

/// The values that are no objects, by their paths.
pub fn leaves(document: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect("", document, &mut found);
    found
}

fn collect(section: &str, document: &Map<String, Value>, found: &mut BTreeMap<String, Value>) {
    for (name, value) in document {
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match value {
            Value::Object(below) => collect(&path, below, found),
            value => {
                found.insert(path, value.clone());
            }
        }
    }
}

/// RFC 7396.
pub fn merge(document: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                document.remove(name);
            }
            Value::Object(patch) => {
                let below = document.entry(name.clone()).or_insert_with(|| Map::new().into());
                if !below.is_object() {
                    *below = Map::new().into();
                }
                if let Value::Object(below) = below {
                    merge(below, patch);
                }
            }
            value => {
                document.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A misspelt key that is to be given back changes nothing, and whoever sent it would take it for done.
pub fn check_patch(patch: &Map<String, Value>, file: &FileSettings) -> Result<(), InvalidSetting> {
    for (path, value) in leaves(patch) {
        let is_key = RUNTIME_KEYS.contains(&path.as_str());
        let is_section_given_back = value.is_null() && is_section(&path);
        if !is_key && !is_section_given_back {
            return Err(unchangeable(&path, file));
        }
    }
    Ok(())
}

fn is_section(path: &str) -> bool {
    RUNTIME_KEYS.iter().any(|key| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// A key may be a table, which is changed as a whole.
fn is_at_or_below(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn unchangeable(path: &str, file: &FileSettings) -> InvalidSetting {
    let problem = match nearest(path, RUNTIME_KEYS) {
        _ if file.fixed.iter().any(|key| is_at_or_below(path, key)) => {
            "cannot be changed at run time: it needs a restart: set it in grantry.toml".to_owned()
        }
        _ if is_section(path) => "is a section, and must be an object of its keys".to_owned(),
        Some(near) => format!("there is no such setting; did you mean {near}?"),
        None => format!("there is no such setting; at run time can be changed: {}", RUNTIME_KEYS.join(", ")),
    };
    let key = path.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    InvalidSetting { key, problem }
}
