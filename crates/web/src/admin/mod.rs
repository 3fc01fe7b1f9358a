//! The admin API: JSON, guarded by a token of this server with the scope `grantry:admin`, errors as RFC 9457 problems.

pub mod clients;
pub mod cluster;
pub mod keys;
pub mod persistence;
mod problem;
pub mod revocations;
pub mod settings;
pub mod tokens;

use axum::body::Body;
use axum::http::{Extensions, HeaderMap};
use grantry_grants::{Actor, GrantError};
use grantry_protocol::{ErrorCode, RequestId};
use serde_json::{Map, Value};

use crate::WebState;
use crate::admin::problem::Problem;
use crate::{bearer, body};

const JSON: &[&str] = &["application/json", "application/merge-patch+json"];

/// Who asks, proven by a bearer token in the header (RFC 6750 §2.1), nowhere else.
async fn authorize(state: &WebState, headers: &HeaderMap, extensions: &Extensions) -> Result<Actor, Problem> {
    let request_id = extensions.get::<RequestId>().map_or_else(String::new, RequestId::to_string);
    let token = bearer::presented(headers).ok_or_else(Problem::no_token)?;
    state.grants.authorize_admin(token, request_id).await.map_err(|error| match error {
        GrantError::Refused(refusal) if refusal.code == ErrorCode::InvalidScope => {
            Problem::insufficient_scope()
        }
        GrantError::Refused(_) => Problem::invalid_token(),
        error => error.into(),
    })
}

async fn read_json(state: &WebState, headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    let body = body::read(headers, body, JSON, &state.settings.limits).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))
}

fn into_object(value: Value) -> Result<Map<String, Value>, Problem> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Problem::bad_request("the body must be a JSON object")),
    }
}

fn take_text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::invalid_field(name, "must be a string")),
    }
}
