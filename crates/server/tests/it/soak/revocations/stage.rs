//! Three nodes with a data space between them, each with a road of its own to the databases and a wall clock of its own, and what is done to them.

use std::sync::Arc;
use std::time::Duration;

use grantry_store_redis::testing::Server;

use super::databases::Databases;
use super::faults::Fault;
use super::load::Load;
use super::wall_clock::WallClock;
use crate::home::Home;
use crate::process::Process;
use crate::soak::grants::Refreshers;
use crate::soak::promise::http::Address;
use crate::soak::promise::run::{self, stand_still};
use crate::soak::promise::{MAX_STALENESS, NODES, pass};
use crate::soak::road::{Condition, Road};
use crate::test_server::{Credentials, TestServer};
use crate::wait;

/// How long the old primary goes on.
const BOUNDS_DEPOSED: u32 = 4;
const BOUNDS_DEPOSED_LONG: u32 = 10;

pub struct Stage {
    databases: Databases,
    redis: Server,
    nodes: Vec<TestServer>,
    ground: Ground,
    is_long: bool,
}

/// What is there before a node is, and after it.
struct Ground {
    home: Home,
    roads: Vec<Road<2>>,
    clocks: Vec<WallClock>,
    urls: Vec<String>,
}

/// What the load needs of the clients.
pub struct Clients {
    pub plain: Credentials,
    pub refreshers: Refreshers,
    /// For the admin API.
    pub bearer: String,
    /// A token that is never revoked, with which a node shows that it answers.
    pub lasting: String,
}

impl Stage {
    pub async fn set(is_long: bool) -> (Self, Clients) {
        let databases = Databases::start().await;
        let redis = Server::start();
        let ground = Ground::lay(&databases, &redis).await;
        let mut nodes = Vec::new();
        for node in 0..NODES {
            // One after the other: the first makes the schema and the administrator.
            nodes.push(ground.start(node).await);
        }
        let administrator = ground.home.first_client();
        let first = &nodes[0];
        let plain = first.plain_client(&administrator).await;
        let clients = Clients {
            bearer: first.token(&administrator, &[("scope", "grantry:admin")]).await,
            lasting: first.token(&plain, &[("resource", "https://api.example/lasting")]).await,
            refreshers: Refreshers::register(&ground.home, first).await,
            plain,
        };
        (Self { databases, redis, nodes, ground, is_long }, clients)
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.nodes.iter().map(Address::of).collect()
    }

    async fn on_road(&self, node: usize, condition: Condition, length: Duration) {
        self.ground.roads[node].set(condition);
        pass(length).await;
        self.ground.roads[node].set(Condition::default());
    }

    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

impl run::Stage for Stage {
    type Scene = Load;
    const LONGEST_REST: Duration = Duration::from_millis(700);
    /// At least so long that what was revoked after it had begun is asked for later than the bound while it is still in
    /// force.
    const LENGTH: [u32; 2] = [230, 260];

    async fn last(&mut self, fault: Fault, length: Duration, load: &Arc<Load>) {
        match fault {
            Fault::LinkCut { node } => self.on_road(node, Condition::cut(), length).await,
            Fault::LinkDelayed { node, there, back } => {
                self.on_road(node, Condition::slow(there, back), length).await;
            }
            Fault::LinkSilent { node, there, back } => {
                self.on_road(node, Condition::silent(there, back), length).await;
            }
            Fault::NodeStopped { node } => {
                self.nodes[node].process.signal("STOP");
                stand_still().await;
                self.nodes[node].process.signal("CONT");
            }
            Fault::NodeKilled { node } => {
                self.nodes[node].process.kill();
                pass(MAX_STALENESS / 2).await;
                self.nodes[node] = self.ground.start(node).await;
                load.move_to(node, Address::of(&self.nodes[node]));
            }
            Fault::ClockWrong { node, seconds } => {
                self.ground.clocks[node].set_wrong(seconds);
                wait_for_clock(node, seconds, load).await;
                pass(length).await;
                self.ground.clocks[node].set_wrong(0);
            }
            Fault::DatabaseRestarted => self.databases.restart().await,
            Fault::RedisGone { stands_still: true } => {
                self.redis.freeze();
                pass(length).await;
                self.redis.thaw();
            }
            Fault::RedisGone { stands_still: false } => {
                self.redis.kill();
                pass(length).await;
                self.redis.restart();
            }
            Fault::StandbyPromoted => {
                self.databases.promote().await;
                load.note_promotion();
                let bounds = if self.is_long { BOUNDS_DEPOSED_LONG } else { BOUNDS_DEPOSED };
                pass(MAX_STALENESS * bounds).await;
                // Until here it was there for whoever took it for the primary.
                self.databases.stop_old_primary().await;
            }
        }
    }
}

impl Ground {
    async fn lay(databases: &Databases, redis: &Server) -> Self {
        let home = Home::with_config(&format!(
            "[cache]\nmax_staleness = \"{}ms\"\n[data_space]\ndiscovery = [\"{}\"]\n",
            MAX_STALENESS.as_millis(),
            redis.url()
        ));
        let library = WallClock::library(home.root());
        let (mut roads, mut clocks, mut urls) = (Vec::new(), Vec::new(), Vec::new());
        for node in 0..NODES {
            let road = Road::build(databases.ports()).await;
            let mut ports = road.ports();
            // All but the first find the standby once it is promoted; the first stays with the old primary as long as it
            // is there.
            if node > 0 {
                ports.reverse();
            }
            urls.push(databases.url_at(ports));
            roads.push(road);
            clocks.push(WallClock::new(&library, home.path(&format!("clock-{node}"))));
        }
        Self { home, roads, clocks, urls }
    }

    async fn start(&self, node: usize) -> TestServer {
        let mut serve = self.home.serve();
        serve.env("GRANTRY_STORE__URL", &self.urls[node]);
        self.clocks[node].give_to(&mut serve);
        TestServer::ready(Process::spawn(&mut serve)).await
    }
}

/// So that the fault is known to reach the node.
async fn wait_for_clock(node: usize, wrong_by: i64, load: &Load) {
    wait::until(format_args!("the clock of node {node} is wrong by {wrong_by} s"), async || {
        let found = load.wall_clock(node).await? - jsonwebtoken::get_current_timestamp() as i64;
        // Both are whole seconds.
        ((found - wrong_by).abs() <= 2).then_some(())
    })
    .await;
}
