//! What Grantry does when it is asked: one flow a file, each opening with its numbered steps and the RFC that they
//! come from. Flows know neither HTTP nor SQL; they take parsed requests and answer with data.

mod admin;
mod authenticate;
mod client_credentials;
mod clients;
mod error;
mod inspect;
mod introspect;
mod keys;
mod revocations;
mod revoke;
mod settings;
mod tokens;

use std::sync::Arc;

use grantry_jose::JwkSet;
use grantry_persistence::Persistence;
use grantry_protocol::{Clock, Rng, TokenIds};
use grantry_store::Store;

pub use admin::Actor;
pub use authenticate::{Credentials, PresentedMethod};
pub use client_credentials::TokenResponse;
pub use clients::{ClientAdminError, ClientWithSecret, NewClient};
pub use error::GrantError;
pub use inspect::{Inspection, Origin};
pub use introspect::{ActiveToken, Introspection};
pub use keys::{KeyRing, KeyRingError, MasterKey};
pub use revocations::{RevocationOutcome, RevocationTarget};
pub use settings::{InvalidTokenSettings, TokenSettings};

/// Everything that the flows need; shared by all requests.
pub struct Grants {
    store: Arc<dyn Store>,
    persistence: Arc<Persistence>,
    keys: KeyRing,
    settings: TokenSettings,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    token_ids: TokenIds,
}

impl Grants {
    pub fn new(
        store: Arc<dyn Store>,
        persistence: Arc<Persistence>,
        keys: KeyRing,
        settings: TokenSettings,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, persistence, keys, settings, clock, rng, token_ids: TokenIds::default() }
    }

    pub fn settings(&self) -> &TokenSettings {
        &self.settings
    }

    /// How often a client secret was checked, successfully or not.
    pub fn secret_checks(&self) -> u64 {
        self.keys.secret_checks()
    }

    /// The public signing keys (RFC 7517 §5).
    pub fn jwks(&self) -> JwkSet {
        self.keys.jwks()
    }
}
