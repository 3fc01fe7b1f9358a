//! The rows that a transaction has locked and read, with what its writes have made of them so far: decisions are made
//! here, in memory, and what has changed is written afterwards in one go.

use std::collections::{BTreeMap, HashMap, HashSet};

use grantry_protocol::{
    AccessToken, Ending, Grant, GrantId, LogKind, Position, RuleKeys, Seen, SlotKey, Timestamp, TokenId,
};
use grantry_store::{
    AssertionKey, AuditEntry, GrantRotation, Holder, NodeId, ReadRows, StoredGrant, StoredToken, Unwritten,
    WriteRows,
};

use crate::errors::{Cause, Error, Result};
use crate::grants::overtaken;
use crate::named::Named;
use crate::revocations::Announced;
use crate::rules::{Rules, is_ended};
use crate::slots::SlotRow;

/// What was read. What was asked for and is not among it has no row.
#[derive(Default)]
pub struct Read {
    pub moment: Moment,
    pub grants: Vec<(StoredGrant, bool)>,
    pub slots: Vec<SlotRow>,
    /// Slots whose row this transaction has just put there.
    pub placed: Vec<SlotKey>,
    pub tokens: Vec<StoredToken>,
    pub early_ends: HashSet<TokenId>,
    pub rules: Rules,
    pub assertions: BTreeMap<AssertionKey, Timestamp>,
}

/// When and as of which part of the log a transaction decides: at least what was there when the batch came.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    pub head: Seen,
}

impl Default for Moment {
    fn default() -> Self {
        Self { now: Timestamp::from_millis(0), head: Seen::NOTHING }
    }
}

pub struct Overlay {
    now: Timestamp,
    head: Seen,
    tokens: HashMap<TokenId, TokenRow>,
    slots: HashMap<SlotKey, SlotState>,
    grants: BTreeMap<GrantId, GrantRow>,
    /// The last of each slot.
    slots_grants: HashMap<SlotKey, Option<GrantId>>,
    /// The same as it was read.
    slots_grants_before: HashMap<SlotKey, GrantId>,
    early_ends: HashSet<TokenId>,
    rules: Rules,
    assertions: BTreeMap<AssertionKey, Timestamp>,
    changes: Noted,
}

struct TokenRow {
    stored: Option<StoredToken>,
    is_new: bool,
    is_changed: bool,
}

struct SlotState {
    /// What the table has.
    row: Option<Holder>,
    holder: Option<Holder>,
}

struct GrantRow {
    stored: Option<StoredGrant>,
    is_new: bool,
    /// The counter that it was read with, once it has changed.
    changed_from: Option<u32>,
}

/// Changes that are no row's state.
#[derive(Default)]
struct Noted {
    early_ends: Vec<(TokenId, Timestamp)>,
    assertions: BTreeMap<AssertionKey, Timestamp>,
    beats: BTreeMap<NodeId, Option<TokenId>>,
    entries: Vec<Announced>,
    audit: Vec<AuditEntry>,
}

/// What has to be written.
pub struct Changes<'o> {
    pub now: Timestamp,
    pub displaced_grants: Vec<GrantId>,
    /// With whether each is the last of its slot.
    pub new_grants: Vec<(&'o StoredGrant, bool)>,
    /// With the counter that each was read with.
    pub changed_grants: Vec<(u32, &'o StoredGrant)>,
    pub moved_slots: Vec<SlotRow>,
    /// With the holders that they were read with.
    pub freed_slots: Vec<(SlotKey, TokenId)>,
    /// By id.
    pub new_tokens: Vec<&'o StoredToken>,
    pub ended_tokens: Vec<(TokenId, Ending)>,
    pub early_ends: &'o [(TokenId, Timestamp)],
    pub assertions: &'o BTreeMap<AssertionKey, Timestamp>,
    pub beats: Vec<(NodeId, Option<TokenId>)>,
    pub audit: &'o [AuditEntry],
    pub entries: &'o [Announced],
}

impl Changes<'_> {
    /// Rows that the locking itself has put there do not count: they are taken back with the transaction.
    pub fn is_empty(&self) -> bool {
        self.displaced_grants.is_empty()
            && self.new_grants.is_empty()
            && self.changed_grants.is_empty()
            && self.moved_slots.is_empty()
            && self.new_tokens.is_empty()
            && self.ended_tokens.is_empty()
            && self.early_ends.is_empty()
            && self.assertions.is_empty()
            && self.beats.is_empty()
            && self.audit.is_empty()
            && self.entries.is_empty()
    }
}

