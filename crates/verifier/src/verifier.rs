//! The check of a token.
//!
//! 1. A text with three parts is a JWT; about anything else the issuer is asked, if it may be.
//! 2. Without keys that may be relied on nothing is said about a JWT.
//! 3. Whether the same text has been verified before by the same keys is looked up by its hash. That saves the signature and
//!    the claims that never change, and nothing else.
//! 4. The signature, `typ` and algorithm ([RFC 9068 §4](https://www.rfc-editor.org/rfc/rfc9068#section-4)), then the claims.
//! 5. Each time: the times, then the revocations, and last whether these may be relied on.

use std::sync::Arc;

use grantry_jose::{Expected, InvalidJws, PresentedJws, sha256, verify_published};
use metrics::{Counter, counter};
use tokio::task::JoinHandle;

use crate::cache::TokenCache;
use crate::claims::Demands;
use crate::discovery::Discovery;
use crate::feed::Feed;
use crate::introspection::Introspector;
use crate::keys::{KeySet, Keys};
use crate::login::Login;
use crate::{
    Algorithm, Ambient, Outage, Reason, Refusal, ResourceMetadata, Revocations, Settings, StartError,
};
use crate::{Verified, http_client};

/// RFC 9068 §2.1.
const TYPES: [&str; 1] = ["at+jwt"];
/// Bytes of a token. Longer ones are refused unread.
const MOST_TOKEN: usize = 16 * 1024;

/// Follows one issuer, for as long as it is there. Shared by all who check.
pub struct Verifier {
    algorithms: Vec<Algorithm>,
    demands: Demands,
    ambient: Ambient,
    keys: Arc<Keys>,
    feed: Option<Arc<Feed>>,
    introspector: Option<Arc<Introspector>>,
    verified: TokenCache<Known>,
    resource: Option<ResourceMetadata>,
    accepted: Counter,
    tasks: Vec<JoinHandle<()>>,
}

/// A token that was verified with a set of keys.
#[derive(Clone)]
struct Known {
    token: Arc<Verified>,
    keys: [u8; 32],
}

impl Verifier {
    /// Begins to follow the issuer and returns at once: until keys and revocations are there, checks end with
    /// [`Refusal::Unavailable`]. To be called within a tokio runtime.
    ///
    /// # Errors
    /// When a setting is wrong.
    pub fn start(settings: Settings) -> Result<Arc<Self>, StartError> {
        Self::start_with(settings, Ambient::system())
    }

    /// The same with clocks and randomness of one's own.
    ///
    /// # Errors
    /// When a setting is wrong.
    pub fn start_with(settings: Settings, ambient: Ambient) -> Result<Arc<Self>, StartError> {
        settings.check()?;
        let freshness = settings.freshness()?;
        let client = http_client::client(&settings)?;
        let discovery = Arc::new(Discovery::new(client.clone(), settings.clone()));
        let demands = Demands {
            issuer: settings.issuer.clone(),
            audiences: settings.audiences.clone(),
            leeway: settings.leeway,
            revocations_are_followed: matches!(settings.revocations, Revocations::Followed(_)),
        };
        let keys = Arc::new(Keys::new(
            client.clone(),
            Arc::clone(&discovery),
            ambient.clone(),
            settings.jwks_refresh,
            settings.jwks_keep,
        ));
        let mut tasks = vec![tokio::spawn(Arc::clone(&keys).follow())];
        let feed = match settings.revocations {
            Revocations::Followed(credentials) => {
                let login = Login::new(client.clone(), Arc::clone(&discovery), credentials, ambient.clone());
                let login = Arc::new(login);
                let feed = Arc::new(Feed::new(
                    client.clone(),
                    Arc::clone(&discovery),
                    (Arc::clone(&login), Arc::clone(&keys)),
                    ambient.clone(),
                    freshness,
                    settings.leeway,
                ));
                tasks.push(tokio::spawn(login.follow()));
                tasks.push(tokio::spawn(Arc::clone(&feed).poll()));
                tasks.push(tokio::spawn(Arc::clone(&feed).listen()));
                Some(feed)
            }
            Revocations::Off => {
                tracing::warn!("revocations are not followed: a JWT is good until it expires");
                None
            }
        };
        let introspector = settings.introspection.map(|introspection| {
            let demands = demands.clone();
            let ambient = ambient.clone();
            Arc::new(Introspector::new(client, discovery, introspection, demands, ambient, freshness))
        });
        Ok(Arc::new(Self {
            algorithms: settings.algorithms,
            demands,
            ambient,
            keys,
            feed,
            introspector,
            verified: TokenCache::new("tokens", settings.token_capacity),
            resource: settings.resource,
            accepted: counter!("grantry_verifier_checks_total", "outcome" => "accepted", "reason" => ""),
            tasks,
        }))
    }

