//! Callers who get a token, see it active at every node, revoke it at one of them, and go on to ask all of them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::faults::Faults;
use super::random::Random;
use super::stage::Clients;
use super::tally::{Revocation, Tally};
use super::verdict::{Answer, Asked};
use super::{MAX_STALENESS, NODES};
use crate::assertion::JWT_BEARER;
use crate::test_server::{Credentials, TestServer};
use crate::wait;

/// For so many bounds after the acknowledgement the nodes are asked.
const BOUNDS_ASKED: u32 = 3;
/// Between two requests for one token at one node: before the node has said `inactive`, and afterwards.
const BUSY: Duration = Duration::from_millis(2);
const CALM: Duration = Duration::from_millis(100);
/// A token is revoked so long after it was seen active, at the most; sooner after a fault has begun, so that there is
/// time left to see what becomes of it under the fault.
const LONGEST_HELD: Duration = Duration::from_millis(1000);
const LONGEST_HELD_IN_FAULT: Duration = Duration::from_millis(200);

/// Connections to a node; it closes them after 10 seconds (`limits.header_timeout`).
const KEPT_IDLE: Duration = Duration::from_secs(5);

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

/// Where a node listens.
#[derive(Debug, Clone)]
pub struct Address {
    public: String,
    admin: String,
}

impl Address {
    pub fn of(server: &TestServer) -> Self {
        Self { public: server.url.clone(), admin: server.admin_url.clone() }
    }
}

pub struct Load {
    pub faults: Faults,
    pub tally: Mutex<Tally>,
    clients: Clients,
    http: Client,
    nodes: Vec<RwLock<Address>>,
    is_over: AtomicBool,
    numbers: AtomicU32,
}

struct Token {
    text: String,
    /// Absent where it has no grant.
    refresh: Option<String>,
    subject: String,
    way: Way,
    /// Where and when, for a record that a person reads.
    issued: String,
}

struct Reply {
    sent: Instant,
    answered: Instant,
    /// Absent where the connection was refused or ended.
    status: Option<u16>,
    json: Value,
}

/// What is known of a revocation that the nodes are asked about.
#[derive(Clone, Copy)]
enum Outcome {
    UnderWay,
    Acknowledged(Instant),
    Unknown,
}

impl Load {
    pub fn new(nodes: Vec<Address>, clients: Clients) -> Arc<Self> {
        Arc::new(Self {
            faults: Faults::none_yet(),
            tally: Mutex::default(),
            clients,
            http: Client::builder()
                .timeout(wait::PATIENCE)
                // Before a node closes them: a request may come at the same moment.
                .pool_idle_timeout(KEPT_IDLE)
                .tls_certs_only([])
                .build()
                .unwrap(),
            nodes: nodes.into_iter().map(RwLock::new).collect(),
            is_over: AtomicBool::new(false),
            numbers: AtomicU32::new(0),
        })
    }

    pub fn start(self: &Arc<Self>, callers: usize, random: &mut Random) -> Vec<JoinHandle<()>> {
        (0..callers).map(|_| tokio::spawn(Arc::clone(self).call(random.fork()))).collect()
    }

    /// Waits for what is under way.
    pub async fn finish(&self, callers: Vec<JoinHandle<()>>) {
        self.is_over.store(true, Ordering::SeqCst);
        for caller in callers {
            caller.await.unwrap();
        }
    }

    pub fn move_to(&self, node: usize, address: Address) {
        *self.nodes[node].write().unwrap_or_else(PoisonError::into_inner) = address;
    }

    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node answers with 200.
    pub async fn answers(&self, node: usize) -> bool {
        let asked = self.introspect(node, &self.clients.plain, &self.clients.lasting).await;
        assert_ne!(asked.answer, Answer::Inactive, "node {node} denies a token that nobody has revoked");
        asked.answer == Answer::Active
    }

    /// Whether it makes new tokens, which takes the store.
    pub async fn issues(&self, node: usize) -> bool {
        self.issue(node, Way::ByClient).await.is_some()
    }

    async fn call(self: Arc<Self>, mut random: Random) {
        while !self.is_over.load(Ordering::SeqCst) {
            let way = WAYS[self.number() as usize % WAYS.len()];
            let Some(token) = self.issue(random.below(NODES), way).await else {
                // wait: so that nodes that cannot are not asked without a pause.
                sleep(CALM).await;
                continue;
            };
            join_all((0..NODES).map(|node| self.see_active(node, &token))).await;
            self.hold(&mut random).await;
            let revocation = self.revoke(random.below(NODES), &token).await;
            self.tally().add(&revocation, &self.faults);
        }
    }

    fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// Never the same twice; `None` if there was no token in the answer.
    async fn issue(&self, node: usize, way: Way) -> Option<Token> {
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
        let (asked_at, answered_at) = (self.faults.at(sent), self.faults.at(answered));
        let issued =
            format!("issued by node {node}, which was asked at {asked_at} and answered at {answered_at}");
        Some(Token { text: text("access_token")?, refresh: text("refresh_token"), subject, way, issued })
    }

    const fn client(&self, way: Way) -> &Credentials {
        match way {
            Way::ByClient | Way::Token => &self.clients.plain,
            Way::Grant | Way::Subject => &self.clients.refreshers.credentials,
        }
    }

