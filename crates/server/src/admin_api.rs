//! The server as its command line sees it: the token endpoint and the admin API over HTTP.

use std::time::Duration;

use grantry_protocol::{ClientId, Secret, Subject};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::{Map, Value, json};
use url::form_urlencoded::byte_serialize;

use crate::addresses::Endpoint;
use crate::config::Server;
use crate::failure::Failure;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Of what a subject has; the server gives no more at once.
const LARGEST_PAGE: usize = 200;

/// An id, its secret, and where they come from, for when they are refused.
pub struct Basic {
    pub client_id: String,
    pub secret: Secret,
    pub source: String,
}

pub struct Token {
    pub access_token: Secret,
    /// The whole answer.
    pub json: Value,
}

/// Makes requests and puts what goes wrong into words.
pub struct Http {
    /// PEM; trusted besides what the system trusts, so that a self-made certificate of our own server will do.
    own_certificate: Option<Vec<u8>>,
}

impl Http {
    pub fn new(server: &Server) -> Result<Self, Failure> {
        let read = |path| std::fs::read(path).map_err(|error| Failure::of_file(path, "read", &error));
        Ok(Self { own_certificate: server.tls_cert.as_deref().map(read).transpose()? })
    }

    fn client(&self, endpoint: &Endpoint) -> Result<Client, Failure> {
        let refused = |error: reqwest::Error| Failure::new(format!("HTTP cannot be set up: {error}"));
        let mut builder =
            Client::builder().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none());
        if endpoint.url.starts_with("https:") {
            let pem = self.own_certificate.as_deref().unwrap_or_default();
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem).map_err(refused)?);
        } else {
            // The system's certificates are not needed then, and a small container may have none.
            builder = builder.tls_certs_only([]);
        }
        if let (Some(host), Some(address)) = (endpoint.host(), endpoint.connect_to) {
            builder = builder.resolve(&host, address);
        }
        builder.build().map_err(refused)
    }

    /// The client credentials grant.
    pub async fn token(
        &self,
        server: &Endpoint,
        credentials: &Basic,
        scope: Option<&str>,
        resources: &[String],
    ) -> Result<Token, Failure> {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(scope.map(|scope| ("scope", scope)));
        form.extend(resources.iter().map(|resource| ("resource", resource.as_str())));
        // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let request = self
            .client(server)?
            .post(format!("{}/oauth2/token", server.url))
            .basic_auth(encoded(&credentials.client_id), Some(encoded(credentials.secret.expose())))
            .form(&form);
        let response = send(request, &server.url).await?;
        let status = response.status();
        let json: Value = response.json().await.map_err(|_| strange(&server.url, status))?;
        match json["access_token"].as_str() {
            Some(token) if status.is_success() => Ok(Token { access_token: Secret::new(token), json }),
            _ => Err(refusal(&server.url, credentials, status, &json)),
        }
    }
}

fn refusal(url: &str, credentials: &Basic, status: StatusCode, json: &Value) -> Failure {
    let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
    let (code, description) = (text("error"), text("error_description"));
    let who = format!("the client {} (from {})", credentials.client_id, credentials.source);
    Failure::new(match code.as_str() {
        "" => return strange(url, status),
        "invalid_client" => format!("{url} does not accept {who}: {description}"),
        "invalid_scope" => format!("{who} may not have this scope: {description}"),
        _ => format!("{url} gives {who} no token: {code}: {description}"),
    })
}

/// The admin API, with a token for it.
pub struct AdminApi {
    http: Client,
    base: Url,
    token: Secret,
}

impl AdminApi {
    pub fn new(http: &Http, admin: &Endpoint, token: Secret) -> Result<Self, Failure> {
        let refused = |error| Failure::new(format!("{} is not a URL: {error}", admin.url));
        let base = Url::parse(&format!("{}/admin/v1/", admin.url)).map_err(refused)?;
        Ok(Self { http: http.client(admin)?, base, token })
    }

