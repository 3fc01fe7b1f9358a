//! A PostgreSQL server of a soak's own, which survives what is done to it, and what its tables say.

use grantry_store_postgres::testing::{Server, ServerOptions};
use tokio_postgres::{Client, NoTls};

pub struct Postgres {
    /// Absent while another thread works on it.
    server: Option<Server>,
    databases: u32,
}

impl Postgres {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With some settings besides, as in `postgresql.conf`.
    pub async fn start_with(settings: &[(&'static str, &str)]) -> Self {
        let mut settings: Vec<_> =
            settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        // Instead of opening and syncing a thousand files before it recovers, which takes up to ten seconds.
        settings.push(("recovery_init_sync_method", "syncfs".to_owned()));
        let options = ServerOptions { settings, ..ServerOptions::default() };
        let server = tokio::task::spawn_blocking(move || Server::start(&options)).await.unwrap();
        Self { server: Some(server), databases: 0 }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("nobody else works on the server")
    }

    pub fn port(&self) -> u16 {
        self.server().port()
    }

    pub fn url(&self, database: &str) -> String {
        self.server().url(database)
    }

    /// The name of a new database without anything in it.
    pub async fn make_database(&mut self) -> String {
        let name = format!("soak_{}", self.databases);
        self.databases += 1;
        let administrator = self.connect("postgres").await;
        administrator.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        name
    }

    pub async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// `pg_ctl stop -m immediate`: nothing is flushed, and the next start recovers.
    pub async fn crash(&mut self) {
        self.work(Server::crash).await;
    }

    pub async fn resume(&mut self) {
        self.work(Server::resume_from_stop).await;
    }

    /// For good, as if somebody had seen to it that nobody writes to it any more.
    pub async fn stop(&mut self) {
        self.work(Server::stop).await;
    }

    /// A copy that follows it.
    pub async fn standby(&mut self) -> Self {
        let standby = self.work(|server| Server::standby(server)).await;
        Self { server: Some(standby), databases: 0 }
    }

    /// Makes a standby take writes.
    pub async fn promote(&mut self) {
        self.work(|server| server.promote()).await;
    }

    /// Starting and stopping blocks, and a test's requests go on meanwhile.
    async fn work<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Server) -> T + Send + 'static) -> T {
        let mut server = self.server.take().expect("nobody else works on the server");
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut server);
            (server, outcome)
        });
        let (server, outcome) = done.await.unwrap();
        self.server = Some(server);
        outcome
    }

    pub fn assert_no_deadlock(&self) {
        let log = self.server().log();
        assert!(!log.contains("deadlock detected"), "{log}");
    }
}

/// The id of an opaque access token, as the store writes it.
pub fn token_id(text: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("gta_").expect("an opaque access token")).unwrap();
    // After the version of the key and the flags.
    let id = u128::from_be_bytes(bytes[2..18].try_into().unwrap());
    format!("{id:032x}")
}

/// A token's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// It holds its slot.
    Active,
    Retired,
    /// Ended by recovery; whether the revocation log says so.
    Inactive {
        announced: bool,
    },
    Revoked,
    /// There is none.
    Missing,
}

/// The rows of these tokens, in the same order.
pub async fn rows(database: &Client, ids: &[String]) -> Vec<Row> {
    let sql = "SELECT CASE WHEN t.id IS NULL THEN 0 WHEN t.ended = 2 THEN 5 \
               WHEN t.ended = 1 AND EXISTS (SELECT FROM revocation_log l \
                   WHERE l.kind = 1 AND l.key = decode(w.id, 'hex')) THEN 4 \
               WHEN t.ended = 1 THEN 3 WHEN s.holder = t.id THEN 1 ELSE 2 END \
               FROM unnest($1::text[]) WITH ORDINALITY AS w(id, n) \
               LEFT JOIN tokens t ON t.id = w.id::uuid LEFT JOIN slots s ON s.slot = t.slot ORDER BY w.n";
    let found = database.query(sql, &[&ids]).await.unwrap();
    let row = |code: i32| match code {
        1 => Row::Active,
        2 => Row::Retired,
        3 => Row::Inactive { announced: false },
        4 => Row::Inactive { announced: true },
        5 => Row::Revoked,
        _ => Row::Missing,
    };
    found.iter().map(|found| row(found.get(0))).collect()
}

/// Of all slots, whoever asked for them.
#[derive(Debug, PartialEq, Eq)]
pub struct Slots {
    pub all: i64,
    /// Slots for which no grant stands and that have several tokens that have not ended.
    pub with_several_unended: i64,
    /// Slots whose holder is a token without a row.
    pub with_a_missing_holder: i64,
}

impl Slots {
    pub async fn of(database: &Client) -> Self {
        let number = async |sql: &str| database.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
        Self {
            all: number("SELECT count(*) FROM slots").await,
            with_several_unended: number(
                "SELECT count(*) FROM (SELECT slot FROM tokens WHERE ended IS NULL AND grant_id IS NULL \
                 GROUP BY slot HAVING count(*) > 1) AS several",
            )
            .await,
            with_a_missing_holder: number(
                "SELECT count(*) FROM slots LEFT JOIN tokens ON tokens.id = slots.holder WHERE tokens.id IS NULL",
            )
            .await,
        }
    }
}
