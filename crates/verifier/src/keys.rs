//! The keys of the issuer.
//!
//! 1. They are fetched at the start and then every few minutes. What has left the set verifies nothing from then on.
//! 2. A token that names a key which is not there may be signed with a new one: its check waits for one more fetch. There is
//!    at most one in 10 seconds for that, since anybody can name a key that does not exist.
//! 3. Keys that cannot be fetched again are good for a stated time more, and then none are: nothing is let in.
//!
//! Only the task in [`Keys::follow`] fetches, so that nobody who goes away takes a fetch with them that others wait for.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use grantry_jose::{InvalidKeySet, PublicKeySet, sha256};
use grantry_protocol::Moment;
use metrics::counter;
use reqwest::{Client, header};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::Ambient;
use crate::discovery::Discovery;
use crate::http_client::{Failure, PATIENCE, send};

/// Between two fetches for the sake of a key that is not known.
const BETWEEN_FETCHES: Duration = Duration::from_secs(10);
/// After a fetch that failed; doubled each time.
const FIRST_BREATH: Duration = Duration::from_millis(500);
const LONGEST_BREATH: Duration = Duration::from_secs(30);

/// A set that was fetched.
pub struct KeySet {
    pub keys: PublicKeySet,
    /// Two sets with the same are the same.
    pub hash: [u8; 32],
}

struct Fetched {
    set: Arc<KeySet>,
    /// When it was asked for.
    at: Moment,
}

#[derive(Default)]
struct Progress {
    is_fetching: bool,
    fetches: u64,
    /// When the last one began, and whether it brought keys.
    last: Option<(Moment, bool)>,
}

pub struct Keys {
    client: Client,
    discovery: Arc<Discovery>,
    ambient: Ambient,
    refresh: Duration,
    keep: Duration,
    fetched: ArcSwapOption<Fetched>,
    progress: watch::Sender<Progress>,
    wanted: Notify,
}

impl Keys {
    pub fn new(
        client: Client,
        discovery: Arc<Discovery>,
        ambient: Ambient,
        refresh: Duration,
        keep: Duration,
    ) -> Self {
        let progress = watch::Sender::new(Progress::default());
        let (fetched, wanted) = (ArcSwapOption::empty(), Notify::new());
        Self { client, discovery, ambient, refresh, keep, fetched, progress, wanted }
    }

    /// What may be relied on at `now`.
    pub fn current(&self, now: Moment) -> Option<Arc<KeySet>> {
        let fetched = self.fetched.load();
        fetched
            .as_ref()
            .filter(|fetched| now.since(fetched.at) < self.keep)
            .map(|fetched| Arc::clone(&fetched.set))
    }

    /// What there is after a fetch (step 2) for the sake of a key that is not in `known`, or after the one that is under way;
    /// `known` again when it is too early for another.
    pub async fn newer_than(&self, known: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let mut progress = self.progress.subscribe();
        let (is_fetching, fetches) = {
            let progress = progress.borrow_and_update();
            (progress.is_fetching, progress.fetches)
        };
        let now = self.ambient.now();
        let current = self.current(now)?;
        if current.hash != known.hash {
            return Some(current);
        }
        if !is_fetching {
            if !self.may_fetch(now) {
                let failed = self.progress.borrow().last.is_some_and(|(_, brought)| !brought);
                return if failed { None } else { Some(current) };
            }
            self.wanted.notify_one();
        }
        let done = progress.wait_for(|progress| progress.fetches > fetches);
        let brought = match timeout(PATIENCE, done).await {
            Ok(Ok(progress)) => progress.last.is_some_and(|(_, brought)| brought),
            Ok(Err(_)) | Err(_) => false,
        };
        // Whether the key is known to the issuer cannot be told if it did not answer.
        if brought { self.current(self.ambient.now()) } else { None }
    }

    /// The issuer may have taken a key back. Nobody waits for the fetch.
    pub fn want(&self) {
        if self.may_fetch(self.ambient.now()) {
            self.wanted.notify_one();
        }
    }

    fn may_fetch(&self, now: Moment) -> bool {
        let last = self.progress.borrow().last;
        last.is_none_or(|(at, _)| now.since(at) >= BETWEEN_FETCHES)
    }

    /// For as long as the verifier is there.
    pub async fn follow(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let asked = self.ambient.now();
            self.progress.send_modify(|progress| progress.is_fetching = true);
            let outcome = self.fetch().await;
            let brought = outcome.is_ok();
            let pause = match outcome {
                Ok(set) => {
                    failures = 0;
                    self.fetched.store(Some(Arc::new(Fetched { set, at: asked })));
                    counter!("grantry_verifier_jwks_fetches_total", "outcome" => "fetched").increment(1);
                    self.refresh
                }
                Err(error) => {
                    tracing::warn!(%error, "the issuer's keys could not be fetched");
                    counter!("grantry_verifier_jwks_fetches_total", "outcome" => "failed").increment(1);
                    failures += 1;
                    self.ambient.jittered(breath(failures)).min(self.refresh)
                }
            };
            self.progress.send_modify(|progress| {
                progress.is_fetching = false;
                progress.fetches += 1;
                progress.last = Some((asked, brought));
            });
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> Result<Arc<KeySet>, Failure> {
        let places = self.discovery.places().await?;
        let accept = "application/jwk-set+json, application/json";
        let request = self.client.get(places.jwks.clone()).header(header::ACCEPT, accept);
        let body = send(request, PATIENCE).await?;
        let hash = sha256(&body);
        if let Some(fetched) = &*self.fetched.load()
            && fetched.set.hash == hash
        {
            return Ok(Arc::clone(&fetched.set));
        }
        let json = serde_json::from_slice(&body).map_err(|error| Failure::Answer(error.to_string()))?;
        let keys = match PublicKeySet::parse(&json) {
            Ok(keys) => keys,
            // Whoever has taken all keys back wants none of them trusted.
            Err(InvalidKeySet::NoUsableKey) => PublicKeySet::empty(),
            Err(error) => return Err(Failure::Answer(error.to_string())),
        };
        Ok(Arc::new(KeySet { keys, hash }))
    }
}

/// How long to wait after so many failures in a row, of which there is at least one.
fn breath(failures: u32) -> Duration {
    FIRST_BREATH.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_BREATH)
}
