use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{Client, NoTls};

use super::block_on;
use super::shared::Shared;

/// An empty database with our schema on the shared server; it is dropped with this.
pub struct Database {
    name: String,
}

impl Database {
    pub fn scratch() -> Self {
        Self::like(&template())
    }

    /// Without our schema.
    pub fn empty() -> Self {
        Self::like("template0")
    }

    fn like(template: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        administer(&format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"));
        Self { name }
    }

    pub fn url(&self) -> String {
        Shared::server().url(&self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of the plain driver, for what only a test does. It lives on the present runtime.
    pub async fn connect(&self) -> Client {
        connect(&self.url()).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        administer(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// The database that others are copied from. What the schema is may have changed since the server was started.
fn template() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        crate::migrate::fingerprint(&mut hasher);
        let name = format!("template_{:016x}", hasher.finish());
        Shared::server().alone(|| block_on(make_template(&name)));
        name
    });
    name.clone()
}

async fn make_template(name: &str) {
    let shared = Shared::server();
    let client = connect(&shared.url("postgres")).await;
    let made = "SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate";
    if client.query_opt(made, &[&name]).await.unwrap().is_some() {
        return;
    }
    // One that was killed here left it unfinished.
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    crate::PostgresStore::migrate(&shared.url(name), &crate::PostgresOptions::default()).await.unwrap();
    client.batch_execute(&format!("ALTER DATABASE {name} IS_TEMPLATE true")).await.unwrap();
}

fn administer(sql: &str) {
    block_on(async {
        let client = connect(&Shared::server().url("postgres")).await;
        client.batch_execute(sql).await.unwrap();
    });
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}
