//! `/admin/v1/clients`: RFC 7591's names and Grantry's own.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use grantry_grants::NewClient;
use grantry_jose::{base64url, from_base64url};
use grantry_protocol::{Client, ClientId, ClientMetadata, Secret};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::{authorize, into_object, read_json, take_text};
use crate::WebState;
use crate::respond::json_no_store;

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 200;

type Answer = Result<Response, Problem>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET /admin/v1/clients?cursor=&limit=`, in the order of ids.
pub async fn list(State(state): State<Arc<WebState>>, request: Request) -> Answer {
    let (head, _) = request.into_parts();
    authorize(&state, &head.headers, &head.extensions).await?;
    let Query(page) = Query::<Page>::try_from_uri(&head.uri).map_err(|_| {
        Problem::bad_request("the query may have a cursor from an earlier answer and a limit, a number")
    })?;
    let limit = page.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::invalid_field("limit", format!("must be from 1 to {LARGEST_PAGE}")));
    }
    let after = page.cursor.map(|cursor| read_cursor(&cursor)).transpose()?;
    // One more than asked for tells whether there is a next page.
    let mut clients = state.grants.client_list(after.as_ref(), limit + 1).await?;
    let has_more = clients.len() > limit;
    clients.truncate(limit);
    let next_cursor = clients.last().filter(|_| has_more).map(|last| base64url(last.id.as_str()));
    let clients: Vec<Value> = clients.iter().map(|client| client.to_json(None)).collect();
    Ok(json_no_store(StatusCode::OK, &json!({ "clients": clients, "next_cursor": next_cursor })))
}

/// `POST /admin/v1/clients`. What is not given (`client_id`, `client_secret`) is made; the answer is the only one that
/// has the secret.
pub async fn create(State(state): State<Arc<WebState>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let actor = authorize(&state, &head.headers, &head.extensions).await?;
    let mut fields = into_object(read_json(&state, &head.headers, body).await?)?;
    let id = take_text(&mut fields, "client_id")?;
    let id = id
        .map(|id| {
            id.parse::<ClientId>().map_err(|error| Problem::invalid_field("client_id", error.to_string()))
        })
        .transpose()?;
    let secret = take_text(&mut fields, "client_secret")?.map(Secret::new);
    let metadata = ClientMetadata::from_fields(fields)?;
    let created = state.grants.client_create(NewClient { id, secret, metadata }, &actor).await?;
    let mut response = json_no_store(StatusCode::CREATED, &created.to_json());
    let path = format!("/admin/v1/clients/{}", path_segment(created.client.id.as_str()));
    if let Ok(location) = HeaderValue::try_from(path) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// `GET /admin/v1/clients/{client_id}`
pub async fn read(State(state): State<Arc<WebState>>, Path(id): Path<String>, request: Request) -> Answer {
    authorize(&state, request.headers(), request.extensions()).await?;
    let client = state.grants.client_get(&existing_id(&id)?).await?;
    Ok(json_no_store(StatusCode::OK, &client.to_json(None)))
}

/// `PUT /admin/v1/clients/{client_id}`: the whole metadata; what is left out gets its default.
pub async fn replace(State(state): State<Arc<WebState>>, Path(id): Path<String>, request: Request) -> Answer {
    update(&state, &id, request, |_, fields| fields.clone()).await
}

/// `PATCH /admin/v1/clients/{client_id}`: a merge patch (RFC 7396).
pub async fn patch(State(state): State<Arc<WebState>>, Path(id): Path<String>, request: Request) -> Answer {
    update(&state, &id, request, ClientMetadata::patched).await
}

/// `DELETE /admin/v1/clients/{client_id}`: the client and every token that it has.
pub async fn delete(State(state): State<Arc<WebState>>, Path(id): Path<String>, request: Request) -> Answer {
    let actor = authorize(&state, request.headers(), request.extensions()).await?;
    state.grants.client_delete(&existing_id(&id)?, &actor).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /admin/v1/clients/{client_id}/secret`: a new secret; the old one ends at once.
pub async fn rotate_secret(
    State(state): State<Arc<WebState>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let actor = authorize(&state, request.headers(), request.extensions()).await?;
    let rotated = state.grants.client_rotate_secret(&existing_id(&id)?, &actor).await?;
    Ok(json_no_store(StatusCode::OK, &rotated.to_json()))
}

async fn update(
    state: &WebState,
    id: &str,
    request: Request,
    combine: impl Fn(&ClientMetadata, &Map<String, Value>) -> Map<String, Value>,
) -> Answer {
    let (head, body) = request.into_parts();
    let actor = authorize(state, &head.headers, &head.extensions).await?;
    let mut fields = into_object(read_json(state, &head.headers, body).await?)?;
    let id = existing_id(id)?;
    if take_text(&mut fields, "client_id")?.is_some_and(|given| given != id.as_str()) {
        return Err(Problem::invalid_field("client_id", "cannot be changed"));
    }
    if fields.contains_key("client_secret") {
        return Err(Problem::invalid_field(
            "client_secret",
            "cannot be set here; POST to the client's /secret for a new one",
        ));
    }
    // What an answer of ours carries may come back as it is.
    for read_only in Client::READ_ONLY_FIELDS {
        fields.remove(*read_only);
    }
    let change = |current: &ClientMetadata| ClientMetadata::from_fields(combine(current, &fields));
    let updated = state.grants.client_update(&id, &actor, change).await?;
    Ok(json_no_store(StatusCode::OK, &updated.to_json()))
}

/// An id that cannot be one is not found, like any other that is not there.
fn existing_id(text: &str) -> Result<ClientId, Problem> {
    text.parse().map_err(|_| Problem::not_found("there is no client with this id"))
}

fn read_cursor(cursor: &str) -> Result<ClientId, Problem> {
    let id =
        from_base64url(cursor).and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|id| id.parse().ok());
    id.ok_or_else(|| Problem::invalid_field("cursor", "must be the next_cursor of an earlier answer"))
}

fn path_segment(id: &str) -> String {
    let mut segment = String::new();
    for byte in id.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(char::from(byte));
            }
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}
