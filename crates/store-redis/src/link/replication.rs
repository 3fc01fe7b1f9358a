//! How many replicas have what is written, as against how many ought to.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::{Cmd, Value};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::topology::{Topology, Wire};
use crate::errors::Result;
use crate::options::{RedisOptions, ReplicationPolicy};

/// How often the number of replicas is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A replica confirms what it has once a second; one that has been silent for longer does not count.
const SILENT_SECONDS: u32 = 1;
const DOUBTS: u32 = SILENT_SECONDS + 2;

/// What operators are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicationState {
    pub policy: ReplicationPolicy,
    /// How many replicas ought to have each write.
    pub wanted: u32,
    /// How many had the last one that was waited for; under `async`, how many are connected.
    pub achieved: u32,
}

impl ReplicationState {
    pub const fn is_degraded(&self) -> bool {
        self.achieved < self.wanted
    }
}

pub struct Replication {
    policy: ReplicationPolicy,
    count: Option<u32>,
    timeout: Duration,
    /// The most that were ever connected to each primary at once.
    known: AtomicU32,
    /// What is waited for now: a replica that does not answer is waited for once, not with every write.
    achieved: AtomicU32,
    /// For so many more looks a replica that was too slow is not believed to be well again: a server finds out slowly
    /// that one of its replicas stands still.
    doubts: AtomicU32,
    was_degraded: AtomicBool,
    metrics: ReplicationMetrics,
}

struct ReplicationMetrics {
    wanted: Gauge,
    achieved: Gauge,
    short: Counter,
}

impl Replication {
    pub fn new(options: &RedisOptions) -> Self {
        describe_gauge!("grantry_data_space_replicas_wanted", "Replicas that ought to have each write.");
        describe_gauge!("grantry_data_space_replicas", "Replicas that have what is written.");
        describe_counter!(
            "grantry_data_space_replication_short_total",
            "Writes that too few replicas had in time."
        );
        Self {
            policy: options.replication_policy,
            count: options.replication_count,
            timeout: options.replication_timeout,
            known: AtomicU32::new(0),
            achieved: AtomicU32::new(0),
            doubts: AtomicU32::new(0),
            was_degraded: AtomicBool::new(false),
            metrics: ReplicationMetrics {
                wanted: gauge!("grantry_data_space_replicas_wanted"),
                achieved: gauge!("grantry_data_space_replicas"),
                short: counter!("grantry_data_space_replication_short_total"),
            },
        }
    }

    pub fn state(&self) -> ReplicationState {
        ReplicationState {
            policy: self.policy,
            wanted: self.count.unwrap_or_else(|| self.known.load(Ordering::Relaxed)),
            achieved: self.achieved.load(Ordering::Relaxed),
        }
    }

    /// For how many replicas a write waits, and how long at most.
    pub fn to_wait_for(&self) -> Option<(u32, Duration)> {
        let state = self.state();
        let replicas = state.wanted.min(state.achieved);
        (self.policy == ReplicationPolicy::Sync && replicas > 0).then_some((replicas, self.timeout))
    }

    /// So many had a write in time.
    pub fn achieved(&self, replicas: u32) {
        let before = self.state();
        if replicas < before.wanted {
            self.metrics.short.increment(1);
        }
        // More than was waited for says nothing about the others.
        if replicas < before.achieved {
            self.doubts.store(DOUBTS, Ordering::Relaxed);
            self.show(replicas);
        }
    }

    fn show(&self, replicas: u32) {
        self.achieved.store(replicas, Ordering::Relaxed);
        let state = self.state();
        self.metrics.wanted.set(state.wanted);
        self.metrics.achieved.set(replicas);
        if self.was_degraded.swap(state.is_degraded(), Ordering::Relaxed) == state.is_degraded() {
            return;
        }
        let (wanted, achieved) = (state.wanted, state.achieved);
        if state.is_degraded() {
            tracing::warn!(wanted, achieved, "Redis: fewer replicas than wanted have what is written");
        } else {
            tracing::info!(wanted, achieved, "Redis: as many replicas as wanted have what is written");
        }
    }

