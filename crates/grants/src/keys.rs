use std::sync::atomic::{AtomicU64, Ordering};

use grantry_jose::{Algorithm, JwkSet, MacKey, SealingKey, SigningKey, equal_in_constant_time};
use grantry_protocol::{ClientId, ClientSecretHash, Clock, Rng, Secret};
use grantry_store::{KeyPurpose, KeyRecord, Store, StoreError};
use zeroize::Zeroizing;

/// 32 bytes that wrap all other keys and do nothing else; they are never in the store.
pub struct MasterKey(SealingKey);

impl MasterKey {
    pub const LEN: usize = SealingKey::LEN;

    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        Self(SealingKey::new(bytes))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    #[error(
        "the master key does not fit this store: it cannot open the key \"{purpose} {version}\". \
         Set keys.master_key_file (or GRANTRY_MASTER_KEY) to the key that the store was created with"
    )]
    WrongMasterKey { purpose: &'static str, version: u8 },
    #[error("the store has no {0} key; it was not written by this version of Grantry or is damaged")]
    Missing(&'static str),
    #[error("the key \"{purpose} {version}\" in the store is damaged")]
    Damaged { purpose: &'static str, version: u8 },
    #[error(transparent)]
    Unusable(#[from] grantry_jose::UnusableKey),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys of a deployment, opened and parsed once.
pub struct KeyRing {
    token_macs: Vec<(u8, MacKey)>,
    client_secrets: Vec<(u8, MacKey)>,
    signing: Vec<SigningKey>,
    /// Which of the published keys signs.
    signing_algorithm: Algorithm,
    secret_checks: AtomicU64,
}

impl KeyRing {
    /// Opens the store's keys; the first node of a deployment makes them.
    ///
    /// # Errors
    /// When the master key is not the one that the store's keys were sealed with.
    pub async fn open(
        store: &dyn Store,
        master: &MasterKey,
        signing_algorithm: Algorithm,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Self, KeyRingError> {
        let mut records = store.key_list().await?;
        if records.is_empty() {
            store.key_insert_first(first_keys(master, clock, rng)?).await?;
            // Read again: another node may have been first.
            records = store.key_list().await?;
        }
        let mut ring = Self {
            token_macs: Vec::new(),
            client_secrets: Vec::new(),
            signing: Vec::new(),
            signing_algorithm,
            secret_checks: AtomicU64::new(0),
        };
        for record in &records {
            ring.add(record, master)?;
        }
        if ring.token_macs.is_empty() {
            return Err(KeyRingError::Missing("token_mac"));
        }
        if ring.client_secrets.is_empty() {
            return Err(KeyRingError::Missing("client_secret"));
        }
        ring.signing_key_of(signing_algorithm).ok_or(KeyRingError::Missing(signing_algorithm.as_str()))?;
        Ok(ring)
    }

    fn add(&mut self, record: &KeyRecord, master: &MasterKey) -> Result<(), KeyRingError> {
        let (purpose, version) = (record.purpose.as_str(), record.version);
        let plain = master
            .0
            .unseal(&seal_context(record.purpose, version), &record.sealed)
            .ok_or(KeyRingError::WrongMasterKey { purpose, version })?;
        let damaged = KeyRingError::Damaged { purpose, version };
        match record.purpose {
            KeyPurpose::TokenMac => self.token_macs.push((version, mac_key(&plain).ok_or(damaged)?)),
            KeyPurpose::ClientSecret => self.client_secrets.push((version, mac_key(&plain).ok_or(damaged)?)),
            KeyPurpose::Signing => {
                let (algorithm, pkcs8) = plain.split_first().ok_or(damaged)?;
                let algorithm =
                    algorithm_from_code(*algorithm).ok_or(KeyRingError::Damaged { purpose, version })?;
                self.signing.push(SigningKey::from_pkcs8(algorithm, pkcs8)?);
            }
        }
        Ok(())
    }

    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.signing.iter().map(|key| key.jwk().clone()).collect() }
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        self.signing_key_of(self.signing_algorithm).expect("checked when the ring was opened")
    }

    fn signing_key_of(&self, algorithm: Algorithm) -> Option<&SigningKey> {
        self.signing.iter().rev().find(|key| key.algorithm() == algorithm)
    }

    pub(crate) fn signing_key_by_id(&self, kid: &str) -> Option<&SigningKey> {
        self.signing.iter().find(|key| key.kid() == kid)
    }

    /// The version that new opaque tokens are made with.
    pub(crate) fn newest_token_mac(&self) -> (u8, &MacKey) {
        newest(&self.token_macs)
    }

    pub(crate) fn token_mac(&self, version: u8) -> Option<&MacKey> {
        self.token_macs.iter().find(|(own, _)| *own == version).map(|(_, key)| key)
    }

    pub(crate) fn hash_client_secret(&self, client: &ClientId, secret: &Secret) -> ClientSecretHash {
        let (key_version, key) = newest(&self.client_secrets);
        ClientSecretHash { key_version, hash: secret_tag(key, client.as_str(), secret.expose()) }
    }

    /// Does the same work whether or not there is a hash to compare with, so that the time taken does not tell an
    /// unknown client from a wrong secret.
    pub(crate) fn check_client_secret(
        &self,
        client: &str,
        presented: &str,
        stored: Option<ClientSecretHash>,
    ) -> bool {
        self.secret_checks.fetch_add(1, Ordering::Relaxed);
        let known = stored.and_then(|stored| {
            let key = self.client_secrets.iter().find(|(version, _)| *version == stored.key_version);
            key.map(|(_, key)| (key, stored.hash))
        });
        let (key, expected) = known.unwrap_or((newest(&self.client_secrets).1, [0; 32]));
        let equal = equal_in_constant_time(&secret_tag(key, client, presented), &expected);
        equal & known.is_some()
    }

    pub(crate) fn secret_checks(&self) -> u64 {
        self.secret_checks.load(Ordering::Relaxed)
    }
}

/// A client id has no NUL, so no two pairs of id and secret run together.
fn secret_tag(key: &MacKey, client: &str, secret: &str) -> [u8; 32] {
    key.tag(&[client.as_bytes(), b"\0", secret.as_bytes()])
}

fn newest(keys: &[(u8, MacKey)]) -> (u8, &MacKey) {
    let (version, key) =
        keys.iter().max_by_key(|(version, _)| *version).expect("checked when the ring was opened");
    (*version, key)
}

fn mac_key(plain: &[u8]) -> Option<MacKey> {
    plain.try_into().ok().map(MacKey::new)
}

/// One key of each kind, and a signing key for each algorithm, so that a change of `keys.signing_algorithm` finds a
/// key that verifiers have known for long.
fn first_keys(master: &MasterKey, clock: &dyn Clock, rng: &dyn Rng) -> Result<Vec<KeyRecord>, KeyRingError> {
    let mut plain = Vec::new();
    for purpose in [KeyPurpose::TokenMac, KeyPurpose::ClientSecret] {
        let mut key = Zeroizing::new(vec![0; MacKey::LEN]);
        rng.fill(&mut key);
        plain.push((purpose, 1, key));
    }
    for (version, algorithm) in (1..).zip(Algorithm::ALL) {
        let mut key = Zeroizing::new(vec![algorithm_code(algorithm)]);
        key.extend_from_slice(&SigningKey::generate_pkcs8(algorithm)?);
        plain.push((KeyPurpose::Signing, version, key));
    }
    let seal = |(purpose, version, key): (KeyPurpose, u8, Zeroizing<Vec<u8>>)| KeyRecord {
        purpose,
        version,
        sealed: master.0.seal(|nonce| rng.fill(nonce), &seal_context(purpose, version), &key),
        created_at: clock.now(),
    };
    Ok(plain.into_iter().map(seal).collect())
}

/// What a sealed key is bound to, so that one cannot be put in another's place.
fn seal_context(purpose: KeyPurpose, version: u8) -> Vec<u8> {
    format!("grantry key 1 {} {version}", purpose.as_str()).into_bytes()
}

const fn algorithm_code(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::EdDsa => 1,
        Algorithm::Es256 => 2,
        Algorithm::Rs256 => 3,
    }
}

fn algorithm_from_code(code: u8) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|algorithm| algorithm_code(*algorithm) == code)
}
