use std::convert::Infallible;

use grantry_protocol::{
    AccessToken, Ending, Grant, GrantId, LogKind, RuleKeys, Seen, SlotKey, Timestamp, TokenId,
};

use super::{NodeRow, Placed, State, TokenRow};
use crate::{
    AssertionKey, AuditEntry, GrantRotation, Holder, NodeId, ReadRows, StoredGrant, StoredToken, Unwritten,
    WriteRows,
};

/// The lock is the transaction: nothing can fail, so nothing has to be undone.
pub struct Rows<'s> {
    pub state: &'s mut State,
    pub now: Timestamp,
}

impl ReadRows for Rows<'_> {
    type Error = Infallible;

    fn token(&mut self, id: TokenId) -> Result<Option<StoredToken>, Infallible> {
        Ok(self.state.stored(id))
    }

    fn early_end_exists(&mut self, id: TokenId) -> Result<bool, Infallible> {
        Ok(self.state.early_ends.contains_key(&id))
    }

    fn is_ended_by_rule(&mut self, keys: &RuleKeys<'_>) -> Result<bool, Infallible> {
        Ok(self.state.is_ended_by_rule(keys))
    }

    fn holder(&mut self, slot: SlotKey) -> Result<Option<Holder>, Infallible> {
        Ok(self.state.slots.get(&slot).copied())
    }

    fn grant(&mut self, id: GrantId) -> Result<Option<StoredGrant>, Infallible> {
        Ok(self.state.stored_grant(id))
    }

    fn slots_grant(&mut self, slot: SlotKey) -> Result<Option<StoredGrant>, Infallible> {
        Ok(self.state.slots_grant(slot))
    }
}

impl WriteRows for Rows<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn token_insert(&mut self, token: &AccessToken, ended: Option<Ending>) -> Result<(), Infallible> {
        self.state.place(token.status_index, Placed::Token(token.id));
        self.state.tokens.insert(token.id, TokenRow { token: token.clone(), ended });
        Ok(())
    }

    fn token_end(&mut self, id: TokenId, ending: Ending) -> Result<(), Infallible> {
        if let Some(row) = self.state.tokens.get_mut(&id) {
            row.ended = Some(ending);
        }
        Ok(())
    }

    fn early_end_insert(&mut self, id: TokenId, unwritten: Unwritten) -> Result<(), Infallible> {
        self.state.early_ends.insert(id, unwritten.expires_by);
        Ok(())
    }

    fn slot_take(&mut self, token: &AccessToken, displaced: Option<TokenId>) -> Result<(), Infallible> {
        let holder = Holder { id: token.id, expires_at: token.expires_at, displaced };
        self.state.slots.insert(token.slot, holder);
        Ok(())
    }

    fn slot_free(&mut self, slot: SlotKey, holder: TokenId) -> Result<(), Infallible> {
        self.state.free(slot, holder);
        Ok(())
    }

    fn grant_insert(&mut self, grant: &Grant) -> Result<(), Infallible> {
        if let Some(slot) = grant.slot {
            self.state.grant_slots.insert(slot, grant.id);
        }
        self.state.place(grant.status_index, Placed::Grant(grant.id));
        let stored = StoredGrant { grant: grant.clone(), ended_at: None, ended_by_rule: false };
        self.state.grants.insert(grant.id, stored);
        Ok(())
    }

    fn grant_rotate(&mut self, id: GrantId, from: u32, to: &GrantRotation) -> Result<(), Infallible> {
        if let Some(StoredGrant { grant, .. }) = self.state.grants.get_mut(&id)
            && grant.counter == from
        {
            grant.counter = to.counter;
            grant.rotated_at = to.rotated_at;
            grant.idle_expires_at = to.idle_expires_at;
            grant.access_token = to.access_token;
        }
        Ok(())
    }

    fn grant_end(&mut self, id: GrantId) -> Result<(), Infallible> {
        if let Some(stored) = self.state.grants.get_mut(&id) {
            stored.ended_at = Some(self.now);
        }
        Ok(())
    }

    fn assertion_consume(&mut self, key: AssertionKey, expires_at: Timestamp) -> Result<bool, Infallible> {
        if self.state.assertions.get(&key).is_some_and(|until| *until > self.now) {
            return Ok(false);
        }
        self.state.assertions.insert(key, expires_at);
        Ok(true)
    }

    fn node_beat(&mut self, node: NodeId, drained_below: Option<TokenId>) -> Result<(), Infallible> {
        let row = self.state.nodes.entry(node).or_insert(NodeRow::new(self.now));
        row.last_heartbeat = self.now;
        row.drained_below = row.drained_below.max(drained_below);
        Ok(())
    }

    fn announce(&mut self, kind: LogKind, key: &[u8], keep_until: Timestamp) -> Result<Seen, Infallible> {
        Ok(self.state.announce(kind, key.to_vec(), keep_until, self.now))
    }

    fn record(&mut self, entry: &AuditEntry) -> Result<(), Infallible> {
        self.state.record(entry.clone());
        Ok(())
    }
}
