use serde::{Deserialize, Serialize};

use crate::{
    AccessTokenFormat, Audience, ClientId, GrantId, Lifetime, NodeNumber, ScopeSet, Seen, SessionId, Slot,
    SlotKey, StatusIndex, Subject, SubjectKind, Timestamp, TokenId,
};

/// Where a token's right to exist comes from. What is derived from a grant carries what the grant had seen when it was
/// given, not what was known when the token was made: a rule in between ends both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    pub seen: Seen,
    /// Absent for a token that no grant stands behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

impl From<Seen> for Authority {
    /// Of the request itself.
    fn from(seen: Seen) -> Self {
        Self { seen, grant: None, session: None }
    }
}

/// An access token as it was issued; nothing in here changes afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    pub id: TokenId,
    pub slot: SlotKey,
    pub client_id: ClientId,
    pub subject: Subject,
    pub subject_kind: SubjectKind,
    pub scope: ScopeSet,
    pub audience: Audience,
    pub format: AccessTokenFormat,
    /// In whole seconds, as every format of the token shows it.
    pub issued_at: Timestamp,
    /// In whole seconds; from this moment on the token is EXPIRED.
    pub expires_at: Timestamp,
    #[serde(flatten)]
    pub authority: Authority,
    /// The node that answered with it before its row was written; absent where the row came first.
    pub deferred_by: Option<NodeNumber>,
    /// Where status lists tell of it; absent for a client that did not ask for that. Tokens without a row share their
    /// grant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_index: Option<StatusIndex>,
}

impl AccessToken {
    pub fn issue(
        id: TokenId,
        slot: Slot,
        authority: impl Into<Authority>,
        now: Timestamp,
        lifetime: Lifetime,
    ) -> Self {
        let issued_at = now.truncated_to_secs();
        Self {
            id,
            slot: slot.key(),
            client_id: slot.client_id,
            subject: slot.subject,
            subject_kind: slot.subject_kind,
            scope: slot.scope,
            audience: slot.audience,
            format: slot.format,
            issued_at,
            expires_at: issued_at + lifetime.as_duration(),
            authority: authority.into(),
            deferred_by: None,
            status_index: None,
        }
    }

    /// The life that is left, in whole seconds: `expires_in` of RFC 6749 §5.1.
    pub fn expires_in(&self, now: Timestamp) -> u64 {
        self.expires_at.since(now.truncated_to_secs()).as_secs()
    }
}

/// Where an access token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TokenState {
    /// Honoured, and the holder of its slot: what the slot's next caller may be handed.
    Active,
    /// Honoured until it expires, never handed out again.
    Retired,
    /// Ended by recovery or by policy, not by a person.
    Inactive,
    /// Its time has passed. Computed from `expires_at`; nothing sweeps it into this state.
    Expired,
    /// Ended by revocation.
    Revoked,
}

/// How a token ends before its time. The store keeps this; the other states follow from the slot and the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Inactive,
    Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token that is {from:?} cannot become {to:?}")]
pub struct IllegalTransition {
    pub from: TokenState,
    pub to: TokenState,
}

impl TokenState {
    /// Whether a resource server is told `active`.
    pub const fn is_honoured(self) -> bool {
        matches!(self, Self::Active | Self::Retired)
    }

    /// Another token takes the slot.
    pub fn retire(self) -> Result<Self, IllegalTransition> {
        self.become_one_of(Self::Retired, &[Self::Active])
    }

    /// Ends the token. What is INACTIVE may still be revoked, so that a person's word is the one on record.
    pub fn end(self, ending: Ending) -> Result<Self, IllegalTransition> {
        match ending {
            Ending::Inactive => self.become_one_of(Self::Inactive, &[Self::Active, Self::Retired]),
            Ending::Revoked => {
                self.become_one_of(Self::Revoked, &[Self::Active, Self::Retired, Self::Inactive])
            }
        }
    }

    fn become_one_of(self, to: Self, from: &[Self]) -> Result<Self, IllegalTransition> {
        if from.contains(&self) { Ok(to) } else { Err(IllegalTransition { from: self, to }) }
    }
}

#[cfg(test)]
mod tests {
    use super::TokenState::{Active, Expired, Inactive, Retired, Revoked};
    use super::*;

    #[test]
    fn exactly_these_transitions_are_legal() {
        let all = [Active, Retired, Inactive, Expired, Revoked];
        let legal = |step: &dyn Fn(TokenState) -> Result<TokenState, IllegalTransition>| -> Vec<TokenState> {
            all.into_iter().filter(|state| step(*state).is_ok()).collect()
        };
        assert_eq!(legal(&TokenState::retire), [Active]);
        assert_eq!(legal(&|state| state.end(Ending::Inactive)), [Active, Retired]);
        assert_eq!(legal(&|state| state.end(Ending::Revoked)), [Active, Retired, Inactive]);
    }

    #[test]
    fn only_active_and_retired_tokens_are_honoured() {
        assert!(Active.is_honoured() && Retired.is_honoured());
        assert!(!Inactive.is_honoured() && !Expired.is_honoured() && !Revoked.is_honoured());
    }
}
