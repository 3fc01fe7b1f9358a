use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AssertionIssuer, Audience, ClientId, ClientKeySet, ConfiguredClaims, KeySource, Lifetime,
    MAX_RESOURCE_LEN, MAX_RESOURCES, ScopeSet, SubjectPattern, Timestamp, nearest, scopes,
};

const MAX_NAME_LEN: usize = 255;
const MAX_SUBJECT_PATTERNS: usize = 64;
const MAX_ORIGINS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 7523 §2.1.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
}

impl GrantType {
    pub const ALL: [Self; 3] = [Self::ClientCredentials, Self::RefreshToken, Self::JwtBearer];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == name)
    }
}

/// `token_endpoint_auth_method` (RFC 7591 §2). Only the registered one is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    #[default]
    ClientSecretBasic,
    ClientSecretPost,
    /// An assertion signed with a key of the client (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// A public client.
    None,
}

impl AuthMethod {
    pub const ALL: [Self; 4] =
        [Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt, Self::None];

    /// Whether the client has a secret of ours.
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::None => "none",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessTokenFormat {
    #[default]
    Opaque,
    /// RFC 9068.
    Jwt,
}

/// What happens when a token is asked for and its slot has an ACTIVE one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActiveTokenPolicy {
    /// The same token is returned again while it has enough life left.
    #[default]
    Reuse,
    /// A new one is issued; the previous one ends and is announced in the revocation log.
    Replace,
    /// A new one is issued; the previous ones stay valid until they expire.
    Multiple,
}

/// When an access token is persisted. Only issuing one may ever be deferred or left out; all else is committed before the
/// answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PersistenceMode {
    /// Committed in the store before the answer.
    Sync,
    /// In the journal of the node before the answer, in the store soon after.
    Async,
    /// Never: the text of the token says all there is to know, and the revocation log says whether it was ended.
    None,
}

impl PersistenceMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::None => "none",
        }
    }
}

/// Which logins share a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotBinding {
    /// One token per client, subject and scope.
    #[default]
    None,
    /// Each login has its own.
    Grant,
}

/// What becomes of a refresh token that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTokenRotation {
    /// The next one takes its place; the old one coming back later ends the grant (RFC 9700 §4.14.2).
    #[default]
    Always,
    /// It stays the same; only for clients that prove who they are, as FAPI 2.0 wants it (§5.3.2.1).
    Never,
}

/// What an administrator decides about a client, under RFC 7591's names and our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientMetadata {
    /// For people; at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    pub grant_types: Vec<GrantType>,
    /// Scope values that the client may ask for, separated by spaces; asking for none means all of them.
    #[schemars(with = "String")]
    pub scope: ScopeSet,
    pub token_endpoint_auth_method: AuthMethod,
    pub access_token_format: AccessTokenFormat,
    /// When its access tokens are persisted. Absent: what the server's `token_persistence` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<PersistenceMode>,
    /// Absent: the server's `tokens.active_token_policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_token_policy: Option<ActiveTokenPolicy>,
    pub slot_binding: SlotBinding,
    pub refresh_token_rotation: RefreshTokenRotation,
    /// At least 1 s and less than the server's `tokens.retention_time`. Absent: `tokens.access_token_lifetime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<Lifetime>,
    /// Claims with fixed values that its access tokens say besides; they go before the server's `tokens.claims` of the
    /// same name. At most 32 and 4 KiB, none under a registered name.
    #[serde(skip_serializing_if = "ConfiguredClaims::is_empty")]
    pub access_token_claims: ConfiguredClaims,
    /// The audiences that this client is: it may introspect tokens meant for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The `resource` values (RFC 8707) that it may ask for. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_resources: Option<Vec<String>>,
    /// Its public keys, for private_key_jwt and for jwt-bearer assertions that it signs itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<ClientKeySet>,
    /// Where they are fetched from; instead of `jwks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Whom it may get tokens for with a jwt-bearer assertion: subjects, with `*` for any run of characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub jwt_bearer_subjects: Vec<SubjectPattern>,
    /// Who signs those assertions. Absent: the client itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_bearer_issuer: Option<AssertionIssuer>,
    /// Whether jwt-bearer gives a refresh token as well.
    pub jwt_bearer_refresh: bool,
    /// Origins whose pages may call the token and revocation endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_cors_origins: Vec<String>,
    /// Whether its access tokens, which must be JWTs, have a place in the signed lists that anybody can read
    /// (draft-ietf-oauth-status-list).
    pub status_list: bool,
    /// A disabled client is refused; disabling ends every token it holds.
    pub enabled: bool,
}

