//! The way to Redis: connections that are made when they are needed and made anew once they fail.
//!
//! Reads and writes have a connection each. What waits for replicas makes everybody else on its connection wait, too, so
//! a write never shares one with a read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::cluster_routing::{Route, SingleNodeRoutingInfo, SlotAddr};
use redis::{FromRedisValue, Pipeline, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

mod bell;
mod replication;
mod topology;

pub use self::replication::ReplicationState;
pub use self::topology::Kind;

use self::bell::Listener;
use self::replication::{Replication, Watch};
use self::topology::{Topology, Wire};
use crate::errors::{Cause, Error, Result};
use crate::options::RedisOptions;

/// What the driver allows itself beyond the time-outs that it was given.
const SLACK: Duration = Duration::from_millis(500);

/// Shared by all that uses one Redis.
pub struct Links {
    topology: Arc<Topology>,
    kind: Kind,
    reads: Line,
    writes: Line,
    replication: Arc<Replication>,
    watch: Watch,
    listener: Listener,
}

/// Hosts and ports, for messages: an address may hold a password.
pub fn addresses(options: &RedisOptions) -> String {
    Topology::new(options).map(|topology| topology.addresses()).unwrap_or_default()
}

/// The answers to all commands of a pipeline, as the types that the caller expects.
fn understood<T: FromRedisValue>(values: Vec<Value>) -> Result<T> {
    Ok(redis::from_redis_value(Value::Array(values)).map_err(redis::RedisError::from)?)
}

/// One connection, or none at the moment.
struct Line {
    answer_timeout: Duration,
    connected: Mutex<Option<(u64, Wire)>>,
    made: AtomicU64,
}

impl Links {
    /// Connects once, to see whether anybody is there. The connections that are used are made when they are needed, on
    /// the runtime of whoever needs them.
    pub async fn open(options: &RedisOptions) -> Result<Arc<Self>> {
        let topology = Arc::new(Topology::new(options)?);
        let (kind, wire) = topology.connect(options.answer_timeout).await?;
        let replication = Arc::new(Replication::new(options));
        replication.look(wire).await?;
        Ok(Arc::new(Self {
            kind,
            reads: Line::new(options.answer_timeout),
            writes: Line::new(options.answer_timeout + options.replication_timeout),
            watch: Watch::new(Arc::clone(&replication), Arc::clone(&topology), options),
            replication,
            listener: Listener::new(Arc::clone(&topology), options),
            topology,
        }))
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Hosts and ports that it was found by.
    pub fn addresses(&self) -> String {
        self.topology.addresses()
    }

    /// Sends the commands to the primary of `key`, whose keys must all be in the same hash slot. Doing them twice must be
    /// as good as once.
    pub async fn read<T: FromRedisValue>(&self, key: &[u8], commands: &Pipeline) -> Result<T> {
        understood(self.reads.send(&self.topology, key, commands).await?)
    }

    /// The same, on a connection of its own. Under the policy `sync` it returns when the replicas have it, or once it was
    /// noted that they do not.
    pub async fn write<T: FromRedisValue>(&self, key: &[u8], commands: &Pipeline) -> Result<T> {
        let Some((replicas, within)) = self.replication.to_wait_for() else {
            return understood(self.writes.send(&self.topology, key, commands).await?);
        };
        let mut commands = commands.clone();
        commands.cmd("WAIT").arg(replicas).arg(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let mut values = self.writes.send(&self.topology, key, &commands).await?;
        let achieved = values.pop().map(redis::from_redis_value::<u32>);
        self.replication.achieved(achieved.transpose().map_err(redis::RedisError::from)?.unwrap_or(0));
        understood(values)
    }

    /// A field of what each primary tells about itself.
    pub async fn field_of_primaries(&self, section: &str, name: &str) -> Result<Vec<Option<String>>> {
        let (_, wire) = self.reads.wire(&self.topology).await?;
        let command = redis::cmd("INFO").arg(section).clone();
        let answers: Vec<String> = match wire {
            Wire::One(mut connection) => vec![command.query_async(&mut connection).await?],
            Wire::Cluster(mut connection) => replication::of_primaries(&mut connection, command).await?,
        };
        Ok(answers.iter().map(|info| topology::line(info, name)).collect())
    }

    /// From here on the replicas are counted every second, on the present runtime.
    pub fn watch_replicas(&self) {
        self.watch.begin();
    }

    pub fn replication(&self) -> ReplicationState {
        self.replication.state()
    }

    /// Rings for what is published, and whenever something may have been missed.
    pub fn bell(&self) -> tokio::sync::watch::Receiver<u64> {
        self.listener.bell()
    }
}

impl Line {
    fn new(answer_timeout: Duration) -> Self {
        Self { answer_timeout, connected: Mutex::new(None), made: AtomicU64::new(1) }
    }

    /// Whoever comes first connects; the others wait for that.
    async fn wire(&self, topology: &Topology) -> Result<(u64, Wire)> {
        let mut connected = self.connected.lock().await;
        if let Some(present) = connected.as_ref() {
            return Ok(present.clone());
        }
        let (_, wire) = topology.connect(self.answer_timeout).await?;
        let made = (self.made.fetch_add(1, Ordering::Relaxed), wire);
        *connected = Some(made.clone());
        Ok(made)
    }

    /// Once more where the connection is lost: everything that is sent may be sent twice.
    async fn send(&self, topology: &Topology, key: &[u8], commands: &Pipeline) -> Result<Vec<Value>> {
        match self.send_once(topology, key, commands).await {
            Err(error) if error.cause() == Cause::Lost => self.send_once(topology, key, commands).await,
            other => other,
        }
    }

    async fn send_once(&self, topology: &Topology, key: &[u8], commands: &Pipeline) -> Result<Vec<Value>> {
        let (number, wire) = self.wire(topology).await?;
        let patience = self.answer_timeout + SLACK;
        let answered = match timeout(patience, wire.send(key, commands)).await {
            Ok(answered) => answered,
            Err(_) => Err(Error::no_answer(patience)),
        };
        if let Err(error) = &answered
            && error.ends_connection()
        {
            self.forget(number).await;
        }
        answered
    }

    /// The next one connects anew, unless somebody has already.
    async fn forget(&self, number: u64) {
        let mut connected = self.connected.lock().await;
        if connected.as_ref().is_some_and(|(present, _)| *present == number) {
            *connected = None;
        }
    }
}

impl Wire {
    async fn send(self, key: &[u8], commands: &Pipeline) -> Result<Vec<Value>> {
        let count = commands.len();
        let values = match self {
            Self::One(mut connection) => connection.send_packed_commands(commands, 0, count).await?,
            Self::Cluster(mut connection) => {
                let primary = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
                connection.route_pipeline(commands.clone(), 0, count, primary).await?
            }
        };
        let values = values.into_iter().map(Value::extract_error);
        values.collect::<redis::RedisResult<Vec<_>>>().map_err(Error::from)
    }
}
