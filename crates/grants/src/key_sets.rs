//! Key sets of clients and issuers, inline or fetched from where they publish them.
//!
//! 1. An inline set is parsed once for as long as it stays the same.
//! 2. A published set is kept for 5 minutes. Then it is fetched again, by one request at a time: who comes meanwhile
//!    waits for that one and shares what it brought.
//! 3. A fetch that fails is made up for by the copy that is there, if it is at most an hour old. Without one the request
//!    is told to come again: an outage of others is no proof against anybody.
//! 4. A signature by a key that the copy does not have may be by a new key: the set is fetched again, at most every
//!    30 seconds, since anybody can name a key that does not exist.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use grantry_jose::{InvalidJws, PublicKeySet, verify_assertion};
use grantry_protocol::{ClientId, ClientKeySet, Clock, KeySource, Timestamp};
use metrics::{counter, gauge};
use serde::de::DeserializeOwned;

use crate::bounded::Bounded;

/// Sets of either kind that are kept; the oldest makes room.
const CAPACITY: usize = 1_000;
const FRESH_FOR: Duration = Duration::from_secs(300);
const GOOD_FOR: Duration = Duration::from_secs(3600);
/// Between two fetches for the sake of an unknown key, or of a copy that is no longer fresh and could not be renewed.
const BETWEEN_REFETCHES: Duration = Duration::from_secs(30);
/// Between two fetches where there is nothing to go on with.
const BETWEEN_FIRST_FETCHES: Duration = Duration::from_secs(1);

/// Gets a document from a URL that a client registered. The implementation keeps it from reaching into the network that
/// the server stands in, and bounds its size and time.
#[async_trait]
pub trait Fetch: Send + Sync {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, FetchError>;
}

/// Why a document was not fetched; for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The URL leads where requests must not go. Trying again changes nothing.
    #[error("the address is not allowed: {0}")]
    Refused(String),
    /// It may work later.
    #[error("the document could not be fetched: {0}")]
    Failed(String),
}

/// Why an assertion was not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// The text is at fault, or is signed by somebody else.
    Signature(InvalidJws),
    /// The keys cannot be had from where they are registered, now or later.
    NoKeys,
    /// The keys cannot be had just now.
    Unavailable(String),
}

/// Whose keys of a client they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Client,
    AssertionIssuer,
}

type Keys = Arc<PublicKeySet>;

pub(crate) struct KeySets {
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    /// With what they were parsed from, so that a changed set is never taken for the old one.
    inline: Mutex<Bounded<(ClientId, Owner), (ClientKeySet, Keys)>>,
    published: Mutex<Bounded<String, Arc<Published>>>,
}

/// What is known of one URL.
#[derive(Default)]
struct Published {
    state: Mutex<State>,
    /// Held while fetching. What is known already can be read meanwhile.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default, Clone)]
struct State {
    copy: Option<(Keys, Timestamp)>,
    /// The last fetch, whatever it brought.
    tried: Option<(Timestamp, Result<(), FetchError>)>,
    fetches: u64,
}

impl KeySets {
    pub fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        let sets = |kind| gauge!("grantry_key_sets", "kind" => kind);
        let inline = Mutex::new(Bounded::new(CAPACITY, sets("inline")));
        let published = Mutex::new(Bounded::new(CAPACITY, sets("published")));
        Self { fetch, clock, inline, published }
    }

    /// The claims of an assertion that one of the keys has signed.
    pub async fn verify<C: DeserializeOwned>(
        &self,
        client: &ClientId,
        owner: Owner,
        source: KeySource<'_>,
        text: &str,
    ) -> Result<C, Unverified> {
        match source {
            KeySource::Inline(set) => {
                let keys = self.inline(client, owner, set)?;
                verify_assertion(text, &keys).map_err(Unverified::Signature)
            }
            KeySource::Url(url) => self.verify_with_published(url, text).await,
        }
    }

