use std::fmt;
use std::str::FromStr;

use grantry_jose::Algorithm;
use grantry_protocol::Timestamp;
use grantry_store::KeyPurpose;
use serde::{Serialize, Serializer};

use super::snapshot::{Key, Snapshot};

/// What a key is good for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Known to verifiers, and to be used later.
    Pending,
    /// Makes new things.
    Active,
    /// What it made is honoured.
    Retiring,
    /// Nothing that it made can be alive.
    Retired,
    /// Nothing that it made is honoured.
    Revoked,
}

/// A key as an administrator sees it; never what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    #[serde(serialize_with = "name_of_purpose")]
    pub purpose: KeyPurpose,
    pub version: u8,
    /// Of signing keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    pub state: KeyState,
    /// Seconds since the epoch, as those below.
    #[serde(serialize_with = "seconds")]
    pub created_at: Timestamp,
    #[serde(serialize_with = "seconds")]
    pub active_from: Timestamp,
    #[serde(serialize_with = "some_seconds", skip_serializing_if = "Option::is_none")]
    pub needed_until: Option<Timestamp>,
    #[serde(serialize_with = "some_seconds", skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl KeyInfo {
    pub(super) fn of(snapshot: &Snapshot, key: &Key, now: Timestamp) -> Self {
        let signing = key.material.signing();
        Self {
            purpose: key.record.purpose,
            version: key.record.version,
            kid: signing.map(|signing| signing.kid().to_owned()),
            algorithm: signing.map(|signing| signing.algorithm()),
            state: snapshot.state(key, now),
            created_at: key.record.created_at,
            active_from: key.record.active_from,
            needed_until: key.record.needed_until,
            revoked_at: key.record.revoked_at,
        }
    }

    pub fn name(&self) -> KeyName {
        KeyName::Version(self.purpose, self.version)
    }
}

fn name_of_purpose<S: Serializer>(purpose: &KeyPurpose, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(purpose.as_str())
}

fn seconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(at.as_secs())
}

fn some_seconds<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Timestamp::as_secs).serialize(serializer)
}

/// How people name a key: `signing/3`, or a signing key's `kid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyName {
    Version(KeyPurpose, u8),
    Kid(String),
}

impl FromStr for KeyName {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let version = text.split_once('/').and_then(|(purpose, version)| {
            Some(Self::Version(KeyPurpose::from_name(purpose)?, version.parse().ok()?))
        });
        Ok(version.unwrap_or_else(|| Self::Kid(text.to_owned())))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(purpose, version) => write!(f, "{}/{version}", purpose.as_str()),
            Self::Kid(kid) => f.write_str(kid),
        }
    }
}
