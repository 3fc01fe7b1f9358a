//! The status lists (draft-ietf-oauth-status-list §8 and §9), which anybody may read.
//!
//! 1. How things stood in the past (§8.4) nobody knows here.
//! 2. There is one form of a list, and it is not sent to those who say that they do not take it.
//! 3. The list, or that the caller has it already. Caches may keep it until this node would make another one: what a list
//!    says of how long it may be kept is counted from when a verifier gets it, and its `exp` is the end in any case.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use grantry_grants::StatusList;
use grantry_protocol::Params;

use crate::WebState;
use crate::respond::{self, Refusal};

const MEDIA_TYPE: &str = "application/statuslist+jwt";

/// `GET /oauth2/status-list`: all lists that are in use.
pub async fn get_all(State(state): State<Arc<WebState>>) -> Result<Response, Refusal> {
    let all = state.grants.status_lists().await?;
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")], Body::from(all)).into_response())
}

/// `GET /oauth2/status-list/{list}`.
pub async fn get(
    State(state): State<Arc<WebState>>,
    Path(list): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // 1.
    if Params::parse(query.unwrap_or_default().as_bytes())?.get("time").is_some() {
        return Err(Refusal::not_implemented("lists of the past are not kept"));
    }
    // 2.
    if !is_taken(&headers) {
        return Err(Refusal::not_acceptable("the list is application/statuslist+jwt"));
    }
    // 3.
    let found = match number(&list) {
        Some(list) => state.grants.status_list(list).await?,
        None => None,
    };
    match found {
        Some(list) => Ok(answer(list, &headers)),
        None => Err(respond::not_found().await),
    }
}

fn answer(list: StatusList, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", list.digest);
    let body = match is_known(headers, &tag) {
        true => None,
        false => Some(list.jwt),
    };
    let mut response = match body {
        Some(jwt) => ([(CONTENT_TYPE, MEDIA_TYPE)], Body::from(jwt)).into_response(),
        None => StatusCode::NOT_MODIFIED.into_response(),
    };
    let cached = format!("public, max-age={}", list.max_age.as_secs());
    for (name, value) in [(ETAG, tag), (CACHE_CONTROL, cached)] {
        response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    }
    response
}

/// As we write it: one list is not to be cached under many names.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// RFC 9110 §13.1.2.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = tags.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// RFC 9110 §12.5.1: of the ranges that fit, the closest one says so. Without any, everything is taken.
fn is_taken(headers: &HeaderMap) -> bool {
    let accepted: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges = accepted.iter().flat_map(|value| value.split(',')).filter(|range| !range.trim().is_empty());
    let mut is_any = false;
    let mut closest = None;
    for range in ranges {
        is_any = true;
        let mut parts = range.split(';').map(str::trim);
        let closeness = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            MEDIA_TYPE => 3,
            "application/*" => 2,
            "*/*" => 1,
            _ => continue,
        };
        let is_refused = parts.any(is_weight_of_nothing);
        closest = closest.max(Some((closeness, !is_refused)));
    }
    closest.map_or(!is_any, |(_, is_taken)| is_taken)
}

/// RFC 9110 §12.4.2.
fn is_weight_of_nothing(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &axum::http::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn who_does_not_take_the_one_form_is_told_so() {
        for (accept, taken) in [
            (&[][..], true),
            (&[""], true),
            (&["application/statuslist+jwt"], true),
            (&["Application/StatusList+JWT; q=0.1"], true),
            (&["application/*"], true),
            (&["text/html, */*;q=0.8"], true),
            (&["text/html", "application/statuslist+jwt"], true),
            (&["application/statuslist+cwt"], false),
            (&["application/json, text/*"], false),
            (&["application/statuslist+jwt;q=0"], false),
            (&["*/*, application/statuslist+jwt; q=0.000"], false),
            (&["*/*;q=0, application/statuslist+jwt"], true),
            (&["application/*;q=0, */*"], false),
        ] {
            assert_eq!(is_taken(&with(&ACCEPT, accept)), taken, "{accept:?}");
        }
    }

    #[test]
    fn a_list_that_the_caller_has_is_not_sent_again() {
        for (known, is_there) in [
            (&["\"abc\""][..], true),
            (&["\"x\", W/\"abc\""], true),
            (&["\"x\"", "\"abc\""], true),
            (&["*"], true),
            (&["\"x\""], false),
            (&["abc"], false),
            (&[], false),
        ] {
            assert_eq!(is_known(&with(&IF_NONE_MATCH, known), "\"abc\""), is_there, "{known:?}");
        }
    }

    #[test]
    fn a_number_is_written_in_one_way() {
        assert_eq!((number("0"), number("18446744073709551615")), (Some(0), Some(u64::MAX)));
        for wrong in ["", "00", "01", "+1", "-1", "1.0", " 1", "18446744073709551616", "x"] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }
}
