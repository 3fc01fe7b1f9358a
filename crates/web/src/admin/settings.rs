//! `/admin/v1/settings`: what operators change while all nodes run.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use grantry_grants::SettingsState;

use super::problem::Problem;
use super::{authorize, into_object, read_json};
use crate::WebState;
use crate::respond::json_no_store;

type Answer = Result<Response, Problem>;

/// `GET /admin/v1/settings`: what is in force at this node, and where each value comes from.
pub async fn read(State(state): State<Arc<WebState>>, request: Request) -> Answer {
    authorize(&state, request.headers(), request.extensions()).await?;
    Ok(render(&state.grants.settings_get().await?))
}

/// `PATCH /admin/v1/settings`: a merge patch (RFC 7396); `null` gives a key back to the configuration file. With
/// `If-Match` only where the settings are the ones that were read (RFC 9110 §13.1.1).
pub async fn patch(State(state): State<Arc<WebState>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let actor = authorize(&state, &head.headers, &head.extensions).await?;
    let versions = if_match(&head.headers)?;
    let patch = into_object(read_json(&state, &head.headers, body).await?)?;
    Ok(render(&state.grants.settings_update(&patch, versions.as_deref(), &actor).await?))
}

fn render(settings: &SettingsState) -> Response {
    let mut response = json_no_store(StatusCode::OK, &settings.to_json());
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", settings.version)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The versions that the request may change; `None` where any will do. A tag that no answer of ours ever had is one that
/// does not match.
fn if_match(headers: &HeaderMap) -> Result<Option<Vec<u64>>, Problem> {
    let mut versions = Vec::new();
    let mut is_given = false;
    for header in headers.get_all(IF_MATCH) {
        is_given = true;
        let text = header.to_str().map_err(|_| malformed())?;
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            match tag {
                "*" => return Ok(None),
                tag if !is_entity_tag(tag) => return Err(malformed()),
                // Compared as strong ones, so that a weak one never matches.
                tag => versions.extend(tag.trim_matches('"').parse::<u64>().ok()),
            }
        }
    }
    Ok(is_given.then_some(versions))
}

fn is_entity_tag(tag: &str) -> bool {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag);
    opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"')
}

fn malformed() -> Problem {
    Problem::bad_request("If-Match must be the ETag of an earlier answer, in its quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_a_list_of_tags_and_only_strong_ones_match() {
        let table: [(&[&str], Option<&[u64]>); 7] = [
            (&[], None),
            (&["*"], None),
            (&["\"3\""], Some(&[3])),
            (&["\"3\", \"4\"", "\"5\""], Some(&[3, 4, 5])),
            (&["W/\"3\""], Some(&[])),
            (&["\"else\""], Some(&[])),
            (&[""], Some(&[])),
        ];
        for (given, expected) in table {
            let headers = given.iter().map(|value| (IF_MATCH, HeaderValue::from_static(value))).collect();
            assert!(if_match(&headers).is_ok_and(|found| found.as_deref() == expected), "{given:?}");
        }
        for wrong in ["3", "\"", "\"3", "abc"] {
            let headers = [(IF_MATCH, HeaderValue::from_static(wrong))].into_iter().collect();
            assert!(if_match(&headers).is_err(), "{wrong}");
        }
    }
}