impl Default for ClientMetadata {
    fn default() -> Self {
        Self {
            client_name: None,
            grant_types: vec![GrantType::ClientCredentials],
            scope: ScopeSet::default(),
            token_endpoint_auth_method: AuthMethod::default(),
            access_token_format: AccessTokenFormat::default(),
            persistence: None,
            active_token_policy: None,
            slot_binding: SlotBinding::default(),
            refresh_token_rotation: RefreshTokenRotation::default(),
            access_token_lifetime: None,
            access_token_claims: ConfiguredClaims::default(),
            resources: Vec::new(),
            allowed_resources: None,
            jwks: None,
            jwks_uri: None,
            jwt_bearer_subjects: Vec::new(),
            jwt_bearer_issuer: None,
            jwt_bearer_refresh: false,
            allowed_cors_origins: Vec::new(),
            status_list: false,
            enabled: true,
        }
    }
}

/// Server settings that client metadata must not contradict.
#[derive(Debug, Clone, Copy)]
pub struct MetadataRules {
    pub retention_time: Lifetime,
    /// Whether the server has the queue that `async` needs.
    pub has_queue: bool,
    /// For a client that says nothing else.
    pub persistence: PersistenceMode,
    pub active_token_policy: ActiveTokenPolicy,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidMetadata {
    pub field: &'static str,
    pub problem: String,
}

impl ClientMetadata {
    pub fn validate(&self, rules: &MetadataRules) -> Result<(), InvalidMetadata> {
        self.validate_name()?;
        self.validate_grant_types()?;
        self.validate_scope()?;
        self.validate_lifetime(rules)?;
        self.validate_claims()?;
        self.validate_persistence(rules)?;
        self.validate_keys()?;
        self.validate_authentication()?;
        self.validate_jwt_bearer()?;
        self.validate_rotation()?;
        self.validate_origins()?;
        self.validate_status_list(rules)?;
        validate_audiences("resources", &self.resources)?;
        validate_audiences("allowed_resources", self.allowed_resources.as_deref().unwrap_or_default())
    }

    fn validate_name(&self) -> Result<(), InvalidMetadata> {
        let Some(name) = &self.client_name else { return Ok(()) };
        let legal =
            !name.is_empty() && name.chars().count() <= MAX_NAME_LEN && !name.chars().any(char::is_control);
        if legal {
            return Ok(());
        }
        refuse("client_name", format!("must be 1 to {MAX_NAME_LEN} characters without control characters"))
    }

