use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::errors::{Cause, Error, Result};
use crate::statement::Statement;
use crate::tls::Tls;

pub type Params<'a> = [&'a (dyn ToSql + Sync)];

/// One connection, used by one caller at a time.
///
/// **Statements can be pipelined.** A statement is sent when its future is polled for the first time, and the server
/// works through them in that order. So `tokio::join!(biased; link.begin(), link.execute(..), link.commit())` is one
/// round trip; `biased` makes the order of polling that of writing. Once one has failed, the rest of the transaction
/// fails as an aftermath ([`Error::is_aftermath`]), [`Link::commit`] included.
///
/// A statement whose future is dropped before its answer, or that has none by the deadline, leaves the link unfit to
/// be used again: nobody knows what the server is doing.
pub struct Link {
    client: Client,
    driver: AbortHandle,
    tls: Tls,
    /// `None` where nothing may depend on the session.
    prepared: Option<Mutex<HashMap<&'static str, tokio_postgres::Statement>>>,
    /// What begins a transaction, by [`Begin`].
    begins: [String; 2],
    deadline: Instant,
    patience: Duration,
    /// Sent and not answered.
    in_flight: AtomicU32,
    in_transaction: AtomicBool,
    spoiled: AtomicBool,
    misled: AtomicBool,
    /// How many warnings the server has sent.
    warnings: Arc<AtomicU64>,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// To change something: READ COMMITTED, so that a statement sees what was committed while it waited for a lock.
    Write = 0,
    /// To read several things as of one moment: REPEATABLE READ, READ ONLY.
    Snapshot = 1,
}

/// What a link is made of.
pub struct Made {
    pub client: Client,
    pub driver: AbortHandle,
    pub tls: Tls,
    pub warnings: Arc<AtomicU64>,
    pub prepared: bool,
    /// Settings for each transaction, where there are none for the session.
    pub settings: String,
}

impl Link {
    pub fn new(made: Made, patience: Duration) -> Self {
        let begin = |how: &str| format!("BEGIN ISOLATION LEVEL {how}{}", made.settings);
        Self {
            begins: [begin("READ COMMITTED"), begin("REPEATABLE READ READ ONLY")],
            client: made.client,
            driver: made.driver,
            tls: made.tls,
            prepared: made.prepared.then(Mutex::default),
            deadline: Instant::now() + patience,
            patience,
            in_flight: AtomicU32::new(0),
            in_transaction: AtomicBool::new(false),
            spoiled: AtomicBool::new(false),
            misled: AtomicBool::new(false),
            warnings: made.warnings,
        }
    }

    /// All that is sent from now on has to be answered within this time.
    pub fn allow(&mut self, patience: Duration) {
        self.allow_until(Instant::now() + patience, patience);
    }

    /// The same with a deadline that began before.
    pub fn allow_until(&mut self, deadline: Instant, patience: Duration) {
        (self.deadline, self.patience) = (deadline, patience);
    }

    /// Prepares them in one round trip. One that was not prepared can be run all the same, only slower. Does nothing
    /// where nothing may depend on the session.
    pub async fn prepare_all(&self, statements: &[&'static Statement]) -> Result<()> {
        let Some(known) = &self.prepared else { return Ok(()) };
        let made =
            statements.iter().map(|statement| self.client.prepare_typed(statement.sql, statement.types));
        let made = self.answer(futures_util::future::try_join_all(made)).await?;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(statements.iter().map(|statement| statement.name).zip(made));
        Ok(())
    }

    pub async fn query(&self, statement: &Statement, params: &Params<'_>) -> Result<Vec<Row>> {
        match self.prepared(statement) {
            Some(prepared) => self.answer(self.client.query(&prepared, params)).await,
            None => self.answer(self.client.query_typed(statement.sql, &typed(statement, params))).await,
        }
    }

    /// At most one row; a second one is an error.
    pub async fn query_opt(&self, statement: &Statement, params: &Params<'_>) -> Result<Option<Row>> {
        let mut rows = self.query(statement, params).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            count => Err(Error::new(Cause::Corrupt, format!("{} gave {count} rows", statement.name))),
        }
    }

    /// Exactly one row.
    pub async fn query_one(&self, statement: &Statement, params: &Params<'_>) -> Result<Row> {
        let row = self.query_opt(statement, params).await?;
        row.ok_or_else(|| Error::new(Cause::Corrupt, format!("{} gave no row", statement.name)))
    }

