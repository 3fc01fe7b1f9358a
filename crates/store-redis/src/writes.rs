//! The rows of tokens, slots and grants, as the decisions in `grantry-store` want them.

use grantry_protocol::{
    AccessToken, Ending, Grant, GrantId, LogKind, RuleKeys, Seen, SlotKey, StatusIndex, Timestamp, TokenId,
};
use grantry_store::{
    AssertionKey, AuditEntry, GrantRotation, Holder, NodeId, ReadRows, StoredGrant, StoredToken, Unwritten,
    WriteRows,
};
use serde::{Deserialize, Serialize};

use crate::rows::{RowError, RowResult, Rows};

#[derive(Serialize, Deserialize)]
pub struct TokenRow {
    pub token: AccessToken,
    pub ended: Option<Ending>,
}

#[derive(Serialize, Deserialize)]
pub struct GrantRow {
    pub grant: Grant,
    pub ended_at: Option<Timestamp>,
}

impl Rows {
    fn put_token(&mut self, row: &TokenRow) -> RowResult<()> {
        let keep = self.keep_until(row.token.expires_at);
        self.put(self.names.token(row.token.id), row, keep)
    }

    pub fn grant_row(&mut self, id: GrantId) -> RowResult<Option<GrantRow>> {
        self.get(self.names.grant(id))
    }

    fn put_grant(&mut self, row: &GrantRow) -> RowResult<()> {
        let keep = self.keep_until(row.grant.ends_at());
        self.put(self.names.grant(row.grant.id), row, keep)
    }
}

impl ReadRows for Rows {
    type Error = RowError;

    fn token(&mut self, id: TokenId) -> RowResult<Option<StoredToken>> {
        let Some(TokenRow { token, ended }) = self.get(self.names.token(id))? else { return Ok(None) };
        // Both are asked for before either is waited for.
        let holder = self.holder(token.slot);
        let ended_by_rule = self.is_ended_by_rule(&(&token).into());
        let holds_slot = holder?.is_some_and(|holder| holder.id == id);
        Ok(Some(StoredToken { ended, ended_by_rule: ended_by_rule?, holds_slot, token }))
    }

    fn token_exists(&mut self, id: TokenId) -> RowResult<bool> {
        self.exists(self.names.token(id))
    }

    fn early_end_exists(&mut self, id: TokenId) -> RowResult<bool> {
        self.exists(self.names.early_end(id))
    }

    fn is_ended_by_rule(&mut self, keys: &RuleKeys<'_>) -> RowResult<bool> {
        let mut is_ended = Ok(false);
        for (kind, key) in keys.iter() {
            match self.get::<Seen>(self.names.rule(kind, key)) {
                Ok(rule) => is_ended = is_ended.map(|ended| ended || rule.is_some_and(|at| at > keys.seen)),
                Err(error) => is_ended = Err(error),
            }
        }
        is_ended
    }

    fn holder(&mut self, slot: SlotKey) -> RowResult<Option<Holder>> {
        self.get(self.names.slot(slot))
    }

    fn grant(&mut self, id: GrantId) -> RowResult<Option<StoredGrant>> {
        let Some(GrantRow { grant, ended_at }) = self.grant_row(id)? else { return Ok(None) };
        let ended_by_rule = self.is_ended_by_rule(&(&grant).into())?;
        Ok(Some(StoredGrant { ended_at, ended_by_rule, grant }))
    }

    fn slots_grant(&mut self, slot: SlotKey) -> RowResult<Option<StoredGrant>> {
        match self.get(self.names.slots_grant(slot))? {
            Some(id) => self.grant(id),
            None => Ok(None),
        }
    }
}

impl WriteRows for Rows {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn token_insert(&mut self, token: &AccessToken, ended: Option<Ending>) -> RowResult<()> {
        self.put_token(&TokenRow { token: token.clone(), ended })?;
        let id = token.id.to_string();
        self.command("ZADD", self.names.tokens(), &[b"0", id.as_bytes()]);
        if let Some(StatusIndex(place)) = token.status_index {
            let place = place.to_string();
            self.command("ZADD", self.names.tokens_by_status(), &[place.as_bytes(), id.as_bytes()]);
        }
        Ok(())
    }

