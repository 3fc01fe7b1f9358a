//! Revocation by an administrator: one token, one grant, or everything so far of a client, of a subject, of a session or
//! of all.
//!
//! 1. A single token or grant is ended like by its own client, whoever that is, with an audit row in the same
//!    transaction.
//! 2. Anything wider is a rule in the revocation log. It ends what was asked for before it, however many tokens that
//!    is, at the cost of one entry; what is asked for afterwards has seen it and lives.

use grantry_protocol::{
    ClientId, GrantId, LogEntry, LogHead, LogKind, NodeNumber, Position, Rule, SessionId, Subject, TokenId,
};
use grantry_store::{AuditEntry, RevokeOutcome, RuleAppend};
use serde_json::json;

use crate::tokens::{Recognized, opaque};
use crate::{Actor, GrantError, Grants};

/// What is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationTarget {
    Token(TokenId),
    /// A token whose text says that this node answered with it before its row was written.
    Deferred {
        id: TokenId,
        by: NodeNumber,
    },
    Client(ClientId),
    Subject(Subject),
    Grant(GrantId),
    Session(SessionId),
    All,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationOutcome {
    /// Committed at this position of the log.
    Revoked(Position),
    /// The token or grant had ended before.
    AlreadyOver,
    /// There is no such token or grant.
    Unknown,
}

impl From<RevokeOutcome> for RevocationOutcome {
    fn from(outcome: RevokeOutcome) -> Self {
        match outcome {
            RevokeOutcome::Revoked(position) => Self::Revoked(position),
            RevokeOutcome::AlreadyOver => Self::AlreadyOver,
            RevokeOutcome::Unknown => Self::Unknown,
        }
    }
}

impl Grants {
    pub async fn revocation_create(
        &self,
        target: RevocationTarget,
        actor: &Actor,
    ) -> Result<RevocationOutcome, GrantError> {
        let rule = match target {
            // 1.
            RevocationTarget::Token(id) => return self.revoke_one(id, None, actor).await,
            RevocationTarget::Deferred { id, by } => return self.revoke_one(id, Some(by), actor).await,
            RevocationTarget::Grant(id) => return self.revoke_one_grant(id, actor).await,
            // 2.
            RevocationTarget::Client(id) => Rule::Client(id),
            RevocationTarget::Subject(subject) => Rule::Subject(subject),
            RevocationTarget::Session(id) => Rule::Session(id),
            RevocationTarget::All => Rule::All,
        };
        let name = match &rule {
            Rule::Client(id) => id.to_string(),
            Rule::Subject(subject) => subject.to_string(),
            Rule::Session(id) => id.to_string(),
            Rule::All => String::new(),
        };
        let audit = self.revocation_audit(actor, rule.kind(), name);
        let keep_until = self.clock.now() + self.settings().rule_memory();
        let seen = self.store.revocation_append(RuleAppend { rule, keep_until, audit }).await?;
        Ok(RevocationOutcome::Revoked(seen.position))
    }

    /// Where the log ends, and at most `limit` entries after `after`.
    pub async fn revocation_list(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<(LogHead, Vec<LogEntry>), GrantError> {
        let entries = self.store.revocation_list(after, limit).await?;
        // Read second, so that it is never behind the entries.
        Ok((self.store.revocation_head().await?, entries))
    }

    /// What the text of a token of this deployment names: an access token, or the grant of a refresh token.
    pub fn revocation_target(&self, text: &str) -> Option<RevocationTarget> {
        let grant = opaque::read_refresh(&self.keys, text).map(|token| RevocationTarget::Grant(token.grant));
        grant.or_else(|| {
            let Recognized { id, deferred_by, .. } = self.recognize_token(text)?;
            Some(deferred_by.map_or(RevocationTarget::Token(id), |by| RevocationTarget::Deferred { id, by }))
        })
    }

    async fn revoke_one(
        &self,
        id: TokenId,
        deferred_by: Option<NodeNumber>,
        actor: &Actor,
    ) -> Result<RevocationOutcome, GrantError> {
        let unwritten = deferred_by.map(|by| self.settings().unwritten(id, by));
        let audit = self.revocation_audit(actor, LogKind::Token, id.to_string());
        Ok(self.persistence.revoke(id, unwritten, Some(audit)).await?.into())
    }

    async fn revoke_one_grant(&self, id: GrantId, actor: &Actor) -> Result<RevocationOutcome, GrantError> {
        let audit = self.revocation_audit(actor, LogKind::Grant, id.to_string());
        let keep_until = self.clock.now() + self.settings().grant_end_memory();
        Ok(self.persistence.revoke_grant(id, keep_until, Some(audit)).await?.into())
    }

    fn revocation_audit(&self, actor: &Actor, kind: LogKind, target: String) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            actor: actor.name.clone(),
            action: "revocation.create",
            target,
            detail: json!({ "kind": kind }),
            request_id: actor.request_id.clone(),
        }
    }
}
