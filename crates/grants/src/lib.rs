//! What Grantry does when it is asked: one flow a file, each opening with its numbered steps and the RFC that they
//! come from. Flows know neither HTTP nor SQL; they take parsed requests and answer with data.

mod absent;
mod admin;
mod assertions;
mod authenticate;
mod bounded;
mod client_credentials;
mod clients;
mod cluster;
mod error;
mod feed;
mod foreign_uses;
mod inspect;
mod introspect;
mod issuing;
mod jwt_bearer;
mod keeping;
mod key_sets;
mod keys;
mod persistence;
mod refresh;
mod revocations;
mod revoke;
mod sessions;
mod settings;
mod status_lists;
mod tokens;

use std::sync::Arc;

use grantry_jose::JwkSet;
use grantry_persistence::Persistence;
use grantry_protocol::{Clock, Rng, TimeOrderedIds};
use grantry_store::Store;

use foreign_uses::ForeignUses;
use issuing::IssuedTokens;
use key_sets::KeySets;
use settings::LiveSettings;
use status_lists::{KeptLists, Places};

pub use grantry_cache::{Feed, FeedAnswer, FeedPlace};
pub use grantry_store::{KeyPurpose, NodeId, ReplicationMode, ReplicationState, Standby};

pub use admin::Actor;
pub use authenticate::{Credentials, Proof};
pub use clients::{ClientAdminError, ClientWithSecret, NewClient};
pub use cluster::{Cluster, ClusterNode, Confirmation};
pub use error::GrantError;
pub use feed::FeedSubscriber;
pub use inspect::{Inspection, Origin};
pub use introspect::{ActiveGrant, ActiveToken, Introspection};
pub use issuing::TokenResponse;
pub use keeping::{ClientKeeper, KeptClient, KeptSecret, NotKept, Past};
pub use key_sets::{Fetch, FetchError};
pub use keys::{
    KeyAdminError, KeyInfo, KeyName, KeyOptions, KeyRing, KeyRingError, KeyState, MasterKey, Masters,
};
pub use persistence::{PersistenceState, node_text};
pub use revocations::{RevocationOutcome, RevocationTarget};
pub use revoke::Revoked;
pub use sessions::{SubjectCursor, SubjectTokens};
pub use settings::{
    CacheCapacities, FileSettings, InvalidSetting, InvalidTokenSettings, RUNTIME_KEYS, SettingsAdminError,
    SettingsState, TokenSettings,
};
pub use status_lists::StatusList;

/// Everything that the flows need; shared by all requests.
pub struct Grants {
    store: Arc<dyn Store>,
    persistence: Arc<Persistence>,
    keys: Arc<KeyRing>,
    settings: Arc<LiveSettings>,
    keeper: Option<Arc<dyn ClientKeeper>>,
    key_sets: KeySets,
    foreign_uses: ForeignUses,
    places: Places,
    lists: KeptLists,
    feed: Option<Arc<Feed>>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    ids: TimeOrderedIds,
    issued: IssuedTokens,
}

impl Grants {
    pub fn new(
        store: Arc<dyn Store>,
        persistence: Arc<Persistence>,
        keys: Arc<KeyRing>,
        settings: impl Into<FileSettings>,
        fetch: Arc<dyn Fetch>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let key_sets = KeySets::new(fetch, Arc::clone(&clock));
        let settings = Arc::new(LiveSettings::new(Arc::clone(&store), settings.into()));
        let (foreign_uses, ids) = (ForeignUses::default(), TimeOrderedIds::default());
        let (places, lists) = (Places::default(), KeptLists::default());
        let (keeper, feed) = (None, None);
        Self {
            store,
            persistence,
            keys,
            settings,
            keeper,
            key_sets,
            foreign_uses,
            places,
            lists,
            feed,
            clock,
            rng,
            ids,
            issued: IssuedTokens::new(),
        }
    }

    /// How often a client secret was checked, successfully or not.
    pub fn secret_checks(&self) -> u64 {
        self.keys.secret_checks()
    }

    /// Whether pages of this origin may call the endpoints that are open to browsers: some enabled client has registered
    /// it.
    pub async fn origin_is_registered(&self, origin: &str) -> Result<bool, GrantError> {
        Ok(self.store.client_origin_exists(origin).await?)
    }

    pub fn key_options(&self) -> &KeyOptions {
        self.keys.options()
    }

    /// The public signing keys (RFC 7517 §5).
    pub fn jwks(&self) -> JwkSet {
        self.keys.jwks()
    }
}
