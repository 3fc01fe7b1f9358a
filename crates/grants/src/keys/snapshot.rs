//! All keys at one moment, open. Where a key stands in its line decides what it is good for:
//!
//! - **Makes** new things: the newest that is active and not revoked, by `active_from`, then by version.
//! - **Is accepted**, and published if it signs: every key that is not revoked, until its `needed_until`. That includes
//!   those that are still to become active: another node's clock may be ahead.
//!
//! Both depend on the clock, so they are asked anew each time; there are few keys.

use std::sync::Arc;

use grantry_jose::{Algorithm, MacKey, NonceMisuseResistantKey, SigningKey};
use grantry_protocol::{Rng, Timestamp};
use grantry_store::{KeyPurpose, KeyRecord};
use zeroize::Zeroizing;

use super::{KeyRingError, KeyState, MasterKey};

/// Keys that take over from one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    TokenMac,
    ClientSecret,
    Signing(Algorithm),
}

impl Line {
    pub const fn purpose(self) -> KeyPurpose {
        match self {
            Self::TokenMac => KeyPurpose::TokenMac,
            Self::ClientSecret => KeyPurpose::ClientSecret,
            Self::Signing(_) => KeyPurpose::Signing,
        }
    }

    /// A new key, as it is sealed: for signatures with a byte in front that says of what algorithm.
    pub fn generate(self, rng: &dyn Rng) -> Result<Zeroizing<Vec<u8>>, grantry_jose::UnusableKey> {
        match self {
            Self::TokenMac | Self::ClientSecret => {
                let mut key = Zeroizing::new(vec![0; MacKey::LEN]);
                rng.fill(&mut key);
                Ok(key)
            }
            Self::Signing(algorithm) => Ok(signing_plain(algorithm, &SigningKey::generate_pkcs8(algorithm)?)),
        }
    }
}

pub(super) fn signing_plain(algorithm: Algorithm, pkcs8: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(pkcs8.len() + 1));
    plain.push(algorithm_code(algorithm));
    plain.extend_from_slice(pkcs8);
    plain
}

/// What opaque tokens are made with: those that name a row, and those that say everything themselves. One is derived from
/// the other, so both are rotated and revoked together.
pub(crate) struct TokenKey {
    pub mac: Arc<MacKey>,
    pub seal: NonceMisuseResistantKey,
}

impl TokenKey {
    fn new(mac: Arc<MacKey>) -> Self {
        // No token begins like this, so its MAC says nothing about the key.
        let seal = NonceMisuseResistantKey::new(&mac.tag(&[b"grantry token seal 1"]));
        Self { mac, seal }
    }
}

#[derive(Clone)]
pub(super) enum Material {
    TokenMac(Arc<TokenKey>),
    ClientSecret(Arc<MacKey>),
    Signing(Arc<SigningKey>),
}

impl Material {
    pub fn mac(&self) -> Option<&Arc<MacKey>> {
        match self {
            Self::TokenMac(key) => Some(&key.mac),
            Self::ClientSecret(key) => Some(key),
            Self::Signing(_) => None,
        }
    }

    pub fn token(&self) -> Option<&Arc<TokenKey>> {
        match self {
            Self::TokenMac(key) => Some(key),
            Self::ClientSecret(_) | Self::Signing(_) => None,
        }
    }

    pub fn signing(&self) -> Option<&Arc<SigningKey>> {
        match self {
            Self::Signing(key) => Some(key),
            Self::TokenMac(_) | Self::ClientSecret(_) => None,
        }
    }
}

pub(super) struct Key {
    pub record: KeyRecord,
    pub material: Material,
}

impl Key {
    fn open(record: KeyRecord, master: &MasterKey) -> Result<Self, KeyRingError> {
        let (purpose, version) = (record.purpose.as_str(), record.version);
        let plain = master.unseal(&record).ok_or(KeyRingError::WrongMasterKey { purpose, version })?;
        let damaged = || KeyRingError::Damaged { purpose, version };
        let mac = || plain.as_slice().try_into().map(|key| Arc::new(MacKey::new(key))).map_err(|_| damaged());
        let material = match record.purpose {
            KeyPurpose::TokenMac => Material::TokenMac(Arc::new(TokenKey::new(mac()?))),
            KeyPurpose::ClientSecret => Material::ClientSecret(mac()?),
            KeyPurpose::Signing => {
                let (code, pkcs8) = plain.split_first().ok_or_else(damaged)?;
                let algorithm = algorithm_from_code(*code).ok_or_else(damaged)?;
                Material::Signing(Arc::new(SigningKey::from_pkcs8(algorithm, pkcs8)?))
            }
        };
        Ok(Self { record, material })
    }

