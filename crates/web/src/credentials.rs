//! How a client presents itself: the `Authorization` header or the body, never both (RFC 6749 §2.3).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantry_grants::{Credentials, PresentedMethod};
use grantry_protocol::{OAuthError, Params, Secret};

/// # Errors
/// `invalid_request` for more than one way at once, `invalid_client` for none or for a header that cannot be read.
pub fn presented(headers: &HeaderMap, params: &Params<'_>) -> Result<Credentials, OAuthError> {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let (header, second) = (authorizations.next(), authorizations.next());
    if second.is_some() {
        return Err(OAuthError::invalid_request("there is more than one Authorization header"));
    }
    let (body_id, body_secret) = (params.get("client_id"), params.get("client_secret"));
    let Some(header) = header else { return from_body(body_id, body_secret) };
    if body_secret.is_some() {
        return Err(OAuthError::invalid_request("the client authenticates in two ways at once"));
    }
    let credentials = header.to_str().ok().and_then(from_basic);
    let credentials = credentials.ok_or_else(|| {
        OAuthError::invalid_client(
            "the Authorization header is not \"Basic\" with form-encoded id and secret in base64",
        )
    })?;
    if body_id.is_some_and(|id| id != credentials.client_id) {
        return Err(OAuthError::invalid_request(
            "client_id differs from the one in the Authorization header",
        ));
    }
    Ok(credentials)
}

fn from_body(id: Option<&str>, secret: Option<&str>) -> Result<Credentials, OAuthError> {
    let id = id.ok_or_else(|| OAuthError::invalid_client("the request has no client authentication"))?;
    let method = if secret.is_some() { PresentedMethod::Post } else { PresentedMethod::None };
    Ok(Credentials { client_id: id.to_owned(), secret: secret.map(Secret::new), method })
}

/// RFC 7617, with id and secret form-encoded before (RFC 6749 §2.3.1).
fn from_basic(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some(Credentials {
        client_id: form_decode(id),
        secret: Some(Secret::new(form_decode(secret))),
        method: PresentedMethod::Basic,
    })
}

/// `&` and `=` cannot occur in what was form-encoded; clients that do not encode may still send them.
fn form_decode(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &str) -> Option<(String, String)> {
        let credentials = from_basic(&format!("Basic {}", STANDARD.encode(pair)))?;
        let secret = credentials.secret?.expose().to_owned();
        Some((credentials.client_id, secret))
    }

    #[test]
    fn basic_credentials_are_form_decoded() {
        assert_eq!(basic("id:secret"), Some(("id".into(), "secret".into())));
        assert_eq!(basic("i%3Ad:s%20e+c%25"), Some(("i:d".into(), "s e c%".into())));
        assert_eq!(basic("id:with:colon"), Some(("id".into(), "with:colon".into())));
        assert_eq!(basic("id:a&b=c%41"), Some(("id".into(), "a&b=cA".into())));
        assert_eq!(basic("no colon"), None);
    }

    #[test]
    fn another_scheme_or_broken_base64_is_not_read() {
        assert!(from_basic("Bearer abc").is_none());
        assert!(from_basic("Basic").is_none());
        assert!(from_basic("Basic !!!").is_none());
        assert!(from_basic("basic aWQ6c2VjcmV0").is_some());
    }
}
