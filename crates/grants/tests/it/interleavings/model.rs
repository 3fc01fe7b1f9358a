//! What must be true, from the design's section on refreshing. Everything is an index here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use grantry_protocol::{GrantId, Timestamp, TokenId};

pub struct ClientModel {
    pub name: &'static str,
    /// Which node it talks to.
    pub node: usize,
    pub grace: Duration,
    pub rotates: bool,
    /// Binding `grant`.
    pub own_slots: bool,
    /// Policy `replace`; otherwise `reuse`.
    pub replaces: bool,
}

pub const CLIENTS: [ClientModel; 3] = [
    ClientModel {
        name: "patient",
        node: 0,
        grace: Duration::from_secs(30),
        rotates: true,
        own_slots: false,
        replaces: false,
    },
    ClientModel {
        name: "strict",
        node: 1,
        grace: Duration::from_secs(5),
        rotates: true,
        own_slots: true,
        replaces: true,
    },
    ClientModel {
        name: "never",
        node: 0,
        grace: Duration::from_secs(30),
        rotates: false,
        own_slots: false,
        replaces: false,
    },
];

pub const SUBJECTS: [&str; 2] = ["alice", "bob"];
pub const ACCESS_LIFETIME: Duration = Duration::from_secs(600);
pub const REUSE_MINIMUM: Duration = Duration::from_secs(30);
pub const LIFETIME: Duration = Duration::from_secs(36_000);
pub const IDLE: Duration = Duration::from_secs(7_200);

/// Client, subject, whether narrow, and the grant for binding `grant`.
pub type SlotModel = (usize, usize, bool, Option<usize>);

pub struct TokenModel {
    pub id: TokenId,
    /// Absent as long as every answer that had it was lost.
    pub text: Option<String>,
    pub grant: usize,
    pub slot: SlotModel,
    pub expires_at: Timestamp,
    /// By itself: revoked, or displaced under `replace`.
    pub ended: bool,
}

pub struct GrantModel {
    pub id: GrantId,
    pub client: usize,
    pub subject: usize,
    pub counter: u32,
    /// Refreshes that moved the counter, as this test has counted them.
    pub rotations: u32,
    pub rotated_at: Timestamp,
    pub expires_at: Timestamp,
    pub idle_expires_at: Timestamp,
    /// Ended by revocation, reuse or a rule; never again anything else.
    pub over: bool,
    /// Every refresh token that a client was ever given, by its counter.
    pub texts: BTreeMap<u32, String>,
    /// The access token of the last rotation.
    pub last: usize,
}

/// What a refresh must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A new access token; the counter moves unless the client's refresh tokens stay.
    Refresh,
    /// This access token again.
    Repeat(usize),
    /// The same successor with a new access token, since the last one is over or is for something else.
    RepeatWithNew,
    Refuse,
    /// Refused, and the grant is over.
    Reuse,
}

#[derive(Default)]
pub struct Model {
    pub grants: Vec<GrantModel>,
    pub tokens: Vec<TokenModel>,
    /// Which token holds a slot.
    pub holders: HashMap<SlotModel, usize>,
    /// The grant that was last opened for a slot.
    pub by_slot: HashMap<SlotModel, usize>,
    pub reuses: usize,
    /// Grants, and other clients than their own that presented a refresh token of them.
    pub foreign: HashSet<(usize, usize)>,
}

impl Model {
    pub fn is_active(&self, grant: usize, now: Timestamp) -> bool {
        let grant = &self.grants[grant];
        !grant.over && now < grant.expires_at && now < grant.idle_expires_at
    }

    pub fn is_honoured(&self, token: usize, now: Timestamp) -> bool {
        let token = &self.tokens[token];
        !token.ended && !self.grants[token.grant].over && now < token.expires_at
    }

    pub fn is_within_grace(&self, grant: usize, now: Timestamp) -> bool {
        let grant = &self.grants[grant];
        now.since(grant.rotated_at) <= CLIENTS[grant.client].grace
    }

    /// Whether the refresh token with this counter is still good for anything.
    pub fn is_good(&self, grant: usize, counter: u32, now: Timestamp) -> bool {
        let current = self.grants[grant].counter;
        self.is_active(grant, now)
            && (counter == current || counter + 1 == current && self.is_within_grace(grant, now))
    }

    pub fn slot(&self, grant: usize, narrow: bool) -> SlotModel {
        let GrantModel { client, subject, .. } = self.grants[grant];
        (client, subject, narrow, CLIENTS[client].own_slots.then_some(grant))
    }

    pub fn judge(&self, grant: usize, presented: u32, narrow: bool, now: Timestamp) -> Verdict {
        let model = &self.grants[grant];
        let reusable =
            self.is_honoured(model.last, now) && self.tokens[model.last].slot == self.slot(grant, narrow);
        match (self.is_within_grace(grant, now), model.counter - presented) {
            _ if !self.is_active(grant, now) => Verdict::Refuse,
            (_, 0) => Verdict::Refresh,
            (true, 1) if reusable => Verdict::Repeat(model.last),
            (true, 1) => Verdict::RepeatWithNew,
            (true, _) => Verdict::Refuse,
            (false, _) => Verdict::Reuse,
        }
    }

    /// The token gets its slot.
    pub fn insert(&mut self, token: TokenModel, now: Timestamp) -> usize {
        let (slot, new) = (token.slot, self.tokens.len());
        if let Some(holder) = self.holders.insert(slot, new)
            && CLIENTS[slot.0].replaces
            && self.tokens[holder].expires_at > now
        {
            self.tokens[holder].ended = true;
        }
        self.tokens.push(token);
        new
    }

    /// A refresh that was committed with this access token.
    pub fn refreshed(&mut self, grant: usize, token: usize, now: Timestamp) {
        let model = &mut self.grants[grant];
        if CLIENTS[model.client].rotates {
            model.counter += 1;
            model.rotations += 1;
            model.rotated_at = now;
        }
        model.idle_expires_at = now + IDLE;
        model.last = token;
    }

    /// Also one that has expired: should the clock go back, it must not come back.
    pub fn end_grant(&mut self, grant: usize) {
        self.grants[grant].over = true;
    }

    pub fn end_token(&mut self, token: usize, now: Timestamp) {
        if self.is_honoured(token, now) {
            self.tokens[token].ended = true;
            self.holders.retain(|_, holder| *holder != token);
        }
    }

    /// A rule ends all that is before it, whatever its state.
    pub fn rule(&mut self, names: impl Fn(&GrantModel) -> bool) {
        self.grants.iter_mut().filter(|grant| names(grant)).for_each(|grant| grant.over = true);
    }
}