    pub async fn client_list(&self, page: usize) -> Result<Vec<Value>, Failure> {
        let mut clients = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut url = self.url(&["clients"]);
            url.query_pairs_mut().append_pair("limit", &page.to_string());
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let mut answer = self.call(Method::GET, url, None).await?;
            match answer["clients"].take() {
                Value::Array(listed) => clients.extend(listed),
                _ => return Err(strange(self.base.as_str(), StatusCode::OK)),
            }
            cursor = answer["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(clients);
            }
        }
    }

    pub async fn client_get(&self, id: &ClientId) -> Result<Value, Failure> {
        self.call(Method::GET, self.url(&["clients", id.as_str()]), None).await
    }

    pub async fn client_create(
        &self,
        id: Option<&ClientId>,
        mut fields: Map<String, Value>,
    ) -> Result<Value, Failure> {
        if let Some(id) = id {
            fields.insert("client_id".to_owned(), id.as_str().into());
        }
        self.call(Method::POST, self.url(&["clients"]), Some(fields.into())).await
    }

    pub async fn client_update(&self, id: &ClientId, patch: Map<String, Value>) -> Result<Value, Failure> {
        self.call(Method::PATCH, self.url(&["clients", id.as_str()]), Some(patch.into())).await
    }

    pub async fn client_rotate_secret(&self, id: &ClientId) -> Result<Value, Failure> {
        self.call(Method::POST, self.url(&["clients", id.as_str(), "secret"]), None).await
    }

    pub async fn client_delete(&self, id: &ClientId) -> Result<(), Failure> {
        self.call(Method::DELETE, self.url(&["clients", id.as_str()]), None).await.map(drop)
    }

    pub async fn key_list(&self) -> Result<Vec<Value>, Failure> {
        match self.call(Method::GET, self.url(&["keys"]), None).await?["keys"].take() {
            Value::Array(keys) => Ok(keys),
            _ => Err(strange(self.base.as_str(), StatusCode::OK)),
        }
    }

    pub async fn key_create(&self, fields: Map<String, Value>) -> Result<Value, Failure> {
        self.call(Method::POST, self.url(&["keys"]), Some(fields.into())).await
    }

    pub async fn key_revoke(&self, purpose: &str, version: u8, confirmed: bool) -> Result<Value, Failure> {
        let url = self.url(&["keys", purpose, &version.to_string(), "revoke"]);
        self.call(Method::POST, url, Some(json!({ "confirm": confirmed }))).await
    }

    pub async fn token_inspect(&self, token: &str) -> Result<Value, Failure> {
        self.call(Method::POST, self.url(&["tokens", "inspect"]), Some(json!({ "token": token }))).await
    }

    /// At most `limit` grants and as many tokens of a subject, and whether there are more.
    pub async fn token_list(&self, subject: &Subject, limit: usize) -> Result<Value, Failure> {
        let (mut grants, mut tokens) = (Vec::new(), Vec::new());
        let mut after: Option<String> = None;
        loop {
            let mut url = self.url(&["tokens"]);
            let left = (limit - grants.len().min(tokens.len())).min(LARGEST_PAGE);
            url.query_pairs_mut()
                .append_pair("subject", subject.as_str())
                .append_pair("limit", &left.to_string());
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let mut answer = self.call(Method::GET, url, None).await?;
            for (name, listed) in [("grants", &mut grants), ("tokens", &mut tokens)] {
                match answer[name].take() {
                    Value::Array(more) => listed.extend(more),
                    _ => return Err(strange(self.base.as_str(), StatusCode::OK)),
                }
            }
            after = answer["next_after"].as_str().map(str::to_owned);
            let full = grants.len() >= limit || tokens.len() >= limit;
            if after.is_none() || full {
                let more = after.is_some() || grants.len() > limit || tokens.len() > limit;
                grants.truncate(limit);
                tokens.truncate(limit);
                return Ok(json!({ "grants": grants, "tokens": tokens, "more": more }));
            }
        }
    }

    pub async fn cluster(&self) -> Result<Value, Failure> {
        self.call(Method::GET, self.url(&["cluster"]), None).await
    }

    pub async fn settings_get(&self) -> Result<Value, Failure> {
        self.call(Method::GET, self.url(&["settings"]), None).await
    }

    pub async fn settings_update(&self, patch: Map<String, Value>) -> Result<Value, Failure> {
        self.call(Method::PATCH, self.url(&["settings"]), Some(patch.into())).await
    }

    pub async fn persistence_redrive(&self) -> Result<Value, Failure> {
        self.call(Method::POST, self.url(&["persistence", "redrive"]), None).await
    }

    /// `target` as `POST /admin/v1/revocations` takes it.
    pub async fn revocation_create(&self, target: Value) -> Result<Value, Failure> {
        self.call(Method::POST, self.url(&["revocations"]), Some(target)).await
    }

    /// Escapes what an id may have and a path may not.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// `null` where the answer has no body.
    async fn call(&self, method: Method, url: Url, body: Option<Value>) -> Result<Value, Failure> {
        let mut request = self.http.request(method, url).bearer_auth(self.token.expose());
        if let Some(body) = &body {
            request = request.json(body);
        }
        let base = self.base.as_str();
        let response = send(request, base).await?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let json: Value = response.json().await.map_err(|_| strange(base, status))?;
        if status.is_success() {
            return Ok(json);
        }
        let detail = json["detail"].as_str().ok_or_else(|| strange(base, status))?;
        Err(Failure::new(match json["field"].as_str() {
            Some(field) => format!("the server refuses: {field}: {detail}"),
            None => format!("the server refuses: {detail}"),
        }))
    }
}

async fn send(request: RequestBuilder, url: &str) -> Result<Response, Failure> {
    request.send().await.map_err(|error| {
        let why = root_cause(&error);
        Failure::new(if error.is_connect() {
            format!(
                "nothing answers at {url} ({why}). Is the server running (grantry serve)? If it is elsewhere, give \
                 --admin-url and --server-url; with --offline most commands work on the store itself"
            )
        } else if error.is_timeout() {
            format!("{url} did not answer within {ANSWER_WITHIN:?}; its log may say why")
        } else {
            format!("{url} cannot be asked: {why}")
        })
    })
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn strange(url: &str, status: StatusCode) -> Failure {
    Failure::new(format!("what answers at {url} is not Grantry, or not this version of it ({status})"))
}
