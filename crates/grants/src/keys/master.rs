use std::sync::Arc;

use grantry_jose::{SealingKey, Unsealed};
use grantry_protocol::Rng;
use grantry_store::{KeyPurpose, KeyRecord, Keys, Result};

/// 32 bytes that wrap all other keys and do nothing else; they are never in the store.
#[derive(Clone)]
pub struct MasterKey(Arc<SealingKey>);

impl MasterKey {
    pub const LEN: usize = SealingKey::LEN;

    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        Self(Arc::new(SealingKey::new(bytes)))
    }

    /// Whether the keys of this store were sealed with it; a store without keys takes any.
    pub async fn opens(&self, store: &(impl Keys + ?Sized)) -> Result<bool> {
        Ok(self.opens_all(&store.key_list().await?))
    }

    pub(super) fn opens_all(&self, records: &[KeyRecord]) -> bool {
        records.iter().all(|record| self.unseal(record).is_some())
    }

    pub(super) fn seal(&self, rng: &dyn Rng, purpose: KeyPurpose, version: u8, plain: &[u8]) -> Vec<u8> {
        self.0.seal(|nonce| rng.fill(nonce), &context(purpose, version), plain)
    }

    pub(super) fn unseal(&self, record: &KeyRecord) -> Option<Unsealed> {
        self.0.unseal(&context(record.purpose, record.version), &record.sealed)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What a sealed key is bound to, so that one cannot be put in another's place.
fn context(purpose: KeyPurpose, version: u8) -> Vec<u8> {
    format!("grantry key 1 {} {version}", purpose.as_str()).into_bytes()
}
