//! What a client holds in its hands: how a token is written, and how one that comes back is recognized.

pub mod jwt;
pub mod opaque;

use grantry_protocol::{AccessToken, AccessTokenFormat, NodeNumber, Secret, TokenId};
use grantry_store::StoredToken;

use crate::{GrantError, Grants};

/// A token that this deployment made. Whether it is still good is for the store to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recognized {
    pub id: TokenId,
    pub format: AccessTokenFormat,
    /// The node that answered with it before its row was written.
    pub deferred_by: Option<NodeNumber>,
}

impl Grants {
    /// The text of a token. For an opaque token always the same one; a JWT may be signed anew, with the same id,
    /// expiry and scope.
    pub(crate) async fn write_token(&self, token: &AccessToken) -> Result<Secret, GrantError> {
        match token.format {
            AccessTokenFormat::Opaque => Ok(opaque::write(&self.keys, token.id, token.deferred_by)),
            AccessTokenFormat::Jwt => jwt::write(&self.keys, &self.settings().issuer, token).await,
        }
    }

    /// Refuses everything that was not made with this deployment's keys, without asking the store.
    pub(crate) fn recognize_token(&self, text: &str) -> Option<Recognized> {
        if let Some((id, deferred_by)) = opaque::read(&self.keys, text) {
            return Some(Recognized { id, format: AccessTokenFormat::Opaque, deferred_by });
        }
        let (id, deferred_by) = jwt::read(&self.keys, &self.settings().issuer, text)?;
        Some(Recognized { id, format: AccessTokenFormat::Jwt, deferred_by })
    }

    /// A token that was made with our keys, whether its row is written or not; `None` for anything else, and then mostly
    /// without a look-up.
    pub(crate) async fn find_token(&self, text: &str) -> Result<Option<StoredToken>, GrantError> {
        let Some(recognized) = self.recognize_token(text) else { return Ok(None) };
        let stored = self.persistence.find_token(recognized.id, recognized.deferred_by).await?;
        Ok(stored.filter(|stored| stored.token.format == recognized.format))
    }
}
