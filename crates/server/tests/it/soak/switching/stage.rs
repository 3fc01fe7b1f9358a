//! Two nodes, clients of both formats, and what is asked of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grantry_store_postgres::testing::Database;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::NODES;
use super::held::Held;
use super::tally::Tally;
use crate::assertion::JWT_BEARER;
use crate::home::Home;
use crate::soak::grants::Refreshers;
use crate::test_server::{Credentials, TestServer};
use crate::wait;

const FORMATS: [&str; 2] = ["jwt", "opaque"];
/// Clients: for each format one with tokens of its own, and one whose subjects have grants.
pub const CLIENTS: usize = 2 * FORMATS.len();
/// Until a node that answered 503 is asked again.
const AGAIN: Duration = Duration::from_millis(20);
/// Of what was revoked, for a last look.
const MOST_REVOKED: usize = 500;

pub struct Stage {
    pub tally: Tally,
    _home: Home,
    servers: [TestServer; NODES],
    administrator: Credentials,
    own: Vec<Credentials>,
    users: Vec<Refreshers>,
    kept: Mutex<VecDeque<Held>>,
    revoked: Mutex<Vec<Held>>,
    is_over: AtomicBool,
    /// Last: it is dropped when nobody uses it any more.
    _database: Database,
}

impl Stage {
    pub async fn set() -> Self {
        let database = Database::empty();
        // With a queue, so that the mode can be async at run time.
        let config = format!("[store]\nurl = \"{}\"\n[token_persistence]\npool_size = 2\n", database.url());
        let home = Home::with_config(&config);
        let start = async |journal: &str| {
            home.start_with(|command| command.env("GRANTRY_TOKEN_PERSISTENCE__JOURNAL_DIR", journal)).await
        };
        let servers = [start("journal-a").await, start("journal-b").await];
        let administrator = home.first_client();
        let (mut own, mut users) = (Vec::new(), Vec::new());
        for format in FORMATS {
            let metadata = json!({ "scope": "read write", "access_token_format": format });
            own.push(servers[0].create_client(&administrator, metadata).await);
            let metadata = json!({ "access_token_format": format, "slot_binding": "grant" });
            users.push(Refreshers::register_with(&home, &servers[0], metadata).await);
        }
        Self {
            tally: Tally::default(),
            _home: home,
            servers,
            administrator,
            own,
            users,
            kept: Mutex::default(),
            revoked: Mutex::default(),
            is_over: AtomicBool::new(false),
            _database: database,
        }
    }

    pub fn end_load(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }

    pub fn kept(&self) -> MutexGuard<'_, VecDeque<Held>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn remember_revoked(&self, held: Held) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        if revoked.len() < MOST_REVOKED {
            revoked.push(held);
        }
    }

    /// How many tokens the node has issued in the mode.
    pub async fn issued(&self, node: usize, mode: &str) -> f64 {
        let label = format!("mode=\"{mode}\"");
        self.servers[node].metric("grantry_tokens_issued_total", &label).await
    }

    pub fn credentials(&self, client: usize) -> &Credentials {
        match client % 2 {
            0 => &self.own[client / 2],
            _ => &self.users[client / 2].credentials,
        }
    }

    /// Status and body, once the node does not answer 503. The request is made anew each time.
    async fn answer(&self, request: impl Fn() -> RequestBuilder) -> (u16, Value) {
        let asking = async {
            loop {
                let answer = request().send().await.unwrap();
                if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
                    let (status, body) = (answer.status().as_u16(), answer.bytes().await.unwrap());
                    return (status, serde_json::from_slice(&body).unwrap_or_default());
                }
                self.tally.add_unavailable();
                // wait: for a node that cannot answer yet.
                sleep(AGAIN).await;
            }
        };
        timeout(wait::PATIENCE, asking).await.expect("a node answers")
    }

    /// Of the client with this number, for a resource or a subject.
    pub async fn issue(&self, node: usize, client: usize, about: &str) -> Held {
        let (status, json) = self
            .answer(|| match client % 2 {
                0 => {
                    let form = [("grant_type", "client_credentials"), ("resource", about)];
                    self.servers[node].post("/oauth2/token", self.credentials(client), &form)
                }
                _ => {
                    // A new one each time: an assertion is used once, whatever became of the answer.
                    let assertion = self.users[client / 2].assertion(about);
                    let form = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
                    self.servers[node].post("/oauth2/token", self.credentials(client), &form)
                }
            })
            .await;
        assert_eq!(status, 200, "{json}");
        let number = self.tally.add_issued();
        let text = |field: &str| json[field].as_str().map(str::to_owned);
        Held {
            client,
            about: about.to_owned(),
            access: vec![text("access_token").unwrap()],
            refresh: text("refresh_token"),
            number,
        }
    }

    /// Status and body of a refresh.
    pub async fn refresh(&self, node: usize, held: &Held) -> (u16, Value) {
        let token = held.refresh.as_ref().expect("it has a grant");
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        let client = self.credentials(held.client);
        self.answer(|| self.servers[node].post("/oauth2/token", client, &form)).await
    }

    pub async fn is_active(&self, node: usize, held: &Held, token: &str) -> bool {
        let client = self.credentials(held.client);
        let form = [("token", token)];
        let (status, json) =
            self.answer(|| self.servers[node].post("/oauth2/introspect", client, &form)).await;
        assert_eq!(status, 200, "{json}");
        self.tally.add_introspected();
        json["active"] == true
    }

    pub async fn revoke_as_client(&self, node: usize, held: &Held) {
        let client = self.credentials(held.client);
        let form = [("token", held.root())];
        let (status, json) = self.answer(|| self.servers[node].post("/oauth2/revoke", client, &form)).await;
        assert_eq!(status, 200, "{json}");
    }

    pub async fn revoke_as_administrator(&self, node: usize, target: &Value) {
        let (status, json) = self.administer(node, Method::POST, "revocations", target).await;
        // 200: a first attempt was committed, though it was answered with 503.
        assert!(matches!(status, 200 | 201), "{status}: {json}");
    }

    pub async fn change_settings(&self, node: usize, patch: &Value) {
        let (status, json) = self.administer(node, Method::PATCH, "settings", patch).await;
        assert_eq!(status, 200, "{json}");
    }

    async fn administer(&self, node: usize, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let server = &self.servers[node];
        let form = [("grant_type", "client_credentials"), ("scope", "grantry:admin")];
        let (status, json) = self.answer(|| server.post("/oauth2/token", &self.administrator, &form)).await;
        assert_eq!(status, 200, "{json}");
        let bearer = json["access_token"].as_str().unwrap();
        let url = format!("{}/admin/v1/{path}", server.admin_url);
        self.answer(|| server.http.request(method.clone(), &url).bearer_auth(bearer).json(body)).await
    }

    /// Nobody else is at work any more.
    pub async fn check_what_is_left(&self) {
        let kept = std::mem::take(&mut *self.kept());
        let revoked = std::mem::take(&mut *self.revoked.lock().unwrap_or_else(PoisonError::into_inner));
        for mut held in kept {
            self.see_active(&held).await;
            self.refresh_at_both(held.number % NODES, &mut held).await;
        }
        for held in revoked {
            self.see_refused(0..NODES, &held).await;
        }
    }
}
