//! How a resource server describes itself (RFC 9728).

use bytes::Bytes;
use serde_json::json;
use url::Url;

use crate::StartError;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The document, and where it is served.
#[derive(Debug, Clone)]
pub struct ResourceMetadata {
    url: Url,
    document: Bytes,
}

impl ResourceMetadata {
    /// `resource` is the URL by which clients know this server, and which they name as the audience that they want. Scopes
    /// that are listed are those that a client may need.
    ///
    /// # Errors
    /// A resource that is no http(s) URL without a fragment (RFC 9728 §1.2), or a scope that is none (RFC 6749 §3.3).
    pub fn new(resource: &str, issuer: &str, scopes: &[&str]) -> Result<Self, StartError> {
        let wrong = |problem: String| StartError::Setting { key: "resource", problem };
        let mut url = Url::parse(resource).map_err(|error| wrong(format!("must be a URL ({error})")))?;
        if !matches!(url.scheme(), "https" | "http") || url.fragment().is_some() {
            return Err(wrong("must be an http(s) URL without a fragment (RFC 9728 section 1.2)".to_owned()));
        }
        for scope in scopes {
            grantry_protocol::ScopeSet::parse(scope)
                .map_err(|error| wrong(format!("scope \"{scope}\": {error}")))?;
        }
        let document = json!({
            "resource": resource,
            "authorization_servers": [issuer],
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
        });
        // RFC 9728 §3.1: between the host and the path, of which a single slash is none.
        let path = format!("{WELL_KNOWN}{}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self { url, document: document.to_string().into() })
    }

    /// Where clients find it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The path that it has to be served at.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// JSON; `Content-Type: application/json`.
    pub fn document(&self) -> Bytes {
        self.document.clone()
    }

    /// Serves the document at [`Self::path`], to be merged into the service's own routes. It is for everybody: no token
    /// is asked for.
    #[cfg(feature = "axum")]
    pub fn router(&self) -> axum::Router {
        use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
        let document = self.document();
        let answer = move || async move {
            let headers = [
                (CONTENT_TYPE, "application/json"),
                (CACHE_CONTROL, "public, max-age=300"),
                (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            ];
            (headers, document)
        };
        axum::Router::new().route(self.path(), axum::routing::get(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_between_the_host_and_the_path() {
        let url =
            |resource| ResourceMetadata::new(resource, "https://i.example", &[]).unwrap().url.to_string();
        assert_eq!(url("https://api.example"), "https://api.example/.well-known/oauth-protected-resource");
        assert_eq!(
            url("https://api.example/v1?tenant=a"),
            "https://api.example/.well-known/oauth-protected-resource/v1?tenant=a"
        );
        assert!(ResourceMetadata::new("urn:api", "https://i.example", &[]).is_err());
        assert!(ResourceMetadata::new("https://api.example", "https://i.example", &["a\"b"]).is_err());
    }
}
