//! A primary that acknowledges nothing before its standby has it, and the standby.

use tokio_postgres::Client;

use crate::soak::postgres::Postgres;
use crate::wait;

pub struct Databases {
    primary: Postgres,
    standby: Postgres,
    name: String,
}

impl Databases {
    pub async fn start() -> Self {
        let mut primary = Postgres::start_with(&[("synchronous_standby_names", "*")]).await;
        // Into the standby's copy, too; it would wait for five seconds before it comes back to a primary.
        let settings = "ALTER SYSTEM SET wal_retrieve_retry_interval = '100ms'";
        primary.connect("postgres").await.batch_execute(settings).await.unwrap();
        let standby = primary.standby().await;
        let name = primary.make_database().await;
        let databases = Self { primary, standby, name };
        databases.wait_for_standby().await;
        databases
    }

    pub fn ports(&self) -> [u16; 2] {
        [self.primary.port(), self.standby.port()]
    }

    /// Of these ports of the machine, in this order.
    pub fn url_at(&self, ports: [u16; 2]) -> String {
        let [first, second] = ports;
        let url = self.primary.url(&self.name);
        let hosts =
            url.replace(&format!(":{}/", self.primary.port()), &format!(":{first},127.0.0.1:{second}/"));
        format!("{hosts}?target_session_attrs=read-write")
    }

    /// The primary ends without notice and starts again.
    pub async fn restart(&mut self) {
        self.primary.crash().await;
        self.primary.resume().await;
        self.wait_for_standby().await;
    }

    /// The old primary goes on, takes connections, reads and writes, and waits for a standby that has left it.
    pub async fn promote(&mut self) {
        self.standby.promote().await;
    }

    pub async fn stop_old_primary(&mut self) {
        self.primary.stop().await;
    }

    async fn wait_for_standby(&self) {
        let primary = self.primary.connect("postgres").await;
        wait::until("the standby follows", async || is_followed(&primary).await.then_some(())).await;
    }
}

async fn is_followed(primary: &Client) -> bool {
    let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'";
    primary.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
}