    pub fn line(&self) -> Line {
        match &self.material {
            Material::TokenMac(_) => Line::TokenMac,
            Material::ClientSecret(_) => Line::ClientSecret,
            Material::Signing(key) => Line::Signing(key.algorithm()),
        }
    }

    /// Whether what it made is still to be taken for ours.
    pub fn is_accepted(&self, now: Timestamp) -> bool {
        self.record.revoked_at.is_none() && self.record.needed_until.is_none_or(|until| until > now)
    }

    fn place(&self) -> (Timestamp, u8) {
        (self.record.active_from, self.record.version)
    }
}

pub(super) struct Snapshot {
    pub keys: Vec<Key>,
    pub master: MasterKey,
}

impl Snapshot {
    /// Parses what `previous` does not have parsed already.
    ///
    /// # Errors
    /// Another master key, or a line that makes nothing any more.
    pub fn open(
        records: &[KeyRecord],
        master: &MasterKey,
        signing_algorithm: Algorithm,
        previous: Option<&Self>,
    ) -> Result<Self, KeyRingError> {
        // What another master has opened says nothing about this one.
        let previous = previous.filter(|previous| previous.master.is(master));
        let open = |record: &KeyRecord| match previous.and_then(|previous| previous.find_sealed(record)) {
            Some(key) => Ok(Key { record: record.clone(), material: key.material.clone() }),
            None => Key::open(record.clone(), master),
        };
        let keys = records.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let snapshot = Self { keys, master: master.clone() };
        for line in [Line::TokenMac, Line::ClientSecret, Line::Signing(signing_algorithm)] {
            if snapshot.unrevoked(line).next().is_none() {
                return Err(KeyRingError::Missing(match line {
                    Line::Signing(algorithm) => algorithm.as_str(),
                    line => line.purpose().as_str(),
                }));
            }
        }
        Ok(snapshot)
    }

    fn find_sealed(&self, record: &KeyRecord) -> Option<&Key> {
        self.find(record.purpose, record.version).filter(|key| key.record.sealed == record.sealed)
    }

    pub fn find(&self, purpose: KeyPurpose, version: u8) -> Option<&Key> {
        self.keys.iter().find(|key| key.record.purpose == purpose && key.record.version == version)
    }

    pub fn find_signing(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.material.signing().is_some_and(|signing| signing.kid() == kid))
    }

    fn unrevoked(&self, line: Line) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.line() == line && key.record.revoked_at.is_none())
    }

    /// The key that makes new things. Where all are still to become active, because this clock is behind, it is the
    /// first of them.
    pub fn maker(&self, line: Line, now: Timestamp) -> Option<&Key> {
        let active =
            self.unrevoked(line).filter(|key| key.record.active_from <= now).max_by_key(|key| key.place());
        active.or_else(|| self.unrevoked(line).min_by_key(|key| key.place()))
    }

    /// The key that the next one will take over from, active or not.
    pub fn last(&self, line: Line) -> Option<&Key> {
        self.unrevoked(line).max_by_key(|key| key.place())
    }

    /// The key that `key` took over from, or is to.
    pub fn before(&self, key: &Key) -> Option<&Key> {
        self.unrevoked(key.line())
            .filter(|other| other.place() < key.place())
            .max_by_key(|other| other.place())
    }

    pub fn state(&self, key: &Key, now: Timestamp) -> KeyState {
        let record = &key.record;
        let makes = || self.maker(key.line(), now).is_some_and(|maker| std::ptr::eq(maker, key));
        match () {
            () if record.revoked_at.is_some() => KeyState::Revoked,
            () if makes() => KeyState::Active,
            () if record.needed_until.is_some_and(|until| until <= now) => KeyState::Retired,
            () if record.active_from > now => KeyState::Pending,
            () => KeyState::Retiring,
        }
    }

    pub fn records(&self) -> Vec<KeyRecord> {
        self.keys.iter().map(|key| key.record.clone()).collect()
    }

    pub fn is_of(&self, records: &[KeyRecord]) -> bool {
        self.keys.iter().map(|key| &key.record).eq(records)
    }
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
