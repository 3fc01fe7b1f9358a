//! What a gateway and its applications send in the course of a day: mostly introspections, some of everything else.
//!
//! | of 100 requests | |
//! |---:|---|
//! | 70 | introspect one of the pool's tokens |
//! | 15 | ask for the token of one of the pool's slots again (client credentials) |
//! | 10 | refresh the next grant |
//! | 5 | in turn: issue a token in a slot that is the connection's own, and revoke it |
//!
//! Which one comes next is drawn for each connection from a generator with a fixed seed, so that two runs send the same.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    bodies::Bodies,
    caller::{Came, Wrong},
    credentials::Credentials,
    draws::Draws,
    failure::Failure,
    form::Form,
    grants::Share,
    http1::{Answer, Head, Wire},
    pool,
    scenario::{Expected, Spec},
};

const SEED: u64 = 0x6772_616e_7472_7921;

/// One kind of request in the mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Introspect,
    Reuse,
    Refresh,
    Issue,
    Revoke,
}

/// Right answers by the kind of request.
pub type Parts = BTreeMap<Part, u64>;

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Introspect => "introspect",
            Self::Reuse => "reuse",
            Self::Refresh => "refresh",
            Self::Issue => "issue",
            Self::Revoke => "revoke",
        }
    }

    /// `holds` says whether the connection has a token of its own to revoke.
    fn drawn(number: u64, holds: bool) -> Self {
        match number % 100 {
            0..70 => Self::Introspect,
            70..85 => Self::Reuse,
            85..95 => Self::Refresh,
            _ if holds => Self::Revoke,
            _ => Self::Issue,
        }
    }
}

/// What the connections share.
pub struct Blend {
    credentials: Credentials,
    introspect: Head,
    revoke: Head,
    /// Of the pool's tokens.
    introspections: Vec<Bytes>,
    /// The token requests; the pool's tokens are in the slots of the first ones.
    slots: Bodies,
}

impl Blend {
    /// Issues the pool's tokens.
    pub async fn prepare(spec: &Spec) -> Result<Self, Failure> {
        let slots = Bodies::of_form(&spec.form);
        let tokens = pool::tokens(spec, &slots).await?;
        let header = spec.credentials.header();
        Ok(Self {
            credentials: spec.credentials.clone(),
            introspect: Head::form(spec.endpoints.introspect()?, header.clone())?,
            revoke: Head::form(spec.endpoints.revoke()?, header)?,
            introspections: pool::bodies(&tokens, spec),
            slots,
        })
    }

    pub fn pool(&self) -> u64 {
        self.introspections.len() as u64
    }
}

/// One connection's side of the mix.
pub struct Mixer {
    blend: Arc<Blend>,
    share: Share,
    draws: Draws,
    /// The token request for the connection's own slot.
    own_slot: Bytes,
    /// The token in that slot.
    held: Option<String>,
}

impl Mixer {
    /// `number` counts the connections from 0.
    pub fn new(blend: Arc<Blend>, share: Share, number: u64) -> Self {
        let own_slot = blend.slots.get(blend.pool() + number);
        Self { blend, share, draws: Draws::new(SEED.wrapping_add(number)), own_slot, held: None }
    }

    pub fn into_share(self) -> Share {
        self.share
    }

    pub fn is_spent(&self) -> bool {
        self.share.is_spent()
    }

    pub async fn send(&mut self, wire: &mut Wire) -> Came {
        let part = Part::drawn(self.draws.next(), self.held.is_some());
        let chosen = self.draws.next() % self.blend.pool().max(1);
        let came = match part {
            Part::Introspect => {
                let body = self.blend.introspections[chosen as usize].clone();
                checked(wire.send_as(&self.blend.introspect, body).await, Expected::Active)
            }
            // It is in the store already: no new row.
            Part::Reuse => checked(wire.send(self.blend.slots.get(chosen)).await, Expected::Token),
            Part::Refresh => self.share.refresh(wire).await,
            Part::Issue => self.issue(wire).await,
            Part::Revoke => self.revoke(wire).await,
        };
        Came { part: Some(part), ..came }
    }

    async fn issue(&mut self, wire: &mut Wire) -> Came {
        match wire.send(self.own_slot.clone()).await.map_err(|lost| Wrong::lost(&lost)) {
            Ok(answer) => match pool::token_in(&answer) {
                Ok(token) => {
                    self.held = Some(token);
                    Came { result: Ok(()), tokens: 1, part: None }
                }
                Err(_) => checked(Ok(answer), Expected::Token),
            },
            Err(wrong) => Came::wrong(wrong),
        }
    }

    async fn revoke(&mut self, wire: &mut Wire) -> Came {
        let mut form = Form::new();
        form.push("token", &self.held.take().unwrap_or_default());
        self.blend.credentials.add_to(&mut form);
        checked(wire.send_as(&self.blend.revoke, form.render(0)).await, Expected::Anything)
    }
}

fn checked(answer: Result<Answer, crate::http1::Lost>, expected: Expected) -> Came {
    Came { result: Wrong::check(answer, expected), tokens: 0, part: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, count: usize) -> Vec<Part> {
        let mut draws = Draws::new(seed);
        (0..count).map(|_| Part::drawn(draws.next(), false)).collect()
    }

    #[test]
    fn the_mix_is_as_documented() {
        let mut counts = Parts::new();
        drawn(SEED, 100_000).into_iter().for_each(|part| *counts.entry(part).or_default() += 1);
        for (part, percent) in
            [(Part::Introspect, 70), (Part::Reuse, 15), (Part::Refresh, 10), (Part::Issue, 5)]
        {
            let expected = percent * 1_000;
            assert!(counts[&part].abs_diff(expected) < 500, "{part:?}: {}", counts[&part]);
        }
    }

    #[test]
    fn two_runs_draw_the_same_and_two_connections_do_not() {
        assert_eq!(drawn(SEED, 100), drawn(SEED, 100));
        assert_ne!(drawn(SEED, 100), drawn(SEED + 1, 100));
    }

    #[test]
    fn what_a_connection_holds_is_revoked_before_it_issues_again() {
        assert_eq!((Part::drawn(97, false), Part::drawn(97, true)), (Part::Issue, Part::Revoke));
        assert_eq!(Part::drawn(169, true), Part::Introspect);
    }
}
