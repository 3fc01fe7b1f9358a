//! What an operator asks when somebody says "my token does not work": what is it, where does it live, why is it not
//! active?

use std::fmt;
use std::time::Duration;

use grantry_protocol::{AccessTokenFormat, GrantState, NodeNumber, Seen, Timestamp, TokenState};
use grantry_store::{StoredGrant, StoredToken};
use serde::Serialize;

use crate::tokens::opaque::RefreshToken;
use crate::tokens::{Recognized, RecognizedRow};
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
    /// Of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<InspectedToken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<InspectedRefreshToken>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedToken {
    pub id: String,
    pub format: AccessTokenFormat,
    /// Where the token lives, and which mode of persistence holds it.
    pub stored: String,
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
    /// The grant that it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedRefreshToken {
    /// The id of its grant.
    pub grant: String,
    /// How often the grant had been rotated when it was made.
    pub counter: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<InspectedGrant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedGrant {
    pub state: GrantState,
    pub client_id: String,
    pub subject: String,
    pub scope: String,
    pub audience: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// How often it was rotated: the refresh token with this counter is the one that is good.
    pub counter: u32,
    /// Seconds since the epoch, as the four below.
    pub created_at: i64,
    pub rotated_at: i64,
    pub idle_expires_at: i64,
    pub expires_at: i64,
    pub inspected_at: i64,
    pub ended_by_rule: bool,
    pub seen: Seen,
}

/// Where a token lives.
enum Place {
    Row,
    Queue(NodeNumber),
    DrainedRow(NodeNumber),
    Unknown(NodeNumber),
    /// Mode none.
    Text,
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row => f.write_str("a row in the store, written in mode sync"),
            Self::Queue(by) => {
                write!(f, "the queue of this node ({by}), in mode async; its row is on its way")
            }
            Self::DrainedRow(by) => {
                write!(
                    f,
                    "a row in the store; node {by} answered with it before it was written, in mode async"
                )
            }
            Self::Unknown(by) => {
                write!(f, "no row in the store yet; node {by} may have it in its queue, in mode async")
            }
            Self::Text => f.write_str(
                "nowhere: it says everything itself, in mode none, and only the revocation log ends it early",
            ),
            Self::Nowhere => f.write_str("nowhere: there is no row in the store"),
        }
    }
}

impl Grants {
    pub async fn inspect(&self, text: &str) -> Result<Inspection, GrantError> {
        if let Some(recognized) = self.recognize_refresh(text) {
            let stored = self.find_grant(text).await?.map(|(_, stored)| stored);
            return Ok(self.explain_refresh_token(recognized.token, stored));
        }
        let recognized = match self.recognize_token(text) {
            Some(Recognized::Row(recognized)) => recognized,
            Some(Recognized::Unstored(token)) => {
                let row = RecognizedRow {
                    id: token.id,
                    format: token.format,
                    client_id: Some(token.client_id.clone()),
                    deferred_by: None,
                };
                let judged = self.store.token_judge_unstored(*token).await?;
                return Ok(self.explain(&row, &Place::Text, Some(judged)));
            }
            None => return Ok(Inspection {
                origin: Origin::NotOurs,
                active: false,
                explanation: "This was not made with the keys of this deployment, or with one that was revoked or has \
                              had its time: it is forged, damaged, from another server, or not a token at all."
                    .to_owned(),
                token: None,
                refresh_token: None,
            }),
        };
        let is_queued = self.persistence.is_queued(recognized.id);
        let found = self.persistence.find_token(recognized.id, recognized.deferred_by).await;
        let place = match (recognized.deferred_by, &found) {
            (None, Ok(None)) => Place::Nowhere,
            (None, _) => Place::Row,
            (Some(by), _) if is_queued => Place::Queue(by),
            (Some(_), Ok(None)) => Place::Nowhere,
            (Some(by), Ok(Some(_))) => Place::DrainedRow(by),
            (Some(by), Err(_)) => Place::Unknown(by),
        };
        match found {
            // A copy does not know whether its slot has moved on.
            Ok(Some(_)) if !is_queued => {
                let row = self.store.token_find_uncached(recognized.id).await?;
                Ok(self.explain(&recognized, &place, row))
            }
            Ok(stored) => Ok(self.explain(&recognized, &place, stored)),
            Err(error) if error.is_unwritten() => Ok(self.explain(&recognized, &place, None)),
            Err(error) => Err(error.into()),
        }
    }

