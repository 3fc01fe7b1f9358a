//! The feed of revocations, for resource servers that judge tokens by themselves.
//!
//! 1. Whoever asks holds a live token with the scope `grantry:revocations` (RFC 6750).
//! 2. It is told what has ended since the position that it knows.
//! 3. While it waits for more, its token is looked at again: when that is over, so is the waiting.

use std::sync::Arc;
use std::time::Duration;

use grantry_cache::{Feed, FeedAnswer, FeedPlace};
use grantry_protocol::{AccessToken, Clock, Seen, scopes};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{GrantError, Grants};

/// How often somebody who waits is looked at, though nothing has happened: its token may have expired.
const LOOK: Duration = Duration::from_secs(1);

/// Somebody who follows the feed.
pub struct FeedSubscriber {
    feed: Arc<Feed>,
    token: AccessToken,
    clock: Arc<dyn Clock>,
}

impl Grants {
    #[must_use]
    pub fn with_feed(mut self, feed: Arc<Feed>) -> Self {
        self.feed = Some(feed);
        self
    }

    /// # Errors
    /// `invalid_grant` when the token is not active, `invalid_scope` when it does not reach this far; the web layer
    /// says `invalid_token` and `insufficient_scope` (RFC 6750 §3.1).
    pub async fn feed_subscriber(&self, bearer: &str) -> Result<FeedSubscriber, GrantError> {
        // 1.
        let token = self.authorize(bearer, scopes::REVOCATIONS).await?;
        let feed = self.feed.clone();
        let feed = feed.ok_or_else(|| GrantError::Unavailable("this server follows no log".to_owned()))?;
        Ok(FeedSubscriber { feed, token, clock: Arc::clone(&self.clock) })
    }
}

impl FeedSubscriber {
    /// What comes after the position, without waiting; all that is in force where there is none, or none that is known.
    pub async fn answer(&self, after: Option<Seen>) -> Result<FeedAnswer, GrantError> {
        Ok(self.feed.answer(after).await?)
    }

    /// What comes after the position as soon as there is something, or that there is nothing after `wait`. `None` once the
    /// subscriber's token is over.
    pub async fn next(&self, after: Seen, wait: Duration) -> Result<Option<FeedAnswer>, GrantError> {
        let mut news = self.feed.news();
        let until = Instant::now() + wait;
        loop {
            news.mark_unchanged();
            let is_over = Instant::now() >= until;
            // 3.
            if !self.is_allowed() {
                return Ok(None);
            }
            // 2.
            let answer = self.feed.answer(Some(after)).await?;
            if is_over || !answer.is_empty {
                return Ok(Some(answer));
            }
            tokio::select! {
                _ = news.changed() => {}
                () = sleep_until(until) => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    /// That there is nothing after the position, as far as the subscriber is told.
    pub fn nothing_after(&self, after: Seen) -> Result<FeedAnswer, GrantError> {
        Ok(self.feed.nothing_after(after)?)
    }

    /// A place among those who wait, if there is one.
    pub fn place(&self) -> Option<FeedPlace> {
        self.feed.place()
    }

    fn is_allowed(&self) -> bool {
        self.token.expires_at > self.clock.now() && !self.feed.has_ended(&self.token)
    }
}
