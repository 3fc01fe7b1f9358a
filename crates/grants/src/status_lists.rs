//! The status lists (draft-ietf-oauth-status-list): signed lists that tell verifiers which tokens are over before their
//! time. A verifier that follows the draft knows of it when `tokens.status_list_ttl` has passed,
//! and less than `cache.max_staleness`: so old may the proof be that the node is fresh.
//!
//! 1. A list that was made is answered until half of that time has passed. It says that it may be kept for the other half,
//!    and that it is worth nothing after the whole.
//! 2. Else there has to be such a list; what no token was given a place in costs nobody more than that question. A bounded
//!    number of requests wait for what the store says: the others are told to come again, so that those who ask for
//!    lists do not take the places of those who ask for tokens.
//! 3. It is made: each list by one at a time, while the others wait for it, and few lists at once. What was begun goes on
//!    when nobody waits any more: the store would work on it all the same, and who asks next finds it.
//! 4. The time is noted; then the rows that are over are read, none as it was before that, and by a node that is fresh;
//!    packed, compressed, and signed with the key that signs tokens.
//! 5. If that fails, so do the requests. An older list is never the answer.

mod bits;
mod claim;
mod in_use;
mod places;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use grantry_jose::{base64url, sign_compact};
use grantry_protocol::{StatusIndex, Timestamp};
use metrics::{counter, gauge, histogram};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use self::in_use::ListsInUse;
use crate::bounded::Bounded;
use crate::{GrantError, Grants};

pub use self::claim::StatusClaim;
pub use self::places::{Places, whose_place};

/// Where lists are, below the issuer; without a number all of them are named.
const PATH: &str = "/oauth2/status-list";
/// `typ` of §5.1.
const TYP: &str = "statuslist+jwt";
/// Each has at most 16 KiB, so 64 MiB; where more are asked for in turn, they are made more often.
const MOST_KEPT: usize = 4096;
/// Reading, compressing and signing; requests for tokens are to have the rest of the machine.
const MADE_AT_ONCE: usize = 2;
/// Requests that wait for the store or for a list: few of `limits.max_concurrent_requests`.
const MOST_WAITING: usize = 64;

/// The `uri` of a list.
fn uri(issuer: &str, list: u64) -> String {
    format!("{issuer}{PATH}/{list}")
}

/// A signed list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusList {
    pub jwt: Bytes,
    /// Another one for every other `jwt`.
    pub digest: Arc<str>,
    /// For how long others may go on handing it out.
    pub max_age: Duration,
}

/// One as it was made.
struct MadeList {
    jwt: Bytes,
    digest: Arc<str>,
    /// Of the key that has signed it.
    kid: String,
    wall: Timestamp,
    at: Instant,
}

/// A list and the place where it is waited for.
#[derive(Default)]
struct KeptList {
    made: std::sync::Mutex<Option<Arc<MadeList>>>,
    /// Held by whoever makes it.
    making: Arc<Mutex<()>>,
}

/// Lists that were made, and what is known of which there are.
pub struct KeptLists {
    in_use: ListsInUse,
    kept: std::sync::Mutex<Bounded<u64, Arc<KeptList>>>,
    makers: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for KeptLists {
    fn default() -> Self {
        Self {
            in_use: ListsInUse::default(),
            kept: std::sync::Mutex::new(Bounded::new(MOST_KEPT, gauge!("grantry_status_lists_kept"))),
            makers: Arc::new(Semaphore::new(MADE_AT_ONCE)),
            waiting: Semaphore::new(MOST_WAITING),
        }
    }
}

/// §5.1.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: String,
    iat: i64,
    exp: i64,
    ttl: u64,
    status_list: List,
}

/// §4.2.
#[derive(Serialize)]
struct List {
    bits: u8,
    lst: String,
    aggregation_uri: String,
}

impl Grants {
    /// `None` where there is no such list. Once its making has begun it goes on, even if this is not waited for.
    pub async fn status_list(self: &Arc<Self>, list: u64) -> Result<Option<StatusList>, GrantError> {
        let answered = self.find_list(list).await;
        let outcome = match &answered {
            Ok(Some(_)) => "found",
            Ok(None) => "unknown",
            Err(_) => "failed",
        };
        counter!("grantry_status_lists_asked_for_total", "outcome" => outcome).increment(1);
        answered
    }

