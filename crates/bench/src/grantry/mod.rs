//! A real server in a temporary directory, with the clients that the measurements use. It is started, configured and asked
//! as an operator would: by its command line, its configuration file and its admin API.

mod memory;
mod metrics;
mod setup;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::{
    assertion::{AssertionKey, Assertions},
    child::{Guarded, this_program},
    clock,
    credentials::{Auth, Credentials},
    failure::Failure,
    form::Param,
    grants::Grants,
    http1::{Head, once},
    load::Load,
    pool,
    scenario::{Endpoints, Scenario, Spec, token_form},
    target::Target,
};
pub use metrics::Metrics;
use setup::Configured;
pub use setup::{Setup, migrate};

const ADMIN: &str = "bench-admin";
/// The server lives for minutes, on loopback, with nothing in it.
const SECRET: &str = "only-for-the-benchmark-on-loopback";
const READY_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How much of the server's log a failure shows, in bytes.
const LOG_SHOWN: usize = 2_000;

pub const SCOPE: &str = "read write";
pub const OPAQUE_CLIENT: &str = "bench";
pub const JWT_CLIENT: &str = "bench-jwt";
/// Has subjects, and refresh tokens for them.
pub const REFRESH_CLIENT: &str = "bench-refresh";

pub struct Grantry {
    process: Guarded,
    log: PathBuf,
    /// `http://host:port` of the public listener.
    pub url: String,
    admin_url: String,
    assertion_key: Arc<AssertionKey>,
}

impl Grantry {
    /// Returns when it is ready and has its clients. Everything that it makes is made in `directory`, which belongs to
    /// it alone, or in the store of `setup`.
    pub async fn start(program: &Path, directory: &Path, setup: &Setup) -> Result<Self, Failure> {
        let server = Self::join(program, directory, setup).await?;
        server.create_clients(&server.clients()).await?;
        Ok(server)
    }

    /// Returns when it is ready. The store has its clients already, made by a server with the same master key.
    pub async fn join(program: &Path, directory: &Path, setup: &Setup) -> Result<Self, Failure> {
        let configured = Configured::write(program, directory, setup)?;
        let mut command = configured.command("serve")?;
        command.env("GRANTRY_BOOTSTRAP_CLIENT_ID", ADMIN).env("GRANTRY_BOOTSTRAP_CLIENT_SECRET", SECRET);
        let process = Guarded::start("server", &mut command)?;
        let log = configured.log();
        let Configured { url, admin_url, .. } = configured;
        let assertion_key = Arc::new(AssertionKey::generate()?);
        let mut server = Self { process, log, url, admin_url, assertion_key };
        server.wait_until_ready().await?;
        Ok(server)
    }

    pub fn stop(self, patience: Duration) -> Result<(), Failure> {
        let log = self.log;
        self.process.stop(patience).map_err(|failure| Failure::new(format!("{failure}\n{}", end_of(&log))))
    }

    pub fn endpoints(&self) -> Result<Endpoints, Failure> {
        endpoints(&self.url)
    }

    /// Of [`REFRESH_CLIENT`], for so many subjects; the tokens are not obtained yet.
    pub fn grants(&self, subjects: u64) -> Grants {
        let assertions = Assertions {
            key: self.assertion_key.clone(),
            audience: self.url.clone(),
            scope: Some(SCOPE.to_owned()),
        };
        Grants::of_subjects(subjects, assertions, credentials(REFRESH_CLIENT))
    }

    /// A gauge of its metrics.
    ///
    /// # Errors
    /// It has none of this name.
    pub async fn gauge(&self, name: &str) -> Result<f64, Failure> {
        let found = self.metrics().await?.value(name, &[]);
        found.ok_or_else(|| self.failure(&format!("the server's metrics have no gauge {name}")))
    }

