//! The end of a token or grant of which only the id is known: it is not stored, or a failover has lost its row. The entry
//! in the log is all that is written; whoever meets the token or grant later is told by it.
//!
//! 1. An id says when it was made (RFC 9562 §5.7). If it is no UUIDv7, or was made in the future, or so long ago that
//!    nothing of it can be valid, nobody can hold what it names: it is unknown, and nothing is written.
//! 2. The end of a token is written once, and the log keeps it for as long as the settings let such a token live.
//! 3. The end of a grant is a rule. It, too, is written once: whoever still holds a refresh token of a grant that is gone
//!    could fill the log otherwise. Only those who ask at the same moment may each write it.

use std::time::Duration;

use grantry_protocol::{GrantId, Rule, Timestamp, TokenId};
use grantry_store::{AuditEntry, RevokeOutcome, RuleAppend, Unwritten};

use crate::{GrantError, Grants};

/// How far the clock of the node that made an id may be ahead of ours.
const CLOCKS_APART: Duration = Duration::from_secs(60);

impl Grants {
    /// How a token with this id ends if it has no row; `None` if it cannot be valid.
    pub(crate) fn absent_token(&self, id: TokenId) -> Option<Unwritten> {
        // 1.
        let expires_by = self.made_before_now(id.time()?)? + self.settings().retention_time.as_duration();
        // 2.
        (expires_by > self.clock.now()).then_some(Unwritten { by: None, expires_by })
    }

    /// Ends a grant that was found to have no row. One that gets a row at this moment has not seen the rule either.
    pub(crate) async fn end_absent_grant(
        &self,
        id: GrantId,
        audit: AuditEntry,
    ) -> Result<RevokeOutcome, GrantError> {
        // 1.
        let Some(keep_until) = self.absent_grant_is_over_by(id) else { return Ok(RevokeOutcome::Unknown) };
        // 3.
        let rule = Rule::Grant(id);
        if self.store.revocation_rule_exists(&rule).await? {
            return Ok(RevokeOutcome::AlreadyOver);
        }
        let append = RuleAppend { rule, keep_until, audit };
        Ok(RevokeOutcome::Revoked(self.store.revocation_append(append).await?.position))
    }

    /// When the last access token of the grant has expired; `None` if it has by now.
    fn absent_grant_is_over_by(&self, id: GrantId) -> Option<Timestamp> {
        let settings = self.settings();
        let ends = self.made_before_now(id.time()?)? + settings.refresh_token_lifetime.as_duration();
        let over_by = ends + settings.grant_end_memory();
        (over_by > self.clock.now()).then_some(over_by)
    }

    fn made_before_now(&self, made: Timestamp) -> Option<Timestamp> {
        (made <= self.clock.now() + CLOCKS_APART).then_some(made)
    }
}
