//! What the issuer has revoked.
//!
//! 1. A poll notes the time and asks what follows the position that is known, at the start for everything. Its answer says
//!    how long before it the node had proved that it knows the whole log.
//! 2. What is told goes into the index. From then on the index may be relied on for `max_staleness`, less a tenth, less that
//!    age, counted from the time that was noted: what was acknowledged before it is in there.
//! 3. The next poll is sent a quarter of the bound after the last; sooner after a failure.
//! 4. Besides, one request waits at the issuer for news. It only brings them sooner and proves nothing: what it brought may
//!    have been on the way for long.
//! 5. A token is looked up together with the proof that is there; the clock is looked at afterwards.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use grantry_protocol::{LogKind, Moment, Secret, Seen};
use grantry_revocation::{FeedIndex, FeedKeys, FeedPage, FeedPageKind, Freshness, position_text};
use metrics::{Counter, Gauge, counter, gauge};
use reqwest::{Client, StatusCode};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Ambient;
use crate::discovery::Discovery;
use crate::http_client::{Failure, PATIENCE, body, deepest};
use crate::keys::Keys;
use crate::login::Login;

/// A snapshot of several million entries.
const MOST_BYTES: usize = 512 * 1024 * 1024;
/// Reading more than this takes long enough for others to notice.
const LARGE: usize = 256 * 1024;
/// How long a request waits at the issuer, which allows 30 s at most.
const WAIT: Duration = Duration::from_secs(25);
/// After news, so that a busy log does not cost a request an entry.
const BREATH: Duration = Duration::from_millis(5);
/// After a failure; doubled each time.
const FIRST_BREATH: Duration = Duration::from_millis(50);
const LONGEST_BREATH: Duration = Duration::from_secs(2);
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Entries that are taken in while nobody can look.
const PART: usize = 4096;

#[derive(Debug, Clone, Copy)]
enum Question {
    /// What there is now.
    Poll { patience: Duration },
    /// What there will be.
    News,
}

/// How long the index may be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Before the question was sent.
    asked: Moment,
    /// How much older the node's own proof was.
    age: Duration,
}

impl Proof {
    fn age(self, now: Moment) -> Duration {
        now.since(self.asked).saturating_add(self.age)
    }
}

#[derive(Default)]
struct Known {
    index: FeedIndex,
    proof: Option<Proof>,
    /// What goes on from the index's head would not do.
    needs_snapshot: bool,
    /// How far the last answer to each of the two went. They may come from two nodes, and a node that is a moment behind the
    /// other would have to send everything to somebody who asks from where it has not come yet.
    polled: Option<Seen>,
    told: Option<Seen>,
}

pub struct Feed {
    client: Client,
    discovery: Arc<Discovery>,
    login: Arc<Login>,
    keys: Arc<Keys>,
    ambient: Ambient,
    freshness: Freshness,
    leeway: Duration,
    known: RwLock<Known>,
    meters: Meters,
}

/// What a look-up has found.
pub struct Look {
    pub is_ended: bool,
    proof: Option<Proof>,
}

impl Feed {
    pub fn new(
        client: Client,
        discovery: Arc<Discovery>,
        (login, keys): (Arc<Login>, Arc<Keys>),
        ambient: Ambient,
        freshness: Freshness,
        leeway: Duration,
    ) -> Self {
        let (known, meters) = (RwLock::default(), Meters::new());
        Self { client, discovery, login, keys, ambient, freshness, leeway, known, meters }
    }

    // 5.
    pub fn look(&self, keys: &FeedKeys) -> Look {
        let known = self.read();
        Look { is_ended: known.index.is_ended(keys), proof: known.proof }
    }

    /// Whether a look-up may be relied on at `now`, which has to be taken after it.
    pub fn is_fresh(&self, look: &Look, now: Moment) -> bool {
        look.proof.is_some_and(|proof| proof.age(now) < self.freshness.usable())
    }

    pub fn is_ready(&self) -> bool {
        let proof = self.read().proof;
        self.is_fresh(&Look { is_ended: false, proof }, self.ambient.now())
    }

