//! What the writes of a batch name: all that has to be locked and read before they can be decided.

use std::collections::{BTreeMap, BTreeSet};

use grantry_protocol::{AccessToken, ActiveTokenPolicy, Grant, GrantId, RuleKeys, SlotKey, TokenId};
use grantry_store::{Holder, Issue, TokenWrite};
use uuid::Uuid;

use crate::columns::uuid;
use crate::nodes::NodesNamed;
use crate::slots::SlotRow;

#[derive(Default)]
pub struct Named<'b> {
    pub nodes: NodesNamed,
    pub grants: BTreeSet<GrantId>,
    /// Of slot binding `none`: the grants last opened for them are concerned.
    pub grant_slots: BTreeSet<SlotKey>,
    /// Grants whose last access token may be given again.
    pub refreshed: BTreeSet<GrantId>,
    /// Slots that a token asks for, with the row that they would have.
    pub slots: BTreeMap<SlotKey, SlotRow>,
    /// Slots whose holder may have to be looked at.
    pub contested: BTreeSet<SlotKey>,
    /// Slots whose holder may be ended.
    pub ending: BTreeSet<SlotKey>,
    /// To be written.
    pub tokens: BTreeMap<TokenId, &'b AccessToken>,
    /// To be ended.
    pub revoked: BTreeSet<TokenId>,
    /// Tokens that may have been ended before they had a row.
    pub unwritten: BTreeSet<TokenId>,
    pub assertions: BTreeSet<&'b [u8]>,
    /// Whether nobody may append to the log between the reading of its rules and the writing of its entries.
    pub holds_log: bool,
    /// Of everything that a rule may have ended and that has no row yet.
    pub rules: Vec<RuleKeys<'b>>,
}

impl<'b> Named<'b> {
    pub fn of(batch: &'b [TokenWrite]) -> Self {
        let mut named = Self::default();
        batch.iter().for_each(|write| named.add(write));
        named
    }

    /// Of what would be settled.
    pub fn settled(issue: &'b Issue) -> Self {
        let mut named = Self::default();
        named.settle(issue);
        named
    }

    pub fn unstored(token: &'b AccessToken) -> Self {
        Self { unwritten: [token.id].into(), rules: vec![token.into()], ..Self::default() }
    }

    pub fn unstored_grant(grant: &'b Grant) -> Self {
        Self { grants: [grant.id].into(), rules: vec![grant.into()], ..Self::default() }
    }

    fn add(&mut self, write: &'b TokenWrite) {
        match write {
            TokenWrite::Issue(issue) => {
                self.token(&issue.token, issue.policy, issue.observed);
                self.contested.insert(issue.token.slot);
            }
            TokenWrite::Settle(issue) => self.settle(issue),
            TokenWrite::Open(opening) => {
                self.grants.insert(opening.grant.id);
                self.grant_slots.extend(opening.grant.slot);
                self.rules.push((&opening.grant).into());
                self.token(&opening.token, opening.policy, None);
            }
            TokenWrite::EndSlot(end) => {
                self.holds_log = true;
                self.rules.push(RuleKeys { slot: None, ..(&end.token).into() });
            }
            TokenWrite::Rotate(rotation) => {
                self.grants.insert(rotation.grant);
                self.refreshed.insert(rotation.grant);
                self.rules.extend(rotation.origin.as_deref().map(RuleKeys::from));
                self.unwritten.extend(rotation.origin.as_ref().map(|origin| origin.access_token));
                // The next rotation of the batch asks for it, whether it gets a row or not.
                self.tokens.insert(rotation.token.id, &rotation.token);
                // A token without a row leaves its slot to itself, unless it ends who holds it.
                if rotation.is_stored || rotation.policy == ActiveTokenPolicy::Replace {
                    self.token(&rotation.token, rotation.policy, None);
                }
            }
            TokenWrite::Revoke { id, unwritten, .. } => {
                self.revoked.insert(*id);
                if let Some(unwritten) = unwritten {
                    self.unwritten.insert(*id);
                    self.nodes.ended_early.extend(unwritten.by.map(|by| i16::from(by.get())));
                }
            }
            TokenWrite::RevokeGrant { id, origin, .. } => {
                self.grants.insert(*id);
                self.rules.extend(origin.as_deref().map(RuleKeys::from));
            }
            TokenWrite::ConsumeAssertion { key, .. } => {
                self.assertions.insert(&key.0);
            }
            TokenWrite::Heartbeat { node, .. } => self.nodes.beating.push(*node),
        }
    }

    fn settle(&mut self, issue: &'b Issue) {
        let token = &issue.token;
        self.token(token, issue.policy, issue.observed);
        self.contested.insert(token.slot);
        self.ending.insert(token.slot);
        self.unwritten.insert(token.id);
        self.nodes.settled.extend(token.deferred_by.map(|number| i16::from(number.get())));
    }

    fn token(&mut self, token: &'b AccessToken, policy: ActiveTokenPolicy, displaced: Option<TokenId>) {
        let holder = Holder { id: token.id, expires_at: token.expires_at, displaced };
        self.slots.entry(token.slot).or_insert(SlotRow { slot: token.slot, holder });
        if policy == ActiveTokenPolicy::Replace {
            self.ending.insert(token.slot);
        }
        self.tokens.insert(token.id, token);
        self.rules.push(token.into());
    }
}

/// Slots as parameters.
pub fn keys<'s>(slots: impl IntoIterator<Item = &'s SlotKey>) -> Vec<&'s [u8]> {
    slots.into_iter().map(|slot| slot.as_bytes().as_slice()).collect()
}

/// Ids as parameters.
pub fn token_ids<'i>(ids: impl IntoIterator<Item = &'i TokenId>) -> Vec<Uuid> {
    ids.into_iter().map(|id| uuid(id.as_bytes())).collect()
}

pub fn grant_ids<'i>(ids: impl IntoIterator<Item = &'i GrantId>) -> Vec<Uuid> {
    ids.into_iter().map(|id| uuid(id.as_bytes())).collect()
}
