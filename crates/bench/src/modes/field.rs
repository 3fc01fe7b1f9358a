//! One PostgreSQL server, and before it every server under test, each with a database of its own.

use std::{net::SocketAddr, path::Path, time::Duration};

use super::{
    conditions::Condition,
    contenders::{Contender, Program},
};
use crate::{
    baseline,
    child::{Guarded, STOP_WITHIN},
    clock,
    failure::Failure,
    grantry::{self, Grantry, Setup},
    latency_proxy::LatencyProxy,
    postgres::{self, Postgres, Session},
    scenario::Endpoints,
};

const QUEUE_DEPTH: &str = "grantry_persistence_queue_depth";
/// How long a queue may take to become empty; the longest that one can be takes a fraction of it.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A contender that runs, near PostgreSQL or behind the proxy.
pub struct Lane {
    pub contender: &'static Contender,
    is_far: bool,
    server: Server,
    endpoints: Endpoints,
    session: Session,
    /// Of tokens, as they were counted last.
    rows: u64,
}

enum Server {
    Grantry(Box<Grantry>),
    Baseline(Guarded),
}

impl Lane {
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints.clone()
    }

    /// Waits until the rows of `answered` tokens are written, where the server defers that, and counts. Returns how
    /// many rows there were at the last count, how many there are now, and how long it took until they were there.
    ///
    /// # Errors
    /// They are not there in time. Whether there are too many is for the caller to judge.
    pub async fn count(&mut self, answered: u64) -> Result<(u64, u64, Option<Duration>), Failure> {
        let before = self.rows;
        let drained = match &self.server {
            Server::Grantry(server) if self.contender.defers() => {
                Some(self.wait_until_written(server, before + answered).await?)
            }
            _ => None,
        };
        self.rows = self.session.count("tokens").await?;
        Ok((before, self.rows, drained))
    }

    /// Returns once the queue is empty, by the server's own account, and the rows are there.
    async fn wait_until_written(&self, server: &Grantry, wanted: u64) -> Result<Duration, Failure> {
        let start = clock::now();
        while start.elapsed() < DRAINED_WITHIN {
            if server.gauge(QUEUE_DEPTH).await? <= 0.0 && self.session.count("tokens").await? >= wanted {
                return Ok(start.elapsed());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let (name, depth) = (self.contender.name, server.gauge(QUEUE_DEPTH).await?);
        let there = self.session.count("tokens").await?;
        Err(Failure::new(format!(
            "{name}: {DRAINED_WITHIN:?} after the last answer {QUEUE_DEPTH} is {depth}, and {there} of {wanted} rows are \
             there"
        )))
    }
}

/// Should anything fail, they end in this order.
pub struct Field {
    lanes: Vec<Lane>,
    proxy: LatencyProxy,
    postgres: Postgres,
}

impl Field {
    /// Starts each contender for each kind of distance that the conditions have.
    pub async fn start(
        program: Option<&Path>,
        work_dir: &Path,
        directory: &Path,
        contenders: &[&'static Contender],
        conditions: &[&'static Condition],
    ) -> Result<Self, Failure> {
        let postgres = Postgres::start(work_dir).await?;
        let proxy = LatencyProxy::start(SocketAddr::from(([127, 0, 0, 1], postgres.port())))?;
        let mut field = Self { lanes: Vec::new(), proxy, postgres };
        for is_far in [false, true] {
            if conditions.iter().any(|condition| condition.is_far() == is_far) {
                for contender in contenders {
                    let lane = field.lane(program, directory, contender, is_far).await?;
                    field.lanes.push(lane);
                }
            }
        }
        Ok(field)
    }

    async fn lane(
        &self,
        program: Option<&Path>,
        directory: &Path,
        contender: &'static Contender,
        is_far: bool,
    ) -> Result<Lane, Failure> {
        let name = format!("{}_{}", contender.key.replace('-', "_"), if is_far { "far" } else { "near" });
        let session = self.postgres.create_database(&name).await?;
        let url = if is_far { postgres::url(self.proxy.port(), &name) } else { self.postgres.url(&name) };
        let (server, endpoints) = match contender.program {
            Program::Grantry { settings, .. } => {
                let own = directory.join(&name);
                let made = std::fs::create_dir(&own);
                made.map_err(|error| Failure::new(format!("{} cannot be made: {error}", own.display())))?;
                let setup = Setup::postgres(url).with(settings);
                let server = Grantry::start(&grantry::program(program)?, &own, &setup).await?;
                let endpoints = server.endpoints()?;
                (Server::Grantry(Box::new(server)), endpoints)
            }
            Program::Baseline { writers, max_batch } => {
                let flags = ["--database-url", &url, "--writers", writers, "--max-batch", max_batch];
                let (server, url) = baseline::start(&[&["baseline-postgres"], &flags[..]].concat())?;
                (Server::Baseline(server), grantry::endpoints(&url)?)
            }
        };
        // A server has issued one token to whoever made its clients.
        let issued = u64::from(matches!(server, Server::Grantry(_)));
        let mut lane = Lane { contender, is_far, server, endpoints, session, rows: 0 };
        lane.count(issued).await?;
        Ok(lane)
    }

    /// Makes it so from now on.
    pub fn set(&self, condition: &Condition) -> Result<(), Failure> {
        self.proxy.set_round_trip(condition.round_trip);
        self.postgres.slow_flushes_by(condition.flush)
    }

    /// How long a commit alone takes under a condition, on the way that the servers have: the median of several.
    ///
    /// # Errors
    /// One of them took less than the condition adds.
    pub async fn time_of_a_commit(&self, condition: &Condition) -> Result<Duration, Failure> {
        self.set(condition)?;
        let port = if condition.is_far() { self.proxy.port() } else { self.postgres.port() };
        let took = postgres::time_of_a_commit(&postgres::url(port, "postgres")).await?;
        let (least, added) = (Duration::from_secs_f64(took.least), condition.round_trip + condition.flush);
        if least < added {
            let name = condition.name;
            return Err(Failure::new(format!(
                "{name}: a commit took {least:?}, less than the {added:?} added"
            )));
        }
        Ok(Duration::from_secs_f64(took.median))
    }

    /// Writes everything down, at full speed.
    pub async fn checkpoint(&self) -> Result<(), Failure> {
        self.postgres.slow_flushes_by(Duration::ZERO)?;
        self.postgres.checkpoint().await
    }

    /// Those that a condition is about.
    pub fn lanes(&mut self, condition: &Condition) -> Vec<&mut Lane> {
        self.lanes.iter_mut().filter(|lane| lane.is_far == condition.is_far()).collect()
    }

    pub fn description(&self) -> String {
        self.postgres.description()
    }

    /// Stops the servers; PostgreSQL is left to the caller.
    pub fn stop(self) -> Result<Postgres, Failure> {
        self.postgres.slow_flushes_by(Duration::ZERO)?;
        for lane in self.lanes {
            match lane.server {
                Server::Grantry(server) => server.stop(STOP_WITHIN)?,
                Server::Baseline(server) => server.stop(STOP_WITHIN)?,
            }
        }
        Ok(self.postgres)
    }
}
