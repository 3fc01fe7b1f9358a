use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use grantry_jose::{Algorithm, JwkSet, MacKey, Signer, SigningKey, equal_in_constant_time};
use grantry_protocol::{ClientId, ClientSecretHash, Clock, Lifetime, Rng, Secret, Timestamp};
use grantry_store::{KeyChange, KeyPurpose, KeyRecord, Store};
use tokio::sync::Mutex;

use super::snapshot::{Key, Line, Snapshot, TokenKey};
use super::{KeyRingError, MasterKey, Masters};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOptions {
    /// Which of the published keys signs.
    pub signing_algorithm: Algorithm,
    /// How long others may keep the published keys; a new one is published for at least as long before it signs.
    pub jwks_max_age: Lifetime,
}

/// The keys of a deployment, opened and parsed once for each change.
pub struct KeyRing {
    pub(super) store: Arc<dyn Store>,
    pub(super) snapshot: ArcSwap<Snapshot>,
    pub(super) options: KeyOptions,
    /// Held from reading the list to keeping it, so that an older list never takes the place of a newer one.
    pub(super) reading: Mutex<()>,
    pub(super) masters: OnceLock<Masters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    secret_checks: AtomicU64,
}

impl KeyRing {
    /// Opens the store's keys; the first node of a deployment makes them.
    ///
    /// # Errors
    /// When the master key is not the one that the store's keys were sealed with.
    pub async fn open(
        store: Arc<dyn Store>,
        master: MasterKey,
        options: KeyOptions,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Arc<Self>, KeyRingError> {
        let mut records = store.key_list().await?;
        // Those of client secrets may have come from a file, to a store that was empty.
        if records.iter().all(|record| record.purpose == KeyPurpose::ClientSecret) {
            let to = first_keys(&records, &master, clock.as_ref(), rng.as_ref())?;
            store.key_replace(KeyChange { from: records, to, audit: None }).await?;
            // Read again: another node may have been first.
            records = store.key_list().await?;
        }
        let snapshot = Snapshot::open(&records, &master, options.signing_algorithm, None)?;
        Ok(Arc::new(Self {
            store,
            snapshot: ArcSwap::from_pointee(snapshot),
            options,
            reading: Mutex::default(),
            masters: OnceLock::new(),
            clock,
            rng,
            secret_checks: AtomicU64::new(0),
        }))
    }

    pub fn options(&self) -> &KeyOptions {
        &self.options
    }

    /// The public keys of everything signed that may be taken for ours, now or soon (RFC 7517 §5).
    pub fn jwks(&self) -> JwkSet {
        let now = self.clock.now();
        let snapshot = self.snapshot.load();
        let published = snapshot.keys.iter().filter(|key| key.is_accepted(now));
        JwkSet { keys: published.filter_map(|key| Some(key.material.signing()?.jwk().clone())).collect() }
    }

    pub(crate) fn signer(&self) -> Arc<dyn Signer> {
        let line = Line::Signing(self.options.signing_algorithm);
        self.maker(line, |key| key.material.signing().cloned())
    }

    pub(crate) fn signing_key_by_id(&self, kid: &str) -> Option<Arc<SigningKey>> {
        let snapshot = self.snapshot.load();
        let key = snapshot.find_signing(kid).filter(|key| key.is_accepted(self.clock.now()))?;
        key.material.signing().cloned()
    }

    /// The version that new opaque tokens are made with.
    pub(crate) fn newest_token_key(&self) -> (u8, Arc<TokenKey>) {
        self.maker(Line::TokenMac, |key| Some((key.record.version, key.material.token()?.clone())))
    }

    /// `None` for a version that there is not, or whose tokens are not taken for ours any more.
    pub(crate) fn token_key(&self, version: u8) -> Option<Arc<TokenKey>> {
        let snapshot = self.snapshot.load();
        let accepted = |key: &&Key| key.is_accepted(self.clock.now());
        snapshot.find(KeyPurpose::TokenMac, version).filter(accepted)?.material.token().cloned()
    }

    /// When a key was made; `None` for one that there is not.
    pub(crate) fn made_at(&self, purpose: KeyPurpose, version: u8) -> Option<Timestamp> {
        Some(self.snapshot.load().find(purpose, version)?.record.created_at)
    }

    pub(crate) fn hash_client_secret(&self, client: &ClientId, secret: &Secret) -> ClientSecretHash {
        let (key_version, key) = self.maker(Line::ClientSecret, numbered);
        ClientSecretHash { key_version, hash: secret_tag(&key, client.as_str(), secret.expose()) }
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
            let key = self.accepted_mac(KeyPurpose::ClientSecret, stored.key_version)?;
            Some((key, stored.hash))
        });
        let is_known = known.is_some();
        let (key, expected) = known.unwrap_or_else(|| (self.maker(Line::ClientSecret, numbered).1, [0; 32]));
        let equal = equal_in_constant_time(&secret_tag(&key, client, presented), &expected);
        equal & is_known
    }

    pub(crate) fn secret_checks(&self) -> u64 {
        self.secret_checks.load(Ordering::Relaxed)
    }

    fn accepted_mac(&self, purpose: KeyPurpose, version: u8) -> Option<Arc<MacKey>> {
        let snapshot = self.snapshot.load();
        let key = snapshot.find(purpose, version).filter(|key| key.is_accepted(self.clock.now()))?;
        key.material.mac().cloned()
    }

    fn maker<T>(&self, line: Line, take: impl FnOnce(&Key) -> Option<T>) -> T {
        let snapshot = self.snapshot.load();
        let maker = snapshot.maker(line, self.clock.now());
        maker.and_then(take).expect("a list of keys in which a line has none is not opened")
    }
}

fn numbered(key: &Key) -> Option<(u8, Arc<MacKey>)> {
    Some((key.record.version, key.material.mac()?.clone()))
}

/// A client id has no NUL, so no two pairs of id and secret run together.
fn secret_tag(key: &MacKey, client: &str, secret: &str) -> [u8; 32] {
    key.tag(&[client.as_bytes(), b"\0", secret.as_bytes()])
}

/// Besides those that are there, one key of each kind, and a signing key for each algorithm, so that a change of
/// `keys.signing_algorithm` finds a key that verifiers have known for long.
fn first_keys(
    present: &[KeyRecord],
    master: &MasterKey,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<Vec<KeyRecord>, KeyRingError> {
    let now = clock.now();
    let mut records = present.to_vec();
    let macs = [(Line::TokenMac, 1), (Line::ClientSecret, 1)];
    let signing = Algorithm::ALL.map(Line::Signing).into_iter().zip(1..);
    for (line, version) in macs.into_iter().chain(signing) {
        let purpose = line.purpose();
        if present.iter().any(|record| record.purpose == purpose) {
            continue;
        }
        records.push(KeyRecord {
            purpose,
            version,
            sealed: master.seal(rng, purpose, version, &line.generate(rng)?),
            created_at: now,
            active_from: now,
            needed_until: None,
            revoked_at: None,
        });
    }
    Ok(records)
}
