use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    failure::Failure,
    http1::{Head, once},
    scenario::{Endpoints, Scenario},
    target::Target,
};

const PATH: &str = "/.well-known/oauth-authorization-server";

/// The parts of the server's metadata (RFC 8414 §2) that a scenario may need.
#[derive(Deserialize)]
struct Metadata {
    issuer: Option<String>,
    introspection_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

/// Fills in the endpoints that the scenario needs and no flag named; asks the server only then.
pub async fn complete(
    mut endpoints: Endpoints,
    scenario: Scenario,
    allow_remote: bool,
    timeout: Duration,
) -> Result<Endpoints, Failure> {
    if matches!(scenario, Scenario::Introspect | Scenario::Mixed) && endpoints.introspect.is_none() {
        let found = metadata(&endpoints.token, "--introspect-url", timeout).await?.introspection_endpoint;
        endpoints.introspect =
            Some(named("introspection_endpoint", "--introspect-url", found, allow_remote)?);
    }
    if matches!(scenario, Scenario::Revoke | Scenario::Mixed) && endpoints.revoke.is_none() {
        let found = metadata(&endpoints.token, "--revoke-url", timeout).await?.revocation_endpoint;
        endpoints.revoke = Some(named("revocation_endpoint", "--revoke-url", found, allow_remote)?);
    }
    Ok(endpoints)
}

/// The issuer that the server says it is.
pub async fn issuer(token: &Target, timeout: Duration) -> Result<String, Failure> {
    let found = metadata(token, "--issuer", timeout).await?.issuer;
    found.ok_or_else(|| Failure::new("the server's metadata has no issuer; give --issuer"))
}

async fn metadata(token: &Target, flag: &str, timeout: Duration) -> Result<Metadata, Failure> {
    let target = token.with_path(PATH);
    let answer = once(Head::get(&target)?, Bytes::new(), timeout).await?;
    if answer.status != http::StatusCode::OK {
        return Err(Failure::new(format!("{target} answers {}; give {flag}", answer.status.as_u16())));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::new(format!("{target} is no server metadata ({error}); give {flag}")))
}

fn named(field: &str, flag: &str, found: Option<String>, allow_remote: bool) -> Result<Target, Failure> {
    let url =
        found.ok_or_else(|| Failure::new(format!("the server's metadata has no {field}; give {flag}")))?;
    Target::parse(&format!("{field} of the server's metadata"), &url, allow_remote)
}
