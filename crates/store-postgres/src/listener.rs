//! One connection on which nothing is asked: the server tells on it when the revocation log has grown. A hint, which
//! may be lost; nothing that is answered depends on it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use grantry_protocol::Rng;
use grantry_store::Bell;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_postgres::AsyncMessage;

use crate::connect::Connector;
use crate::errors::{Cause, Error};
use crate::pool_backoff::Backoff;
use crate::pool_metrics::PoolMetrics;

const LISTEN: &str = "LISTEN grantry_revocations";

/// What goes into a statement's list of results to tell those who listen, once the transaction commits.
macro_rules! notify {
    () => {
        "pg_notify('grantry_revocations', '')"
    };
}

pub(crate) use notify;

/// Rings a bell whenever it hears something.
pub struct Listener {
    bell: Bell,
    rng: Arc<dyn Rng>,
    /// Absent where a session is not ours alone: behind a pooler in transaction mode nobody can listen.
    connector: Option<Arc<Connector>>,
    /// From when somebody wants to know. It does not know the store, and ends with this.
    task: OnceLock<AbortHandle>,
}

impl Listener {
    pub fn new(connector: Option<Arc<Connector>>, rng: Arc<dyn Rng>) -> Self {
        Self { bell: Bell::default(), rng, connector, task: OnceLock::new() }
    }

    pub fn bell(&self) -> watch::Receiver<u64> {
        if let Some(connector) = &self.connector {
            self.task.get_or_init(|| {
                let listening = listen(Arc::clone(connector), self.bell.clone(), Arc::clone(&self.rng));
                tokio::spawn(listening).abort_handle()
            });
        }
        self.bell.listen()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

async fn listen(connector: Arc<Connector>, bell: Bell, rng: Arc<dyn Rng>) {
    let (mut backoff, metrics) = (Backoff::default(), PoolMetrics::new("listen"));
    loop {
        let error = hear(&connector, &bell, &mut backoff, &metrics).await;
        tracing::debug!(server = connector.server, "nothing is heard from PostgreSQL: {error}");
        backoff.failed(error, Instant::now(), rng.as_ref());
        if let Some(until) = backoff.until() {
            sleep_until(until).await;
        }
    }
}

/// Why a connection has ended, or was not to be had.
async fn hear(connector: &Connector, bell: &Bell, backoff: &mut Backoff, metrics: &PoolMetrics) -> Error {
    let patience = connector.patience;
    let deadline = Instant::now() + patience;
    let (client, mut connection) = match connector.dial(deadline, patience).await {
        Ok(connected) => connected,
        Err(error) => {
            metrics.failed();
            return error;
        }
    };
    let _open = metrics.opened();
    let mut asked = pin!(timeout_at(deadline, client.batch_execute(LISTEN)));
    let mut is_listening = false;
    loop {
        tokio::select! {
            answer = &mut asked, if !is_listening => match answer {
                Ok(Ok(())) => {
                    is_listening = true;
                    backoff.succeeded();
                    // Nobody has heard what was told before.
                    bell.ring();
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => return Error::no_answer(patience),
            },
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(_))) => bell.ring(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.into(),
                None => return Error::new(Cause::Lost, "the connection was closed"),
            },
        }
    }
}
