use async_trait::async_trait;
use grantry_protocol::{Epoch, LogEntry, LogHead, LogPage, Position, Rule, Seen};
use grantry_store::{Merge, MergeOutcome, Probe, Result, Revocations, RuleAppend};
use redis::Pipeline;
use tokio::sync::watch;

use crate::RedisStore;
use crate::errors::{Cause, Error};
use crate::log::{EntryRow, head};
use crate::names::{self, hex};
use crate::rows::decode;

#[async_trait]
impl Revocations for RedisStore {
    async fn revocation_head(&self) -> Result<LogHead> {
        self.look(crate::rows::Rows::log_head).await
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>> {
        let mut commands = Pipeline::new();
        let range = commands.cmd("ZRANGE").arg(self.names.log()).arg(format!("({}", after.0)).arg("+inf");
        range.arg("BYSCORE").arg("LIMIT").arg(0).arg(names::limit(limit));
        let (texts,): (Vec<Vec<u8>>,) = self.links.read(&self.names.head(), &commands).await?;
        Ok(entries(&texts)?)
    }

    async fn revocation_rule_exists(&self, rule: &Rule) -> Result<bool> {
        self.look(|rows| rows.exists(rows.names.rule(rule.kind(), rule.key()))).await
    }

    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen> {
        self.transact(|rows| {
            rows.log_append(append.rule.kind(), append.rule.key().to_vec(), append.keep_until)?;
            rows.audit_row(&append.audit)?;
            Ok(rows.log_head()?.seen())
        })
        .await
    }

    async fn revocation_probe(&self, probe: Probe) -> Result<LogPage> {
        let applied = serde_json::to_vec(&probe.applied)
            .map_err(|_| Error::new(Cause::Rejected, "a position that has no text"))?;
        let own = &self.names;
        let keys = [own.beat(probe.node), own.nodes(), own.head(), own.log()];
        let arguments = [
            applied,
            hex(&probe.node.0).into_bytes(),
            probe.applied.position.0.to_string().into_bytes(),
            names::limit(probe.limit).to_string().into_bytes(),
            self.time.param(),
        ];
        type Page = (Option<Vec<u8>>, Vec<Vec<u8>>, (i64, i64));
        let (row, texts, time): Page = self.probe.run(&self.links, &keys, &arguments).await?;
        Ok(LogPage { head: head(row.as_deref())?, entries: entries(&texts)?, now: self.time.now(time) })
    }

    async fn revocation_merge(&self, merge: Merge) -> Result<MergeOutcome> {
        self.transact(|rows| {
            let mut head = rows.log_head()?;
            if head != merge.from {
                return Ok(MergeOutcome::Moved);
            }
            if merge.raise_epoch {
                head.epoch = Epoch(merge.from.epoch.0 + 1);
                rows.put_log_head(&head)?;
                rows.status_head_skip()?;
            }
            for LogEntry { kind, key, keep_until, .. } in &merge.entries {
                rows.log_append(*kind, key.clone(), *keep_until)?;
            }
            Ok(MergeOutcome::Merged(rows.log_head()?))
        })
        .await
    }

    fn revocation_bell(&self) -> watch::Receiver<u64> {
        self.links.bell()
    }
}

pub fn entries(texts: &[Vec<u8>]) -> std::result::Result<Vec<LogEntry>, Error> {
    texts.iter().map(|text| decode::<EntryRow>(text)?.entry()).collect()
}
