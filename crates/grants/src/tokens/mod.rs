//! What a client holds in its hands: how a token is written, and how one that comes back is recognized.

pub mod jwt;
pub mod opaque;
mod sealed;

use grantry_protocol::{
    AccessToken, AccessTokenFormat, ClientId, ConfiguredClaims, Grant, NodeNumber, Secret, TokenId,
};
use grantry_store::StoredToken;

use self::jwt::ReadJwt;
use self::opaque::{ReadAccess, RefreshToken};
use crate::{GrantError, Grants};

/// A token that this deployment made. Whether it is still good is for the store to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognized {
    /// Its row says what it is.
    Row(RecognizedRow),
    /// It has no row and never will: this is all of it. Only the revocation log ends it before its time.
    Unstored(Box<AccessToken>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecognizedRow {
    pub id: TokenId,
    pub format: AccessTokenFormat,
    /// Whose it is, where the text says it: a JWT does.
    pub client_id: Option<ClientId>,
    /// The node that answered with it before its row was written.
    pub deferred_by: Option<NodeNumber>,
}

/// A refresh token that this deployment made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecognizedRefresh {
    pub token: RefreshToken,
    /// The grant as it was opened, where it need not have a row.
    pub origin: Option<Grant>,
}

/// An access token that a caller is to be given.
pub struct IssuedToken {
    pub token: AccessToken,
    /// Whether it has a row, or will have one.
    pub is_stored: bool,
}

impl IssuedToken {
    pub const fn stored(token: AccessToken) -> Self {
        Self { token, is_stored: true }
    }
}

impl Grants {
    /// The text of a token. For an opaque token always the same one; a JWT may be signed anew, with the same id,
    /// expiry and scope, and with what is configured by now.
    pub(crate) async fn write_token(
        &self,
        issued: &IssuedToken,
        claims: &ConfiguredClaims,
    ) -> Result<Secret, GrantError> {
        let IssuedToken { token, is_stored } = issued;
        match token.format {
            AccessTokenFormat::Opaque if *is_stored => {
                Ok(opaque::write(&self.keys, token.id, token.deferred_by))
            }
            AccessTokenFormat::Opaque => Ok(opaque::write_sealed(&self.keys, token)),
            AccessTokenFormat::Jwt => jwt::write(&self.keys, &self.settings().issuer, issued, claims).await,
        }
    }

    /// Refuses everything that was not made with this deployment's keys, without asking the store.
    pub(crate) fn recognize_token(&self, text: &str) -> Option<Recognized> {
        Some(match opaque::read(&self.keys, text) {
            Some(ReadAccess::Row(id, deferred_by)) => {
                let (format, client_id) = (AccessTokenFormat::Opaque, None);
                Recognized::Row(RecognizedRow { id, format, client_id, deferred_by })
            }
            Some(ReadAccess::Sealed(token)) => Recognized::Unstored(token),
            None => match jwt::read(&self.keys, &self.settings().issuer, text)? {
                ReadJwt::Row { id, client_id, deferred_by } => {
                    let (format, client_id) = (AccessTokenFormat::Jwt, Some(client_id));
                    Recognized::Row(RecognizedRow { id, format, client_id, deferred_by })
                }
                ReadJwt::Unstored(token) => Recognized::Unstored(token),
            },
        })
    }

    /// The same for a refresh token.
    pub(crate) fn recognize_refresh(&self, text: &str) -> Option<RecognizedRefresh> {
        let (token, origin) = opaque::read_refresh(&self.keys, text)?;
        let origin = origin.map(|grant| self.settings().bounded(grant, token.counter));
        Some(RecognizedRefresh { token, origin })
    }

    /// A token that was made with our keys, whether its row is written or not; `None` for anything else, and then mostly
    /// without a look-up.
    pub(crate) async fn find_token(&self, text: &str) -> Result<Option<StoredToken>, GrantError> {
        match self.recognize_token(text) {
            None => Ok(None),
            Some(Recognized::Unstored(token)) => Ok(Some(self.store.token_judge_unstored(*token).await?)),
            Some(Recognized::Row(row)) => {
                let stored = self.persistence.find_token(row.id, row.deferred_by).await?;
                Ok(stored.filter(|stored| stored.token.format == row.format))
            }
        }
    }
}