    /// Counts the replicas.
    pub async fn look(&self, wire: Wire) -> Result<()> {
        let info = redis::cmd("INFO").arg("replication").clone();
        let connected = match wire {
            Wire::One(mut connection) => {
                let info: String = info.query_async(&mut connection).await?;
                replicas_of(&info)
            }
            Wire::Cluster(mut connection) => {
                let infos = of_primaries(&mut connection, info).await?;
                infos.iter().map(|info| replicas_of(info)).min().unwrap_or(0)
            }
        };
        self.known.fetch_max(connected, Ordering::Relaxed);
        let doubts = self.doubts.load(Ordering::Relaxed);
        if doubts > 0 && connected >= self.state().achieved {
            self.doubts.store(doubts - 1, Ordering::Relaxed);
        } else {
            self.show(connected);
        }
        Ok(())
    }
}

/// Looks at the replicas again and again, once somebody has asked for it, on a connection of its own.
pub struct Watch {
    replication: Arc<Replication>,
    topology: Arc<Topology>,
    patience: Duration,
    task: OnceLock<AbortHandle>,
}

impl Watch {
    pub fn new(replication: Arc<Replication>, topology: Arc<Topology>, options: &RedisOptions) -> Self {
        Self { replication, topology, patience: options.answer_timeout, task: OnceLock::new() }
    }

    pub fn begin(&self) {
        self.task.get_or_init(|| {
            let (replication, topology) = (Arc::clone(&self.replication), Arc::clone(&self.topology));
            tokio::spawn(watch(replication, topology, self.patience)).abort_handle()
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

async fn watch(replication: Arc<Replication>, topology: Arc<Topology>, patience: Duration) {
    let mut wire = None;
    loop {
        // wait: replicas come and go
        sleep(LOOK_EVERY).await;
        let looked = timeout(patience, look(&replication, &topology, &mut wire, patience)).await;
        if !matches!(looked, Ok(Ok(()))) {
            wire = None;
            replication.show(0);
        }
    }
}

async fn look(
    replication: &Replication,
    topology: &Topology,
    wire: &mut Option<Wire>,
    patience: Duration,
) -> Result<()> {
    let present = match wire {
        Some(present) => present,
        None => wire.insert(topology.connect(patience).await?.1),
    };
    replication.look(present.clone()).await
}

/// What each primary answers.
pub async fn of_primaries(connection: &mut ClusterConnection, command: Cmd) -> Result<Vec<String>> {
    let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None::<ResponsePolicy>));
    let answers = values_of(connection.route_command(command, all).await?);
    let answers = answers.into_iter().map(redis::from_redis_value::<String>);
    Ok(answers.collect::<std::result::Result<_, _>>().map_err(redis::RedisError::from)?)
}

/// Of answers that came from several members each is with its address.
fn values_of(answers: Value) -> Vec<Value> {
    match answers {
        Value::Map(pairs) => pairs.into_iter().map(|(_, answer)| answer).collect(),
        Value::Array(answers) => answers,
        other => vec![other],
    }
}

fn replicas_of(info: &str) -> u32 {
    let replicas = info.lines().filter(|line| line.starts_with("slave"));
    u32::try_from(replicas.filter(|line| is_following(line)).count()).unwrap_or(u32::MAX)
}

/// As in `slave0:ip=127.0.0.1,port=7001,state=online,offset=14,lag=1`.
fn is_following(replica: &str) -> bool {
    let field =
        |name: &str| replica.split([',', ':']).find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let lag = field("lag").and_then(|seconds| seconds.parse::<u32>().ok());
    field("state") == Some("online") && lag.is_some_and(|lag| lag <= SILENT_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_count_that_are_online_and_confirm() {
        let info = "role:master\r\nconnected_slaves:3\r\n\
            slave0:ip=10.0.0.1,port=7001,state=online,offset=14,lag=1\r\n\
            slave1:ip=10.0.0.2,port=7001,state=wait_bgsave,offset=0,lag=0\r\n\
            slave2:ip=10.0.0.3,port=7001,state=online,offset=14,lag=7\r\n\
            master_failover_state:no-failover\r\n";
        assert_eq!(replicas_of(info), 1);
    }
}
