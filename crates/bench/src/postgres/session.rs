use tokio_postgres::{Client, NoTls};

use crate::failure::Failure;

/// A connection for looking at a database, beside those of the servers under test.
pub struct Session {
    client: Client,
}

impl Session {
    pub async fn open(url: &str) -> Result<Self, Failure> {
        Ok(Self { client: connect(url).await? })
    }

    /// Statements without parameters, one after the other.
    pub async fn run(&self, statements: &str) -> Result<(), Failure> {
        self.client.batch_execute(statements).await.map_err(|error| failed(&error))
    }

    /// The one number that a query finds; it must be a `bigint`.
    pub async fn number(&self, query: &str) -> Result<i64, Failure> {
        let row = self.client.query_one(query, &[]).await.map_err(|error| failed(&error))?;
        row.try_get(0).map_err(|error| failed(&error))
    }

    /// The one text that a query finds.
    pub async fn text(&self, query: &str) -> Result<String, Failure> {
        let row = self.client.query_one(query, &[]).await.map_err(|error| failed(&error))?;
        row.try_get(0).map_err(|error| failed(&error))
    }

    /// How many rows a table has; the name is one of this program's own.
    pub async fn count(&self, table: &str) -> Result<u64, Failure> {
        self.number(&format!("SELECT count(*) FROM {table}")).await.map(i64::unsigned_abs)
    }
}

/// The connection's own task ends with the client.
pub async fn connect(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(|error| failed(&error))?;
    // Whoever uses the client learns what ended the connection.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// With what the server said, which the driver's own sentence leaves out.
pub fn failed(error: &tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(said) => Failure::new(format!("PostgreSQL: {} ({})", said.message(), said.code().code())),
        None => Failure::new(format!("PostgreSQL: {error}")),
    }
}
