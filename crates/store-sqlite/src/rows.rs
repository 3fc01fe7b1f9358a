//! The rows of a snapshot and of a transaction, as `grantry_store::apply` sees them.

use std::ops::Deref;

use grantry_protocol::{
    AccessToken, Ending, Grant, GrantId, LogKind, RuleKeys, Seen, SlotKey, Timestamp, TokenId,
};
use grantry_store::{
    AssertionKey, AuditEntry, GrantRotation, Holder, NodeId, ReadRows, StoredGrant, StoredToken, Unwritten,
    WriteRows,
};
use rusqlite::Connection;

use crate::assertions::assertion_upsert;
use crate::audit::audit_insert;
use crate::early_ends::{early_end_exists, early_end_insert};
use crate::grants::{
    grant_end, grant_insert, grant_rotate, grant_select, slots_grant_displace, slots_grant_select,
};
use crate::nodes::node_upsert;
use crate::readers::Snapshot;
use crate::rules::{is_ended_by_rule, last_rule_select};
use crate::tokens::{
    slot_free, slot_select, slot_upsert, token_end, token_exists, token_insert, token_select,
};
use crate::writer::WriteTx;

/// Whatever knows the last rule that its reads may meet.
pub trait Judging: Deref<Target = Connection> {
    fn last_rule(&self) -> rusqlite::Result<Option<Seen>>;
}

impl Judging for Snapshot<'_> {
    fn last_rule(&self) -> rusqlite::Result<Option<Seen>> {
        Snapshot::last_rule(self)
    }
}

impl Judging for WriteTx<'_> {
    fn last_rule(&self) -> rusqlite::Result<Option<Seen>> {
        last_rule_select(self)
    }
}

/// Borrowed from a snapshot, or mutably from a transaction.
pub struct Rows<R>(pub R);

/// Adds what the rules say.
pub fn judge(rows: &impl Judging, mut stored: StoredToken) -> rusqlite::Result<StoredToken> {
    stored.ended_by_rule = is_ended_by_rule(rows, &(&stored.token).into(), rows.last_rule()?)?;
    Ok(stored)
}

/// Adds what the rules say.
pub fn judge_grant(rows: &impl Judging, mut stored: StoredGrant) -> rusqlite::Result<StoredGrant> {
    stored.ended_by_rule = is_ended_by_rule(rows, &(&stored.grant).into(), rows.last_rule()?)?;
    Ok(stored)
}

impl<R: Deref<Target: Judging + Sized>> ReadRows for Rows<R> {
    type Error = rusqlite::Error;

    fn token(&mut self, id: TokenId) -> rusqlite::Result<Option<StoredToken>> {
        token_select(&self.0, id)?.map(|stored| judge(&*self.0, stored)).transpose()
    }

    fn token_exists(&mut self, id: TokenId) -> rusqlite::Result<bool> {
        token_exists(&self.0, id)
    }

    fn early_end_exists(&mut self, id: TokenId) -> rusqlite::Result<bool> {
        early_end_exists(&self.0, id)
    }

    fn is_ended_by_rule(&mut self, keys: &RuleKeys<'_>) -> rusqlite::Result<bool> {
        is_ended_by_rule(&self.0, keys, self.0.last_rule()?)
    }

    fn holder(&mut self, slot: SlotKey) -> rusqlite::Result<Option<Holder>> {
        slot_select(&self.0, slot)
    }

    fn grant(&mut self, id: GrantId) -> rusqlite::Result<Option<StoredGrant>> {
        grant_select(&self.0, id)?.map(|stored| judge_grant(&*self.0, stored)).transpose()
    }

    fn slots_grant(&mut self, slot: SlotKey) -> rusqlite::Result<Option<StoredGrant>> {
        slots_grant_select(&self.0, slot)?.map(|stored| judge_grant(&*self.0, stored)).transpose()
    }
}

/// SQLite's write lock is held: nobody else changes a row between its reading and its writing.
impl WriteRows for Rows<&mut WriteTx<'_>> {
    fn now(&self) -> Timestamp {
        self.0.now
    }

    fn token_insert(&mut self, token: &AccessToken, ended: Option<Ending>) -> rusqlite::Result<()> {
        token_insert(self.0, token, ended)
    }

    fn token_end(&mut self, id: TokenId, ending: Ending) -> rusqlite::Result<()> {
        token_end(self.0, id, ending)
    }

    fn early_end_insert(&mut self, id: TokenId, unwritten: Unwritten) -> rusqlite::Result<()> {
        early_end_insert(self.0, id, unwritten.expires_by)
    }

    fn slot_take(&mut self, token: &AccessToken, displaced: Option<TokenId>) -> rusqlite::Result<()> {
        slot_upsert(self.0, token, displaced)
    }

    fn slot_free(&mut self, slot: SlotKey, holder: TokenId) -> rusqlite::Result<()> {
        slot_free(self.0, slot, holder).map(drop)
    }

    fn grant_insert(&mut self, grant: &Grant) -> rusqlite::Result<()> {
        if let Some(slot) = grant.slot {
            slots_grant_displace(self.0, slot)?;
        }
        grant_insert(self.0, grant)
    }

    fn grant_rotate(&mut self, id: GrantId, from: u32, to: &GrantRotation) -> rusqlite::Result<()> {
        grant_rotate(self.0, id, from, to, self.0.now)
    }

    fn grant_end(&mut self, id: GrantId) -> rusqlite::Result<()> {
        grant_end(self.0, id, self.0.now)
    }

    fn assertion_consume(&mut self, key: AssertionKey, expires_at: Timestamp) -> rusqlite::Result<bool> {
        assertion_upsert(self.0, key, expires_at, self.0.now)
    }

    fn node_beat(&mut self, node: NodeId, drained_below: Option<TokenId>) -> rusqlite::Result<()> {
        node_upsert(self.0, node, drained_below, self.0.now)
    }

    fn announce(&mut self, kind: LogKind, key: &[u8], keep_until: Timestamp) -> rusqlite::Result<Seen> {
        self.0.announce(kind, key, keep_until)
    }

    fn record(&mut self, entry: &AuditEntry) -> rusqlite::Result<()> {
        audit_insert(self.0, entry)
    }
}
