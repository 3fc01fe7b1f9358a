//! A running server and what its clients ask it.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::process::Process;
use crate::wait;

pub struct TestServer {
    pub process: Process,
    /// Of the public listener, without a slash at the end.
    pub url: String,
    pub admin_url: String,
    pub http: Client,
}

pub type Credentials = (String, String);

impl TestServer {
    /// Waits until the server can issue tokens.
    pub async fn ready(process: Process) -> Self {
        Self::ready_for(process, client()).await
    }

    pub async fn ready_for(process: Process, http: Client) -> Self {
        let server = Self::reachable(process, http).await;
        server.wait_for_readiness(StatusCode::OK).await;
        server
    }

    /// Waits until the server has said where it listens; it may or may not be ready.
    pub async fn reachable(mut process: Process, http: Client) -> Self {
        let banner = wait::until("the server says where it listens", async || {
            let out = process.out();
            if out.contains("\n  settings") {
                return Some(out);
            }
            let ended = process.ended();
            assert!(ended.is_none(), "the server ended ({ended:?}) instead of starting: {}", process.err());
            None
        })
        .await;
        let address = |name: &str| {
            let line = banner.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        let (url, admin_url) = (address("public"), address("admin"));
        Self { process, url, admin_url, http }
    }

    /// Asks the admin listener, so that the tests know every connection to the public one.
    pub async fn wait_for_readiness(&self, wanted: StatusCode) {
        wait::until(format_args!("/readyz answers {wanted}"), async || {
            let status = self.http.get(format!("{}/readyz", self.admin_url)).send().await.ok()?.status();
            (status == wanted).then_some(())
        })
        .await;
    }

    pub fn post(&self, path: &str, credentials: &Credentials, form: &[(&str, &str)]) -> RequestBuilder {
        let (id, secret) = credentials;
        self.http.post(format!("{}{path}", self.url)).basic_auth(id, Some(secret)).form(form)
    }

    /// The answer of the token endpoint to client credentials, with some parameters besides.
    pub async fn token_answer(&self, credentials: &Credentials, more: &[(&str, &str)]) -> Response {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend_from_slice(more);
        self.post("/oauth2/token", credentials, &form).send().await.unwrap()
    }

    pub async fn token(&self, credentials: &Credentials, more: &[(&str, &str)]) -> String {
        let answer = self.token_answer(credentials, more).await;
        let (status, json) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{json}");
        json["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn introspect(&self, credentials: &Credentials, token: &str) -> Value {
        let answer = self.post("/oauth2/introspect", credentials, &[("token", token)]).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    pub async fn is_active(&self, credentials: &Credentials, token: &str) -> bool {
        self.introspect(credentials, token).await["active"] == true
    }

    /// Registers a client and gives its credentials.
    pub async fn create_client(&self, administrator: &Credentials, metadata: Value) -> Credentials {
        let json = self.register(administrator, metadata).await;
        let text = |field: &str| json[field].as_str().unwrap().to_owned();
        (text("client_id"), text("client_secret"))
    }

    /// Registers a client and gives what the admin API says of it.
    pub async fn register(&self, administrator: &Credentials, metadata: Value) -> Value {
        let bearer = self.token(administrator, &[("scope", "grantry:admin")]).await;
        let request = self.http.post(format!("{}/admin/v1/clients", self.admin_url)).bearer_auth(bearer);
        let answer = request.json(&metadata).send().await.unwrap();
        let (status, json) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 201, "{json}");
        json
    }

    /// A client that may ask for the scope "read write".
    pub async fn plain_client(&self, administrator: &Credentials) -> Credentials {
        self.create_client(administrator, json!({ "scope": "read write" })).await
    }

    /// The sum over all series of a metric whose line has `labels` in it.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text =
            self.http.get(format!("{}/metrics", self.admin_url)).send().await.unwrap().text().await.unwrap();
        let of_name = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) && rest.contains(labels)
        };
        text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// SIGTERM, and the end that follows.
    pub async fn stop(mut self) {
        self.process.signal("TERM");
        let status = self.process.end().await;
        assert!(status.success(), "{status}: {}", self.process.err());
    }
}

pub fn client() -> Client {
    // Well before the server closes what is idle: a request on a connection that is being closed fails.
    let idle = Duration::from_secs(2);
    Client::builder()
        .timeout(Duration::from_secs(60))
        .pool_idle_timeout(idle)
        .tls_certs_only([])
        .build()
        .unwrap()
}
