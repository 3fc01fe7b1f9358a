//! The issuer, three gateways, each with a road of its own to the issuer and a nginx in front of it, the application, and
//! what is done to them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::faults::Fault;
use super::load::{Clients, Load};
use crate::gateway::stage::{AUDIENCE, BOUNDED, Gateway, Issuer, Nginx};
use crate::soak::grants::Refreshers;
use crate::soak::promise::callers::Scene;
use crate::soak::promise::faults::Fault as _;
use crate::soak::promise::http::Address;
use crate::soak::promise::run::{self, stand_still};
use crate::soak::promise::verdict::Answer;
use crate::soak::promise::{MAX_STALENESS, NODES, pass};
use crate::soak::road::Condition;

/// Requests that it finds when it goes on.
const KNOCKS: usize = 8;

pub struct Stage {
    issuer: Issuer,
    gateways: Vec<Gateway>,
    _nginx: Vec<Nginx>,
    application: AbortHandle,
    /// How often each gateway was told everything before the fault.
    snapshots: Vec<u64>,
    pub recoveries: Recoveries,
}

/// How gateways that a fault concerned, and that lived through it, went on.
#[derive(Debug, Default)]
pub struct Recoveries {
    /// From the position that they knew.
    by_position: usize,
    /// With everything that is in force.
    by_snapshot: usize,
    /// Anew, in another process.
    anew: usize,
}

impl Stage {
    pub async fn set(callers: usize) -> (Self, Arc<Load>) {
        let issuer = Issuer::start().await;
        let (application_port, application) = start_application().await;
        let (mut gateways, mut nginx) = (Vec::new(), Vec::new());
        for _ in 0..NODES {
            let gateway = Gateway::ready(&issuer, BOUNDED).await;
            nginx.push(Nginx::start(&[gateway.port], application_port).await);
            gateways.push(gateway);
        }
        let ports = std::array::from_fn(|node| nginx[node].port);
        let load = Load::new(register(&issuer, callers).await, Address::of(&issuer.server), ports);
        let recoveries = Recoveries::default();
        let snapshots = Vec::new();
        (Self { issuer, gateways, _nginx: nginx, application, snapshots, recoveries }, load)
    }

    /// How often each gateway was told everything.
    async fn snapshots(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for gateway in &self.gateways {
            let text = gateway.metrics().await;
            let name = r#"grantry_verifier_feed_pages_total{kind="snapshot"} "#;
            let count = text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
            all.push(count.expect("a gateway counts what it is told"));
        }
        all
    }
}

impl run::Stage for Stage {
    type Scene = Load;
    const LONGEST_REST: Duration = Duration::from_millis(400);
    const LENGTH: [u32; 2] = [160, 190];

    async fn last(&mut self, fault: Fault, length: Duration, load: &Arc<Load>) {
        self.snapshots = self.snapshots().await;
        match fault {
            Fault::RoadCut { node } => {
                self.gateways[node].road.set(Condition::cut());
                keep_out(node..=node, length, load).await;
                self.gateways[node].road.set(Condition::default());
            }
            Fault::RoadSlow { node, there, back } => {
                self.gateways[node].road.set(Condition::slow(there, back));
                pass(length).await;
                self.gateways[node].road.set(Condition::default());
            }
            Fault::RoadSilent { node, there, back } => {
                self.gateways[node].road.set(Condition::silent(there, back));
                keep_out(node..=node, length, load).await;
                self.gateways[node].road.set(Condition::default());
            }
            Fault::GatewayStopped { node } => {
                let process = &self.gateways[node].process;
                let token = load.token_inside(node).await;
                process.signal("STOP");
                let acknowledged = load.revoke(&token).await;
                stand_still().await;
                // These wait at the gateway and are the first that it sees when it goes on.
                let knocks = async { join_all((0..KNOCKS).map(|_| load.ask(node, &token))).await };
                let go_on = async {
                    pass(MAX_STALENESS / 10).await;
                    process.signal("CONT");
                };
                let (asked, ()) = tokio::join!(knocks, go_on);
                let let_in = asked.iter().filter(|asked| asked.answer == Answer::Active).count();
                assert!(
                    acknowledged.is_none() || let_in == 0,
                    "gateway {node} stood still and then let in what was revoked, {let_in} times"
                );
            }
            Fault::GatewayKilled { node, is_cut_off } => {
                let gateway = &mut self.gateways[node];
                gateway.process.kill();
                pass(MAX_STALENESS / 2).await;
                if is_cut_off {
                    gateway.road.set(Condition::cut());
                    gateway.restart().await;
                    load.expect_unavailable(node).await;
                    gateway.road.set(Condition::default());
                } else {
                    gateway.restart().await;
                }
            }
            Fault::IssuerStopped => {
                self.issuer.server.process.signal("STOP");
                keep_out(0..=NODES - 1, length, load).await;
                self.issuer.server.process.signal("CONT");
            }
            Fault::IssuerKilled { down } => {
                self.issuer.server.process.kill();
                pass(down).await;
                self.issuer.restart().await;
                load.move_to(Address::of(&self.issuer.server));
            }
        }
    }

    async fn settle(&mut self, fault: Fault) {
        let later = self.snapshots().await;
        for node in (0..NODES).filter(|node| fault.concerns(*node)) {
            match fault {
                Fault::GatewayKilled { .. } => self.recoveries.anew += 1,
                _ if later[node] == self.snapshots[node] => self.recoveries.by_position += 1,
                _ => self.recoveries.by_snapshot += 1,
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.application.abort();
    }
}

impl fmt::Display for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by_position, by_snapshot, anew } = self;
        write!(f, "gateways went on by position {by_position} times, by snapshot {by_snapshot}, anew {anew}")
    }
}

/// None of these can know what is revoked; once the bound is over they let nobody in.
async fn keep_out(nodes: std::ops::RangeInclusive<usize>, length: Duration, load: &Load) {
    pass(MAX_STALENESS).await;
    for node in nodes {
        load.expect_unavailable(node).await;
    }
    pass(length - MAX_STALENESS).await;
}

async fn register(issuer: &Issuer, callers: usize) -> Clients {
    let Issuer { home, server, admin, .. } = issuer;
    let mut own = Vec::new();
    for _ in 0..callers {
        let jwt = json!({ "scope": "read", "access_token_format": "jwt" });
        own.push(server.create_client(admin, jwt).await);
    }
    let jwt = json!({ "access_token_format": "jwt" });
    Clients {
        plain: issuer.caller.clone(),
        refreshers: Refreshers::register_at(&issuer.url(), home, server, jwt).await,
        own,
        bearer: server.token(admin, &[("scope", "grantry:admin")]).await,
        lasting: server
            .token(
                &issuer.caller,
                &[("scope", "read"), ("resource", AUDIENCE), ("resource", "https://else.example/lasting")],
            )
            .await,
    }
}

/// It keeps nothing of what reaches it, as there is much of that.
async fn start_application() -> (u16, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(async || "application");
    (port, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle())
}
