//! `/admin/v1/keys`: what tokens and client secrets are made with. Private keys go in and never come out.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use grantry_grants::{KeyName, KeyPurpose};
use grantry_jose::Algorithm;
use grantry_protocol::Secret;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::{authorize, into_object, read_json, take_text};
use crate::WebState;
use crate::respond::json_no_store;

const PURPOSES: &str = "must be \"signing\", \"token_mac\" or \"client_secret\"";
const ALGORITHMS: &str = "must be \"EdDSA\", \"ES256\" or \"RS256\"";

type Answer = Result<Response, Problem>;

/// `GET /admin/v1/keys`, by purpose and version.
pub async fn list(State(state): State<Arc<WebState>>, request: Request) -> Answer {
    authorize(&state, request.headers(), request.extensions()).await?;
    let keys = state.grants.key_list().await?;
    Ok(json_no_store(StatusCode::OK, &json!({ "keys": keys })))
}

/// `POST /admin/v1/keys`: a new key that takes over from the newest of its kind. With `private_key_pem` (PKCS #8) it is
/// that one. The answer says from when on it is used.
pub async fn create(State(state): State<Arc<WebState>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let actor = authorize(&state, &head.headers, &head.extensions).await?;
    let mut fields = into_object(read_json(&state, &head.headers, body).await?)?;
    let purpose = take_text(&mut fields, "purpose")?.as_deref().and_then(KeyPurpose::from_name);
    let purpose = purpose.ok_or_else(|| Problem::invalid_field("purpose", PURPOSES))?;
    let algorithm = take_text(&mut fields, "algorithm")?.map(|name| algorithm_of(&name)).transpose()?;
    let pem = take_text(&mut fields, "private_key_pem")?.map(Secret::new);
    refuse_others(&fields)?;
    let made = match pem {
        Some(_) if purpose != KeyPurpose::Signing => {
            return Err(Problem::invalid_field(
                "private_key_pem",
                "only keys of the purpose \"signing\" can be imported",
            ));
        }
        Some(pem) => state.grants.key_import(&pem, algorithm, &actor).await?,
        None => state.grants.key_rotate(purpose, algorithm, &actor).await?,
    };
    Ok(json_no_store(StatusCode::CREATED, &made))
}

/// `POST /admin/v1/keys/{purpose}/{version}/revoke`: from the answer on nothing that the key made is taken for ours. For
/// a key of client secrets the body has to say `{"confirm": true}`: it locks clients out.
pub async fn revoke(
    State(state): State<Arc<WebState>>,
    Path((purpose, version)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let (head, body) = request.into_parts();
    let actor = authorize(&state, &head.headers, &head.extensions).await?;
    let confirmed = if head.headers.contains_key(CONTENT_TYPE) {
        let mut fields = into_object(read_json(&state, &head.headers, body).await?)?;
        let confirm = fields.remove("confirm");
        refuse_others(&fields)?;
        match confirm {
            None => false,
            Some(Value::Bool(confirm)) => confirm,
            Some(_) => return Err(Problem::invalid_field("confirm", "must be true or false")),
        }
    } else {
        false
    };
    let name = KeyPurpose::from_name(&purpose).zip(version.parse().ok());
    let (purpose, version) = name.ok_or_else(|| Problem::not_found("there is no such key"))?;
    let revoked = state.grants.key_revoke(&KeyName::Version(purpose, version), confirmed, &actor).await?;
    Ok(json_no_store(StatusCode::OK, &revoked))
}

fn algorithm_of(name: &str) -> Result<Algorithm, Problem> {
    let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name);
    algorithm.ok_or_else(|| Problem::invalid_field("algorithm", ALGORITHMS))
}

/// A field that means nothing here was meant for something.
fn refuse_others(fields: &Map<String, Value>) -> Result<(), Problem> {
    match fields.keys().next() {
        Some(name) => Err(Problem::invalid_field(name, "is not a field of this request")),
        None => Ok(()),
    }
}
