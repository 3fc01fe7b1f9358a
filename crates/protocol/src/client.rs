use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Audience, ClientId, Lifetime, MAX_RESOURCE_LEN, MAX_RESOURCES, ScopeSet, Timestamp, nearest, scopes,
};

const MAX_NAME_LEN: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §4.4.
    ClientCredentials,
}

impl GrantType {
    pub const ALL: [Self; 1] = [Self::ClientCredentials];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
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
    /// A public client.
    None,
}

impl AuthMethod {
    pub const ALL: [Self; 3] = [Self::ClientSecretBasic, Self::ClientSecretPost, Self::None];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
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

/// When a token is persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PersistenceMode {
    /// Committed in the store before the answer.
    #[default]
    Sync,
}

/// Which logins share a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotBinding {
    /// One token per client, subject and scope.
    #[default]
    None,
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
    pub persistence: PersistenceMode,
    /// Absent: the server's `tokens.active_token_policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_token_policy: Option<ActiveTokenPolicy>,
    pub slot_binding: SlotBinding,
    /// At least 1 s and less than the server's `tokens.retention_time`. Absent: `tokens.access_token_lifetime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<Lifetime>,
    /// The audiences that this client is: it may introspect tokens meant for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The `resource` values (RFC 8707) that it may ask for. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_resources: Option<Vec<String>>,
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
            persistence: PersistenceMode::default(),
            active_token_policy: None,
            slot_binding: SlotBinding::default(),
            access_token_lifetime: None,
            resources: Vec::new(),
            allowed_resources: None,
            enabled: true,
        }
    }
}

/// Server settings that client metadata must not contradict.
#[derive(Debug, Clone, Copy)]
pub struct MetadataRules {
    pub retention_time: Lifetime,
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

fn refuse<T>(field: &'static str, problem: String) -> Result<T, InvalidMetadata> {
    Err(InvalidMetadata { field, problem })
}

/// The keyed hash that is kept instead of a secret, and which version of the key made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSecretHash {
    pub key_version: u8,
    pub hash: [u8; 32],
}

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: MetadataRules = MetadataRules { retention_time: Lifetime::from_secs(86_400) };

    fn refused_field(json: serde_json::Value) -> &'static str {
        let metadata: ClientMetadata = serde_json::from_value(json).unwrap();
        metadata.validate(&RULES).unwrap_err().field
    }

    #[test]
    fn the_defaults_are_valid() {
        ClientMetadata::default().validate(&RULES).unwrap();
    }

    #[test]
    fn each_field_that_contradicts_is_named() {
        use serde_json::json;
        assert_eq!(refused_field(json!({"client_name": "a\nb"})), "client_name");
        assert_eq!(
            refused_field(json!({"grant_types": ["client_credentials", "client_credentials"]})),
            "grant_types"
        );
        assert_eq!(
            refused_field(json!({"token_endpoint_auth_method": "none"})),
            "token_endpoint_auth_method"
        );
        assert_eq!(refused_field(json!({"scope": "grantry:admim"})), "scope");
        assert_eq!(refused_field(json!({"access_token_lifetime": "24h"})), "access_token_lifetime");
        assert_eq!(refused_field(json!({"access_token_lifetime": "10ms"})), "access_token_lifetime");
        assert_eq!(refused_field(json!({"resources": ["a b"]})), "resources");
        assert_eq!(refused_field(json!({"allowed_resources": [""]})), "allowed_resources");
    }

    #[test]
    fn an_unknown_reserved_scope_names_the_nearest_one() {
        let metadata: ClientMetadata =
            serde_json::from_value(serde_json::json!({"scope": "grantry:admim"})).unwrap();
        assert!(metadata.validate(&RULES).unwrap_err().problem.contains("grantry:admin"));
    }
}
