//! What an operator asks when somebody says "my token does not work": what is it, where does it live, why is it not
//! active?

use grantry_protocol::{AccessTokenFormat, Seen, TokenId, TokenState};
use grantry_store::StoredToken;
use serde::Serialize;

use crate::{GrantError, Grants};

/// What the text itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Not made with this deployment's keys: forged, damaged, of another server, or not a token at all.
    NotOurs,
    Ours,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    pub origin: Origin,
    pub active: bool,
    /// One sentence for people.
    pub explanation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<InspectedToken>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedToken {
    pub id: String,
    pub format: AccessTokenFormat,
    /// Where the token lives.
    pub stored: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<InspectedRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedRow {
    pub state: TokenState,
    pub client_id: String,
    pub subject: String,
    pub scope: String,
    pub audience: Vec<String>,
    /// Seconds since the epoch, as the two below.
    pub issued_at: i64,
    pub expires_at: i64,
    pub inspected_at: i64,
    pub holds_slot: bool,
    pub ended_by_rule: bool,
    pub seen: Seen,
}

impl Grants {
    pub async fn inspect(&self, text: &str) -> Result<Inspection, GrantError> {
        let Some(recognized) = self.recognize_token(text) else {
            return Ok(Inspection {
                origin: Origin::NotOurs,
                active: false,
                explanation:
                    "This was not made with the keys of this deployment: it is forged, damaged, from another \
                              server, or not an access token at all."
                        .to_owned(),
                token: None,
            });
        };
        let stored = self.store.token_find(recognized.id).await?;
        Ok(self.explain(recognized.id, recognized.format, stored))
    }

    fn explain(&self, id: TokenId, format: AccessTokenFormat, stored: Option<StoredToken>) -> Inspection {
        let now = self.clock.now();
        let state = stored.as_ref().map(|stored| stored.state(now));
        let explanation = match (&stored, state) {
            (Some(stored), Some(state)) => explain_state(stored, state),
            _ => "Its row is not in the store: it was issued longer than tokens.retention_time ago and has been \
                  removed, or the store is not the one that it was issued into."
                .to_owned(),
        };
        let row = stored.zip(state).map(|(stored, state)| InspectedRow {
            state,
            client_id: stored.token.client_id.to_string(),
            subject: stored.token.subject.to_string(),
            scope: stored.token.scope.to_string(),
            audience: stored.token.audience.names().to_vec(),
            issued_at: stored.token.issued_at.as_secs(),
            expires_at: stored.token.expires_at.as_secs(),
            inspected_at: now.as_secs(),
            holds_slot: stored.holds_slot,
            ended_by_rule: stored.ended_by_rule,
            seen: stored.token.seen,
        });
        Inspection {
            origin: Origin::Ours,
            active: state.is_some_and(TokenState::is_honoured),
            explanation,
            token: Some(InspectedToken {
                id: id.to_string(),
                format,
                stored: "a row in the store, written in mode sync",
                row,
            }),
        }
    }
}

fn explain_state(stored: &StoredToken, state: TokenState) -> String {
    match state {
        TokenState::Active => "It is ACTIVE: it is honoured, and its slot's next caller is handed it again.",
        TokenState::Retired => {
            "It is RETIRED: it is honoured until it expires, but a newer token has taken its slot, so it is not handed \
             out again."
        }
        TokenState::Inactive => "It is INACTIVE: a newer token of the same slot ended it (policy replace, or recovery).",
        TokenState::Expired => "It is EXPIRED: its time has passed.",
        TokenState::Revoked if stored.ended_by_rule => {
            "It is REVOKED by a rule in the revocation log that is later than what the token has seen: after it \
             was asked for, its client was disabled or deleted, or an administrator ended all of its client's or \
             subject's tokens. The list of revocations has the entry."
        }
        TokenState::Revoked => "It is REVOKED: this very token was ended.",
    }
    .to_owned()
}
