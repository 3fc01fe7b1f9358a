//! Opaque tokens: the issuer is asked (RFC 7662).
//!
//! 1. An answer is good for requests that come within `max_staleness`, less a tenth, after the question was sent.
//! 2. Of those who ask about one token at the same time one asks, in a task of its own, so that it does not end with a
//!    caller who goes away. The others share what it brought, if that is young enough for them.
//! 3. There is a bound to the questions at one time. Beyond it, and when the issuer does not answer, nothing is said about
//!    the token.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grantry_protocol::{Moment, Secret};
use grantry_revocation::Freshness;
use metrics::counter;
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::watch;

use crate::cache::{TokenCache, TokenHash};
use crate::claims::Demands;
use crate::discovery::Discovery;
use crate::http_client::{Failure, post, send};
use crate::{Ambient, Introspection, Outage, Reason, Refusal, Verified};

/// Questions at one time.
const MOST_AT_ONCE: usize = 256;

/// What the issuer said.
#[derive(Clone)]
struct Answer {
    asked: Moment,
    said: Result<Arc<Verified>, Reason>,
}

/// `None` until there is one; then what there is, if there was any.
type Awaited = watch::Receiver<Option<Option<Answer>>>;

pub struct Introspector {
    client: Client,
    discovery: Arc<Discovery>,
    introspection: Introspection,
    demands: Demands,
    ambient: Ambient,
    freshness: Freshness,
    kept: TokenCache<Answer>,
    under_way: Mutex<HashMap<TokenHash, Awaited>>,
    /// So that the log says it once, not for each token.
    is_failing: AtomicBool,
}

#[derive(Deserialize)]
struct Active {
    active: bool,
}

impl Introspector {
    pub fn new(
        client: Client,
        discovery: Arc<Discovery>,
        introspection: Introspection,
        demands: Demands,
        ambient: Ambient,
        freshness: Freshness,
    ) -> Self {
        let kept = TokenCache::new("introspection", introspection.capacity);
        let (under_way, is_failing) = (Mutex::default(), AtomicBool::default());
        Self { client, discovery, introspection, demands, ambient, freshness, kept, under_way, is_failing }
    }

    /// What the issuer says about the token, with the claims that have to be there; its times are not looked at here.
    pub async fn ask(self: &Arc<Self>, token: &str, hash: TokenHash) -> Result<Arc<Verified>, Refusal> {
        let unavailable = Refusal::unavailable(Outage::Introspection);
        let now = self.ambient.now();
        if let Some(answer) = self.kept.get(&hash, |answer| self.is_young(answer, now)) {
            return answer.said.map_err(Refusal::Invalid);
        }
        let mut awaited = self.join(token, hash).ok_or_else(|| unavailable.clone())?;
        let answer = match awaited.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().flatten(),
            Err(_) => None,
        };
        let answer = answer.filter(|answer| self.is_young(answer, now));
        answer.ok_or(unavailable)?.said.map_err(Refusal::Invalid)
    }

    /// For a request that came at `now`: what is revoked later than that need not be known for it.
    fn is_young(&self, answer: &Answer, now: Moment) -> bool {
        self.freshness.is_fresh(answer.asked, now)
    }

    // 2. and 3.
    fn join(self: &Arc<Self>, token: &str, hash: TokenHash) -> Option<Awaited> {
        let mut under_way = self.under_way();
        // One whose task has died brings nothing.
        if let Some(awaited) = under_way.get(&hash).filter(|awaited| awaited.has_changed().is_ok()) {
            return Some(awaited.clone());
        }
        if under_way.len() >= MOST_AT_ONCE {
            counter!("grantry_verifier_introspections_total", "outcome" => "too_many").increment(1);
            return None;
        }
        let (sender, awaited) = watch::channel(None);
        under_way.insert(hash, awaited.clone());
        let (asker, token) = (Arc::clone(self), Secret::new(token));
        tokio::spawn(async move {
            let answer = asker.question(&token).await;
            if let Some(answer) = &answer {
                asker.kept.put(hash, answer.clone());
            }
            asker.under_way().remove(&hash);
            sender.send_replace(Some(answer));
        });
        Some(awaited)
    }

    async fn question(&self, token: &Secret) -> Option<Answer> {
        let asked = self.ambient.now();
        let outcome = self.send(token).await.and_then(|body| self.read(asked, body));
        let (counted, answer) = match outcome {
            Ok(answer) => {
                self.is_failing.store(false, Ordering::Relaxed);
                (
                    if matches!(answer.said, Err(Reason::Inactive)) { "inactive" } else { "active" },
                    Some(answer),
                )
            }
            Err(error) => {
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the issuer cannot be asked about opaque tokens");
                }
                ("failed", None)
            }
        };
        counter!("grantry_verifier_introspections_total", "outcome" => counted).increment(1);
        answer
    }

    async fn send(&self, token: &Secret) -> Result<Vec<u8>, Failure> {
        let places = self.discovery.places().await?;
        let to = places.introspection.as_ref();
        let to = to.ok_or_else(|| Failure::Answer("there is no introspection_endpoint".to_owned()))?;
        let form = [("token", token.expose()), ("token_type_hint", "access_token")];
        send(post(&self.client, to, &self.introspection.credentials, &form), self.introspection.timeout).await
    }

    fn read(&self, asked: Moment, body: Vec<u8>) -> Result<Answer, Failure> {
        // The error could quote what is said of a person.
        let state: Active = serde_json::from_slice(&body).map_err(|_| {
            Failure::Answer("it is no introspection response (RFC 7662 section 2.2)".to_owned())
        })?;
        let said = match state.active {
            true => self.demands.of_introspection(asked, body).map(Arc::new),
            false => Err(Reason::Inactive),
        };
        Ok(Answer { asked, said })
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<TokenHash, Awaited>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
