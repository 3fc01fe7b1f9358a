use async_trait::async_trait;
use grantry_protocol::{Epoch, LogEntry, LogHead, LogPage, Position, Rule, Seen};
use tokio::sync::watch;

use super::{MemoryStore, NodeRow, State};
use crate::{Merge, MergeOutcome, Probe, Result, Revocations, RuleAppend};

impl State {
    fn entries(&self, after: Position, limit: usize) -> Vec<LogEntry> {
        self.log.range(after.next()..).take(limit).map(|(_, logged)| logged.entry.clone()).collect()
    }
}

#[async_trait]
impl Revocations for MemoryStore {
    async fn revocation_head(&self) -> Result<LogHead> {
        Ok(self.state().head.0)
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>> {
        Ok(self.state().entries(after, limit))
    }

    async fn revocation_rule_exists(&self, rule: &Rule) -> Result<bool> {
        Ok(self.state().rules.contains_key(&(rule.kind(), rule.key().to_vec())))
    }

    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen> {
        let now = self.clock.now();
        let mut state = self.state();
        state.announce(append.rule.kind(), append.rule.key().to_vec(), append.keep_until, now);
        state.record(append.audit);
        Ok(state.head.0.seen())
    }

    async fn revocation_probe(&self, probe: Probe) -> Result<LogPage> {
        let now = self.clock.now();
        let mut state = self.state();
        let row = state.nodes.entry(probe.node).or_insert(NodeRow::new(now));
        (row.last_heartbeat, row.applied) = (now, Some(probe.applied));
        let entries = state.entries(probe.applied.position, probe.limit);
        Ok(LogPage { head: state.head.0, entries, now })
    }

    async fn revocation_merge(&self, merge: Merge) -> Result<MergeOutcome> {
        let now = self.clock.now();
        let mut state = self.state();
        if state.head.0 != merge.from {
            return Ok(MergeOutcome::Moved);
        }
        if merge.raise_epoch {
            state.head.0.epoch = Epoch(merge.from.epoch.0 + 1);
            state.status_head = state.status_head.after_loss();
            state.bell.ring();
        }
        for LogEntry { kind, key, keep_until, .. } in merge.entries {
            state.announce(kind, key, keep_until, now);
        }
        Ok(MergeOutcome::Merged(state.head.0))
    }

    fn revocation_bell(&self) -> watch::Receiver<u64> {
        self.state().bell.listen()
    }
}
