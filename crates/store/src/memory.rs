use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, Client, ClientId, Clock, Ending, GrantId, LogEntry, LogHead, LogKind, Position, RuleKeys,
    Seen, SlotKey, StatusIndex, Timestamp, TokenId,
};

use crate::{
    AssertionKey, AuditEntry, AuditRecord, AuditTrail, Bell, ClusterId, Holder, KeyChange, KeyRecord, Keys,
    NodeId, Result, StatusHead, StoredGrant, StoredSettings,
};

mod clients;
mod grants;
mod nodes;
mod retention;
mod revocations;
mod rows;
mod settings;
mod status_lists;
mod tokens;

use self::nodes::NodeRow;
use self::status_lists::Placed;

/// Everything in this process, gone with it. One lock stands for the transaction.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    cluster: ClusterId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: BTreeMap<TokenId, TokenRow>,
    slots: HashMap<SlotKey, Holder>,
    /// `ended_by_rule` is found out when it is read.
    grants: BTreeMap<GrantId, StoredGrant>,
    /// The grant that was last opened for a slot.
    grant_slots: HashMap<SlotKey, GrantId>,
    assertions: HashMap<AssertionKey, Timestamp>,
    clients: BTreeMap<ClientId, Client>,
    keys: Vec<KeyRecord>,
    head: Head,
    log: BTreeMap<Position, LoggedEntry>,
    /// The last position of each rule, by what it names.
    rules: HashMap<(LogKind, Vec<u8>), Seen>,
    audit: Vec<AuditRecord>,
    nodes: BTreeMap<NodeId, NodeRow>,
    settings: Option<StoredSettings>,
    /// Tokens that were revoked before they had a row, and when those have expired.
    early_ends: BTreeMap<TokenId, Timestamp>,
    status_head: StatusHead,
    /// What status lists tell of.
    places: BTreeSet<(StatusIndex, Placed)>,
    bell: Bell,
}

struct TokenRow {
    token: AccessToken,
    ended: Option<Ending>,
}

struct LoggedEntry {
    entry: LogEntry,
    logged_at: Timestamp,
}

struct Head(LogHead);

impl Default for Head {
    fn default() -> Self {
        Self(LogHead::EMPTY)
    }
}

impl MemoryStore {
    /// Its cluster id is all zeros until it is given one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, cluster: ClusterId([0; 16]), state: Mutex::default() }
    }

    #[must_use]
    pub fn with_cluster_id(self, cluster: ClusterId) -> Self {
        Self { cluster, ..self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_ended_by_rule(&self, keys: &RuleKeys<'_>) -> bool {
        keys.iter().any(|(kind, key)| self.rules.get(&(kind, key.to_vec())).is_some_and(|at| *at > keys.seen))
    }

    fn announce(&mut self, kind: LogKind, key: Vec<u8>, keep_until: Timestamp, now: Timestamp) -> Seen {
        let (entry, head) = self.head.0.append(kind, key, keep_until);
        self.head.0 = head;
        if kind.is_rule() {
            self.rules.insert((kind, entry.key.clone()), head.seen());
        }
        let position = entry.position;
        self.log.insert(position, LoggedEntry { entry, logged_at: now });
        self.bell.ring();
        head.seen()
    }

    fn record(&mut self, entry: AuditEntry) {
        self.audit.push(AuditRecord {
            number: self.audit.len() as u64 + 1,
            at: entry.at,
            actor: entry.actor,
            action: entry.action.to_owned(),
            target: entry.target,
            detail: entry.detail,
            request_id: entry.request_id,
        });
    }
}

#[async_trait]
impl Keys for MemoryStore {
    async fn key_list(&self) -> Result<Vec<KeyRecord>> {
        Ok(self.state().keys.clone())
    }

    async fn key_replace(&self, mut change: KeyChange) -> Result<bool> {
        let mut state = self.state();
        if state.keys != change.from {
            return Ok(false);
        }
        change.to.sort_by_key(|key| (key.purpose.as_str(), key.version));
        state.keys = change.to;
        change.audit.into_iter().for_each(|audit| state.record(audit));
        Ok(true)
    }
}

#[async_trait]
impl AuditTrail for MemoryStore {
    async fn audit_append(&self, entry: AuditEntry) -> Result<()> {
        self.state().record(entry);
        Ok(())
    }

    async fn audit_list(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        let skipped = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(self.state().audit.iter().skip(skipped).take(limit).cloned().collect())
    }
}
