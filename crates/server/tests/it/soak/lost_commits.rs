//! PostgreSQL with an asynchronous standby: a failover loses the last commits, and with them revocations. What that means
//! is counted here, a round at a time, each with servers and databases of its own.
//!
//! 1. Half of the tokens are revoked while the standby follows. Then it is cut off, and the other half is revoked: each of
//!    these revocations is acknowledged and will be lost.
//! 2. In every other round all nodes are killed at this moment, and nobody is left who knows.
//! 3. The primary stops for good, the standby is promoted, killed nodes start again.
//! 4. What was revoked before the cut is active nowhere. What was revoked after it is active nowhere if a node has lived
//!    through it, since the node gave it back to the log; otherwise it is lost, as the documentation says.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::postgres::Postgres;
use super::promise::MAX_STALENESS;
use super::road::{Condition, Road};
use crate::home::Home;
use crate::process::Process;
use crate::test_server::{Credentials, TestServer};
use crate::wait;

const NODES: usize = 3;
/// Revoked in each half of a round.
const TOKENS: usize = 20;
/// Until a promoted server that lost entries was followed again, by every node.
const SETTLED: Duration = MAX_STALENESS.saturating_mul(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nodes {
    LiveOn,
    AreKilled,
}

/// Of all rounds of one kind.
#[derive(Debug, Default)]
struct Count {
    rounds: u32,
    revoked: usize,
    given_back: usize,
    lost: usize,
}

pub async fn run(rounds: u32) {
    let (mut lived, mut died) = (Count::default(), Count::default());
    for round in 0..rounds.max(2) {
        let (nodes, count) = match round % 2 {
            0 => (Nodes::LiveOn, &mut lived),
            _ => (Nodes::AreKilled, &mut died),
        };
        let lost = one_round(nodes).await;
        count.rounds += 1;
        count.revoked += TOKENS;
        count.lost += lost;
        count.given_back += TOKENS - lost;
        eprintln!("lost-commits: round {} of {rounds}: {nodes:?}, {lost} of {TOKENS} lost", round + 1);
    }
    eprintln!(
        "lost-commits: revocations that the standby had not received\n  nodes live on: {lived:?}\n  all killed:    {died:?}"
    );
    assert_eq!(lived.lost, 0, "a node that knew of a revocation did not give it back");
    assert_eq!(died.given_back, 0, "nothing was lost: this proves nothing");
}

/// How many revocations were lost.
async fn one_round(fate: Nodes) -> usize {
    let mut stage = Stage::set().await;
    let kept = stage.issue("kept").await;
    let endangered = stage.issue("endangered").await;
    // 1.
    stage.revoke(&kept).await;
    stage.wait_for_standby().await;
    stage.to_standby.set(Condition::cut());
    stage.revoke(&endangered).await;
    // 2.
    if fate == Nodes::AreKilled {
        stage.nodes.iter_mut().for_each(|node| node.process.kill());
    }
    // 3.
    stage.primary.stop().await;
    stage.standby.promote().await;
    if fate == Nodes::AreKilled {
        stage.start_nodes().await;
    }
    stage.settle().await;
    // 4.
    assert_eq!(stage.count_active(&kept).await, 0, "a revocation that the standby had was lost");
    let lost = stage.count_active(&endangered).await;
    stage.stop().await;
    lost
}

struct Stage {
    home: Home,
    url: String,
    primary: Postgres,
    standby: Postgres,
    to_standby: Road<2>,
    nodes: Vec<TestServer>,
    client: Credentials,
    /// Never revoked.
    lasting: String,
}

impl Stage {
    async fn set() -> Self {
        let mut primary = Postgres::start().await;
        let settings = "ALTER SYSTEM SET wal_retrieve_retry_interval = '100ms'";
        primary.connect("postgres").await.batch_execute(settings).await.unwrap();
        let standby = primary.standby().await;
        let to_standby = Road::build([primary.port(), primary.port()]).await;
        let follow = format!(
            "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port={} user=grantry'",
            to_standby.ports()[0]
        );
        let administrator = standby.connect("postgres").await;
        administrator.batch_execute(&follow).await.unwrap();
        administrator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let name = primary.make_database().await;
        let both = format!(":{},127.0.0.1:{}/", primary.port(), standby.port());
        let url = primary.url(&name).replace(&format!(":{}/", primary.port()), &both);
        let url = format!("{url}?target_session_attrs=read-write");
        let home =
            Home::with_config(&format!("[cache]\nmax_staleness = \"{}ms\"\n", MAX_STALENESS.as_millis()));
        let client = (String::new(), String::new());
        let mut stage = Self {
            home,
            url,
            primary,
            standby,
            to_standby,
            nodes: Vec::new(),
            client,
            lasting: String::new(),
        };
        stage.start_nodes().await;
        let first = &stage.nodes[0];
        stage.client = first.plain_client(&stage.home.first_client()).await;
        stage.lasting = stage.token(0, "lasting").await;
        stage
    }

    /// One after the other: the first makes the schema and the administrator.
    async fn start_nodes(&mut self) {
        self.nodes.clear();
        for _ in 0..NODES {
            let mut serve = self.home.serve();
            serve.env("GRANTRY_STORE__URL", &self.url);
            self.nodes.push(TestServer::ready(Process::spawn(&mut serve)).await);
        }
    }

    async fn token(&self, node: usize, name: &str) -> String {
        let resource = format!("https://api.example/{name}");
        self.nodes[node].token(&self.client, &[("resource", &resource)]).await
    }

    async fn issue(&self, what: &str) -> Vec<String> {
        join_all(
            (0..TOKENS).map(async |number| self.token(number % NODES, &format!("{what}-{number}")).await),
        )
        .await
    }

    /// Each at another node than the one before; returns once all are acknowledged.
    async fn revoke(&self, tokens: &[String]) {
        join_all(tokens.iter().enumerate().map(async |(number, token)| {
            let node = &self.nodes[number % NODES];
            let answer = node.post("/oauth2/revoke", &self.client, &[("token", token)]).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }))
        .await;
    }

    async fn wait_for_standby(&self) {
        let (primary, standby) =
            (self.primary.connect("postgres").await, self.standby.connect("postgres").await);
        let position = primary.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap();
        let position: String = position.get(0);
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        wait::until("the standby has all of it", async || {
            standby.query_one(&reached, &[]).await.unwrap().get::<_, bool>(0).then_some(())
        })
        .await;
    }

    /// Every node answers, and has had the time to give back what it knows.
    async fn settle(&self) {
        for node in &self.nodes {
            wait::until("a node answers with the new primary", async || {
                let request = node.post("/oauth2/introspect", &self.client, &[("token", &self.lasting)]);
                let answer = request.send().await.ok()?;
                (answer.status() == 200).then_some(())
            })
            .await;
        }
        // wait: for the bound that is promised.
        sleep(SETTLED).await;
    }

    /// How many a node takes for good.
    async fn count_active(&self, tokens: &[String]) -> usize {
        let is_active = async |token: &String| {
            let asked = join_all(self.nodes.iter().map(|node| node.is_active(&self.client, token))).await;
            asked.contains(&true)
        };
        join_all(tokens.iter().map(is_active)).await.into_iter().filter(|active| *active).count()
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}
