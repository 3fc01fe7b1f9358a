//! What callers ask the issuer and, through nginx, the gateways.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::faults::Fault;
use crate::assertion::JWT_BEARER;
use crate::gateway::stage::AUDIENCE;
use crate::soak::grants::Refreshers;
use crate::soak::promise::callers::Scene;
use crate::soak::promise::http::{self, Address};
use crate::soak::promise::verdict::{Answer, Asked};
use crate::soak::promise::{NODES, Record};
use crate::soak::random::Random;
use crate::test_server::Credentials;
use crate::wait;

/// How tokens are ended, in turn.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// RFC 7009, by the client.
    ByClient,
    /// By an administrator: the token, everything of its subject, everything of its client.
    Token,
    Subject,
    ClientRule,
}

const WAYS: [Way; 4] = [Way::ByClient, Way::Token, Way::Subject, Way::ClientRule];

pub struct Clients {
    pub plain: Credentials,
    pub refreshers: Refreshers,
    /// One for each caller: a rule ends what all others hold of the client, too.
    pub own: Vec<Credentials>,
    /// For the admin API.
    pub bearer: String,
    /// A token that is never revoked, with which a gateway shows that it lets requests in.
    pub lasting: String,
}

pub struct Load {
    pub record: Record<Fault>,
    clients: Clients,
    http: Client,
    issuer: RwLock<Address>,
    nginx_ports: [u16; NODES],
    numbers: AtomicU32,
}

pub struct Token {
    text: String,
    subject: String,
    client: Credentials,
    way: Way,
    /// For a record that a person reads.
    issued: String,
}

impl Load {
    pub fn new(clients: Clients, issuer: Address, nginx_ports: [u16; NODES]) -> Arc<Self> {
        let (issuer, numbers) = (RwLock::new(issuer), AtomicU32::new(0));
        Arc::new(Self { record: Record::new(), clients, http: http::client(), issuer, nginx_ports, numbers })
    }

    pub fn move_to(&self, issuer: Address) {
        *self.issuer.write().unwrap_or_else(PoisonError::into_inner) = issuer;
    }

    /// For as long as it has been cut off for longer than the bound.
    pub async fn expect_unavailable(&self, node: usize) {
        let asked = self.knock(node, &self.clients.lasting).await;
        let faults = self.record.faults.describe(asked.sent, asked.answered);
        assert_eq!(
            asked.answer,
            Answer::Unavailable,
            "gateway {node} cannot know what was revoked: {faults}"
        );
    }

    /// A token with which the gateway has let a request in.
    pub async fn token_inside(&self, node: usize) -> Token {
        wait::until(format_args!("gateway {node} lets in a new token"), async || {
            let token = self.issue_for(&self.clients.plain, Way::Token).await?;
            (self.ask(node, &token).await.answer == Answer::Active).then_some(token)
        })
        .await
    }

    async fn issue_for(&self, client: &Credentials, way: Way) -> Option<Token> {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let subject = format!("subject-{number}");
        let resource = format!("https://else.example/{number}");
        let assertion = self.clients.refreshers.assertion(&subject);
        let mut form = vec![("scope", "read"), ("resource", AUDIENCE)];
        form.extend(match way {
            Way::Subject => [("grant_type", JWT_BEARER), ("assertion", &assertion)],
            Way::ByClient | Way::Token | Way::ClientRule => {
                [("grant_type", "client_credentials"), ("resource", &resource)]
            }
        });
        let reply = http::send(self.post("/oauth2/token", client, &form)).await;
        self.record.note_failure(&reply, "the issuer, for a token,");
        let is_refused = reply.status.is_some_and(|status| (400..500).contains(&status));
        assert!(!is_refused, "whatever happens, a token request is not wrong: {}", reply.text);
        let text = reply.json["access_token"].as_str()?.to_owned();
        let faults = &self.record.faults;
        let issued =
            format!("asked for at {} and issued at {}", faults.at(reply.sent), faults.at(reply.answered));
        Some(Token { text, subject, client: client.clone(), way, issued })
    }

    /// A request through nginx.
    async fn knock(&self, node: usize, token: &str) -> Asked {
        let url = format!("http://127.0.0.1:{}/read", self.nginx_ports[node]);
        let reply = http::send(self.http.get(url).bearer_auth(token)).await;
        let answer = match reply.status {
            Some(200) => Answer::Active,
            Some(401) => Answer::Inactive,
            Some(503) => Answer::Unavailable,
            None => Answer::Nothing,
            Some(other) => panic!("nginx {node} answers {other} at {}", self.record.faults.at(reply.sent)),
        };
        if answer != Answer::Inactive {
            self.record.note_failure(&reply, format_args!("nginx {node}"));
        }
        Asked { node, sent: reply.sent, answered: reply.answered, answer }
    }

    fn post(&self, path: &str, (id, secret): &Credentials, form: &[(&str, &str)]) -> RequestBuilder {
        let issuer = self.issuer.read().unwrap_or_else(PoisonError::into_inner);
        self.http.post(format!("{}{path}", issuer.public)).basic_auth(id, Some(secret)).form(form)
    }
}

impl Scene for Load {
    type Fault = Fault;
    type Token = Token;

    fn record(&self) -> &Record<Fault> {
        &self.record
    }

    async fn issue(&self, caller: usize, random: &mut Random) -> Option<Token> {
        let way = random.pick(&WAYS);
        let client = match way {
            Way::ByClient | Way::Token => &self.clients.plain,
            Way::Subject => &self.clients.refreshers.credentials,
            Way::ClientRule => &self.clients.own[caller],
        };
        self.issue_for(client, way).await
    }

    async fn ask(&self, node: usize, token: &Token) -> Asked {
        self.knock(node, &token.text).await
    }

    async fn answers(&self, node: usize) -> bool {
        let asked = self.knock(node, &self.clients.lasting).await;
        assert_ne!(asked.answer, Answer::Inactive, "gateway {node} refuses a token that nobody has revoked");
        asked.answer == Answer::Active
    }

    /// They all come from the one issuer.
    async fn issues(&self, _node: usize) -> bool {
        self.issue_for(&self.clients.plain, Way::ByClient).await.is_some()
    }

    async fn revoke(&self, token: &Token) -> Option<Instant> {
        let by_admin = |body: Value| {
            let issuer = self.issuer.read().unwrap_or_else(PoisonError::into_inner);
            let url = format!("{}/admin/v1/revocations", issuer.admin);
            self.http.post(url).bearer_auth(&self.clients.bearer).json(&body)
        };
        let request = match token.way {
            Way::ByClient => self.post("/oauth2/revoke", &token.client, &[("token", &token.text)]),
            Way::Token => by_admin(json!({ "token": token.text })),
            Way::Subject => by_admin(json!({ "subject": token.subject })),
            Way::ClientRule => by_admin(json!({ "client_id": token.client.0 })),
        };
        let reply = http::send(request).await;
        self.record.note_failure(&reply, "the issuer, for a revocation,");
        reply.has_succeeded().then_some(reply.answered)
    }

    fn describe(&self, token: &Token) -> String {
        format!("a token, {}, ended {:?}", token.issued, token.way)
    }
}
