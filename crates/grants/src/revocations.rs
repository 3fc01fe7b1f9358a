//! Revocation by an administrator: one token, one grant, or everything so far of a client, of a subject, of a session or
//! of all.
//!
//! 1. A single token or grant is ended like by its own client, whoever that is, with an audit row in the same
//!    transaction. Its id is enough, whether it has a row or not (`absent.rs`).
//! 2. Anything wider is a rule in the revocation log. It ends what was asked for before it, however many tokens that
//!    is, at the cost of one entry; what is asked for afterwards has seen it and lives.

use grantry_protocol::{
    AccessToken, ClientId, Grant, GrantId, LogEntry, LogHead, LogKind, NodeNumber, Position, Rule, SessionId,
    Subject, TokenId,
};
use grantry_store::{AuditEntry, RevokeOutcome, RuleAppend, Unwritten};
use serde_json::json;

use crate::status_lists::whose_place;
use crate::tokens::{Recognized, RecognizedRefresh, RecognizedRow};
use crate::{Actor, GrantError, Grants};

/// What is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationTarget {
    /// By its id: with a row, not stored, or lost.
    Token(TokenId),
    /// A token whose text says that this node answered with it before its row was written.
    Deferred {
        id: TokenId,
        by: NodeNumber,
    },
    /// A token that has no row.
    Unstored(Box<AccessToken>),
    Client(ClientId),
    Subject(Subject),
    /// By its id: with a row, not stored, or lost.
    Grant(GrantId),
    /// A grant that need not have a row, as its refresh token says it.
    UnstoredGrant(Box<Grant>),
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
    /// There is no such token or grant, and by its id none that is valid.
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
            RevocationTarget::Token(id) => return self.revoke_one(id, self.absent_token(id), actor).await,
            RevocationTarget::Deferred { id, by } => {
                let unwritten = self.settings().unwritten(id, by);
                return self.revoke_one(id, Some(unwritten), actor).await;
            }
            RevocationTarget::Unstored(token) => {
                if let Some(grant) = whose_place(&token) {
                    let outcome = self.revoke_one_grant(grant, actor).await?;
                    if outcome != RevocationOutcome::Unknown {
                        return Ok(outcome);
                    }
                }
                let unwritten = Unwritten { by: None, expires_by: token.expires_at };
                return self.revoke_one(token.id, Some(unwritten), actor).await;
            }
            RevocationTarget::Grant(id) => return self.revoke_one_grant(id, actor).await,
            RevocationTarget::UnstoredGrant(grant) => return self.revoke_unstored_grant(*grant, actor).await,
            // 2.
            RevocationTarget::Client(id) => Rule::Client(id),
            RevocationTarget::Subject(subject) => Rule::Subject(subject),
            RevocationTarget::Session(id) => Rule::Session(id),
            RevocationTarget::All => Rule::All,
        };
        let name = match &rule {
            Rule::Client(id) => id.to_string(),
            Rule::Subject(subject) => subject.to_string(),
            Rule::Grant(id) => id.to_string(),
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
        if let Some(RecognizedRefresh { token, origin }) = self.recognize_refresh(text) {
            return Some(match origin {
                None => RevocationTarget::Grant(token.grant),
                Some(grant) => RevocationTarget::UnstoredGrant(Box::new(grant)),
            });
        }
        Some(match self.recognize_token(text)? {
            Recognized::Unstored(token) => RevocationTarget::Unstored(token),
            Recognized::Row(RecognizedRow { id, deferred_by: Some(by), .. }) => {
                RevocationTarget::Deferred { id, by }
            }
            Recognized::Row(RecognizedRow { id, deferred_by: None, .. }) => RevocationTarget::Token(id),
        })
    }

    async fn revoke_one(
        &self,
        id: TokenId,
        unwritten: Option<Unwritten>,
        actor: &Actor,
    ) -> Result<RevocationOutcome, GrantError> {
        let audit = self.revocation_audit(actor, LogKind::Token, id.to_string());
        Ok(self.persistence.revoke(id, unwritten, Some(audit)).await?.into())
    }

    async fn revoke_one_grant(&self, id: GrantId, actor: &Actor) -> Result<RevocationOutcome, GrantError> {
        let audit = self.revocation_audit(actor, LogKind::Grant, id.to_string());
        let keep_until = self.grant_end_remembered_until(None);
        let outcome = match self.persistence.revoke_grant(id, keep_until, Some(audit.clone())).await? {
            RevokeOutcome::Unknown => self.end_absent_grant(id, audit).await?,
            outcome => outcome,
        };
        Ok(outcome.into())
    }

    async fn revoke_unstored_grant(
        &self,
        grant: Grant,
        actor: &Actor,
    ) -> Result<RevocationOutcome, GrantError> {
        let audit = self.revocation_audit(actor, LogKind::Grant, grant.id.to_string());
        let keep_until = self.grant_end_remembered_until(Some(&grant));
        Ok(self.persistence.revoke_unstored_grant(grant, keep_until, Some(audit)).await?.into())
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