    pub async fn metrics(&self) -> Result<Metrics, Failure> {
        let head = Head::get(&own_target(&self.admin_url, "/metrics")?)?;
        let answer = once(head, Bytes::new(), ANSWER_WITHIN).await?;
        Ok(Metrics(String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// What it has in memory (its resident set), in bytes.
    pub fn memory(&self) -> Result<u64, Failure> {
        memory::resident(self.process.id())
    }

    /// What it has had written to disk since it started, in bytes.
    pub fn written(&self) -> Result<u64, Failure> {
        memory::written(self.process.id())
    }

    async fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let until = clock::now() + READY_WITHIN;
        let head = Head::get(&own_target(&self.url, "/readyz")?)?;
        while clock::now() < until {
            if let Some(status) = self.process.ended() {
                return Err(self.failure(&format!("the server ended with {status} instead of starting")));
            }
            // It may not listen yet.
            if let Ok(answer) = once(head.clone(), Bytes::new(), ANSWER_WITHIN).await
                && answer.status.is_success()
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(self.failure(&format!("the server is not ready after {READY_WITHIN:?}")))
    }

    /// From the documents that the admin API takes; see [`client_document`].
    pub async fn create_clients(&self, documents: &[Value]) -> Result<(), Failure> {
        let authorization = self.admin_authorization().await?;
        for body in documents {
            let head = Head::json(&own_target(&self.admin_url, "/admin/v1/clients")?, authorization.clone())?;
            let answer = once(head, body.to_string().into(), ANSWER_WITHIN).await?;
            if !answer.status.is_success() {
                let (client, shown) = (&body["client_id"], answer.shown());
                return Err(self.failure(&format!("the client {client} cannot be created: {shown}")));
            }
        }
        Ok(())
    }

    fn clients(&self) -> [Value; 3] {
        let mut refreshing = client_document(REFRESH_CLIENT, "opaque");
        refreshing["grant_types"] =
            json!(["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer", "refresh_token"]);
        refreshing["jwks"] = self.assertion_key.jwks();
        refreshing["jwt_bearer_subjects"] = json!(["*"]);
        refreshing["jwt_bearer_refresh"] = json!(true);
        [client_document(OPAQUE_CLIENT, "opaque"), client_document(JWT_CLIENT, "jwt"), refreshing]
    }

    async fn admin_authorization(&self) -> Result<HeaderValue, Failure> {
        let credentials = credentials(ADMIN);
        let form = token_form(Some("grantry:admin"), &[], &credentials);
        let head = Head::form(&own_target(&self.url, "/oauth2/token")?, credentials.header())?;
        let answer = once(head, form.render(0), ANSWER_WITHIN).await?;
        let token = pool::token_in(&answer).map_err(|failure| self.failure(&failure.to_string()))?;
        HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| self.failure("its token is no header value"))
    }

    fn failure(&self, sentence: &str) -> Failure {
        Failure::new(format!("{sentence}\n{}", end_of(&self.log)))
    }
}

/// A client that may use client credentials, for [`Grantry::create_clients`].
pub fn client_document(client: &str, format: &str) -> Value {
    json!({
        "client_id": client,
        "client_secret": SECRET,
        "scope": SCOPE,
        "grant_types": ["client_credentials"],
        "access_token_format": format,
    })
}

/// A target below a server that this program started on loopback.
pub fn own_target(base: &str, path: &str) -> Result<Target, Failure> {
    Target::parse("a server started here", &format!("{base}{path}"), false)
}

/// Where Grantry and the baseline server have them.
pub fn endpoints(url: &str) -> Result<Endpoints, Failure> {
    Ok(Endpoints {
        token: own_target(url, "/oauth2/token")?,
        introspect: Some(own_target(url, "/oauth2/introspect")?),
        revoke: Some(own_target(url, "/oauth2/revoke")?),
    })
}

/// Token requests of [`OPAQUE_CLIENT`], each in a slot of its own.
pub fn own_slots(scenario: Scenario, endpoints: Endpoints, pool: u64, load: Load) -> Spec {
    let credentials = credentials(OPAQUE_CLIENT);
    let resource = Param { name: "resource".into(), value: "https://bench.example/{n}".into() };
    let form = token_form(Some(SCOPE), &[resource], &credentials);
    Spec { scenario, endpoints, credentials, form, pool, grants: None, load }
}

/// The server to measure: the one named, or the one beside this program.
///
/// # Errors
/// There is none.
pub fn program(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = || this_program().map(|program| program.with_file_name("grantry"));
    let path = named.map_or_else(beside, |path| Ok(path.to_owned()))?;
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "there is no server at {}; build it with `cargo build --release --workspace` or name it with --server-bin",
        path.display()
    )))
}

/// For databases; removed with the value.
pub fn temporary_directory(work_dir: &Path) -> Result<tempfile::TempDir, Failure> {
    let directory = tempfile::Builder::new().prefix("grantry-bench-").tempdir_in(work_dir);
    directory
        .map_err(|error| Failure::new(format!("--work-dir {} cannot be used: {error}", work_dir.display())))
}

pub fn credentials(client: &str) -> Credentials {
    Credentials { client_id: client.into(), secret: SECRET.into(), auth: Auth::Basic }
}

fn end_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_SHOWN)..]).into_owned()
}