impl Overlay {
    /// # Errors
    /// A collision if a grant is the last of its slot no more.
    pub fn new(named: &Named<'_>, read: Read) -> Result<Self> {
        let mut overlay = Self {
            now: read.moment.now,
            head: read.moment.head,
            tokens: HashMap::new(),
            slots: HashMap::new(),
            grants: BTreeMap::new(),
            slots_grants: named.grant_slots.iter().map(|slot| (*slot, None)).collect(),
            slots_grants_before: HashMap::new(),
            early_ends: read.early_ends,
            rules: read.rules,
            assertions: read.assertions,
            changes: Noted::default(),
        };
        overlay.take_grants(named, read.grants)?;
        overlay.take_slots(named, read.slots, &read.placed);
        overlay.take_tokens(named, read.tokens);
        Ok(overlay)
    }

    fn take_grants(&mut self, named: &Named<'_>, grants: Vec<(StoredGrant, bool)>) -> Result<()> {
        for id in &named.grants {
            self.grants.insert(*id, GrantRow { stored: None, is_new: false, changed_from: None });
        }
        for (stored, is_last_of_slot) in grants {
            let Grant { id, slot, .. } = stored.grant;
            if let Some(slot) = slot.filter(|slot| named.grant_slots.contains(slot)) {
                if is_last_of_slot {
                    self.slots_grants.insert(slot, Some(id));
                    self.slots_grants_before.insert(slot, id);
                } else if !named.grants.contains(&id) {
                    return Err(overtaken());
                }
            }
            self.grants.insert(id, GrantRow { stored: Some(stored), is_new: false, changed_from: None });
        }
        Ok(())
    }

    fn take_slots(&mut self, named: &Named<'_>, slots: Vec<SlotRow>, placed: &[SlotKey]) {
        for slot in named.slots.keys() {
            self.slots.insert(*slot, SlotState { row: None, holder: None });
        }
        for SlotRow { slot, holder } in slots {
            let is_placed = placed.contains(&slot);
            let state = SlotState { row: Some(holder), holder: (!is_placed).then_some(holder) };
            self.slots.insert(slot, state);
        }
    }

    fn take_tokens(&mut self, named: &Named<'_>, tokens: Vec<StoredToken>) {
        let contested = named.contested.iter().chain(&named.ending);
        let holders = contested.filter_map(|slot| Some(self.slots.get(slot)?.holder?.id));
        let refreshed = named.refreshed.iter().filter_map(|id| self.grants.get(id)?.stored.as_ref());
        let given = refreshed.map(|stored| stored.grant.access_token);
        let absent = |id| (id, TokenRow { stored: None, is_new: false, is_changed: false });
        let asked_for = named.tokens.keys().chain(&named.revoked).copied().chain(holders).chain(given);
        self.tokens = asked_for.map(absent).collect();
        for stored in tokens {
            let id = stored.token.id;
            self.tokens.insert(id, TokenRow { stored: Some(stored), is_new: false, is_changed: false });
        }
    }

