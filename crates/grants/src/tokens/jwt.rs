//! JWT access tokens (RFC 9068). Besides what the RFC wants they say what a verifier needs to judge them by the revocation
//! log alone; of a token without a row that is also all that there is.

use grantry_jose::{base64url, from_base64url, sign_compact, verify_compact};
use grantry_protocol::{
    AccessToken, AccessTokenFormat, Audience, AudienceClaim, Authority, ClientId, ConfiguredClaims, Epoch,
    NodeNumber, Position, Secret, Seen, SlotKey, SubjectKind, Timestamp, TokenId,
};
use serde::{Deserialize, Serialize};

use super::IssuedToken;
use crate::status_lists::StatusClaim;
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
    /// Nowhere.
    None,
}

impl Stored {
    fn of(issued: &IssuedToken) -> Self {
        match issued.token.deferred_by {
            _ if !issued.is_stored => Self::None,
            Some(by) => Self::Queue(by),
            None => Self::Row,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    grantry_stored: Stored,
    /// Epoch and position.
    grantry_seen: (u64, u64),
    grantry_slot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    grantry_grant: Option<String>,
    /// Only where it is not what `sub` and `client_id` suggest.
    #[serde(skip_serializing_if = "Option::is_none")]
    grantry_subject_kind: Option<SubjectKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusClaim>,
    /// None of them has one of the names above.
    #[serde(flatten)]
    configured: &'a ConfiguredClaims,
}

/// Of a token that has a row, that says all but the first three.
#[derive(Deserialize)]
struct ReadClaims {
    iss: String,
    jti: String,
    grantry_stored: Stored,
    sub: String,
    #[serde(default)]
    aud: Audiences,
    client_id: String,
    #[serde(default)]
    scope: String,
    iat: i64,
    exp: i64,
    sid: Option<String>,
    grantry_seen: Option<(u64, u64)>,
    grantry_slot: Option<String>,
    grantry_grant: Option<String>,
    grantry_subject_kind: Option<SubjectKind>,
    status: Option<StatusClaim>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl From<Audiences> for Audience {
    fn from(audiences: Audiences) -> Self {
        Self::new(match audiences {
            Audiences::One(name) => vec![name],
            Audiences::Many(names) => names,
        })
    }
}

/// What a token says.
pub enum ReadJwt {
    Row { id: TokenId, client_id: ClientId, deferred_by: Option<NodeNumber> },
    Unstored(Box<AccessToken>),
}

pub async fn write(
    keys: &KeyRing,
    issuer: &str,
    issued: &IssuedToken,
    configured: &ConfiguredClaims,
) -> Result<Secret, GrantError> {
    let token = &issued.token;
    let Authority { seen, grant, session } = token.authority;
    let suggested = suggested_kind(token.subject.as_str(), token.client_id.as_str());
    let claims = Claims {
        iss: issuer,
        sub: token.subject.as_str(),
        aud: token.audience.as_claim(),
        client_id: token.client_id.as_str(),
        scope: token.scope.as_str(),
        iat: token.issued_at.as_secs(),
        exp: token.expires_at.as_secs(),
        jti: token.id.to_string(),
        sid: session.map(|id| id.to_string()),
        grantry_stored: Stored::of(issued),
        grantry_seen: (seen.epoch.0, seen.position.0),
        grantry_slot: base64url(token.slot.as_bytes()),
        grantry_grant: grant.map(|id| id.to_string()),
        grantry_subject_kind: (token.subject_kind != suggested).then_some(token.subject_kind),
        status: token.status_index.map(|index| StatusClaim::of(index, issuer)),
        configured,
    };
    Ok(Secret::new(sign_compact(keys.signer().as_ref(), TYP, &claims).await?))
}

pub fn read(keys: &KeyRing, issuer: &str, text: &str) -> Option<ReadJwt> {
    let claims: ReadClaims = verify_compact(text, TYP, |kid| keys.signing_key_by_id(kid)).ok()?;
    if claims.iss != issuer {
        return None;
    }
    let id = claims.jti.parse().ok()?;
    let deferred_by = match claims.grantry_stored {
        Stored::Row => None,
        Stored::Queue(by) => Some(by),
        Stored::None => return Some(ReadJwt::Unstored(Box::new(whole(id, issuer, claims)?))),
    };
    Some(ReadJwt::Row { id, client_id: claims.client_id.parse().ok()?, deferred_by })
}

fn whole(id: TokenId, issuer: &str, claims: ReadClaims) -> Option<AccessToken> {
    let (epoch, position) = claims.grantry_seen?;
    let suggested = suggested_kind(&claims.sub, &claims.client_id);
    Some(AccessToken {
        id,
        slot: SlotKey::from_bytes(from_base64url(&claims.grantry_slot?)?.try_into().ok()?),
        client_id: claims.client_id.parse().ok()?,
        subject: claims.sub.parse().ok()?,
        subject_kind: claims.grantry_subject_kind.unwrap_or(suggested),
        scope: claims.scope.parse().ok()?,
        audience: claims.aud.into(),
        format: AccessTokenFormat::Jwt,
        issued_at: Timestamp::from_secs(claims.iat),
        expires_at: Timestamp::from_secs(claims.exp),
        authority: Authority {
            seen: Seen { epoch: Epoch(epoch), position: Position(position) },
            grant: claims.grantry_grant.map(|id| id.parse()).transpose().ok()?,
            session: claims.sid.map(|id| id.parse()).transpose().ok()?,
        },
        deferred_by: None,
        status_index: claims.status.and_then(|status| status.index(issuer)),
    })
}

/// A client that is its own subject is nearly always one.
fn suggested_kind(subject: &str, client_id: &str) -> SubjectKind {
    if subject == client_id { SubjectKind::Client } else { SubjectKind::User }
}
