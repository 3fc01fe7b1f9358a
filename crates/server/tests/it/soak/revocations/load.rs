//! What callers ask the nodes.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::faults::Fault;
use super::stage::Clients;
use crate::assertion::JWT_BEARER;
use crate::soak::promise::callers::Scene;
use crate::soak::promise::http::{self, Address, Reply};
use crate::soak::promise::verdict::{Answer, Asked};
use crate::soak::promise::{MAX_STALENESS, NODES, Record};
use crate::soak::random::Random;
use crate::test_server::Credentials;

/// How tokens are ended, in turn.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// RFC 7009, by the client.
    ByClient,
    /// By an administrator: the token, its grant by its refresh token, everything of its subject.
    Token,
    Grant,
    Subject,
}

const WAYS: [Way; 4] = [Way::ByClient, Way::Token, Way::Grant, Way::Subject];

pub struct Load {
    pub record: Record<Fault>,
    /// When the standby had become a primary.
    promoted: OnceLock<Instant>,
    /// Denials of new tokens right after it, while a node may rely on the old primary.
    pub denials_at_promotion: AtomicUsize,
    clients: Clients,
    http: Client,
    nodes: Vec<RwLock<Address>>,
    numbers: AtomicU32,
}

pub struct Token {
    text: String,
    /// Absent where it has no grant.
    refresh: Option<String>,
    subject: String,
    way: Way,
    /// The node where it is revoked.
    revoker: usize,
    /// Where and when, for a record that a person reads.
    issued: String,
}

impl Load {
    pub fn new(nodes: Vec<Address>, clients: Clients) -> Arc<Self> {
        Arc::new(Self {
            record: Record::new(),
            promoted: OnceLock::new(),
            denials_at_promotion: AtomicUsize::new(0),
            clients,
            http: http::client(),
            nodes: nodes.into_iter().map(RwLock::new).collect(),
            numbers: AtomicU32::new(0),
        })
    }

    pub fn move_to(&self, node: usize, address: Address) {
        *self.nodes[node].write().unwrap_or_else(PoisonError::into_inner) = address;
    }

    pub fn note_promotion(&self) {
        self.promoted.set(Instant::now()).expect("it happens once");
    }

    fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    async fn issue_at(&self, node: usize, way: Way) -> Option<Token> {
        let subject = format!("subject-{}", self.number());
        let resource = format!("https://api.example/{subject}");
        let assertion = self.clients.refreshers.assertion(&subject);
        let form = match way {
            Way::ByClient | Way::Token => {
                [("grant_type", "client_credentials"), ("resource", resource.as_str())]
            }
            Way::Grant | Way::Subject => [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())],
        };
        let request = self.post(node, "/oauth2/token", self.client(way), &form);
        let Reply { sent, answered, json, .. } = self.send(node, request).await;
        let text = |field: &str| json[field].as_str().map(str::to_owned);
        let (asked_at, answered_at) = (self.record.faults.at(sent), self.record.faults.at(answered));
        let issued =
            format!("issued by node {node}, which was asked at {asked_at} and answered at {answered_at}");
        Some(Token {
            text: text("access_token")?,
            refresh: text("refresh_token"),
            subject,
            way,
            revoker: node,
            issued,
        })
    }

    const fn client(&self, way: Way) -> &Credentials {
        match way {
            Way::ByClient | Way::Token => &self.clients.plain,
            Way::Grant | Way::Subject => &self.clients.refreshers.credentials,
        }
    }

    async fn introspect(&self, node: usize, client: &Credentials, token: &str) -> Asked {
        let request = self.post(node, "/oauth2/introspect", client, &[("token", token)]);
        let Reply { sent, answered, status, json, text: body } = self.send(node, request).await;
        let answer = match status {
            Some(200) if json["active"] == true => Answer::Active,
            Some(200) => Answer::Inactive,
            Some(503) => Answer::Unavailable,
            None => Answer::Nothing,
            Some(other) => {
                panic!("an introspection at {} is answered with {other}: {body}", self.record.faults.at(sent))
            }
        };
        Asked { node, sent, answered, answer }
    }

    /// By the node's own clock, in seconds since the epoch.
    pub async fn wall_clock(&self, node: usize) -> Option<i64> {
        let token = self.issue_at(node, Way::ByClient).await?;
        let request = self.post(node, "/oauth2/introspect", &self.clients.plain, &[("token", &token.text)]);
        self.send(node, request).await.json["iat"].as_i64()
    }

    fn address(&self, node: usize) -> Address {
        self.nodes[node].read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn post(
        &self,
        node: usize,
        path: &str,
        (id, secret): &Credentials,
        form: &[(&str, &str)],
    ) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.address(node).public)).basic_auth(id, Some(secret)).form(form)
    }

    async fn send(&self, node: usize, request: RequestBuilder) -> Reply {
        let reply = http::send(request).await;
        self.record.note_failure(&reply, format_args!("node {node}"));
        reply
    }
}

impl Scene for Load {
    type Fault = Fault;
    type Token = Token;

    fn record(&self) -> &Record<Fault> {
        &self.record
    }

    async fn issue(&self, _caller: usize, random: &mut Random) -> Option<Token> {
        let way = WAYS[self.number() as usize % WAYS.len()];
        let token = self.issue_at(random.below(NODES), way).await?;
        Some(Token { revoker: random.below(NODES), ..token })
    }

    async fn ask(&self, node: usize, token: &Token) -> Asked {
        self.introspect(node, self.client(token.way), &token.text).await
    }

    async fn answers(&self, node: usize) -> bool {
        let asked = self.introspect(node, &self.clients.plain, &self.clients.lasting).await;
        assert_ne!(asked.answer, Answer::Inactive, "node {node} denies a token that nobody has revoked");
        asked.answer == Answer::Active
    }

    async fn issues(&self, node: usize) -> bool {
        self.issue_at(node, Way::ByClient).await.is_some()
    }

    async fn revoke(&self, token: &Token) -> Option<Instant> {
        let node = token.revoker;
        let by_admin = |body: Value| {
            let url = format!("{}/admin/v1/revocations", self.address(node).admin);
            self.http.post(url).bearer_auth(&self.clients.bearer).json(&body)
        };
        let request = match (token.way, &token.refresh) {
            (Way::ByClient, _) => {
                self.post(node, "/oauth2/revoke", self.client(token.way), &[("token", &token.text)])
            }
            (Way::Subject, _) => by_admin(json!({ "subject": token.subject })),
            (Way::Grant, Some(refresh)) => by_admin(json!({ "token": refresh })),
            (Way::Token | Way::Grant, _) => by_admin(json!({ "token": token.text })),
        };
        let reply = self.send(node, request).await;
        reply.has_succeeded().then_some(reply.answered)
    }

    fn describe(&self, Token { issued, way, revoker, .. }: &Token) -> String {
        format!("a token, {issued}, ended {way:?} at node {revoker}")
    }

    /// A node that may still read from the old primary does not know a token that was made at the new one: it has proved less
    /// than the bound ago that it asked the primary.
    fn may_deny(&self, asked: &Asked) -> bool {
        let is_promoted = self.record.faults.within(asked.sent, asked.sent) == Some(Fault::StandbyPromoted);
        let may =
            is_promoted && self.promoted.get().is_none_or(|promoted| asked.sent <= *promoted + MAX_STALENESS);
        self.denials_at_promotion.fetch_add(usize::from(may), Ordering::SeqCst);
        may
    }
}