    fn validate_grant_types(&self) -> Result<(), InvalidMetadata> {
        let mut seen = Vec::new();
        for grant in &self.grant_types {
            if seen.contains(grant) {
                return refuse("grant_types", format!("\"{}\" stands there twice", grant.as_str()));
            }
            seen.push(*grant);
        }
        if self.token_endpoint_auth_method == AuthMethod::None && seen.contains(&GrantType::ClientCredentials)
        {
            return refuse(
                "token_endpoint_auth_method",
                "\"none\" cannot go with the grant type client_credentials (RFC 6749 section 4.4): \
                 choose client_secret_basic, or leave the grant type out"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn validate_authentication(&self) -> Result<(), InvalidMetadata> {
        if self.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt && self.keys().is_none() {
            return refuse(
                "token_endpoint_auth_method",
                "\"private_key_jwt\" needs the client's public keys: set jwks, or jwks_uri".to_owned(),
            );
        }
        Ok(())
    }

    fn validate_jwt_bearer(&self) -> Result<(), InvalidMetadata> {
        if self.jwt_bearer_subjects.len() > MAX_SUBJECT_PATTERNS {
            return refuse("jwt_bearer_subjects", format!("at most {MAX_SUBJECT_PATTERNS} are allowed"));
        }
        if !self.grant_types.contains(&GrantType::JwtBearer) {
            return Ok(());
        }
        if self.jwt_bearer_subjects.is_empty() {
            return refuse(
                "jwt_bearer_subjects",
                "the grant type jwt-bearer needs the subjects that the client may get tokens for; \"*\" allows all"
                    .to_owned(),
            );
        }
        if self.assertion_keys().is_none() {
            return refuse(
                "jwks",
                "the grant type jwt-bearer needs the keys that sign the assertions: set jwks, jwks_uri or \
                 jwt_bearer_issuer"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The keys that jwt-bearer assertions are signed with.
    pub fn assertion_keys(&self) -> Option<KeySource<'_>> {
        match &self.jwt_bearer_issuer {
            Some(issuer) => issuer.keys(),
            None => self.keys(),
        }
    }

    /// Whoever opted in to refresh tokens for jwt-bearer may use them, too.
    pub fn may_refresh(&self) -> bool {
        self.jwt_bearer_refresh || self.grant_types.contains(&GrantType::RefreshToken)
    }

    fn validate_rotation(&self) -> Result<(), InvalidMetadata> {
        if self.refresh_token_rotation == RefreshTokenRotation::Never
            && self.token_endpoint_auth_method == AuthMethod::None
        {
            return refuse(
                "refresh_token_rotation",
                "\"never\" is for clients that prove who they are; whoever steals a public client's refresh token \
                 could use it for ever (RFC 9700 section 4.14.2): leave it \"always\""
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn validate_origins(&self) -> Result<(), InvalidMetadata> {
        const FIELD: &str = "allowed_cors_origins";
        if self.allowed_cors_origins.len() > MAX_ORIGINS {
            return refuse(FIELD, format!("at most {MAX_ORIGINS} are allowed"));
        }
        match self.allowed_cors_origins.iter().find(|origin| !is_origin(origin)) {
            Some(_) => refuse(
                FIELD,
                "each must be an origin as browsers write it: https://app.example, lower case, without a path, and \
                 with a port only if it is not the usual one; \"*\" is not taken"
                    .to_owned(),
            ),
            None => Ok(()),
        }
    }

    fn validate_scope(&self) -> Result<(), InvalidMetadata> {
        for value in self.scope.values().filter(|value| value.starts_with(scopes::RESERVED_PREFIX)) {
            if !scopes::ALL.contains(&value) {
                let hint = nearest(value, scopes::ALL.iter().copied())
                    .map_or_else(|| scopes::ALL.join(", "), |near| format!("did you mean \"{near}\"?"));
                return refuse("scope", format!("\"{value}\" is not a scope of Grantry; {hint}"));
            }
        }
        Ok(())
    }

    fn validate_claims(&self) -> Result<(), InvalidMetadata> {
        self.access_token_claims.validate().or_else(|problem| refuse("access_token_claims", problem))
    }

    fn validate_persistence(&self, rules: &MetadataRules) -> Result<(), InvalidMetadata> {
        if self.persistence == Some(PersistenceMode::Async) && !rules.has_queue {
            return refuse(
                "persistence",
                "async needs the queue of the server, which token_persistence.pool_size = 0 turns off: set that to 1 \
                 or more, or use sync"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn validate_lifetime(&self, rules: &MetadataRules) -> Result<(), InvalidMetadata> {
        match self.access_token_lifetime {
            Some(lifetime) if lifetime.as_duration() < Duration::from_secs(1) => {
                refuse("access_token_lifetime", "must be at least 1s".to_owned())
            }
            Some(lifetime) if lifetime >= rules.retention_time => refuse(
                "access_token_lifetime",
                format!(
                    "{lifetime} is not less than the server's tokens.retention_time of {}: shorten the one or lengthen the other",
                    rules.retention_time
                ),
            ),
            _ => Ok(()),
        }
    }

    /// Whether a token may be asked for this audience.
    pub fn allows_audience(&self, audience: &Audience) -> bool {
        self.allowed_resources
            .as_ref()
            .is_none_or(|allowed| audience.names().iter().all(|name| allowed.contains(name)))
    }
}

fn validate_audiences(field: &'static str, names: &[String]) -> Result<(), InvalidMetadata> {
    if names.len() > MAX_RESOURCES {
        return refuse(field, format!("at most {MAX_RESOURCES} are allowed"));
    }
    let legal = |name: &String| {
        !name.is_empty()
            && name.len() <= MAX_RESOURCE_LEN
            && name.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
    };
    if names.iter().all(legal) {
        return Ok(());
    }
    refuse(field, format!("each must be 1 to {MAX_RESOURCE_LEN} printable ASCII characters without spaces"))
}

/// A tuple origin in the form that browsers send (RFC 6454 §6.2).
fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

fn refuse<T>(field: &'static str, problem: String) -> Result<T, InvalidMetadata> {
    Err(InvalidMetadata { field, problem })
}

/// The keyed hash that is kept instead of a secret, and which version of the key made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecretHash {
    pub key_version: u8,
    pub hash: [u8; 32],
}

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub id: ClientId,
    pub metadata: ClientMetadata,
    /// Absent for public clients.
    pub secret: Option<ClientSecretHash>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// 1 at first, one more with every change; guards against lost updates.
    pub version: u64,
}

impl Client {
    /// Whether the client can reach the admin API. The last one that can is never removed.
    pub fn is_administrator(&self) -> bool {
        self.metadata.enabled
            && self.metadata.grant_types.contains(&GrantType::ClientCredentials)
            && self.metadata.scope.contains(scopes::ADMIN)
    }
}

mod status_list;
#[cfg(test)]
mod tests;