    pub fn changes(&self) -> Changes<'_> {
        let is_last = |stored: &StoredGrant| {
            stored.grant.slot.is_some_and(|slot| self.slots_grants.get(&slot) == Some(&Some(stored.grant.id)))
        };
        let displaced = self
            .slots_grants_before
            .iter()
            .filter(|(slot, before)| self.slots_grants.get(*slot) != Some(&Some(**before)));
        let grants = || self.grants.values().filter_map(|row| Some((row, row.stored.as_ref()?)));
        let tokens = || self.tokens.values().filter_map(|row| Some((row, row.stored.as_ref()?)));
        let slots = || self.slots.iter().filter(|(_, state)| state.holder != state.row);
        let mut new_tokens: Vec<&StoredToken> =
            tokens().filter(|(row, _)| row.is_new).map(|(_, stored)| stored).collect();
        new_tokens.sort_unstable_by_key(|stored| stored.token.id);
        Changes {
            now: self.now,
            displaced_grants: displaced.map(|(_, id)| *id).collect(),
            new_grants: grants()
                .filter(|(row, _)| row.is_new)
                .map(|(_, stored)| (stored, is_last(stored)))
                .collect(),
            changed_grants: grants()
                .filter(|(row, _)| !row.is_new)
                .filter_map(|(row, stored)| Some((row.changed_from?, stored)))
                .collect(),
            moved_slots: slots()
                .filter_map(|(slot, state)| Some(SlotRow { slot: *slot, holder: state.holder? }))
                .collect(),
            freed_slots: slots()
                .filter(|(_, state)| state.holder.is_none())
                .filter_map(|(slot, state)| Some((*slot, state.row?.id)))
                .collect(),
            new_tokens,
            ended_tokens: tokens()
                .filter(|(row, _)| !row.is_new && row.is_changed)
                .filter_map(|(_, stored)| Some((stored.token.id, stored.ended?)))
                .collect(),
            early_ends: &self.changes.early_ends,
            assertions: &self.changes.assertions,
            beats: self.changes.beats.iter().map(|(id, mark)| (*id, *mark)).collect(),
            audit: &self.changes.audit,
            entries: &self.changes.entries,
        }
    }

    /// The position that the last entry has if nobody else has appended meanwhile.
    pub fn expected_position(&self) -> Position {
        Position(self.head.position.0 + self.changes.entries.len() as u64)
    }

    fn stored_grant(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        let row = self.grants.get(&id).ok_or_else(|| unread("grant"))?;
        Ok(row.stored.clone().map(|mut stored| {
            stored.ended_by_rule |= is_ended(&self.rules, &(&stored.grant).into());
            stored
        }))
    }

    /// By what was read with the token itself.
    fn is_holder(&self, id: TokenId) -> bool {
        self.tokens.get(&id).and_then(|row| row.stored.as_ref()).is_some_and(|stored| stored.holds_slot)
    }

    fn change_grant(&mut self, id: GrantId, change: impl FnOnce(&mut StoredGrant)) {
        if let Some(row) = self.grants.get_mut(&id)
            && let Some(stored) = &mut row.stored
        {
            row.changed_from.get_or_insert(stored.grant.counter);
            change(stored);
        }
    }
}

/// Only what is in memory can be decided about.
fn unread(noun: &str) -> Error {
    Error::new(Cause::Corrupt, format!("a {noun} was to be decided about that had not been read"))
}

impl ReadRows for Overlay {
    type Error = Error;

    fn token(&mut self, id: TokenId) -> Result<Option<StoredToken>> {
        let row = self.tokens.get(&id).ok_or_else(|| unread("token"))?;
        Ok(row.stored.clone().map(|mut stored| {
            if let Some(slot) = self.slots.get(&stored.token.slot) {
                stored.holds_slot = slot.holder.is_some_and(|holder| holder.id == id);
            }
            stored.ended_by_rule |= is_ended(&self.rules, &(&stored.token).into());
            stored
        }))
    }

    fn early_end_exists(&mut self, id: TokenId) -> Result<bool> {
        Ok(self.early_ends.contains(&id))
    }

    fn is_ended_by_rule(&mut self, keys: &RuleKeys<'_>) -> Result<bool> {
        Ok(is_ended(&self.rules, keys))
    }

    fn holder(&mut self, slot: SlotKey) -> Result<Option<Holder>> {
        self.slots.get(&slot).map(|state| state.holder).ok_or_else(|| unread("slot"))
    }

    fn grant(&mut self, id: GrantId) -> Result<Option<StoredGrant>> {
        self.stored_grant(id)
    }