    /// Until the node has answered so, or for no longer than the bound under a fault.
    async fn see_active(&self, node: usize, token: &Token) {
        let seen = async {
            loop {
                let asked = self.introspect(node, self.client(token.way), &token.text).await;
                match asked.answer {
                    Answer::Active => return,
                    Answer::Inactive if self.faults.may_read_from_old_primary(asked.sent) => {
                        self.tally().denials_at_promotion += 1;
                    }
                    Answer::Inactive => {
                        return self.tally().add_denial(self.describe_denial(token, &asked));
                    }
                    Answer::Unavailable | Answer::Nothing => {}
                }
                // wait: for a node that cannot answer yet, or reads from another database and has yet to find out.
                sleep(CALM).await;
            }
        };
        tokio::select! {
            () = seen => {}
            () = self.faults.wait_for_one() => {
                // wait: for a node that may be able to, in spite of the fault.
                sleep(MAX_STALENESS).await;
            }
        }
    }

    fn describe_denial(&self, token: &Token, asked: &Asked) -> String {
        let Asked { node, sent, answered, .. } = *asked;
        let (asked_at, answered_at) = (self.faults.at(sent), self.faults.at(answered));
        let faults = self.faults.describe(sent, answered);
        let Token { way, issued, .. } = token;
        format!(
            "a token to be ended {way:?}, {issued}; node {node} was asked at {asked_at} and denied it at {answered_at}, \
             under: {faults}"
        )
    }

    async fn hold(&self, random: &mut Random) {
        let mut up_to = |most| random.between(Duration::ZERO, most);
        let (held, held_in_fault) = (up_to(LONGEST_HELD), up_to(LONGEST_HELD_IN_FAULT));
        tokio::select! {
            // wait: so that a revocation comes at any time before a fault and after it.
            () = sleep(held) => {}
            () = self.faults.wait_for_next() => {
                // wait: so that not all revocations come at the same moment.
                sleep(held_in_fault).await;
            }
        }
    }

    /// Revokes at one node, while all of them are asked from this moment on.
    async fn revoke(&self, node: usize, token: &Token) -> Revocation {
        let sent = Instant::now();
        let outcome = watch::Sender::new(Outcome::UnderWay);
        let revoking = async {
            let acknowledged = self.send_revocation(node, token).await;
            outcome.send_replace(acknowledged.map_or(Outcome::Unknown, Outcome::Acknowledged));
            acknowledged
        };
        let asking = join_all((0..NODES).map(|node| self.ask(node, token, outcome.subscribe())));
        let (acknowledged, asked) = tokio::join!(revoking, asking);
        let what = format!("a token, {}, ended {:?} at node {node}", token.issued, token.way);
        Revocation { what, sent, acknowledged, asked: asked.concat() }
    }

    async fn send_revocation(&self, node: usize, token: &Token) -> Option<Instant> {
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

    /// One request after the other, until the promise has held for long enough, or there was none.
    async fn ask(&self, node: usize, token: &Token, outcome: watch::Receiver<Outcome>) -> Vec<Asked> {
        let mut all = Vec::new();
        loop {
            let asked = self.introspect(node, self.client(token.way), &token.text).await;
            all.push(asked);
            match *outcome.borrow() {
                Outcome::Unknown => return all,
                Outcome::Acknowledged(at) if asked.answered > at + MAX_STALENESS * BOUNDS_ASKED => {
                    return all;
                }
                Outcome::Acknowledged(_) | Outcome::UnderWay => {}
            }
            // wait: for the next request of a caller who asks at a steady pace.
            sleep(if asked.answer == Answer::Active { BUSY } else { CALM }).await;
        }
    }

    async fn introspect(&self, node: usize, client: &Credentials, token: &str) -> Asked {
        let request = self.post(node, "/oauth2/introspect", client, &[("token", token)]);
        let Reply { sent, answered, status, json } = self.send(node, request).await;
        let answer = match status {
            Some(200) if json["active"] == true => Answer::Active,
            Some(200) => Answer::Inactive,
            Some(503) => Answer::Unavailable,
            None => Answer::Nothing,
            Some(other) => {
                panic!("an introspection at {} is answered with {other}: {json}", self.faults.at(sent))
            }
        };
        Asked { node, sent, answered, answer }
    }

    /// By the node's own clock, in seconds since the epoch.
    pub async fn wall_clock(&self, node: usize) -> Option<i64> {
        let token = self.issue(node, Way::ByClient).await?;
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

    /// Without a fault everything has to succeed.
    async fn send(&self, node: usize, request: RequestBuilder) -> Reply {
        let sent = Instant::now();
        let received = async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.bytes().await?))
        };
        let received = received.await;
        let answered = Instant::now();
        let (status, json, why) = match received {
            // A revocation by its client is answered without a body.
            Ok((status, body)) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                (Some(status), serde_json::from_slice(&body).unwrap_or_default(), text)
            }
            Err(error) => (None, Value::Null, format!("{error:?}")),
        };
        let reply = Reply { sent, answered, status, json };
        if !reply.has_succeeded() && self.faults.within(sent, answered).is_none() {
            let at = self.faults.at(sent);
            self.tally().add_failure(format!("node {node} was asked at {at} and answered {status:?}: {why}"));
        }
        reply
    }
}

impl Reply {
    fn has_succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}
