//! Two nodes with a real Redis between them: what one has put the other finds, and nothing that Redis does makes an answer
//! wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use grantry_cache::{Coherence, SharedCopies};
use grantry_protocol::{AccessToken, Client, LogKind, NodeNumber, TokenState};
use grantry_store::conformance::{Harness, LIFETIME, issue};
use grantry_store::{
    Clients, ClusterId, CopyKind, DataSpace, DeferredToken, Merge, Nodes, Replicas, Result, SharedCopy,
    StoredToken, TokenWrite, Tokens, Unwritten,
};
use grantry_store_redis::testing::{Cluster, Sentinels, Server, ask, scratch_name, shared_port, shared_url};
use grantry_store_redis::{RedisDataSpace, RedisOptions};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use super::{Node, settings, shared};

const CLUSTER: ClusterId = ClusterId([7; 16]);
/// What a look-up may take where a test is about something else: the machine may be busy.
const AMPLE: Duration = Duration::from_secs(2);
/// What servers take to agree among themselves.
const PATIENCE: Duration = Duration::from_secs(30);

/// For a test that is no future when it makes its store: joins under a name of its own at the first look-up.
#[derive(Default)]
pub struct JoinsWhenAsked(OnceCell<RedisDataSpace>);

impl JoinsWhenAsked {
    async fn joined(&self) -> &RedisDataSpace {
        self.0.get_or_init(|| join(vec![shared_url()], scratch_name())).await
    }
}

#[async_trait]
impl DataSpace for JoinsWhenAsked {
    async fn copy_find(&self, kind: CopyKind, key: &str) -> Result<Option<Vec<u8>>> {
        self.joined().await.copy_find(kind, key).await
    }

    async fn copy_put(&self, copies: &[SharedCopy]) -> Result<()> {
        self.joined().await.copy_put(copies).await
    }

    async fn probe(&self) -> Result<()> {
        self.joined().await.probe().await
    }

    fn replicas(&self) -> Option<Replicas> {
        self.0.get().and_then(DataSpace::replicas)
    }
}

async fn join(urls: Vec<String>, name: String) -> RedisDataSpace {
    let options =
        RedisOptions { answer_timeout: Duration::from_millis(500), ..RedisOptions::new(urls, name) };
    RedisDataSpace::join(&options, CLUSTER).await.unwrap()
}

/// Two nodes of one store, on one Redis.
struct Pair {
    shared: Harness,
    one: Node,
    other: Node,
    name: String,
    tokens: AtomicU32,
    /// Where the copies are looked for by a test; absent where that moves.
    port: Option<u16>,
}

impl Pair {
    async fn on_shared_server() -> Self {
        let pair = Self::on(vec![shared_url()], scratch_name(), AMPLE).await;
        Self { port: Some(shared_port()), ..pair }
    }

    async fn on_server(server: &Server, patience: Duration) -> Self {
        let pair = Self::on(vec![server.url()], "grantry".to_owned(), patience).await;
        Self { port: Some(server.port()), ..pair }
    }

    async fn on(urls: Vec<String>, name: String, patience: Duration) -> Self {
        let shared = shared();
        let node = async |number| {
            let space = Arc::new(join(urls.clone(), name.clone()).await);
            let copies = Some(SharedCopies::start(space, patience));
            let (store, now, near) = (&shared.store, shared.now(), Some(settings(100)));
            Node::start_sharing(store, number, Coherence::Bounded, now, near, copies).await
        };
        let (one, other) = (node(1).await, node(2).await);
        Self { one, other, shared, name, tokens: AtomicU32::new(0), port: None }
    }

    /// With a slot of its own.
    fn token(&self) -> AccessToken {
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        self.shared.token(&format!("app-{number}"))
    }

    /// A node without near caches, on the shared server.
    async fn newcomer(&self) -> Node {
        let space = Arc::new(join(vec![shared_url()], self.name.clone()).await);
        let copies = Some(SharedCopies::start(space, AMPLE));
        let (store, now) = (&self.shared.store, self.shared.now());
        Node::start_sharing(store, 3, Coherence::Bounded, now, None, copies).await
    }

    /// Issued at one node, and found in Redis.
    async fn issued(&self) -> AccessToken {
        let token = self.token();
        self.one.store.token_write(vec![issue(&token)]).await.unwrap();
        self.copied("tokens", &token.id.to_string()).await;
        self.copied("token_owners", &String::from(token.slot)).await;
        token
    }