    /// 1. to 3., for as long as the verifier is there.
    pub async fn poll(self: Arc<Self>) {
        let mut failures = 0;
        let mut forgot = self.ambient.now();
        loop {
            let begun = Instant::now();
            match self.ask(Question::Poll { patience: self.patience(failures) }).await {
                Ok(_) => {
                    if failures > 0 {
                        tracing::info!("the revocation feed is followed again");
                    }
                    failures = 0;
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "the revocation feed cannot be followed; soon nothing is let in");
                    } else {
                        tracing::debug!(%error, "the revocation feed cannot be followed");
                    }
                    failures += 1;
                }
            }
            let now = self.ambient.now();
            if now.since(forgot) >= FORGET_EVERY {
                forgot = now;
                self.write().index.forget(now.wall.saturating_sub(self.leeway));
            }
            match failures {
                0 => sleep_until(begun + self.freshness.interval()).await,
                _ => sleep(self.breath(failures)).await,
            }
        }
    }

    /// 4., for as long as the verifier is there.
    pub async fn listen(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let pause = match self.ask(Question::News).await {
                Ok(has_news) => {
                    failures = 0;
                    if has_news { BREATH } else { FIRST_BREATH }
                }
                Err(_) => {
                    failures += 1;
                    // By now the polls may have gone on far.
                    self.write().told = None;
                    counter!("grantry_verifier_feed_reconnects_total").increment(1);
                    self.breath(failures)
                }
            };
            sleep(pause).await;
        }
    }

    /// After so many failures in a row. No longer than the bound, so that whoever was cut off is soon back.
    fn breath(&self, failures: u32) -> Duration {
        self.ambient.jittered(breath(failures).min(self.freshness.max_staleness()))
    }

    /// An answer that comes later than the bound proves nothing. But a snapshot may take its time, so now and then one is
    /// waited for.
    fn patience(&self, failures: u32) -> Duration {
        let is_patient = match self.read().after(Question::News) {
            None => failures.is_multiple_of(2),
            Some(_) => failures % 4 == 3,
        };
        if is_patient { PATIENCE } else { self.freshness.max_staleness() }
    }

    /// Whether there was anything new.
    async fn ask(&self, question: Question) -> Result<bool, Failure> {
        let token = self.login.token().await;
        let after = self.read().after(question);
        let asked = self.ambient.now();
        let outcome = match (question, after) {
            // There is nothing to go on from; the poll brings it.
            (Question::News, None) => return Ok(false),
            _ => self.fetch(question, after, &token).await,
        };
        self.meters.count(question, outcome.is_ok());
        let page = match outcome {
            Ok(page) => page,
            Err(error) => {
                if matches!(error, Failure::Status(StatusCode::UNAUTHORIZED)) {
                    self.login.refuse(&token);
                }
                return Err(error);
            }
        };
        let age = page.age;
        self.apply(page, question, Proof { asked, age })
    }

    async fn fetch(
        &self,
        question: Question,
        after: Option<Seen>,
        token: &Secret,
    ) -> Result<FeedPage, Failure> {
        let places = self.discovery.places().await?;
        let mut url = places.revocations.clone();
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", &position_text(after));
        }
        let patience = match question {
            Question::Poll { patience } => patience,
            Question::News => {
                url.query_pairs_mut().append_pair("wait", &WAIT.as_secs().to_string());
                WAIT + PATIENCE
            }
        };
        let request = self.client.get(url).bearer_auth(token.expose()).send();
        let response = timeout(patience, request).await.map_err(|_| Failure::Time(patience))?;
        let response = response.map_err(|error| Failure::Io(deepest(&error)))?;
        let body = body(response, MOST_BYTES, patience).await?;
        if body.len() < LARGE {
            return read(&body);
        }
        let reading = tokio::task::spawn_blocking(move || read(&body));
        reading.await.map_err(|error| Failure::Answer(error.to_string()))?
    }

    // 2.
    fn apply(&self, mut page: FeedPage, question: Question, proof: Proof) -> Result<bool, Failure> {
        let has_news = !page.entries.is_empty();
        let ends_all = page.entries.iter().any(|entry| entry.kind == LogKind::All);
        if page.entries.len() > PART {
            let entries = std::mem::take(&mut page.entries);
            for part in entries.chunks(PART) {
                // As if it came from elsewhere: its ends are remembered, and the head stays.
                let part = FeedPage {
                    kind: FeedPageKind::Entries,
                    head: Seen::NOTHING,
                    entries: part.to_vec(),
                    ..page
                };
                let _ = self.write().index.apply(&part);
            }
        }
        let mut known = self.write();
        let applied = known.index.apply(&page);
        known.needs_snapshot = applied.is_err();
        match (applied.is_ok(), question) {
            (true, Question::Poll { .. }) => {
                known.polled = Some(page.head);
                known.prove(proof, self.ambient.now());
                self.meters.proved.set(proof_time(proof));
            }
            (true, Question::News) => known.told = Some(page.head),
            (false, _) => {}
        }
        if applied.is_ok() {
            self.meters.count_page(page.kind);
        }
        self.meters.size.set(known.index.len() as f64);
        drop(known);
        if ends_all && page.kind == FeedPageKind::Entries {
            // Whoever ends everything may have lost a key, and taken it back.
            self.keys.want();
        }
        applied.map(|()| has_news).map_err(|error| Failure::Answer(error.to_string()))
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What to ask for; `None` for everything.
    fn after(&self, question: Question) -> Option<Seen> {
        let head = self.index.head().filter(|_| !self.needs_snapshot)?;
        let own = match question {
            Question::Poll { .. } => self.polled,
            Question::News => self.told,
        };
        Some(own.unwrap_or(head))
    }

    /// The younger of two proofs counts: the nodes that are asked in turn need not be equally far.
    fn prove(&mut self, proof: Proof, now: Moment) {
        if self.proof.is_none_or(|known| proof.age(now) <= known.age(now)) {
            self.proof = Some(proof);
        }
    }
}