    /// Answers how many rows were changed.
    pub async fn execute(&self, statement: &Statement, params: &Params<'_>) -> Result<u64> {
        match self.prepared(statement) {
            Some(prepared) => self.answer(self.client.execute(&prepared, params)).await,
            None => self.answer(self.client.execute_typed(statement.sql, &typed(statement, params))).await,
        }
    }

    /// For statements without parameters that are not run often enough to be a [`Statement`]: of the schema.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        self.answer(self.client.batch_execute(sql)).await
    }

    /// The same, given up on the server, too, when it takes longer. The link is not used again after that: the request to
    /// give up may arrive late and meet what comes next.
    pub async fn batch_within(&self, sql: &str, within: Duration) -> Result<()> {
        let mut asked = pin!(self.batch(sql));
        if let Ok(answer) = timeout(within, &mut asked).await {
            return answer;
        }
        self.spoiled.store(true, Ordering::Relaxed);
        let _ = timeout_at(self.deadline, self.client.cancel_token().cancel_query(self.tls.clone())).await;
        asked.await
    }

    pub async fn begin(&self, begin: Begin) -> Result<()> {
        self.in_transaction.store(true, Ordering::Relaxed);
        self.batch(&self.begins[begin as usize]).await
    }

    /// Commits what has not failed. An error that [`Error::is_outcome_unknown`] leaves open whether it was committed.
    pub async fn commit(&self) -> Result<()> {
        let warned = self.warnings.load(Ordering::Acquire);
        // After a failure PostgreSQL answers COMMIT with success, and does ROLLBACK. The empty SELECT fails then.
        self.batch("SELECT; COMMIT").await?;
        self.in_transaction.store(false, Ordering::Relaxed);
        if self.warnings.load(Ordering::Acquire) != warned {
            // Among them: somebody cut short the wait for a synchronous standby.
            return Err(Error::new(
                Cause::NoAnswer,
                "PostgreSQL committed with a warning; a standby may lack it",
            ));
        }
        Ok(())
    }

    /// Nothing where no transaction is open.
    pub async fn rollback(&self) -> Result<()> {
        if !self.in_transaction.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.batch("ROLLBACK").await?;
        self.in_transaction.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether another caller may have it: nothing is under way, and no transaction is open.
    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
            && !self.in_transaction.load(Ordering::Relaxed)
            && !self.spoiled.load(Ordering::Relaxed)
            && !self.client.is_closed()
    }

    /// Whether other links to the same server are probably of no use either: it takes no writes, or does not answer.
    pub fn is_misled(&self) -> bool {
        self.misled.load(Ordering::Relaxed)
    }

    fn prepared(&self, statement: &Statement) -> Option<tokio_postgres::Statement> {
        let known = self.prepared.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(statement.name).cloned()
    }

    /// Sends at once when polled, and waits until the deadline. Boxed, so that a caller who polls ten of them at once is
    /// not ten times as large.
    fn answer<'a, T: 'a>(
        &'a self,
        asked: impl Future<Output = Answer<T>> + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>> {
        Box::pin(async move {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            let Ok(answer) = timeout_at(self.deadline, asked).await else {
                self.misled.store(true, Ordering::Relaxed);
                return Err(Error::no_answer(self.patience));
            };
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            answer.map_err(|error| self.failed(error.into()))
        })
    }

    fn failed(&self, error: Error) -> Error {
        if error.ends_link() {
            self.spoiled.store(true, Ordering::Relaxed);
            self.misled.fetch_or(error.cause() == Cause::ReadOnly, Ordering::Relaxed);
        }
        error
    }
}

type Answer<T> = std::result::Result<T, tokio_postgres::Error>;

impl Drop for Link {
    fn drop(&mut self) {
        // Left alone, the driver would wait for answers that nobody wants before it closes the connection.
        if !self.is_idle() {
            self.driver.abort();
        }
    }
}

fn typed<'a>(
    statement: &Statement,
    params: &Params<'a>,
) -> Vec<(&'a (dyn ToSql + Sync), tokio_postgres::types::Type)> {
    params.iter().copied().zip(statement.types.iter().cloned()).collect()
}