    // 1.
    fn inline(&self, client: &ClientId, owner: Owner, set: &ClientKeySet) -> Result<Keys, Unverified> {
        let of = (client.clone(), owner);
        if let Some((source, keys)) = lock(&self.inline).get(&of)
            && source == set
        {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(PublicKeySet::parse(set.as_json()).map_err(|_| Unverified::NoKeys)?);
        lock(&self.inline).put(of, (set.clone(), Arc::clone(&keys)));
        Ok(keys)
    }

    async fn verify_with_published<C: DeserializeOwned>(
        &self,
        url: &str,
        text: &str,
    ) -> Result<C, Unverified> {
        let published = lock(&self.published).get_or_put_default(url.to_owned());
        // 2. and 3.
        let before = lock(&published.state).clone();
        let known = if before.is_fresh(self.clock.now()) {
            before
        } else {
            self.renew(&published, url, before).await
        };
        let keys = known.keys(self.clock.now())?;
        match verify_assertion(text, &keys) {
            // 4.
            Err(InvalidJws::UnknownKey) => {
                let keys = self.renew(&published, url, known).await.keys(self.clock.now())?;
                verify_assertion(text, &keys).map_err(Unverified::Signature)
            }
            outcome => outcome.map_err(Unverified::Signature),
        }
    }

    /// Fetches, unless somebody has since `known`, or did too short a while ago. Answers what is known then.
    async fn renew(&self, published: &Published, url: &str, known: State) -> State {
        if !known.may_fetch(self.clock.now()) {
            return known;
        }
        let _alone = published.fetching.lock().await;
        let present = lock(&published.state).clone();
        if present.fetches != known.fetches {
            return present;
        }
        let fetched = self.fetch.fetch(url).await.and_then(|document| {
            let set =
                serde_json::from_slice(&document).map_err(|error| FetchError::Failed(error.to_string()))?;
            PublicKeySet::parse(&set).map_err(|error| FetchError::Failed(error.to_string()))
        });
        let outcome = match &fetched {
            Ok(_) => "fetched",
            Err(FetchError::Refused(_)) => "refused",
            Err(FetchError::Failed(_)) => "failed",
        };
        counter!("grantry_key_set_fetches_total", "outcome" => outcome).increment(1);
        let now = self.clock.now();
        let mut state = lock(&published.state);
        state.fetches += 1;
        match fetched {
            Ok(keys) => {
                state.copy = Some((Arc::new(keys), now));
                state.tried = Some((now, Ok(())));
            }
            Err(error) => {
                tracing::warn!(url, %error, "a key set could not be fetched");
                state.tried = Some((now, Err(error)));
            }
        }
        state.clone()
    }
}

impl State {
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.copy.as_ref().is_some_and(|(_, at)| age(*at, now) < FRESH_FOR)
    }

    fn may_fetch(&self, now: Timestamp) -> bool {
        let rest = if self.usable(now).is_some() { BETWEEN_REFETCHES } else { BETWEEN_FIRST_FETCHES };
        self.tried.as_ref().is_none_or(|(at, _)| age(*at, now) >= rest)
    }

    fn usable(&self, now: Timestamp) -> Option<&Keys> {
        self.copy.as_ref().filter(|(_, at)| age(*at, now) <= GOOD_FOR).map(|(keys, _)| keys)
    }

    fn keys(&self, now: Timestamp) -> Result<Keys, Unverified> {
        match (self.usable(now), &self.tried) {
            (Some(keys), _) => Ok(Arc::clone(keys)),
            (None, Some((_, Err(FetchError::Refused(_))))) => Err(Unverified::NoKeys),
            (None, _) => {
                Err(Unverified::Unavailable("the keys of an assertion could not be fetched".to_owned()))
            }
        }
    }
}

/// A clock that went back tells no age; whatever was done then is old.
fn age(at: Timestamp, now: Timestamp) -> Duration {
    if at > now { Duration::MAX } else { now.since(at) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
