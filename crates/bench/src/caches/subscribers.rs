//! The tokens of many subscribers, and which of them is asked for.

use std::sync::Arc;

use bytes::Bytes;
use indicatif::ProgressBar;

use super::zipf::Distribution;
use crate::{
    bodies::Bodies,
    draws::Draws,
    failure::Failure,
    grantry::{self, Grantry},
    load::Load,
    pool,
    scenario::{Expected, Scenario},
    supply::Supply,
};

/// More callers are grouped into fewer commits; nothing is measured while they are issued.
const CONNECTIONS: usize = 256;
/// Tokens from one movement of the progress bar to the next.
pub const STEP: u64 = 20_000;

/// Decides which tokens are popular.
const POPULARITY: u64 = 0x706f_7075_6c61_7221;
/// Decides what is asked for, together with the number of the stream.
const ASKED: u64 = 0x6173_6b65_6420_666f;

pub struct Subscribers {
    tokens: Packed,
    /// Which token has which rank.
    by_rank: Vec<u32>,
    popularity: Distribution,
}

impl Subscribers {
    /// Issues a token for each, in a slot of its own.
    pub async fn issue(
        server: &Grantry,
        load: &Load,
        count: u64,
        exponent: f64,
        bar: &ProgressBar,
    ) -> Result<Self, Failure> {
        let load = Load { connections: CONNECTIONS, ..load.clone() };
        let mut tokens = Packed::default();
        while tokens.len() < count {
            let step = STEP.min(count - tokens.len());
            let spec = grantry::own_slots(Scenario::Issue, server.endpoints()?, step, load.clone());
            pool::tokens(&spec, &Bodies::of_form(&spec.form))
                .await?
                .iter()
                .try_for_each(|token| tokens.push(token))?;
            bar.inc(1);
        }
        Self::new(tokens, exponent)
    }

    fn new(tokens: Packed, exponent: f64) -> Result<Self, Failure> {
        let count = u32::try_from(tokens.len()).map_err(|_| Failure::new("--tokens are too many"))?;
        Ok(Self { tokens, by_rank: shuffled(count), popularity: Distribution::new(count as usize, exponent) })
    }

    /// What no cache of this capacity can do better.
    pub fn best_hit_ratio(&self, capacity: u64) -> f64 {
        self.popularity.share_of(capacity)
    }

    /// The form that introspects (RFC 7662 §2.1) what is drawn.
    fn body(&self, seed: u64, index: u64) -> Bytes {
        let rank = self.popularity.rank(Draws::fraction_at(seed, index));
        [b"token=", self.tokens.get(self.by_rank[rank])].concat().into()
    }

    /// Introspections as they are drawn; those of one stream are the same each time.
    pub fn supply(self: &Arc<Self>, stream: u64) -> Supply {
        let (subscribers, seed) = (Arc::clone(self), Draws::at(ASKED, stream));
        let bodies = Bodies::Made(Arc::new(move |index| subscribers.body(seed, index)));
        Supply::Bodies { bodies: Arc::new(bodies), expected: Expected::Active, pool: None }
    }
}

/// Every number below `count` once, in an order that has nothing to do with theirs (Fisher and Yates).
fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    for place in (1..numbers.len()).rev() {
        let other = Draws::at(POPULARITY, place as u64) % (place as u64 + 1);
        numbers.swap(place, other as usize);
    }
    numbers
}

/// Texts of one length, one behind the other: a string for each would take twice the memory.
#[derive(Default)]
struct Packed {
    text: Vec<u8>,
    width: usize,
}

impl Packed {
    /// # Errors
    /// It has not the length of the others, or would have to be escaped in a form.
    fn push(&mut self, token: &str) -> Result<(), Failure> {
        if self.width == 0 {
            self.width = token.len();
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if token.is_empty() || token.len() != self.width || !token.bytes().all(is_plain) {
            return Err(Failure::new("the server's tokens are not of one length and alphabet"));
        }
        self.text.extend_from_slice(token.as_bytes());
        Ok(())
    }

    fn len(&self) -> u64 {
        self.text.len().checked_div(self.width).unwrap_or(0) as u64
    }

    fn get(&self, number: u32) -> &[u8] {
        let begin = number as usize * self.width;
        &self.text[begin..begin + self.width]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn subscribers(count: u32) -> Subscribers {
        let mut tokens = Packed::default();
        (0..count).for_each(|number| tokens.push(&format!("gta_{number:06}")).unwrap());
        Subscribers::new(tokens, 1.0).unwrap()
    }

    #[test]
    fn popular_tokens_are_asked_for_most_and_are_not_the_first() {
        let subscribers = subscribers(1_000);
        let mut counts = BTreeMap::<Bytes, u32>::new();
        (0..10_000).for_each(|index| *counts.entry(subscribers.body(1, index)).or_default() += 1);
        let most = counts.iter().max_by_key(|(_, count)| **count).unwrap().0;
        let wanted = [b"token=", subscribers.tokens.get(subscribers.by_rank[0])].concat();
        assert_eq!(most, &wanted);
        assert_ne!(most, "token=gta_000000");
    }

    #[test]
    fn each_token_has_a_rank() {
        let mut numbers = shuffled(1_000);
        assert_ne!(numbers[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_stream_is_the_same_each_time_and_another_is_not() {
        let subscribers = Arc::new(subscribers(1_000));
        let asked = |stream| {
            let Supply::Bodies { bodies, .. } = subscribers.supply(stream) else { return Vec::new() };
            (0..20).map(|index| bodies.get(index)).collect()
        };
        assert_eq!(asked(1), asked(1));
        assert_ne!(asked(1), asked(2));
    }

    #[test]
    fn texts_that_differ_in_length_or_need_escapes_are_refused() {
        let mut tokens = Packed::default();
        tokens.push("abc").unwrap();
        tokens.push("d-_").unwrap();
        assert!(tokens.push("abcd").is_err() && tokens.push("a+b").is_err() && tokens.push("").is_err());
        assert_eq!((tokens.len(), tokens.get(1)), (2, &b"d-_"[..]));
    }
}
