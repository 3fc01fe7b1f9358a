//! `/admin/v1/tokens`: what a subject has, and what a token is.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use grantry_grants::{SubjectCursor, SubjectTokens};
use grantry_jose::{base64url, from_base64url};
use grantry_protocol::{
    AccessTokenFormat, GrantId, GrantState, Subject, SubjectKind, Timestamp, TokenId, TokenState,
};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::{authorize, read_json};
use crate::WebState;
use crate::respond::json_no_store;

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    subject: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Times are seconds since the epoch.
#[derive(Serialize)]
struct GrantBody<'a> {
    id: String,
    client_id: &'a str,
    subject: &'a str,
    subject_kind: SubjectKind,
    scope: &'a str,
    audience: &'a [String],
    state: GrantState,
    created_at: i64,
    /// The absolute end.
    expires_at: i64,
    /// The end if nobody refreshes.
    idle_expires_at: i64,
    /// How often it was rotated, and when last.
    counter: u32,
    rotated_at: i64,
    /// When it was revoked by itself; a rule that ends it stands in the list of revocations.
    ended_at: Option<i64>,
    session_id: Option<String>,
}

/// Times are seconds since the epoch.
#[derive(Serialize)]
struct TokenBody<'a> {
    id: String,
    client_id: &'a str,
    subject: &'a str,
    subject_kind: SubjectKind,
    scope: &'a str,
    audience: &'a [String],
    format: AccessTokenFormat,
    state: TokenState,
    issued_at: i64,
    expires_at: i64,
    grant_id: Option<String>,
    session_id: Option<String>,
}

#[derive(Serialize)]
struct ListBody<'a> {
    grants: Vec<GrantBody<'a>>,
    tokens: Vec<TokenBody<'a>>,
    /// `after` of the next page; null on the last one.
    next_after: Option<String>,
}

/// `GET /admin/v1/tokens?subject=&after=&limit=`: the grants and the access tokens of a subject, users and clients of
/// that name alike, newest first. A page has at most `limit` of each; it may have none and a next one, since a bounded
/// number of tokens is looked at for it.
pub async fn list(State(state): State<Arc<WebState>>, request: Request) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    authorize(&state, &head.headers, &head.extensions).await?;
    let Query(page) = Query::<Page>::try_from_uri(&head.uri).map_err(|_| {
        Problem::bad_request(
            "the query must have a subject, and may have after, from an earlier answer, and limit, a number",
        )
    })?;
    let subject = page.subject.ok_or_else(|| Problem::invalid_field("subject", "must be there"))?;
    let subject: Subject = subject
        .parse()
        .map_err(|error: grantry_protocol::InvalidId| Problem::invalid_field("subject", error.to_string()))?;
    let limit = page.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::invalid_field("limit", format!("must be from 1 to {LARGEST_PAGE}")));
    }
    let from = page.after.map_or(Ok(SubjectCursor::START), |after| read_cursor(&after))?;
    let found = state.grants.subject_tokens(&subject, from, limit).await?;
    let next_after = found.next.map(write_cursor);
    Ok(render(&found, next_after))
}

fn write_cursor(cursor: SubjectCursor) -> String {
    base64url([cursor.grant.as_bytes().as_slice(), cursor.token.as_bytes()].concat())
}

fn read_cursor(text: &str) -> Result<SubjectCursor, Problem> {
    let bytes = from_base64url(text);
    let cursor = bytes.as_deref().and_then(|bytes| {
        let (grant, token) = bytes.split_at_checked(GrantId::LEN)?;
        let (grant, token) = (grant.try_into().ok()?, token.try_into().ok()?);
        Some(SubjectCursor { grant: GrantId::from_bytes(grant), token: TokenId::from_bytes(token) })
    });
    cursor.ok_or_else(|| Problem::invalid_field("after", "must be the next_after of an earlier answer"))
}

fn render(found: &SubjectTokens, next_after: Option<String>) -> Response {
    let grants = found.grants.iter().map(|stored| {
        let grant = &stored.grant;
        GrantBody {
            id: grant.id.to_string(),
            client_id: grant.client_id.as_str(),
            subject: grant.subject.as_str(),
            subject_kind: grant.subject_kind,
            scope: grant.scope.as_str(),
            audience: grant.audience.names(),
            state: stored.state(found.at),
            created_at: grant.created_at.as_secs(),
            expires_at: grant.expires_at.as_secs(),
            idle_expires_at: grant.idle_expires_at.as_secs(),
            counter: grant.counter,
            rotated_at: grant.rotated_at.as_secs(),
            ended_at: stored.ended_at.map(Timestamp::as_secs),
            session_id: grant.session.map(|id| id.to_string()),
        }
    });
    let tokens = found.tokens.iter().map(|stored| {
        let token = &stored.token;
        TokenBody {
            id: token.id.to_string(),
            client_id: token.client_id.as_str(),
            subject: token.subject.as_str(),
            subject_kind: token.subject_kind,
            scope: token.scope.as_str(),
            audience: token.audience.names(),
            format: token.format,
            state: stored.state(found.at),
            issued_at: token.issued_at.as_secs(),
            expires_at: token.expires_at.as_secs(),
            grant_id: token.authority.grant.map(|id| id.to_string()),
            session_id: token.authority.session.map(|id| id.to_string()),
        }
    });
    let body = ListBody { grants: grants.collect(), tokens: tokens.collect(), next_after };
    json_no_store(StatusCode::OK, &body)
}

/// `POST /admin/v1/tokens/inspect` with `{"token": "..."}`: what it is, where it lives, why it is not active. A POST,
/// so that the token does not stand in a log of addresses.
pub async fn inspect(State(state): State<Arc<WebState>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    authorize(&state, &head.headers, &head.extensions).await?;
    let body = read_json(&state, &head.headers, body).await?;
    let token = body.get("token").and_then(|token| token.as_str());
    let token = token.ok_or_else(|| Problem::invalid_field("token", "must be there, as a string"))?;
    let inspection = state.grants.inspect(token).await?;
    Ok(json_no_store(StatusCode::OK, &inspection))
}
