//! Callers who never pause, and what they were told.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::Client;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::soak::grants::{Pair, Refreshers};
use crate::test_server::{Credentials, TestServer};

/// Each asks for new slots.
const ISSUERS: usize = 6;
/// Every so many requests of an issuer ask again for a slot that has a token.
const ASK_AGAIN_EVERY: u32 = 4;

/// A token that a caller was given.
#[derive(Debug, Clone)]
pub struct Answered {
    pub slot: String,
    pub token: String,
    /// Which of the two nodes answered.
    pub node: usize,
    /// Whether both nodes were asked for the slot.
    pub is_shared: bool,
}

/// What a round has seen.
#[derive(Default)]
pub struct Seen {
    pub answered: Mutex<Vec<Answered>>,
    /// Tokens whose revocation was answered.
    pub revoked: Mutex<Vec<String>>,
    /// Answers of the first node alone, which are asked for often.
    pub answered_by_first: AtomicUsize,
    /// From now on a request may come to nothing.
    pub is_expected_to_fail: AtomicBool,
    /// Issuers of the first node have finished their request and begin no other.
    pub is_paused: AtomicBool,
    pub is_over: AtomicBool,
    pub under_way: AtomicU32,
    pub unanswered: AtomicU32,
    /// Issuers of the first node that still ask.
    pub issuing: AtomicU32,
}

/// The callers of one round, and those who refresh with the pair that each was given last.
pub struct Load {
    pub seen: Arc<Seen>,
    callers: Vec<JoinHandle<()>>,
    refreshers: Vec<JoinHandle<Pair>>,
}

#[derive(Clone)]
struct Caller {
    seen: Arc<Seen>,
    http: Client,
    url: String,
    node: usize,
}

enum Reply {
    Given(Value),
    /// 503: what was asked for may have happened.
    Unavailable,
    /// There is no server any more.
    Gone,
}

impl Load {
    /// `pairs`: half of them refresh at the first node, the others at the second.
    pub fn start(
        name: &str,
        nodes: [&TestServer; 2],
        client: &Credentials,
        refreshers: &Refreshers,
        pairs: &[Pair],
    ) -> Self {
        let seen = Arc::new(Seen::default());
        let caller = |node: usize| {
            let TestServer { http, url, .. } = nodes[node];
            Caller { seen: Arc::clone(&seen), http: http.clone(), url: url.clone(), node }
        };
        let mut callers = Vec::new();
        for issuer in 0..ISSUERS {
            seen.issuing.fetch_add(1, Ordering::SeqCst);
            callers.push(tokio::spawn(caller(0).issue(
                client.clone(),
                format!("{name}/first/{issuer}"),
                false,
            )));
        }
        callers.push(tokio::spawn(caller(1).issue(client.clone(), format!("{name}/second"), false)));
        for node in [0, 1] {
            seen.issuing.fetch_add(u32::from(node == 0), Ordering::SeqCst);
            callers.push(tokio::spawn(caller(node).issue(client.clone(), format!("{name}/both"), true)));
            callers.push(tokio::spawn(caller(node).revoke(client.clone(), format!("{name}/revoked/{node}"))));
        }
        let refreshers = pairs.iter().enumerate().map(|(at, pair)| {
            tokio::spawn(caller(at % 2).refresh(refreshers.credentials.clone(), pair.clone()))
        });
        Self { refreshers: refreshers.collect(), callers, seen }
    }

    /// Waits for the callers; the pairs that those who refresh were given last.
    pub async fn finish(self) -> Vec<Pair> {
        self.seen.is_over.store(true, Ordering::SeqCst);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let mut pairs = Vec::new();
        for refresher in self.refreshers {
            pairs.push(refresher.await.unwrap());
        }
        pairs
    }
}

impl Caller {
    fn goes_on(&self) -> bool {
        !self.seen.is_over.load(Ordering::SeqCst)
    }

    async fn ask(&self, path: &str, credentials: &Credentials, form: &[(&str, &str)]) -> Reply {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.basic_auth(&credentials.0, Some(&credentials.1)).form(form);
        self.seen.under_way.fetch_add(1, Ordering::SeqCst);
        let reply = match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                match answer.bytes().await {
                    // A revocation has no body.
                    Ok(body) if status == 200 => {
                        Reply::Given(serde_json::from_slice(&body).unwrap_or_default())
                    }
                    Ok(_) if status == 503 => Reply::Unavailable,
                    Ok(body) => panic!("{path}: {status}: {}", String::from_utf8_lossy(&body)),
                    Err(_) => Reply::Gone,
                }
            }
            Err(_) => Reply::Gone,
        };
        self.seen.under_way.fetch_sub(1, Ordering::SeqCst);
        if !matches!(reply, Reply::Given(_)) {
            let is_expected = self.seen.is_expected_to_fail.load(Ordering::SeqCst);
            assert!(is_expected, "{path} at node {} came to nothing before anything happened", self.node);
            self.seen.unanswered.fetch_add(1, Ordering::SeqCst);
        }
        reply
    }

    async fn token(&self, client: &Credentials, slot: &str) -> Reply {
        let form = [("grant_type", "client_credentials"), ("resource", slot)];
        self.ask("/oauth2/token", client, &form).await
    }

    async fn issue(self, client: Credentials, name: String, is_shared: bool) {
        for n in 0.. {
            let is_paused = self.node == 0 && self.seen.is_paused.load(Ordering::SeqCst);
            if !self.goes_on() || is_paused {
                break;
            }
            let again = u32::from(n % ASK_AGAIN_EVERY == ASK_AGAIN_EVERY - 1 && !is_shared);
            let slot = format!("https://api.example/{name}/{}", n - again);
            match self.token(&client, &slot).await {
                Reply::Given(json) => self.note(slot, &json, is_shared),
                Reply::Unavailable => {}
                Reply::Gone => break,
            }
        }
        self.seen.issuing.fetch_sub(u32::from(self.node == 0), Ordering::SeqCst);
    }

    fn note(&self, slot: String, json: &Value, is_shared: bool) {
        let token = json["access_token"].as_str().unwrap().to_owned();
        self.seen.answered.lock().unwrap().push(Answered { slot, token, node: self.node, is_shared });
        self.seen.answered_by_first.fetch_add(usize::from(self.node == 0), Ordering::SeqCst);
    }

    /// Asks for tokens and revokes them.
    async fn revoke(self, client: Credentials, name: String) {
        for n in 0.. {
            if !self.goes_on() {
                break;
            }
            let token = match self.token(&client, &format!("https://api.example/{name}/{n}")).await {
                Reply::Given(json) => json["access_token"].as_str().unwrap().to_owned(),
                Reply::Unavailable => continue,
                Reply::Gone => break,
            };
            match self.ask("/oauth2/revoke", &client, &[("token", &token)]).await {
                Reply::Given(_) => self.seen.revoked.lock().unwrap().push(token),
                Reply::Unavailable => {}
                Reply::Gone => break,
            }
        }
    }

    /// A refresh that came to nothing is tried again, with the same refresh token.
    async fn refresh(self, client: Credentials, mut pair: Pair) -> Pair {
        while self.goes_on() {
            let form = [("grant_type", "refresh_token"), ("refresh_token", pair.refresh.as_str())];
            match self.ask("/oauth2/token", &client, &form).await {
                Reply::Given(json) => pair = Pair::of(&(200, json)),
                Reply::Unavailable => {}
                Reply::Gone => break,
            }
        }
        pair
    }
}
