use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, Client, ClientId, Clock, Ending, LogEntry, LogHead, LogKind, Position, Seen, SlotKey,
    Timestamp, TokenId,
};

use crate::{
    AuditEntry, AuditRecord, AuditTrail, ClientChange, ClientDeletion, ClientOutcome, Clients, Holder, Issue,
    IssueDecision, KeyRecord, Keys, Node, NodeId, Nodes, Observed, Result, Retention, Revocations,
    RevokeDecision, RevokeOutcome, RuleAppend, StoredToken, Swept, TokenWrite, Tokens, WriteOutcome,
    decide_issue, decide_revoke,
};

/// A token made within the millisecond in which an entry was logged may be the older of the two.
const MILLISECOND: Duration = Duration::from_millis(1);

/// Everything in this process, gone with it. One lock stands for the transaction.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: BTreeMap<TokenId, TokenRow>,
    slots: HashMap<SlotKey, Holder>,
    clients: BTreeMap<ClientId, Client>,
    keys: Vec<KeyRecord>,
    head: Head,
    log: BTreeMap<Position, LoggedEntry>,
    /// The last position of each rule, by what it names.
    rules: HashMap<(LogKind, Vec<u8>), Seen>,
    audit: Vec<AuditRecord>,
    nodes: HashMap<NodeId, Timestamp>,
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
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stored(&self, id: TokenId) -> Option<StoredToken> {
        let row = self.tokens.get(&id)?;
        Some(StoredToken {
            token: row.token.clone(),
            ended: row.ended,
            ended_by_rule: self.is_ended_by_rule(&row.token),
            holds_slot: self.slots.get(&row.token.slot).is_some_and(|holder| holder.id == id),
        })
    }

    fn is_ended_by_rule(&self, token: &AccessToken) -> bool {
        let rules = [
            (LogKind::Slot, token.slot.as_bytes().to_vec()),
            (LogKind::Client, token.client_id.as_str().as_bytes().to_vec()),
            (LogKind::Subject, token.subject.as_str().as_bytes().to_vec()),
            (LogKind::All, Vec::new()),
        ];
        rules.iter().any(|rule| self.rules.get(rule).is_some_and(|at| *at > token.seen))
    }

    fn announce(&mut self, kind: LogKind, key: Vec<u8>, keep_until: Timestamp, now: Timestamp) -> Position {
        let (entry, head) = self.head.0.append(kind, key, keep_until);
        self.head.0 = head;
        if !matches!(kind, LogKind::Token | LogKind::ClientChanged) {
            self.rules.insert((kind, entry.key.clone()), head.seen());
        }
        let position = entry.position;
        self.log.insert(position, LoggedEntry { entry, logged_at: now });
        position
    }

    fn apply(&mut self, write: TokenWrite, now: Timestamp) -> WriteOutcome {
        match write {
            TokenWrite::Issue(issue) => self.issue(&issue, now),
            TokenWrite::Revoke { id, audit } => {
                let outcome = self.revoke(id, now);
                if let (RevokeOutcome::Revoked(_), Some(audit)) = (outcome, audit) {
                    self.record(AuditEntry::clone(&audit));
                }
                WriteOutcome::Revoked(outcome)
            }
            TokenWrite::Heartbeat { node } => {
                self.nodes.insert(node, now);
                WriteOutcome::HeartbeatRecorded
            }
        }
    }

    fn issue(&mut self, issue: &Issue, now: Timestamp) -> WriteOutcome {
        let already_written = self.tokens.contains_key(&issue.token.id);
        let holder = self.slots.get(&issue.token.slot).copied();
        match decide_issue(issue, already_written, holder, now) {
            IssueDecision::AlreadyWritten => return WriteOutcome::Issued,
            IssueDecision::YieldTo(id) => {
                if let Some(holder) = self.stored(id) {
                    return WriteOutcome::SlotHeld(Box::new(holder));
                }
            }
            IssueDecision::TakeSlotAndEnd(id) => self.end(id, Ending::Inactive, now),
            IssueDecision::TakeSlot => {}
        }
        let token = issue.token.clone();
        self.slots.insert(token.slot, Holder { id: token.id, expires_at: token.expires_at });
        self.tokens.insert(token.id, TokenRow { token, ended: None });
        WriteOutcome::Issued
    }

    fn revoke(&mut self, id: TokenId, now: Timestamp) -> RevokeOutcome {
        match decide_revoke(self.stored(id).as_ref(), now) {
            RevokeDecision::Unknown => RevokeOutcome::Unknown,
            RevokeDecision::AlreadyOver => RevokeOutcome::AlreadyOver,
            RevokeDecision::End(ending) => {
                self.end(id, ending, now);
                RevokeOutcome::Revoked(self.head.0.position)
            }
        }
    }

    fn end(&mut self, id: TokenId, ending: Ending, now: Timestamp) {
        let Some(row) = self.tokens.get_mut(&id) else { return };
        row.ended = Some(ending);
        let (slot, expires_at) = (row.token.slot, row.token.expires_at);
        if self.slots.get(&slot).is_some_and(|holder| holder.id == id) {
            self.slots.remove(&slot);
        }
        self.announce(LogKind::Token, id.as_bytes().to_vec(), expires_at, now);
    }

    fn has_other_administrator(&self, id: &ClientId) -> bool {
        self.clients.values().any(|client| client.id != *id && client.is_administrator())
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
impl Tokens for MemoryStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        let now = self.clock.now();
        let mut state = self.state();
        Ok(batch.into_iter().map(|write| state.apply(write, now)).collect())
    }

    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        Ok(self.state().stored(id))
    }

    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        let state = self.state();
        Ok(state.slots.get(&slot).and_then(|holder| state.stored(holder.id)))
    }

    async fn token_count(&self) -> Result<u64> {
        Ok(self.state().tokens.len() as u64)
    }
}

