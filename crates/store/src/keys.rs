use async_trait::async_trait;
use grantry_protocol::Timestamp;

use crate::Result;

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
}

#[async_trait]
pub trait Keys: Send + Sync {
    /// All keys, by purpose and version.
    async fn key_list(&self) -> Result<Vec<KeyRecord>>;

    /// Writes the very first keys, all or none, and only into a store that has no key yet; answers whether it did.
    /// Of two nodes that start at the same time one gets `false` and reads the other's.
    async fn key_insert_first(&self, keys: Vec<KeyRecord>) -> Result<bool>;
}
