//! Where the primary of a key is: asked for anew with each connection, so that a failover needs no help.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use tokio::time::timeout;

use crate::errors::{Cause, Error, Result};
use crate::options::RedisOptions;

/// A failover shows as errors to whoever asks; more attempts of the driver would only hide how long it takes.
const CLUSTER_RETRIES: u32 = 3;
const CLUSTER_RETRY_WAIT_MILLIS: u64 = 100;

/// What answers at the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Standalone,
    Sentinel,
    Cluster,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// A connection to whoever has the key.
#[derive(Clone)]
pub enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

pub struct Topology {
    seeds: Vec<ConnectionInfo>,
    sentinel_master: Option<String>,
    connect_timeout: Duration,
}

impl Topology {
    /// # Errors
    /// `Rejected` for an address that is none; the message does not repeat it, since it may hold a password.
    pub fn new(options: &RedisOptions) -> Result<Self> {
        let seeds = options.discovery.iter().enumerate().map(|(place, url)| seed(place, url, options));
        let seeds = seeds.collect::<Result<Vec<_>>>()?;
        if seeds.is_empty() {
            return Err(Error::new(Cause::Rejected, "there is no address of a Redis server"));
        }
        Ok(Self {
            seeds,
            sentinel_master: options.sentinel_master.clone(),
            connect_timeout: options.connect_timeout,
        })
    }

    /// Hosts and ports, for messages.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.seeds.iter().map(|seed| seed.addr().to_string()).collect();
        addresses.join(", ")
    }

    /// A server that takes subscriptions: the primary, or any member of a Cluster.
    pub async fn member(&self) -> Result<ConnectionInfo> {
        let mut last = Error::new(Cause::Lost, "there is no address of a Redis server");
        for seed in &self.seeds {
            let asked = async {
                let mut connection = self.dial(seed.clone(), self.connect_timeout).await?;
                match kind(&mut connection).await? {
                    Kind::Sentinel => self.primary_of_sentinel(&mut connection, seed).await,
                    Kind::Standalone | Kind::Cluster => Ok(seed.clone()),
                }
            };
            match asked.await {
                Ok(member) => return Ok(member),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to the first address that leads to a primary; the error is the last one's.
    pub async fn connect(&self, answer_timeout: Duration) -> Result<(Kind, Wire)> {
        let mut last = Error::new(Cause::Lost, "there is no address of a Redis server");
        for seed in &self.seeds {
            match self.follow(seed, answer_timeout).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = Error::new(error.cause(), format!("{}: {error}", seed.addr())),
            }
        }
        Err(last)
    }

    async fn follow(&self, seed: &ConnectionInfo, answer_timeout: Duration) -> Result<(Kind, Wire)> {
        let mut connection = self.dial(seed.clone(), answer_timeout).await?;
        match kind(&mut connection).await? {
            Kind::Standalone => {
                ensure_primary(&mut connection).await?;
                Ok((Kind::Standalone, Wire::One(connection)))
            }
            Kind::Sentinel => {
                let primary = self.primary_of_sentinel(&mut connection, seed).await?;
                let mut connection = self.dial(primary, answer_timeout).await?;
                ensure_primary(&mut connection).await?;
                Ok((Kind::Sentinel, Wire::One(connection)))
            }
            Kind::Cluster => Ok((Kind::Cluster, Wire::Cluster(self.cluster(answer_timeout).await?))),
        }
    }

    /// A connection to one server.
    pub async fn dial(
        &self,
        server: ConnectionInfo,
        answer_timeout: Duration,
    ) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(answer_timeout));
        let client = Client::open(server)?;
        // Names are looked up and the handshake is answered within it, too.
        timeout(self.connect_timeout, client.get_multiplexed_async_connection_with_config(&config))
            .await
            .map_err(|_| Error::no_answer(self.connect_timeout))?
            .map_err(Error::from)
    }

    async fn cluster(&self, answer_timeout: Duration) -> Result<ClusterConnection> {
        let client = ClusterClient::builder(self.seeds.clone())
            .connection_timeout(self.connect_timeout)
            .response_timeout(answer_timeout)
            .tcp_settings(TcpSettings::default().set_nodelay(true))
            .retries(CLUSTER_RETRIES)
            .max_retry_wait(CLUSTER_RETRY_WAIT_MILLIS)
            .build()?;
        let patience = self.connect_timeout * 2;
        timeout(patience, client.get_async_connection())
            .await
            .map_err(|_| Error::no_answer(patience))?
            .map_err(Error::from)
    }

    async fn primary_of_sentinel(
        &self,
        sentinel: &mut MultiplexedConnection,
        seed: &ConnectionInfo,
    ) -> Result<ConnectionInfo> {
        let name = match &self.sentinel_master {
            Some(name) => name.clone(),
            None => only_master(sentinel).await?,
        };
        let found: Option<(String, u16)> =
            redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&name).query_async(sentinel).await?;
        let (host, port) = found.ok_or_else(|| {
            Error::new(Cause::Rejected, format!("the Sentinel watches no primary named {name}"))
        })?;
        let addr = match seed.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Ok(seed.clone().set_addr(addr))
    }
}

fn seed(place: usize, url: &str, options: &RedisOptions) -> Result<ConnectionInfo> {
    let number = place + 1;
    let info = url.into_connection_info().map_err(|_| {
        let message = format!("address {number} is not redis://HOST:PORT or rediss://HOST:PORT");
        Error::new(Cause::Rejected, message)
    })?;
    let mut settings = info.redis_settings().clone();
    if settings.username().is_none()
        && let Some(username) = &options.username
    {
        settings = settings.set_username(username);
    }
    if settings.password().is_none()
        && let Some(password) = &options.password
    {
        settings = settings.set_password(password);
    }
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

async fn kind(connection: &mut MultiplexedConnection) -> Result<Kind> {
    Ok(match field(connection, "server", "redis_mode").await?.as_deref() {
        Some("sentinel") => Kind::Sentinel,
        Some("cluster") => Kind::Cluster,
        _ => Kind::Standalone,
    })
}

/// One line of what a server tells about itself.
pub async fn field(
    connection: &mut impl ConnectionLike,
    section: &str,
    name: &str,
) -> Result<Option<String>> {
    let info: String = redis::cmd("INFO").arg(section).query_async(connection).await?;
    Ok(line(&info, name))
}

pub fn line(info: &str, name: &str) -> Option<String> {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

async fn ensure_primary(connection: &mut MultiplexedConnection) -> Result<()> {
    match field(connection, "replication", "role").await?.as_deref() {
        Some("slave") => Err(Error::new(Cause::ReadOnly, "this server is a replica")),
        _ => Ok(()),
    }
}

/// The primary that the Sentinel watches, if there is only one.
async fn only_master(sentinel: &mut MultiplexedConnection) -> Result<String> {
    let info: String = redis::cmd("INFO").arg("sentinel").query_async(sentinel).await?;
    let names = info.lines().filter_map(|line| line.strip_prefix("master")?.split_once("name="));
    let mut names = names.filter_map(|(_, rest)| rest.split(',').next()).map(str::to_owned);
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        (None, _) => Err(Error::new(Cause::Rejected, "the Sentinel watches nothing")),
        (Some(_), Some(_)) => Err(Error::new(
            Cause::Rejected,
            "the Sentinel watches several primaries; data_space.sentinel_master says which is meant",
        )),
    }
}
