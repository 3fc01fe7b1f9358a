//! Revocation by an administrator: one token, or everything so far of a client, of a subject, or of all.
//!
//! 1. A single token is ended like by its own client, whoever that is, with an audit row in the same transaction.
//! 2. Anything wider is a rule in the revocation log. It ends what was asked for before it, however many tokens that
//!    is, at the cost of one entry; what is asked for afterwards has seen it and lives.

use grantry_protocol::{ClientId, LogEntry, LogHead, LogKind, Position, Rule, Subject, TokenId};
use grantry_store::{AuditEntry, RevokeOutcome, RuleAppend};
use serde_json::json;

use crate::{Actor, GrantError, Grants};

/// What is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationTarget {
    Token(TokenId),
    Client(ClientId),
    Subject(Subject),
    All,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationOutcome {
    /// Committed at this position of the log.
    Revoked(Position),
    /// The token had ended before.
    AlreadyOver,
    /// There is no such token.
    Unknown,
}

impl Grants {
    pub async fn revocation_create(
        &self,
        target: RevocationTarget,
        actor: &Actor,
    ) -> Result<RevocationOutcome, GrantError> {
        let rule = match target {
            // 1.
            RevocationTarget::Token(id) => return self.revoke_one(id, actor).await,
            // 2.
            RevocationTarget::Client(id) => Rule::Client(id),
            RevocationTarget::Subject(subject) => Rule::Subject(subject),
            RevocationTarget::All => Rule::All,
        };
        let name = String::from_utf8_lossy(rule.key()).into_owned();
        let audit = self.revocation_audit(actor, rule.kind(), name);
        let keep_until = self.clock.now() + self.settings.rule_memory();
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

    /// The id of a token of this deployment, from its text.
    pub fn token_id(&self, text: &str) -> Option<TokenId> {
        self.recognize_token(text).map(|recognized| recognized.id)
    }

    async fn revoke_one(&self, id: TokenId, actor: &Actor) -> Result<RevocationOutcome, GrantError> {
        let audit = self.revocation_audit(actor, LogKind::Token, id.to_string());
        Ok(match self.persistence.revoke(id, Some(audit)).await? {
            RevokeOutcome::Revoked(position) => RevocationOutcome::Revoked(position),
            RevokeOutcome::AlreadyOver => RevocationOutcome::AlreadyOver,
            RevokeOutcome::Unknown => RevocationOutcome::Unknown,
        })
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
