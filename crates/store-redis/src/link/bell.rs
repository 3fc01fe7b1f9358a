//! One connection on which nothing is asked: whoever appends to the revocation log publishes that it did. A hint, which
//! may be lost; nothing that is answered depends on it. In a Cluster every member hears what any is told.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use grantry_store::Bell;
use redis::Client;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::topology::Topology;
use crate::errors::{Error, Result};
use crate::options::RedisOptions;

const BREATH: Duration = Duration::from_millis(200);

pub struct Listener {
    bell: Bell,
    topology: Arc<Topology>,
    channel: String,
    patience: Duration,
    /// From when somebody wants to know.
    task: OnceLock<AbortHandle>,
}

/// What is published on.
pub fn channel(name: &str) -> String {
    format!("{{{name}}}:revocations")
}

impl Listener {
    pub fn new(topology: Arc<Topology>, options: &RedisOptions) -> Self {
        Self {
            bell: Bell::default(),
            topology,
            channel: channel(&options.name),
            patience: options.connect_timeout,
            task: OnceLock::new(),
        }
    }

    pub fn bell(&self) -> watch::Receiver<u64> {
        self.task.get_or_init(|| {
            let (topology, bell) = (Arc::clone(&self.topology), self.bell.clone());
            tokio::spawn(listen(topology, bell, self.channel.clone(), self.patience)).abort_handle()
        });
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

/// Subscribes again after every connection that was lost.
async fn listen(topology: Arc<Topology>, bell: Bell, channel: String, patience: Duration) {
    loop {
        if let Err(error) = hear(&topology, &bell, &channel, patience).await {
            tracing::debug!("nothing is heard from Redis: {error}");
        }
        // wait: a server that is gone is not asked in a circle
        sleep(BREATH).await;
    }
}

async fn hear(topology: &Topology, bell: &Bell, channel: &str, patience: Duration) -> Result<()> {
    let client = Client::open(topology.member().await?)?;
    let subscribing = async {
        let mut subscriber = client.get_async_pubsub().await?;
        subscriber.subscribe(channel).await?;
        Ok::<_, Error>(subscriber)
    };
    let subscriber = timeout(patience, subscribing).await.map_err(|_| Error::no_answer(patience))??;
    // Nobody has heard what was told before.
    bell.ring();
    let mut messages = subscriber.into_on_message();
    while messages.next().await.is_some() {
        bell.ring();
    }
    Ok(())
}
