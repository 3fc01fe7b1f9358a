//! The request that the proxy asks about, read from what the proxy says of it: never guessed, and nothing twice.

use std::fmt;

use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::path::{Ambiguity, NormalPath};

/// Where nginx and Traefik ask; Envoy puts the path of the original request behind it.
pub const CHECK_PATH: &str = "/check";

/// Headers that some frameworks take the method or the path from, instead of from the request line.
const OVERRIDES: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];
/// What the headers that the gateway itself sets begin with.
pub const IDENTITY_PREFIX: &str = "x-grantry-";
/// RFC 6750 §2.3
const QUERY_TOKEN: &str = "access_token";

/// `gateway.proxy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Proxy {
    Nginx,
    Traefik,
    Envoy,
}

pub struct Original {
    pub method: String,
    pub path: NormalPath,
}

/// Why a request is refused before anybody looks at its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misread {
    /// The proxy did not say it, or said it twice: it is not set up for this gateway.
    Proxy(&'static str),
    Path(Ambiguity),
    /// One of [`OVERRIDES`].
    Override,
    /// `X_Grantry_Subject`: behind CGI and WSGI it is `X-Grantry-Subject`.
    Underscore,
    QueryToken,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(what) => {
                write!(f, "the proxy must say {what}, once; its configuration does not fit gateway.proxy")
            }
            Self::Path(ambiguity) => ambiguity.fmt(f),
            Self::Override => f.write_str("a header asks for another method or path than the request itself"),
            Self::Underscore => f.write_str("a header could be taken for one of the gateway's own"),
            Self::QueryToken => f.write_str("a token must not be in the query"),
        }
    }
}

impl Proxy {
    pub fn original(self, request: &Parts) -> Result<Original, Misread> {
        forgeries(&request.headers)?;
        let (method, uri) = self.said(request)?;
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        // Some upstreams take a semicolon there for an ampersand.
        let query = query.replace(';', "&");
        if url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == QUERY_TOKEN) {
            return Err(Misread::QueryToken);
        }
        Ok(Original { method: method.to_owned(), path: NormalPath::of(path).map_err(Misread::Path)? })
    }

    /// Method, and path with query, as the client sent them.
    pub fn said(self, request: &Parts) -> Result<(&str, &str), Misread> {
        match self {
            Self::Nginx => of_headers(request, ["x-original-method", "x-original-uri"]),
            Self::Traefik => of_headers(request, ["x-forwarded-method", "x-forwarded-uri"]),
            Self::Envoy => {
                let uri = request.uri.path_and_query().map(PathAndQuery::as_str);
                let uri = uri.and_then(|uri| uri.strip_prefix(CHECK_PATH)).filter(|uri| uri.starts_with('/'));
                Ok((request.method.as_str(), uri.ok_or(Misread::Proxy("a path below /check"))?))
            }
        }
    }
}

fn of_headers<'a>(
    request: &'a Parts,
    [method, uri]: [&'static str; 2],
) -> Result<(&'a str, &'a str), Misread> {
    if request.uri.path() != CHECK_PATH {
        return Err(Misread::Proxy("the path /check"));
    }
    let method = only(&request.headers, method)?;
    Method::from_bytes(method.as_bytes()).map_err(|_| Misread::Proxy("a method"))?;
    Ok((method, only(&request.headers, uri)?))
}

fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Misread> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Misread::Proxy(name)) };
    // A path beyond ASCII is the caller's doing, and not the proxy's.
    value.to_str().map_err(|_| Misread::Path(Ambiguity::RawByte))
}