fn read(body: &[u8]) -> Result<FeedPage, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Answer(error.to_string()))
}

/// How long to wait after so many failures in a row, of which there is at least one.
fn breath(failures: u32) -> Duration {
    FIRST_BREATH.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_BREATH)
}

/// On the wall clock, in seconds.
fn proof_time(proof: Proof) -> f64 {
    proof.asked.wall.saturating_sub(proof.age).as_millis() as f64 / 1000.0
}

struct Meters {
    size: Gauge,
    proved: Gauge,
    polled: Counter,
    poll_failed: Counter,
    told: Counter,
    listening_failed: Counter,
    snapshots: Counter,
    continued: Counter,
}

impl Meters {
    fn new() -> Self {
        let requests = |kind, outcome| counter!("grantry_verifier_feed_requests_total", "kind" => kind, "outcome" => outcome);
        let pages = |kind| counter!("grantry_verifier_feed_pages_total", "kind" => kind);
        Self {
            size: gauge!("grantry_verifier_index_size"),
            proved: gauge!("grantry_verifier_revocations_proved_timestamp_seconds"),
            polled: requests("poll", "answered"),
            poll_failed: requests("poll", "failed"),
            told: requests("news", "answered"),
            listening_failed: requests("news", "failed"),
            snapshots: pages("snapshot"),
            continued: pages("entries"),
        }
    }

    /// How often everything had to be told, and how often it went on from the position that is known.
    fn count_page(&self, kind: FeedPageKind) {
        match kind {
            FeedPageKind::Snapshot => self.snapshots.increment(1),
            FeedPageKind::Entries => self.continued.increment(1),
        }
    }

    fn count(&self, question: Question, is_answered: bool) {
        let counter = match (question, is_answered) {
            (Question::Poll { .. }, true) => &self.polled,
            (Question::Poll { .. }, false) => &self.poll_failed,
            (Question::News, true) => &self.told,
            (Question::News, false) => &self.listening_failed,
        };
        counter.increment(1);
    }
}
