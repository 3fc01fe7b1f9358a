use async_trait::async_trait;
use grantry_protocol::Timestamp;

use crate::{AuditEntry, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// The MAC of opaque tokens.
    TokenMac,
    /// The keyed hash of client secrets.
    ClientSecret,
    /// Signatures of JWTs.
    Signing,
}

impl KeyPurpose {
    pub const ALL: [Self; 3] = [Self::TokenMac, Self::ClientSecret, Self::Signing];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenMac => "token_mac",
            Self::ClientSecret => "client_secret",
            Self::Signing => "signing",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }
}

/// A key as the store has it: sealed under the master key, which the store never sees.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRecord {
    pub purpose: KeyPurpose,
    /// Counts from 1 within a purpose.
    pub version: u8,
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    /// From when on it may be used to make something; it is known to verifiers before.
    pub active_from: Timestamp,
    /// Until when something that it made can be alive. Absent as long as no successor was made.
    pub needed_until: Option<Timestamp>,
    /// From this moment on nothing that it ever made is accepted.
    pub revoked_at: Option<Timestamp>,
}

/// The next state of all keys. Applied only where the present one is the one that it was made from: there are few
/// keys, and they change rarely.
#[derive(Clone)]
pub struct KeyChange {
    /// By purpose and version.
    pub from: Vec<KeyRecord>,
    pub to: Vec<KeyRecord>,
    /// Absent for the very first keys.
    pub audit: Option<AuditEntry>,
}

#[async_trait]
pub trait Keys: Send + Sync {
    /// All keys, by purpose and version.
    async fn key_list(&self) -> Result<Vec<KeyRecord>>;

    /// Writes all keys anew; answers whether it did. `false`: somebody else changed them first, and nothing was written.
    /// Of two nodes that make the first keys at the same time one gets `false` and reads the other's.
    async fn key_replace(&self, change: KeyChange) -> Result<bool>;
}