    fn explain(&self, recognized: &RecognizedRow, place: &Place, stored: Option<StoredToken>) -> Inspection {
        let now = self.clock.now();
        let state = stored.as_ref().map(|stored| stored.state(now));
        let explanation = match (&stored, state) {
            (Some(_), Some(TokenState::Retired)) if matches!(place, Place::Text) => {
                "It is honoured until it expires. It was not stored, so it is not handed out again.".to_owned()
            }
            (Some(stored), Some(state)) => explain_state(stored, state),
            (None, _) if matches!(place, Place::Unknown(_)) => {
                "Whether it is active is not known: its row may still be on its way from the node that answered with it. \
                 Introspection answers 503 meanwhile. If that node does not come back, its journal can be rescued with \
                 `grantry journal drain`."
                    .to_owned()
            }
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
            seen: stored.token.authority.seen,
            grant: stored.token.authority.grant.map(|id| id.to_string()),
        });
        Inspection {
            origin: Origin::Ours,
            active: state.is_some_and(TokenState::is_honoured),
            explanation,
            token: Some(InspectedToken {
                id: recognized.id.to_string(),
                format: recognized.format,
                stored: place.to_string(),
                row,
            }),
            refresh_token: None,
        }
    }

    fn explain_refresh_token(&self, presented: RefreshToken, stored: Option<StoredGrant>) -> Inspection {
        let now = self.clock.now();
        let explanation = match &stored {
            Some(stored) => {
                explain_grant(presented, stored, self.settings().refresh_grace.as_duration(), now)
            }
            None => {
                "The row of its grant is not in the store: the grant was over longer than tokens.retention_time \
                     ago and has been removed, or the store is not the one that it was opened in."
            }
        };
        Inspection {
            origin: Origin::Ours,
            active: stored.as_ref().is_some_and(|stored| self.is_good(presented, stored, now)),
            explanation: explanation.to_owned(),
            token: None,
            refresh_token: Some(InspectedRefreshToken {
                grant: presented.grant.to_string(),
                counter: presented.counter,
                row: stored.map(|stored| inspected_grant(&stored, now)),
            }),
        }
    }
}

fn inspected_grant(stored: &StoredGrant, now: Timestamp) -> InspectedGrant {
    let grant = &stored.grant;
    InspectedGrant {
        state: stored.state(now),
        client_id: grant.client_id.to_string(),
        subject: grant.subject.to_string(),
        scope: grant.scope.to_string(),
        audience: grant.audience.names().to_vec(),
        session: grant.session.map(|id| id.to_string()),
        counter: grant.counter,
        created_at: grant.created_at.as_secs(),
        rotated_at: grant.rotated_at.as_secs(),
        idle_expires_at: grant.idle_expires_at.as_secs(),
        expires_at: grant.expires_at.as_secs(),
        inspected_at: now.as_secs(),
        ended_by_rule: stored.ended_by_rule,
        seen: grant.seen,
    }
}

fn explain_grant(
    presented: RefreshToken,
    stored: &StoredGrant,
    grace: Duration,
    now: Timestamp,
) -> &'static str {
    let grant = &stored.grant;
    let within_grace = now.since(grant.rotated_at) <= grace;
    match (stored.state(now), grant.counter.checked_sub(presented.counter)) {
        (GrantState::Revoked, _) if stored.ended_at.is_none() => {
            "Its grant is REVOKED by a rule in the revocation log that is later than what the grant has seen: after \
             the authority was given, the client was disabled or deleted, or an administrator ended all of its \
             client's, subject's or session's. The list of revocations has the entry."
        }
        (GrantState::Revoked, _) => {
            "Its grant is REVOKED: the client or an administrator ended it, or a spent refresh token came back after \
             tokens.refresh_grace. The audit trail tells which."
        }
        (GrantState::Expired, _) if grant.expires_at <= now => {
            "Its grant is EXPIRED: tokens.refresh_token_lifetime is over."
        }
        (GrantState::Expired, _) => {
            "Its grant is EXPIRED: nobody refreshed for as long as tokens.refresh_token_idle."
        }
        (GrantState::Active, Some(0)) => "It is good: its grant is ACTIVE, and it is the current one.",
        (GrantState::Active, Some(1)) if within_grace => {
            "It was used a moment ago and is still taken as a retry, within tokens.refresh_grace; the answer will be \
             the same successor again."
        }
        (GrantState::Active, Some(_)) if within_grace => {
            "It is spent: later ones have been used. While tokens.refresh_grace lasts it is refused, and nothing is \
             ended by it."
        }
        (GrantState::Active, Some(_)) => {
            "It is spent: its successor has been made longer than tokens.refresh_grace ago. Whoever uses it ends its \
             grant, which is ACTIVE."
        }
        (GrantState::Active, None) => {
            "It is newer than its grant's row: the store has lost a commit, as after a restore. It is refused."
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
             was asked for, its grant was ended, its client was disabled or deleted, or an administrator ended all of \
             its client's, subject's or session's tokens. The list of revocations has the entry."
        }
        TokenState::Revoked => "It is REVOKED: this very token was ended.",
    }
    .to_owned()
}