    fn token_end(&mut self, id: TokenId, ending: Ending) -> RowResult<()> {
        match self.get::<TokenRow>(self.names.token(id))? {
            Some(row) => self.put_token(&TokenRow { ended: Some(ending), ..row }),
            None => Ok(()),
        }
    }

    fn early_end_insert(&mut self, id: TokenId, unwritten: Unwritten) -> RowResult<()> {
        let until = unwritten.expires_by;
        let keep = self.keep_until(until);
        self.put(self.names.early_end(id), &until, keep)?;
        let score = until.as_millis().to_string();
        self.command("ZADD", self.names.early_ends(), &[score.as_bytes(), id.to_string().as_bytes()]);
        Ok(())
    }

    fn slot_take(&mut self, token: &AccessToken, displaced: Option<TokenId>) -> RowResult<()> {
        let keep = self.keep_until(token.expires_at);
        let holder = Holder { id: token.id, expires_at: token.expires_at, displaced };
        self.put(self.names.slot(token.slot), &holder, keep)
    }

    fn slot_free(&mut self, slot: SlotKey, holder: TokenId) -> RowResult<()> {
        if self.holder(slot)?.is_some_and(|present| present.id == holder) {
            self.remove(self.names.slot(slot));
        }
        Ok(())
    }

    fn grant_insert(&mut self, grant: &Grant) -> RowResult<()> {
        self.put_grant(&GrantRow { grant: grant.clone(), ended_at: None })?;
        if let Some(slot) = grant.slot {
            let keep = self.keep_until(grant.expires_at);
            self.put(self.names.slots_grant(slot), &grant.id, keep)?;
        }
        let id = grant.id.to_string();
        self.command("ZADD", self.names.grants(), &[b"0", id.as_bytes()]);
        self.command("ZADD", self.names.grants_of(&grant.subject), &[b"0", id.as_bytes()]);
        if let Some(StatusIndex(place)) = grant.status_index {
            let place = place.to_string();
            self.command("ZADD", self.names.grants_by_status(), &[place.as_bytes(), id.as_bytes()]);
        }
        Ok(())
    }

    fn grant_rotate(&mut self, id: GrantId, from: u32, to: &GrantRotation) -> RowResult<()> {
        let Some(mut row) = self.grant_row(id)?.filter(|row| row.grant.counter == from) else {
            return Ok(());
        };
        row.grant.counter = to.counter;
        row.grant.rotated_at = to.rotated_at;
        row.grant.idle_expires_at = to.idle_expires_at;
        row.grant.access_token = to.access_token;
        self.put_grant(&row)
    }

    fn grant_end(&mut self, id: GrantId) -> RowResult<()> {
        match self.grant_row(id)? {
            Some(row) => self.put_grant(&GrantRow { ended_at: Some(self.now), ..row }),
            None => Ok(()),
        }
    }

    fn assertion_consume(&mut self, key: AssertionKey, expires_at: Timestamp) -> RowResult<bool> {
        let name = self.names.assertion(key);
        if self.get::<Timestamp>(name.clone())?.is_some_and(|until| until > self.now) {
            return Ok(false);
        }
        let keep = self.keep_until(expires_at);
        self.put(name, &expires_at, keep)?;
        let score = expires_at.as_millis().to_string();
        let member = crate::names::hex(&key.0);
        self.command("ZADD", self.names.assertions(), &[score.as_bytes(), member.as_bytes()]);
        Ok(true)
    }

    fn node_beat(&mut self, node: NodeId, drained_below: Option<TokenId>) -> RowResult<()> {
        let mut row = self.node_row(node)?;
        row.heartbeat = self.now;
        row.drained_below = row.drained_below.max(drained_below);
        self.put_node(node, &row)
    }

    fn announce(&mut self, kind: LogKind, key: &[u8], keep_until: Timestamp) -> RowResult<Seen> {
        self.log_append(kind, key.to_vec(), keep_until)
    }

    fn record(&mut self, entry: &AuditEntry) -> RowResult<()> {
        self.audit_row(entry)
    }
}
