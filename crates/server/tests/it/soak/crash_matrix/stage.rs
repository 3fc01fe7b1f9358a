//! Two nodes on one PostgreSQL. Things happen to the first, to its disks and to its way to the database, which leads
//! through a proxy; the second has its own way and is not touched.

use std::path::PathBuf;

use super::power_loss::Disk;
use super::proxy::Proxy;
use super::small_disk::SmallDisk;
use super::{Event, Mode};
use crate::home::Home;
use crate::process::Process;
use crate::soak::grants::{Pair, Refreshers};
use crate::soak::postgres::Postgres;
use crate::soak::queue;
use crate::test_server::{Credentials, TestServer};
use crate::wait;

/// Grants that are refreshed all the time, in turn at the first node and at the second.
const GRANTS: usize = 4;

pub struct Stage {
    pub postgres: Postgres,
    pub database: String,
    pub proxy: Proxy,
    pub ground: Ground,
    pub nodes: [TestServer; 2],
    pub client: Credentials,
    pub refreshers: Refreshers,
    pub pairs: Vec<Pair>,
    /// For the admin API.
    bearer: String,
}

/// What is there before a node is, and after it.
pub struct Ground {
    pub mode: Mode,
    /// Of the first node's journal, where the event is about it.
    pub disk: Option<Disk>,
    pub small_disk: Option<SmallDisk>,
    home: Home,
    urls: [String; 2],
    journals: [PathBuf; 2],
}

impl Stage {
    pub async fn set(mode: Mode, event: Event, mut postgres: Postgres) -> Self {
        let database = postgres.make_database().await;
        let proxy = Proxy::start(postgres.port()).await;
        let url = postgres.url(&database);
        let through_proxy = url.replace(&format!(":{}/", postgres.port()), &format!(":{}/", proxy.port()));
        let ground = Ground::lay(mode, event, [through_proxy, url]).await;
        // One after the other: the first makes the schema and the administrator.
        let first = ground.start(0).await;
        let second = ground.start(1).await;

        // At the second, so that none of it waits in the queue of the first.
        let administrator = ground.home.first_client();
        let client = second.plain_client(&administrator).await;
        let refreshers = Refreshers::register(&ground.home, &second).await;
        let bearer = second.token(&administrator, &[("scope", "grantry:admin")]).await;
        let mut pairs = Vec::new();
        for grant in 0..GRANTS {
            pairs.push(refreshers.grant(&second, &format!("user-{grant}")).await);
        }
        Self { postgres, database, proxy, ground, nodes: [first, second], client, refreshers, pairs, bearer }
    }

    /// After it was killed.
    pub async fn restart_first(&mut self) {
        self.nodes[0] = self.ground.start(0).await;
    }

    /// Until the node answers as if nothing had happened to its database, or to its connections.
    pub async fn wait_for_service(&self, node: usize) {
        wait::until("the node issues tokens again", async || {
            let slot = [("resource", "https://api.example/service")];
            let answer = self.nodes[node].token_answer(&self.client, &slot).await;
            (answer.status() == 200).then_some(())
        })
        .await;
    }

    /// Tokens that would be gone with the first node's machine, as it counts them at this moment.
    pub async fn at_risk(&self) -> u64 {
        queue::state(&self.nodes[0], &self.bearer).await["tokens_at_risk"].as_u64().unwrap()
    }

    pub async fn wait_for_drain(&self) {
        for node in &self.nodes {
            queue::wait_for_drain(node, &self.bearer).await;
        }
    }
}

impl Ground {
    async fn lay(mode: Mode, event: Event, urls: [String; 2]) -> Self {
        // A retry after everything has been restarted is still a retry.
        let home = Home::with_config("[tokens]\nrefresh_grace = \"10m\"\n");
        let disk = (event == Event::PowerLost).then(|| Disk::new(&home.path("disk")));
        let first_journal = match &disk {
            Some(disk) => disk.root().join("journal"),
            None => home.path("journal-1"),
        };
        let small_disk = match event {
            Event::JournalDiskFull => Some(SmallDisk::mount(&first_journal).await),
            _ => None,
        };
        let journals = [first_journal, home.path("journal-2")];
        Self { mode, disk, small_disk, home, urls, journals }
    }

    async fn start(&self, node: usize) -> TestServer {
        let mut serve = self.home.serve();
        serve.env("GRANTRY_STORE__URL", &self.urls[node]);
        if self.mode != Mode::Sync {
            serve.env("GRANTRY_TOKEN_PERSISTENCE__POOL_SIZE", "2");
            serve.env("GRANTRY_TOKEN_PERSISTENCE__JOURNAL", self.mode.journal());
        }
        if self.mode != Mode::Sync {
            serve.env("GRANTRY_TOKEN_PERSISTENCE__JOURNAL_DIR", &self.journals[node]);
        }
        if let (Some(disk), 0) = (&self.disk, node) {
            disk.watch(&mut serve);
        }
        if let (Some(small_disk), 0) = (&self.small_disk, node) {
            serve = small_disk.inside(&serve);
        }
        TestServer::ready(Process::spawn(&mut serve)).await
    }
}