    fn slots_grant(&mut self, slot: SlotKey) -> Result<Option<StoredGrant>> {
        match self.slots_grants.get(&slot).ok_or_else(|| unread("slot"))? {
            Some(id) => self.stored_grant(*id),
            None => Ok(None),
        }
    }
}

impl WriteRows for Overlay {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn token_insert(&mut self, token: &AccessToken, ended: Option<Ending>) -> Result<()> {
        let stored = StoredToken { token: token.clone(), ended, ended_by_rule: false, holds_slot: false };
        self.tokens.insert(token.id, TokenRow { stored: Some(stored), is_new: true, is_changed: false });
        Ok(())
    }

    fn token_end(&mut self, id: TokenId, ending: Ending) -> Result<()> {
        if let Some(row) = self.tokens.get_mut(&id)
            && let Some(stored) = &mut row.stored
        {
            stored.ended = Some(ending);
            row.is_changed = true;
        }
        Ok(())
    }

    fn early_end_insert(&mut self, id: TokenId, unwritten: Unwritten) -> Result<()> {
        self.early_ends.insert(id);
        self.changes.early_ends.push((id, unwritten.expires_by));
        Ok(())
    }

    fn slot_take(&mut self, token: &AccessToken, displaced: Option<TokenId>) -> Result<()> {
        let state = self.slots.get_mut(&token.slot).ok_or_else(|| unread("slot"))?;
        state.holder = Some(Holder { id: token.id, expires_at: token.expires_at, displaced });
        Ok(())
    }

    fn slot_free(&mut self, slot: SlotKey, holder: TokenId) -> Result<()> {
        let Some(state) = self.slots.get_mut(&slot) else {
            // The token and its slot were written after the slots had been locked and read.
            let error = Error::new(Cause::Collision, "a token was written while it was revoked");
            return if self.is_holder(holder) { Err(error) } else { Ok(()) };
        };
        if state.holder.is_some_and(|present| present.id == holder) {
            state.holder = None;
        }
        Ok(())
    }

    fn grant_insert(&mut self, grant: &Grant) -> Result<()> {
        if let Some(slot) = grant.slot {
            self.slots_grants.insert(slot, Some(grant.id));
        }
        let stored = StoredGrant { grant: grant.clone(), ended_at: None, ended_by_rule: false };
        self.grants.insert(grant.id, GrantRow { stored: Some(stored), is_new: true, changed_from: None });
        Ok(())
    }

    fn grant_rotate(&mut self, id: GrantId, from: u32, to: &GrantRotation) -> Result<()> {
        self.change_grant(id, |StoredGrant { grant, .. }| {
            if grant.counter == from {
                grant.counter = to.counter;
                grant.rotated_at = to.rotated_at;
                grant.idle_expires_at = to.idle_expires_at;
                grant.access_token = to.access_token;
            }
        });
        Ok(())
    }

    fn grant_end(&mut self, id: GrantId) -> Result<()> {
        let now = self.now;
        self.change_grant(id, |stored| stored.ended_at = Some(now));
        Ok(())
    }

    fn assertion_consume(&mut self, key: AssertionKey, expires_at: Timestamp) -> Result<bool> {
        if self.assertions.get(&key).is_some_and(|until| *until > self.now) {
            return Ok(false);
        }
        self.assertions.insert(key, expires_at);
        self.changes.assertions.insert(key, expires_at);
        Ok(true)
    }

    fn node_beat(&mut self, node: NodeId, drained_below: Option<TokenId>) -> Result<()> {
        let mark = self.changes.beats.entry(node).or_default();
        *mark = (*mark).max(drained_below);
        Ok(())
    }

    fn announce(&mut self, kind: LogKind, key: &[u8], keep_until: Timestamp) -> Result<Seen> {
        self.changes.entries.push(Announced { kind, key: key.to_vec(), keep_until });
        let seen = Seen { epoch: self.head.epoch, position: self.expected_position() };
        if kind.is_rule() {
            self.rules.insert((kind, key.to_vec()), seen);
        }
        Ok(seen)
    }

    fn record(&mut self, entry: &AuditEntry) -> Result<()> {
        self.changes.audit.push(entry.clone());
        Ok(())
    }
}
