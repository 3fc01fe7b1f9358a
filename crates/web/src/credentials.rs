//! How a client presents itself: by one of the `Authorization` header, a secret in the body, or an assertion in the body
//! (RFC 6749 §2.3, RFC 7521 §4.2), never by two.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantry_grants::{Credentials, Proof};
use grantry_protocol::{OAuthError, Params, Secret};

/// The only kind of assertion (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const TWO_WAYS: &str = "the client authenticates in two ways at once";

/// # Errors
/// `invalid_request` for more than one way at once or half of one, `invalid_client` for none or for one that cannot be
/// read.
pub fn presented(headers: &HeaderMap, params: &Params<'_>) -> Result<Credentials, OAuthError> {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let (header, second) = (authorizations.next(), authorizations.next());
    if second.is_some() {
        return Err(OAuthError::invalid_request("there is more than one Authorization header"));
    }
    let (body_id, body_secret) = (params.get("client_id"), params.get("client_secret"));
    if let Some(assertion) = assertion(params)? {
        if header.is_some() || body_secret.is_some() {
            return Err(OAuthError::invalid_request(TWO_WAYS));
        }
        return Credentials::from_assertion(assertion, body_id);
    }
    let Some(header) = header else { return from_body(body_id, body_secret) };
    if body_secret.is_some() {
        return Err(OAuthError::invalid_request(TWO_WAYS));
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

/// RFC 7521 §4.2: the assertion and its type, or neither.
fn assertion(params: &Params<'_>) -> Result<Option<Secret>, OAuthError> {
    let kind = params.get("client_assertion_type");
    let assertion = params.get("client_assertion");
    match (kind, assertion) {
        (None, None) => Ok(None),
        (Some(kind), _) if kind != JWT_BEARER => {
            Err(OAuthError::invalid_request(format!("client_assertion_type is not {JWT_BEARER}")))
        }
        (Some(_), Some(assertion)) => Ok(Some(Secret::new(assertion))),
        (Some(_), None) => Err(OAuthError::invalid_request("client_assertion_type without client_assertion")),
        (None, Some(_)) => Err(OAuthError::invalid_request("client_assertion without client_assertion_type")),
    }
}

fn from_body(id: Option<&str>, secret: Option<&str>) -> Result<Credentials, OAuthError> {
    let id = id.ok_or_else(|| OAuthError::invalid_client("the request has no client authentication"))?;
    let proof = secret.map_or(Proof::None, |secret| Proof::Post(Secret::new(secret)));
    Ok(Credentials { client_id: id.to_owned(), proof })
}

/// RFC 7617, with id and secret form-encoded before (RFC 6749 §2.3.1).
fn from_basic(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let proof = Proof::Basic(Secret::new(form_decode(secret)));
    Some(Credentials { client_id: form_decode(id), proof })
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
        let Proof::Basic(secret) = credentials.proof else { return None };
        Some((credentials.client_id, secret.expose().to_owned()))
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
