//! A client as a JSON document (RFC 7591 §3.2.1), as the admin API and the command line read and write it.

use serde_json::{Map, Value};

use crate::{Client, ClientMetadata, InvalidMetadata, Secret, nearest};

impl ClientMetadata {
    /// The names of all fields, in the order of the type.
    pub const FIELDS: &[&str] = &[
        "client_name",
        "grant_types",
        "scope",
        "token_endpoint_auth_method",
        "access_token_format",
        "persistence",
        "active_token_policy",
        "slot_binding",
        "refresh_token_rotation",
        "access_token_lifetime",
        "access_token_claims",
        "resources",
        "allowed_resources",
        "jwks",
        "jwks_uri",
        "jwt_bearer_subjects",
        "jwt_bearer_issuer",
        "jwt_bearer_refresh",
        "allowed_cors_origins",
        "status_list",
        "enabled",
    ];

    /// # Errors
    /// Names the field that is wrong and, for one that does not exist, the one that was probably meant.
    pub fn from_fields(fields: Map<String, Value>) -> Result<Self, InvalidMetadata> {
        if let Some(unknown) = fields.keys().find(|name| !Self::FIELDS.contains(&name.as_str())) {
            return Err(unknown_field(unknown));
        }
        serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
            let path = error.path().to_string();
            let name = path.split(['.', '[']).next().unwrap_or_default();
            let field = Self::FIELDS.iter().copied().find(|field| *field == name).unwrap_or("body");
            InvalidMetadata { field, problem: error.inner().to_string() }
        })
    }

    pub fn to_fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }

    /// The fields after a merge patch (RFC 7396): `null` puts a field back to its default.
    pub fn patched(&self, patch: &Map<String, Value>) -> Map<String, Value> {
        let mut fields = self.to_fields();
        for (name, value) in patch {
            if value.is_null() {
                fields.remove(name);
            } else {
                fields.insert(name.clone(), value.clone());
            }
        }
        fields
    }
}

fn unknown_field(name: &str) -> InvalidMetadata {
    let hint = match nearest(name, ClientMetadata::FIELDS.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("the fields are {}", ClientMetadata::FIELDS.join(", ")),
    };
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    InvalidMetadata { field: "body", problem: format!("there is no field \"{shown}\"; {hint}") }
}

impl Client {
    /// What [`Self::to_json`] adds to the metadata and nobody can set.
    pub const READ_ONLY_FIELDS: &[&str] = &["client_id_issued_at", "client_secret_expires_at", "updated_at"];

    /// The secret is known only in the moment in which it is made.
    pub fn to_json(&self, secret: Option<&Secret>) -> Value {
        let mut fields = self.metadata.to_fields();
        let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        add("client_id", self.id.as_str().into());
        add("client_id_issued_at", self.created_at.as_secs().into());
        add("updated_at", self.updated_at.as_secs().into());
        if let Some(secret) = secret {
            add("client_secret", secret.expose().into());
        }
        if self.metadata.token_endpoint_auth_method.has_secret() {
            // RFC 7591 §3.2.1: 0 means that it does not expire.
            add("client_secret_expires_at", 0.into());
        }
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActiveTokenPolicy, Lifetime, PersistenceMode};

    #[test]
    fn the_list_of_fields_is_that_of_the_type() {
        let full = ClientMetadata {
            client_name: Some("x".into()),
            persistence: Some(PersistenceMode::Sync),
            active_token_policy: Some(ActiveTokenPolicy::Reuse),
            access_token_lifetime: Some(Lifetime::from_secs(60)),
            access_token_claims: serde_json::Map::from_iter([("x".into(), Value::from(1))]).into(),
            resources: vec!["x".into()],
            allowed_resources: Some(vec!["x".into()]),
            jwks: serde_json::from_str("{}").ok(),
            jwks_uri: Some("x".into()),
            jwt_bearer_subjects: vec!["x".to_owned().try_into().unwrap()],
            jwt_bearer_issuer: serde_json::from_str(r#"{"issuer":"x"}"#).ok(),
            allowed_cors_origins: vec!["x".into()],
            ..ClientMetadata::default()
        };
        let mut written: Vec<String> = full.to_fields().keys().cloned().collect();
        let mut listed: Vec<String> = ClientMetadata::FIELDS.iter().map(|name| (*name).to_owned()).collect();
        written.sort_unstable();
        listed.sort_unstable();
        assert_eq!(written, listed);
    }
}
