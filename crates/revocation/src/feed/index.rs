//! What a subscriber remembers of the feed. Small, since there may be a million entries: 20 bytes for a token and 37 for
//! a rule, and what a hash table needs besides.
//!
//! Entries are added and never replaced by lesser ones, so pages may arrive twice, in any order and from different nodes.
//! They are forgotten by the subscriber's clock. Should that go back, what was forgotten would be missing, so a token that
//! had expired by the furthest that the clock has ever been is over here, whatever the clock says now.

use std::collections::HashMap;
use std::time::Duration;

use grantry_protocol::{LogKind, Seen, Timestamp};

use super::entry::secs_rounded_up;
use super::{FeedEntry, FeedKey, FeedKeys, FeedPage, FeedPageKind};

/// The index is forgetful part by part, so that nobody waits while a million entries are looked through.
const PARTS: usize = 64;
/// A clock that goes back by less is only waited for.
const SET_BACK: Duration = Duration::from_secs(60);
const LONG_AGO: Timestamp = Timestamp::from_millis(i64::MIN);

/// A page of entries that begins elsewhere than where the index ends; a snapshot is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotContinued;

impl std::fmt::Display for NotContinued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the page does not continue what is known; a snapshot is needed")
    }
}

impl std::error::Error for NotContinued {}

#[derive(Debug, Clone)]
pub struct FeedIndex {
    head: Option<Seen>,
    /// Whatever was to be kept until this, or for less, may be missing.
    horizon: Timestamp,
    /// By this subscriber's clock, when something was last forgotten.
    forgot_at: Timestamp,
    /// By kind: what has seen this rule is ended by none of the kind, and nothing has to be looked for.
    last_rules: [Seen; LogKind::ALL_KINDS.len()],
    parts: Vec<Part>,
    /// Which part is looked through next.
    next: usize,
}

#[derive(Debug, Clone, Default)]
struct Part {
    /// Seconds until which the end of a token is to be remembered.
    tokens: HashMap<FeedKey, u32>,
    rules: HashMap<(LogKind, FeedKey), Known>,
}

/// Packed, or a third of a table of rules would be padding.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed)]
struct Known {
    at: Seen,
    keep_until: u32,
}

impl Default for FeedIndex {
    fn default() -> Self {
        Self {
            head: None,
            horizon: LONG_AGO,
            forgot_at: LONG_AGO,
            last_rules: [Seen::NOTHING; LogKind::ALL_KINDS.len()],
            parts: vec![Part::default(); PARTS],
            next: 0,
        }
    }
}

impl FeedIndex {
    /// Where to go on; `None` where only a snapshot helps.
    pub const fn head(&self) -> Option<Seen> {
        self.head
    }

    /// How many ends are remembered.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.tokens.len() + part.rules.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in an answer to a question after [`Self::head`], or after what that was before.
    ///
    /// # Errors
    /// Where the page goes on from elsewhere. Its entries are remembered nevertheless, and the head is not moved.
    pub fn apply(&mut self, page: &FeedPage) -> Result<(), NotContinued> {
        page.entries.iter().for_each(|entry| self.learn(entry));
        match (page.kind, self.head) {
            (FeedPageKind::Snapshot, head) => {
                // Without a head, whatever was forgotten is to be had from the snapshot.
                self.horizon = if head.is_some() { self.horizon.max(page.now) } else { page.now };
                self.head = Some(page.head);
                Ok(())
            }
            (FeedPageKind::Entries, Some(head)) if head.epoch == page.head.epoch => {
                self.head = Some(head.max(page.head));
                Ok(())
            }
            (FeedPageKind::Entries, _) => Err(NotContinued),
        }
    }

    /// Whether an entry has ended the token, or may have: where it had expired by a time at which entries were forgotten.
    pub fn is_ended(&self, keys: &FeedKeys) -> bool {
        keys.expires_at <= self.horizon
            || self.part(&keys.token).tokens.contains_key(&keys.token)
            || keys.rules.iter().flatten().any(|rule| self.ends(rule, keys.seen))
    }

    /// Drops what could only end tokens that have expired by `now`, from one part in 64: call it about once a second.
    /// Take as much off `now` as an expiry is stretched for clocks that differ.
    ///
    /// Where the clock has gone back, what was forgotten is asked for again: the index has no head until the next snapshot.
    pub fn forget(&mut self, now: Timestamp) {
        if now < self.forgot_at {
            if self.forgot_at.since(now) > SET_BACK {
                (self.head, self.forgot_at) = (None, now);
            }
            return;
        }
        self.forgot_at = now;
        self.horizon = self.horizon.max(now);
        let now = kept_secs(now.truncated_to_secs());
        let part = &mut self.parts[self.next];
        self.next = (self.next + 1) % PARTS;
        part.tokens.retain(|_, keep_until| *keep_until > now);
        part.rules.retain(|_, known| known.keep_until > now);
        part.give_back();
    }

    fn learn(&mut self, entry: &FeedEntry) {
        let keep_until = kept_secs(entry.keep_until);
        let part = &mut self.parts[part_of(&entry.key)];
        if entry.kind == LogKind::Token {
            let kept = part.tokens.entry(entry.key).or_insert(keep_until);
            *kept = keep_until.max(*kept);
            return;
        }
        let known = Known { at: entry.at, keep_until };
        let kept = part.rules.entry((entry.kind, entry.key)).or_insert(known);
        *kept = Known { at: { kept.at }.max(entry.at), keep_until: { kept.keep_until }.max(keep_until) };
        let last = &mut self.last_rules[entry.kind as usize];
        *last = entry.at.max(*last);
    }

    fn ends(&self, rule: &(LogKind, FeedKey), seen: Seen) -> bool {
        self.last_rules[rule.0 as usize] > seen
            && self.part(&rule.1).rules.get(rule).is_some_and(|known| { known.at } > seen)
    }

    fn part(&self, key: &FeedKey) -> &Part {
        &self.parts[part_of(key)]
    }
}

impl Part {
    /// A table that has become much too large for what is in it.
    fn give_back(&mut self) {
        if self.tokens.capacity() > 4 * self.tokens.len() {
            self.tokens.shrink_to_fit();
        }
        if self.rules.capacity() > 4 * self.rules.len() {
            self.rules.shrink_to_fit();
        }
    }
}

/// By the last bytes: the first ones of an id are the time, and the same for many. The largest part is twice as large as
/// the smallest, so that their tables grow one after the other and not all at once.
fn part_of(key: &FeedKey) -> usize {
    let [.., high, low] = *key.as_bytes();
    let place = f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX);
    (((1.0 + place).log2() * PARTS as f64) as usize).min(PARTS - 1)
}

/// A time that does not fit, from the year 2106 on, is never reached.
fn kept_secs(at: Timestamp) -> u32 {
    u32::try_from(secs_rounded_up(at).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
