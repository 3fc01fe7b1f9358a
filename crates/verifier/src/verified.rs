use std::fmt;

use grantry_protocol::{ClientId, Moment, Subject, Timestamp, TokenId};
use grantry_revocation::FeedKeys;
use serde::de::DeserializeOwned;

use crate::Refusal;

/// A token that was good when it was checked.
pub struct Verified {
    pub(crate) id: TokenId,
    pub(crate) subject: Subject,
    pub(crate) client_id: ClientId,
    pub(crate) scope: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) not_before: Option<Timestamp>,
    /// What could end it; absent where revocations are not followed.
    pub(crate) ends: Option<FeedKeys>,
    /// When the issuer was asked about it; absent for a JWT, which speaks for itself.
    pub(crate) asked: Option<Moment>,
    /// Everything, as JSON.
    pub(crate) claims: Vec<u8>,
}

impl Verified {
    pub fn id(&self) -> TokenId {
        self.id
    }

    pub fn subject(&self) -> &str {
        self.subject.as_str()
    }

    pub fn client_id(&self) -> &str {
        self.client_id.as_str()
    }

    /// Values with a space between them; empty for a token without scope.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Whether it has each of these values, which have spaces between them.
    pub fn has_scope(&self, required: &str) -> bool {
        required.split_ascii_whitespace().all(|value| self.scope.split(' ').any(|has| has == value))
    }

    /// # Errors
    /// [`Refusal::InsufficientScope`] where [`Self::has_scope`] says no.
    pub fn require_scope(&self, required: &str) -> Result<(), Refusal> {
        match self.has_scope(required) {
            true => Ok(()),
            false => Err(Refusal::InsufficientScope { required: required.to_owned() }),
        }
    }

    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The claims of the token, or of what the issuer said about it (RFC 7662 §2.2), as whatever type they fit.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.claims)
    }
}

/// Not all of the claims: they are about a person.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("id", &self.id).finish_non_exhaustive()
    }
}