    /// Whether JWTs can be judged now.
    pub fn is_ready(&self) -> bool {
        self.keys.current(self.ambient.now()).is_some()
            && self.feed.as_ref().is_none_or(|feed| feed.is_ready())
    }

    /// How this resource server describes itself.
    pub fn resource(&self) -> Option<&ResourceMetadata> {
        self.resource.as_ref()
    }

    /// Whether the token may be taken now, as it stands in an `Authorization` header.
    ///
    /// # Errors
    /// See [`Refusal`]; never [`Refusal::Missing`] or [`Refusal::InsufficientScope`].
    pub async fn check(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        let outcome = self.judge(token).await;
        let (result, reason) = match &outcome {
            Ok(_) => {
                self.accepted.increment(1);
                return outcome;
            }
            Err(Refusal::Unavailable { because, .. }) => ("unavailable", because.as_str()),
            Err(Refusal::Invalid(reason)) => ("invalid", reason.as_str()),
            Err(Refusal::Missing | Refusal::InsufficientScope { .. }) => ("invalid", ""),
        };
        counter!("grantry_verifier_checks_total", "outcome" => result, "reason" => reason).increment(1);
        outcome
    }

    async fn judge(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        if token.len() > MOST_TOKEN {
            return Err(Refusal::Invalid(Reason::Malformed));
        }
        let verified = match PresentedJws::new(token) {
            Some(jws) => self.verified(&jws).await?,
            None => {
                let introspector = self.introspector.as_ref().ok_or(Refusal::Invalid(Reason::Opaque))?;
                introspector.ask(token, sha256(token.as_bytes())).await?
            }
        };
        self.judge_now(&verified)?;
        Ok(verified)
    }

    // 2. to 4.
    async fn verified(&self, jws: &PresentedJws<'_>) -> Result<Arc<Verified>, Refusal> {
        let unavailable = || Refusal::unavailable(Outage::Keys);
        let keys = self.keys.current(self.ambient.now()).ok_or_else(unavailable)?;
        if let Some(known) = self.verified.get(jws.hash(), |known| known.keys == keys.hash) {
            return Ok(known.token);
        }
        let (payload, keys) = match self.verify(jws, &keys) {
            Err(InvalidJws::UnknownKey) => {
                let newer = self.keys.newer_than(&keys).await.ok_or_else(unavailable)?;
                (self.verify(jws, &newer), newer)
            }
            outcome => (outcome, keys),
        };
        let payload = payload.map_err(|error| Refusal::Invalid(reason(error)))?;
        let token = self.demands.of_jwt(payload).map(Arc::new).map_err(Refusal::Invalid)?;
        self.verified.put(*jws.hash(), Known { token: Arc::clone(&token), keys: keys.hash });
        Ok(token)
    }

    fn verify(&self, jws: &PresentedJws<'_>, keys: &KeySet) -> Result<Vec<u8>, InvalidJws> {
        let expected = Expected { types: &TYPES, algorithms: &self.algorithms };
        verify_published(jws, expected, &keys.keys)
    }

    // 5.
    fn judge_now(&self, token: &Verified) -> Result<(), Refusal> {
        self.demands.judge_times(token, self.ambient.clock.now()).map_err(Refusal::Invalid)?;
        let (Some(feed), Some(ends)) = (&self.feed, &token.ends) else { return Ok(()) };
        let look = feed.look(ends);
        if look.is_ended {
            return Err(Refusal::Invalid(Reason::Revoked));
        }
        // The issuer itself has just been asked about an opaque token.
        if token.asked.is_some() || feed.is_fresh(&look, self.ambient.now()) {
            return Ok(());
        }
        Err(Refusal::unavailable(Outage::Revocations))
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn reason(error: InvalidJws) -> Reason {
    match error {
        InvalidJws::Malformed => Reason::Malformed,
        InvalidJws::OtherType => Reason::Type,
        InvalidJws::Algorithm => Reason::Algorithm,
        InvalidJws::UnknownKey => Reason::UnknownKey,
        InvalidJws::Signature => Reason::Signature,
    }
}