#[async_trait]
impl Clients for MemoryStore {
    async fn client_find(&self, id: &ClientId) -> Result<Observed<Option<Client>>> {
        let state = self.state();
        Ok(Observed { seen: state.head.0.seen(), value: state.clients.get(id).cloned() })
    }

    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self
            .state()
            .clients
            .range((start, Bound::Unbounded))
            .take(limit)
            .map(|(_, client)| client.clone())
            .collect())
    }

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> Result<ClientOutcome> {
        let mut state = self.state();
        if state.clients.contains_key(&client.id) {
            return Ok(ClientOutcome::AlreadyExists);
        }
        state.clients.insert(client.id.clone(), client);
        state.record(audit);
        Ok(ClientOutcome::Done)
    }

    async fn client_update(&self, change: ClientChange) -> Result<ClientOutcome> {
        let now = self.clock.now();
        let mut state = self.state();
        let client = change.client;
        let Some(current) = state.clients.get(&client.id) else { return Ok(ClientOutcome::NotFound) };
        if current.version + 1 != client.version {
            return Ok(ClientOutcome::VersionConflict);
        }
        if current.is_administrator()
            && !client.is_administrator()
            && !state.has_other_administrator(&client.id)
        {
            return Ok(ClientOutcome::LastAdministrator);
        }
        let key = client.id.as_str().as_bytes().to_vec();
        state.clients.insert(client.id.clone(), client);
        state.announce(change.announcement.kind, key, change.announcement.keep_until, now);
        state.record(change.audit);
        Ok(ClientOutcome::Done)
    }

    async fn client_delete(&self, deletion: ClientDeletion) -> Result<ClientOutcome> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(current) = state.clients.get(&deletion.id) else { return Ok(ClientOutcome::NotFound) };
        if current.is_administrator() && !state.has_other_administrator(&deletion.id) {
            return Ok(ClientOutcome::LastAdministrator);
        }
        state.clients.remove(&deletion.id);
        state.announce(LogKind::Client, deletion.id.as_str().as_bytes().to_vec(), deletion.keep_until, now);
        state.record(deletion.audit);
        Ok(ClientOutcome::Done)
    }
}

#[async_trait]
impl Keys for MemoryStore {
    async fn key_list(&self) -> Result<Vec<KeyRecord>> {
        Ok(self.state().keys.clone())
    }

    async fn key_insert_first(&self, mut keys: Vec<KeyRecord>) -> Result<bool> {
        let mut state = self.state();
        if !state.keys.is_empty() {
            return Ok(false);
        }
        keys.sort_by_key(|key| (key.purpose.as_str(), key.version));
        state.keys = keys;
        Ok(true)
    }
}

#[async_trait]
impl Revocations for MemoryStore {
    async fn revocation_head(&self) -> Result<LogHead> {
        Ok(self.state().head.0)
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>> {
        let state = self.state();
        Ok(state.log.range(after.next()..).take(limit).map(|(_, logged)| logged.entry.clone()).collect())
    }

    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen> {
        let now = self.clock.now();
        let mut state = self.state();
        state.announce(append.rule.kind(), append.rule.key().to_vec(), append.keep_until, now);
        state.record(append.audit);
        Ok(state.head.0.seen())
    }
}

#[async_trait]
impl AuditTrail for MemoryStore {
    async fn audit_list(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        let skipped = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(self.state().audit.iter().skip(skipped).take(limit).cloned().collect())
    }
}

#[async_trait]
impl Nodes for MemoryStore {
    async fn node_list(&self) -> Result<Vec<Node>> {
        Ok(self.state().nodes.iter().map(|(id, at)| Node { id: *id, last_heartbeat: *at }).collect())
    }
}

#[async_trait]
impl Retention for MemoryStore {
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept> {
        let now = self.clock.now();
        let mut state = self.state();
        let oldest = now.saturating_sub(retention);

        let old = state.tokens.range(..TokenId::lower_bound(oldest));
        let tokens: Vec<TokenId> =
            old.filter(|(_, row)| row.token.expires_at <= now).take(limit).map(|(id, _)| *id).collect();
        let mut slots = 0;
        for id in &tokens {
            let Some(row) = state.tokens.remove(id) else { continue };
            if state.slots.get(&row.token.slot).is_some_and(|holder| holder.id == *id) {
                state.slots.remove(&row.token.slot);
                slots += 1;
            }
        }

        let oldest_token = state.tokens.first_key_value().map(|(id, _)| *id);
        let forgettable = state.log.values().filter(|logged| {
            logged.entry.keep_until <= now
                && oldest_token.is_none_or(|id| id >= TokenId::lower_bound(logged.logged_at + MILLISECOND))
        });
        let entries: Vec<LogEntry> = forgettable.take(limit).map(|logged| logged.entry.clone()).collect();
        for entry in &entries {
            state.log.remove(&entry.position);
            let rule = (entry.kind, entry.key.clone());
            if state.rules.get(&rule).is_some_and(|last| last.position == entry.position) {
                state.rules.remove(&rule);
            }
        }

        let silent = state.nodes.iter().filter(|(_, heartbeat)| **heartbeat <= oldest);
        let nodes: Vec<NodeId> = silent.take(limit).map(|(id, _)| *id).collect();
        for id in &nodes {
            state.nodes.remove(id);
        }
        Ok(Swept {
            tokens: tokens.len() as u64,
            slots,
            log_entries: entries.len() as u64,
            nodes: nodes.len() as u64,
        })
    }
}