fn forgeries(headers: &HeaderMap) -> Result<(), Misread> {
    for name in headers.keys().map(HeaderName::as_str) {
        if OVERRIDES.contains(&name) {
            return Err(Misread::Override);
        }
        if name.contains('_') && name.replace('_', "-").starts_with(IDENTITY_PREFIX) {
            return Err(Misread::Underscore);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original(
        proxy: Proxy,
        line: (&str, &str),
        headers: &[(&str, &str)],
    ) -> Result<(String, String), Misread> {
        let mut request = axum::http::Request::builder().method(line.0).uri(line.1);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        proxy.original(&parts).map(|original| (original.method, original.path.as_str().to_owned()))
    }

    fn read(method: &str, path: &str) -> Result<(String, String), Misread> {
        Ok((method.to_owned(), path.to_owned()))
    }

    #[test]
    fn each_proxy_says_it_in_its_own_way_and_the_others_ways_do_not_count() {
        let nginx = [("x-original-method", "PUT"), ("x-original-uri", "/a/b?c=/../d")];
        let traefik =
            [("x-forwarded-method", "POST"), ("x-forwarded-uri", "/t"), ("x-forwarded-for", "1.1.1.1")];
        let both = [nginx.as_slice(), traefik.as_slice()].concat();
        assert_eq!(original(Proxy::Nginx, ("GET", "/check"), &both), read("PUT", "/a/b"));
        assert_eq!(original(Proxy::Traefik, ("GET", "/check"), &both), read("POST", "/t"));
        assert_eq!(original(Proxy::Envoy, ("DELETE", "/check/e?x"), &both), read("DELETE", "/e"));
        assert_eq!(
            original(Proxy::Nginx, ("GET", "/check"), &traefik),
            Err(Misread::Proxy("x-original-method"))
        );
        assert_eq!(original(Proxy::Traefik, ("GET", "/check"), &nginx[..1]), {
            Err(Misread::Proxy("x-forwarded-method"))
        });
    }

    #[test]
    fn what_the_proxy_says_twice_or_elsewhere_is_refused() {
        let twice = [("x-original-method", "GET"), ("x-original-uri", "/a"), ("x-original-uri", "/b")];
        let refused = |line, headers: &[(&str, &str)]| original(Proxy::Nginx, line, headers).unwrap_err();
        assert_eq!(refused(("GET", "/check"), &twice), Misread::Proxy("x-original-uri"));
        assert_eq!(refused(("GET", "/"), &twice[..2]), Misread::Proxy("the path /check"));
        assert_eq!(refused(("GET", "/check/"), &twice[..2]), Misread::Proxy("the path /check"));
        let envoy = |uri| original(Proxy::Envoy, ("GET", uri), &[]);
        assert_eq!(envoy("/check"), Err(Misread::Proxy("a path below /check")));
        assert_eq!(envoy("/checked/a"), Err(Misread::Proxy("a path below /check")));
        assert_eq!(envoy("/a"), Err(Misread::Proxy("a path below /check")));
        assert_eq!(envoy("/check//a"), Err(Misread::Path(Ambiguity::EmptySegment)));
        assert_eq!(envoy("/check/../a"), Err(Misread::Path(Ambiguity::DotSegment)));
    }

    #[test]
    fn what_would_make_the_upstream_serve_another_request_is_refused() {
        let asked = |name, value| {
            let headers = [("x-original-method", "GET"), ("x-original-uri", "/a"), (name, value)];
            original(Proxy::Nginx, ("GET", "/check"), &headers)
        };
        assert_eq!(asked("X-HTTP-Method-Override", "DELETE"), Err(Misread::Override));
        assert_eq!(asked("X-Original-URL", "/admin"), Err(Misread::Override));
        assert_eq!(asked("X_Grantry_Subject", "root"), Err(Misread::Underscore));
        assert_eq!(asked("X-Grantry_Subject", "root"), Err(Misread::Underscore));
        // The proxy sets it anew.
        assert_eq!(asked("X-Grantry-Subject", "root"), read("GET", "/a"));
        assert_eq!(asked("X_Request_Id", "1"), read("GET", "/a"));
    }

    #[test]
    fn a_token_in_the_query_is_refused_however_its_name_is_encoded() {
        for uri in [
            "/a?access_token=x",
            "/a?b=c&access%5Ftoken=x",
            "/a?access_token",
            "/a?%61ccess_token=x",
            "/a?b;access_token=x",
        ] {
            let headers = [("x-original-method", "GET"), ("x-original-uri", uri)];
            assert_eq!(
                original(Proxy::Nginx, ("GET", "/check"), &headers),
                Err(Misread::QueryToken),
                "{uri}"
            );
        }
    }
}