    async fn find_list(self: &Arc<Self>, list: u64) -> Result<Option<StatusList>, GrantError> {
        // 1.
        let kept = self.lists.with_kept(|kept| kept.get(&list).cloned());
        if let Some(answer) = kept.and_then(|kept| self.answer(&*kept.made()?)) {
            return Ok(Some(answer));
        }
        // 2.
        let _waits = self.wait_for_lists()?;
        if !self.is_in_use(list).await? {
            return Ok(None);
        }
        // 3.
        let kept = self.lists.with_kept(|kept| kept.get_or_put_default(list));
        let making = Arc::clone(&kept.making).lock_owned().await;
        if let Some(answer) = kept.made().and_then(|made| self.answer(&made)) {
            return Ok(Some(answer));
        }
        let closed = |_| GrantError::Internal("nobody makes lists any more".to_owned());
        let maker = Arc::clone(&self.lists.makers).acquire_owned().await.map_err(closed)?;
        let grants = Arc::clone(self);
        let making = tokio::spawn(async move {
            let _alone = (making, maker);
            let made = Arc::new(grants.make(list).await?);
            kept.put(Arc::clone(&made));
            Ok::<_, GrantError>(made)
        });
        // 5.
        let broken = |error| GrantError::Internal(format!("a status list was not made: {error}"));
        let made = making.await.map_err(broken)??;
        let too_slow = || GrantError::Unavailable("a status list was too old when it was made".to_owned());
        self.answer(&made).ok_or_else(too_slow).map(Some)
    }

    /// A place among those who wait, until it is dropped.
    fn wait_for_lists(&self) -> Result<SemaphorePermit<'_>, GrantError> {
        let full = |_| GrantError::Unavailable(format!("{MOST_WAITING} requests wait for status lists"));
        self.lists.waiting.try_acquire().map_err(full)
    }

    // 4.
    async fn make(&self, list: u64) -> Result<MadeList, GrantError> {
        let (wall, at) = (self.clock.now(), Instant::now());
        let ended = self.store.status_list_ended(list).await?;
        let packed = bits::packed(StatusIndex::PER_LIST, ended.into_iter().map(StatusIndex::idx));
        let settings = self.settings();
        let claims = Claims {
            iss: &settings.issuer,
            sub: uri(&settings.issuer, list),
            iat: wall.as_secs(),
            exp: (wall.truncated_to_secs() + settings.status_list_ttl.as_duration()).as_secs(),
            ttl: settings.status_list_ttl.as_secs() / 2,
            status_list: List {
                bits: 1,
                lst: bits::lst(&packed),
                aggregation_uri: format!("{}{PATH}", settings.issuer),
            },
        };
        let signer = self.keys.signer();
        let jwt = sign_compact(signer.as_ref(), TYP, &claims).await?;
        counter!("grantry_status_lists_made_total").increment(1);
        gauge!("grantry_status_list_bytes").set(jwt.len() as f64);
        histogram!("grantry_status_list_make_seconds").record(at.elapsed());
        let digest = base64url(&Sha256::digest(&jwt)[..16]).into();
        Ok(MadeList { jwt: jwt.into(), digest, kid: signer.kid().to_owned(), wall, at })
    }

    /// `None` once it is too old, or another key signs: verifiers may not have the one from before any more.
    fn answer(&self, made: &MadeList) -> Option<StatusList> {
        if made.kid != self.keys.signer().kid() {
            return None;
        }
        // The longer of what two clocks say: one of them may have been set back, or have stood still.
        let age = self.clock.now().since(made.wall).max(made.at.elapsed());
        let left = (self.settings().status_list_ttl.as_duration() / 2).checked_sub(age)?;
        histogram!("grantry_status_list_age_seconds").record(age);
        Some(StatusList { jwt: made.jwt.clone(), digest: Arc::clone(&made.digest), max_age: left })
    }
}

impl KeptLists {
    fn with_kept<T>(&self, look: impl FnOnce(&mut Bounded<u64, Arc<KeptList>>) -> T) -> T {
        look(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KeptList {
    fn made(&self) -> Option<Arc<MadeList>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, made: Arc<MadeList>) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    }
}
