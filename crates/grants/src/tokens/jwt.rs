//! JWT access tokens (RFC 9068).

use grantry_jose::{sign_compact, verify_compact};
use grantry_protocol::{AccessToken, AudienceClaim, NodeNumber, Secret, TokenId};
use serde::{Deserialize, Serialize};

use crate::{GrantError, KeyRing};

/// `typ` of RFC 9068 §2.1.
const TYP: &str = "at+jwt";

/// Where the row of the token is, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    /// In the store: without its row the token is not valid.
    Row,
    /// The same, but the node with this number answered with it first, and the row may still be on its way.
    Queue(NodeNumber),
}

impl Stored {
    fn of(token: &AccessToken) -> Self {
        token.deferred_by.map_or(Self::Row, Self::Queue)
    }

    const fn deferred_by(self) -> Option<NodeNumber> {
        match self {
            Self::Row => None,
            Self::Queue(node) => Some(node),
        }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "AudienceClaim::is_empty")]
    aud: AudienceClaim<'a>,
    client_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    grantry_stored: Stored,
}

/// What has to be read of a token that comes back; the rest stands in its row.
#[derive(Deserialize)]
struct ReadClaims {
    iss: String,
    jti: String,
    grantry_stored: Stored,
}

pub async fn write(keys: &KeyRing, issuer: &str, token: &AccessToken) -> Result<Secret, GrantError> {
    let claims = Claims {
        iss: issuer,
        sub: token.subject.as_str(),
        aud: token.audience.as_claim(),
        client_id: token.client_id.as_str(),
        scope: token.scope.as_str(),
        iat: token.issued_at.as_secs(),
        exp: token.expires_at.as_secs(),
        jti: token.id.to_string(),
        grantry_stored: Stored::of(token),
    };
    Ok(Secret::new(sign_compact(keys.signer().as_ref(), TYP, &claims).await?))
}

pub fn read(keys: &KeyRing, issuer: &str, text: &str) -> Option<(TokenId, Option<NodeNumber>)> {
    let claims: ReadClaims = verify_compact(text, TYP, |kid| keys.signing_key_by_id(kid)).ok()?;
    if claims.iss != issuer {
        return None;
    }
    Some((claims.jti.parse().ok()?, claims.grantry_stored.deferred_by()))
}