    fn ask(&self, command: &str, kind: &str, key: &str, more: &[&str]) -> String {
        let key = format!("{}:copy:{kind}:{key}", self.name);
        ask(self.port.unwrap(), &[&[command, &key], more].concat()).unwrap()
    }

    /// Returns once the copy is there, which nobody else waits for.
    async fn copied(&self, kind: &str, key: &str) {
        let coming = async {
            while self.ask("EXISTS", kind, key, &[]) == "0" {
                // wait: the node to put it there
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, coming).await.unwrap();
    }

    async fn state_at_other(&self, token: &AccessToken) -> TokenState {
        let found = self.other.store.token_find(token.id).await.unwrap().unwrap();
        assert_eq!(found.token, *token);
        found.state(self.shared.now())
    }

    /// Ended at one node; the other has heard of it.
    async fn revoke(&self, token: &AccessToken) {
        self.one.store.token_write(vec![revocation(token)]).await.unwrap();
        self.other.store.tail().catch_up().await;
    }

    /// A token comes and goes at one node; the other honours it, and then does not.
    async fn comes_and_goes(&self) {
        let token = self.token();
        self.one.store.token_write(vec![issue(&token)]).await.unwrap();
        assert_eq!(self.state_at_other(&token).await, TokenState::Active);
        self.revoke(&token).await;
        assert_eq!(self.state_at_other(&token).await, TokenState::Revoked);
        let holder = self.other.store.token_find_holder(token.slot).await.unwrap();
        assert!(holder.is_none_or(|holder| holder.token.id != token.id));
    }

    /// For as long as `until` takes, and once more afterwards.
    async fn come_and_go(&self, until: impl Future<Output = ()>) {
        tokio::pin!(until);
        loop {
            self.comes_and_goes().await;
            tokio::select! {
                biased;
                () = &mut until => break,
                () = sleep(Duration::from_millis(5)) => {} // wait: not as many tokens as can be
            }
        }
        self.comes_and_goes().await;
    }

    /// Returns once both nodes use the data space again, or no longer.
    async fn wait_until_used(&self, is_used: bool) {
        let view = |node: &Node| node.store.node_data_space().unwrap();
        let waiting = async {
            while [&self.one, &self.other].into_iter().any(|node| view(node).failure.is_none() != is_used) {
                // wait: the probe in the background
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap();
    }
}

fn revocation(token: &AccessToken) -> TokenWrite {
    TokenWrite::Revoke { id: token.id, unwritten: None, audit: None }
}

/// What blocks, beside the tasks of the nodes.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn what_one_node_has_issued_another_finds_without_the_store() {
    let pair = Pair::on_shared_server().await;
    let token = pair.issued().await;
    let calls = pair.other.network.calls();
    let holder = pair.other.store.token_find_holder(token.slot).await.unwrap().unwrap();
    assert_eq!((holder.token.id, holder.state(pair.shared.now())), (token.id, TokenState::Active));
    assert_eq!(pair.state_at_other(&token).await, TokenState::Active);
    assert_eq!(pair.other.network.calls(), calls);
}

#[tokio::test]
async fn what_one_node_has_read_another_finds_without_the_store() {
    let pair = Pair::on_shared_server().await;
    let token = pair.shared.issued("app").await;
    pair.one.store.token_find(token.id).await.unwrap().unwrap();
    pair.copied("tokens", &token.id.to_string()).await;
    let calls = pair.other.network.calls();
    assert_eq!(pair.state_at_other(&token).await, TokenState::Active);
    assert_eq!(pair.other.network.calls(), calls);
}

#[tokio::test]
async fn a_copy_leaves_with_its_token() {
    let pair = Pair::on_shared_server().await;
    let token = pair.issued().await;
    for (kind, key) in [("tokens", token.id.to_string()), ("token_owners", String::from(token.slot))] {
        let left: u128 = pair.ask("PTTL", kind, &key, &[]).parse().unwrap();
        assert!((1..=LIFETIME.as_millis()).contains(&left), "{kind}: {left}");
    }
}

#[tokio::test]
async fn what_was_revoked_is_refused_though_its_copy_says_otherwise() {
    let pair = Pair::on_shared_server().await;
    let token = pair.issued().await;
    let (id, slot) = (token.id.to_string(), String::from(token.slot));
    let copy = pair.ask("GET", "tokens", &id, &[]);
    assert_eq!(pair.state_at_other(&token).await, TokenState::Active);
    pair.revoke(&token).await;
    assert_eq!(pair.state_at_other(&token).await, TokenState::Revoked);
    // As a node would that was stopped in the middle of it.
    pair.ask("SET", "tokens", &id, &[&copy]);
    pair.ask("SET", "token_owners", &slot, &[&format!("\"{id}\"")]);
    let third = pair.newcomer().await;
    let found = third.store.token_find(token.id).await.unwrap().unwrap();
    assert_eq!(found.state(pair.shared.now()), TokenState::Revoked);
    assert!(third.store.token_find_holder(token.slot).await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_that_waits_for_its_row_is_found_by_other_nodes_and_handed_out_by_none() {
    let pair = Pair::on_shared_server().await;
    let by = NodeNumber::new(1).unwrap();
    let token = AccessToken { deferred_by: Some(by), ..pair.shared.token("app") };
    pair.one.store.token_announce(&token);
    pair.copied("tokens", &token.id.to_string()).await;
    let found = pair.other.store.token_find_deferred(token.id, by).await.unwrap();
    let active = StoredToken { token: token.clone(), ended: None, ended_by_rule: false, holds_slot: true };
    assert_eq!(found, DeferredToken::Stored(Box::new(active)));
    assert_eq!(pair.other.store.token_find_holder(token.slot).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_that_was_revoked_before_it_had_a_row_is_not_found_by_its_copy() {
    let pair = Pair::on_shared_server().await;
    let by = pair.shared.store.node_register(grantry_store::NodeId([9; 16])).await.unwrap().number.unwrap();
    let token = AccessToken { deferred_by: Some(by), ..pair.shared.token("app") };
    pair.one.store.token_announce(&token);
    pair.copied("tokens", &token.id.to_string()).await;
    let unwritten = Some(Unwritten { by: Some(by), expires_by: token.expires_at });
    let write = TokenWrite::Revoke { id: token.id, unwritten, audit: None };
    pair.one.store.token_write(vec![write]).await.unwrap();
    pair.other.store.tail().catch_up().await;
    let found = pair.other.store.token_find_deferred(token.id, by).await.unwrap();
    assert_eq!(found, DeferredToken::EndedEarly);
}

#[tokio::test]
async fn a_client_that_one_node_has_read_another_finds_and_reads_anew_once_it_was_changed() {
    let pair = Pair::on_shared_server().await;
    let client = pair.shared.client("app");
    pair.shared.insert(&client).await;
    pair.one.store.client_find(&client.id).await.unwrap();
    pair.copied("clients", "app").await;
    let calls = pair.other.network.calls();
    let found = pair.other.store.client_find(&client.id).await.unwrap();
    assert_eq!((found.value, pair.other.network.calls()), (Some(client.clone()), calls));
    let change = pair.shared.change(&Client { version: 2, ..client.clone() }, LogKind::ClientChanged);
    let changed = change.client.clone();
    let stale = pair.ask("GET", "clients", "app", &[]);
    pair.one.store.client_update(change).await.unwrap();
    pair.other.store.tail().catch_up().await;
    pair.ask("SET", "clients", "app", &[&stale]);
    assert_eq!(pair.other.store.client_find(&client.id).await.unwrap().value, Some(changed));
}

#[tokio::test]
async fn a_copy_of_a_client_from_before_a_restore_is_not_used() {
    let pair = Pair::on_shared_server().await;
    let client = pair.shared.client("app");
    pair.shared.insert(&client).await;
    pair.one.store.client_find(&client.id).await.unwrap();
    pair.copied("clients", "app").await;
    let merge = Merge { from: pair.shared.head().await, raise_epoch: true, entries: Vec::new() };
    pair.shared.store.revocation_merge(merge).await.unwrap();
    pair.other.store.tail().catch_up().await;
    let calls = pair.other.network.calls();
    pair.other.store.client_find(&client.id).await.unwrap();
    assert!(pair.other.network.calls() > calls, "it was read from the store");
}

#[tokio::test]
async fn what_cannot_be_read_or_is_of_another_key_is_looked_up_in_the_store() {
    let pair = Pair::on_shared_server().await;
    let (token, another) = (pair.issued().await, pair.shared.issued("another").await);
    let copy = pair.ask("GET", "tokens", &token.id.to_string(), &[]);
    for damaged in [copy.as_str(), "", "{", "null", "[]"] {
        pair.ask("SET", "tokens", &another.id.to_string(), &[damaged]);
        let owner = format!("\"{}\"", token.id);
        pair.ask("SET", "token_owners", &String::from(another.slot), &[&owner]);
        let node = pair.newcomer().await;
        assert_eq!(node.store.token_find(another.id).await.unwrap().unwrap().token, another);
        assert_eq!(node.store.token_find_holder(another.slot).await.unwrap().unwrap().token, another);
    }
}

#[tokio::test]
async fn one_that_stands_still_costs_one_short_wait_and_is_used_again_when_it_goes_on() {
    let server = Server::start();
    let patience = Duration::from_millis(100);
    let pair = Pair::on_server(&server, patience).await;
    pair.issued().await;
    server.freeze();
    let tokens: Vec<_> = (0..100).map(|_| pair.token()).collect();
    let started = Instant::now();
    for token in &tokens {
        pair.one.store.token_write(vec![issue(token)]).await.unwrap();
        assert_eq!(pair.state_at_other(token).await, TokenState::Active);
    }
    assert!(started.elapsed() < patience * 50, "{:?}", started.elapsed());
    let failure = pair.other.store.node_data_space().unwrap().failure.unwrap();
    assert!(failure.contains("100ms"), "{failure}");
    server.thaw();
    pair.wait_until_used(true).await;
    pair.issued().await;
}

#[tokio::test]
async fn one_that_was_killed_is_left_out_and_used_again_when_it_comes_back_empty() {
    let mut server = Server::start();
    let pair = Pair::on_server(&server, AMPLE).await;
    let token = pair.issued().await;
    server.kill();
    pair.comes_and_goes().await;
    pair.wait_until_used(false).await;
    pair.comes_and_goes().await;
    assert_eq!(pair.state_at_other(&token).await, TokenState::Active);
    server.restart();
    pair.wait_until_used(true).await;
    assert_eq!(pair.state_at_other(&token).await, TokenState::Active);
    pair.issued().await;
    pair.comes_and_goes().await;
}

#[tokio::test]
async fn one_that_is_full_is_read_on_and_tokens_are_issued_on() {
    let server = Server::with(&[("maxmemory-policy", "noeviction")]);
    let pair = Pair::on_server(&server, AMPLE).await;
    let before = pair.issued().await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    pair.comes_and_goes().await;
    let calls = pair.other.network.calls();
    assert_eq!(pair.state_at_other(&before).await, TokenState::Active);
    assert_eq!(pair.other.network.calls(), calls, "its copy is found");
    assert_eq!(pair.other.store.node_data_space().unwrap().failure, None);
}

#[tokio::test]
async fn a_failover_by_sentinels_makes_no_answer_wrong() {
    let (mut primary, replica, sentinels) = apart(|| {
        let primary = Server::start();
        let replica = Server::replica_of(&primary);
        primary.wait_for_replicas(1);
        let sentinels = Sentinels::watch(&primary, 1);
        (primary, replica, sentinels)
    })
    .await;
    let pair = Pair::on(sentinels.urls(), "grantry".to_owned(), AMPLE).await;
    pair.comes_and_goes().await;
    let failover = apart(move || {
        primary.kill();
        sentinels.wait_for_failover(&primary);
        (primary, sentinels)
    });
    let mut kept = None;
    pair.come_and_go(async { kept = Some(failover.await) }).await;
    pair.wait_until_used(true).await;
    let pair = Pair { port: Some(replica.port()), ..pair };
    pair.issued().await;
    pair.comes_and_goes().await;
}

#[tokio::test]
async fn the_loss_of_a_primary_of_a_cluster_makes_no_answer_wrong() {
    let mut cluster = apart(|| Cluster::start(1)).await;
    let pair = Pair::on(cluster.urls(), "grantry".to_owned(), AMPLE).await;
    pair.comes_and_goes().await;
    let loss = apart(move || {
        cluster.members[0].kill();
        cluster.wait_for_promotion(3);
        cluster
    });
    let mut kept = None;
    pair.come_and_go(async { kept = Some(loss.await) }).await;
    pair.wait_until_used(true).await;
    pair.comes_and_goes().await;
}

#[tokio::test]
async fn the_loss_of_a_primary_without_replicas_makes_no_answer_wrong() {
    let mut cluster = apart(|| Cluster::start(0)).await;
    let pair = Pair::on(cluster.urls(), "grantry".to_owned(), AMPLE).await;
    pair.comes_and_goes().await;
    cluster.members[1].kill();
    pair.come_and_go(pair.wait_until_used(false)).await;
    cluster.members[1].restart();
    pair.come_and_go(pair.wait_until_used(true)).await;
}
