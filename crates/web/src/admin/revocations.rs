//! `/admin/v1/revocations`: ending tokens, and the log of everything that was ended.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use grantry_grants::{Confirmation, NodeId, RevocationOutcome, RevocationTarget, node_text};
use grantry_protocol::{GrantId, LogEntry, LogKind, Position, SessionId, TokenId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::{authorize, read_json};
use crate::WebState;
use crate::respond::json_no_store;

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;
const FIELDS: [&str; 6] = ["token", "token_id", "grant_id", "session_id", "client_id", "subject"];
const EXPECTED: &str = "the body must have exactly one of token, token_id, grant_id, session_id, client_id, subject or \
                        \"all\": true";

/// `POST /admin/v1/revocations`. 201 with the position in the log once it is committed, 200 for a token or a grant that
/// was over. With `wait=all` the answer waits until every live node has applied it, or until none relies on knowing less.
pub async fn create(State(state): State<Arc<WebState>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let actor = authorize(&state, &head.headers, &head.extensions).await?;
    let Query(Wait { wait }) = Query::<Wait>::try_from_uri(&head.uri)
        .map_err(|_| Problem::bad_request("the query may have wait=all and nothing else"))?;
    let target = read_target(&state, &read_json(&state, &head.headers, body).await?)?;
    match state.grants.revocation_create(target, &actor).await? {
        RevocationOutcome::Revoked(position) => {
            let confirmation = match wait {
                Some(WaitFor::All) => state.grants.revocation_wait(position).await?,
                None => None,
            };
            let body = confirmation
                .map_or_else(|| json!({ "position": position }), |found| confirmation_json(&found));
            Ok(json_no_store(StatusCode::CREATED, &body))
        }
        RevocationOutcome::AlreadyOver => Ok(json_no_store(StatusCode::OK, &json!({ "already_over": true }))),
        RevocationOutcome::Unknown => {
            Err(Problem::not_found("there is no such token or grant, and by its id none that is valid"))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    wait: Option<WaitFor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WaitFor {
    All,
}

/// `GET /admin/v1/revocations/{position}`: which live nodes have applied the entry.
pub async fn read(
    State(state): State<Arc<WebState>>,
    Path(position): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    authorize(&state, request.headers(), request.extensions()).await?;
    let position =
        position.parse().map(Position).map_err(|_| Problem::bad_request("a position is a whole number"))?;
    match state.grants.revocation_confirmation(position).await? {
        Some(found) => Ok(json_no_store(StatusCode::OK, &confirmation_json(&found))),
        None => Err(Problem::not_found("the revocation log has no entry at this position yet")),
    }
}

fn confirmation_json(found: &Confirmation) -> Value {
    let ids = |nodes: &[NodeId]| nodes.iter().copied().map(node_text).collect::<Vec<_>>();
    json!({
        "position": found.position,
        "confirmed": found.is_complete(),
        "confirmed_by": ids(&found.by),
        "missing": ids(&found.missing),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<u64>,
    limit: Option<usize>,
}

/// `GET /admin/v1/revocations?after=&limit=`: the entries after a position, and where the log ends.
pub async fn list(State(state): State<Arc<WebState>>, request: Request) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    authorize(&state, &head.headers, &head.extensions).await?;
    let Query(page) = Query::<Page>::try_from_uri(&head.uri)
        .map_err(|_| Problem::bad_request("the query may have after, a position, and limit, a number"))?;
    let limit = page.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::invalid_field("limit", format!("must be from 1 to {LARGEST_PAGE}")));
    }
    let (head, entries) = state.grants.revocation_list(Position(page.after.unwrap_or(0)), limit).await?;
    let entries: Vec<Value> = entries.iter().map(entry_json).collect();
    let body = json!({ "epoch": head.epoch, "position": head.position, "entries": entries });
    Ok(json_no_store(StatusCode::OK, &body))
}

fn read_target(state: &WebState, body: &Value) -> Result<RevocationTarget, Problem> {
    let fields = body.as_object().filter(|fields| fields.len() == 1);
    let only = fields.and_then(|fields: &Map<String, Value>| fields.iter().next());
    let (name, value) = only.ok_or_else(|| Problem::bad_request(EXPECTED))?;
    if name == "all" {
        let all = value.as_bool().filter(|all| *all).map(|_| RevocationTarget::All);
        return all.ok_or_else(|| Problem::invalid_field("all", "must be true"));
    }
    let field = FIELDS.into_iter().find(|field| field == name);
    let field = field.ok_or_else(|| Problem::bad_request(EXPECTED))?;
    let text = value.as_str().ok_or_else(|| Problem::invalid_field(field, "must be a string"))?;
    let invalid = |error: grantry_protocol::InvalidId| Problem::invalid_field(field, error.to_string());
    let no_uuid = |what: &'static str| Problem::invalid_field(field, what);
    match field {
        // An access token ends alone, a refresh token with its grant (RFC 7009 §2.1).
        "token" => state
            .grants
            .revocation_target(text)
            .ok_or_else(|| Problem::invalid_field(field, "was not made with the keys of this deployment")),
        "token_id" => text
            .parse()
            .map(RevocationTarget::Token)
            .map_err(|_| no_uuid("must be a UUID, the jti of the token")),
        "grant_id" => text
            .parse()
            .map(RevocationTarget::Grant)
            .map_err(|_| no_uuid("must be a UUID, the id of a grant")),
        "session_id" => text
            .parse()
            .map(RevocationTarget::Session)
            .map_err(|_| no_uuid("must be a UUID, the id of a session")),
        "client_id" => text.parse().map(RevocationTarget::Client).map_err(invalid),
        _ => text.parse().map(RevocationTarget::Subject).map_err(invalid),
    }
}

fn entry_json(entry: &LogEntry) -> Value {
    json!({
        "position": entry.position,
        "kind": entry.kind,
        "key": readable_key(entry),
        "keep_until": entry.keep_until.as_secs(),
    })
}

/// A token, a grant and a session by their ids, a client and a subject by their names, a slot by its hash.
fn readable_key(entry: &LogEntry) -> String {
    let id = entry.key.as_slice().try_into().ok();
    let readable = match entry.kind {
        LogKind::Token => id.map(|id| TokenId::from_bytes(id).to_string()),
        LogKind::Grant => id.map(|id| GrantId::from_bytes(id).to_string()),
        LogKind::Session => id.map(|id| SessionId::from_bytes(id).to_string()),
        LogKind::Slot => None,
        LogKind::Client
        | LogKind::Subject
        | LogKind::All
        | LogKind::ClientChanged
        | LogKind::SettingsChanged => Some(String::from_utf8_lossy(&entry.key).into_owned()),
    };
    readable.unwrap_or_else(|| as_hex(&entry.key))
}

fn as_hex(key: &[u8]) -> String {
    key.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
