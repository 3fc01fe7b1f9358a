//! The settings: what there is, how it is read, what is refused. The doc comments of the structs in this file, in
//! `cache.rs` and in `data_space.rs` are the reference (`docs/configuration.md` is made of them), and their `Default` is the only place of what
//! holds where nothing is set.

mod cache;
mod check;
mod check_cache;
mod check_data_space;
mod check_store;
mod data_space;
mod environment;
mod journal;
mod keys;
mod load;
mod problem;
mod reference;
mod show;
mod store_url;
mod unknown;
mod unstored;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use grantry_grants::{KeyOptions, TokenSettings};
use grantry_jose::Algorithm;
use grantry_persistence::PersistenceSettings;
use grantry_protocol::{ActiveTokenPolicy, Audience, ConfiguredClaims, Lifetime};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::cache::{Cache, Coherence, EvictionPolicy, NearCache};
pub use self::check::{check, check_issuer, is_log_filter, overlap};
pub use self::data_space::{DataSpace, Password, ReplicationPolicy};
pub use self::environment::{Environment, Program};
pub use self::journal::Journal;
pub use self::keys::paths as key_paths;
#[cfg(test)]
pub use self::keys::sections_of;
pub use self::load::{Loaded, Origin, Reading, load};
pub use self::problem::{Problem, Problems};
pub use self::reference::reference;
#[cfg(test)]
pub use self::reference::table;
pub use self::show::show;
pub use self::store_url::{Place, StoreUrl};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    /// Where the server listens and under which name it is known.
    pub server: Server,
    /// Where tokens, clients and keys live.
    pub store: Store,
    /// The key that wraps all other keys, and the signatures of JWT access tokens.
    pub keys: Keys,
    /// When a token is persisted, and what a 200 answer means.
    pub token_persistence: TokenPersistence,
    /// How long tokens live and when one is handed out again. A client's own metadata goes before these.
    pub tokens: Tokens,
    /// Copies that each node keeps in front of the store, and how soon it must know what other nodes revoke.
    pub cache: Cache,
    /// Memory that the servers share, in Redis or Valkey, between the copies of each and the store: what one has issued or
    /// read the others find there. Never the only place of anything, unless `store.url` is `redis://`: then these keys, without
    /// `discovery`, are about the store itself.
    pub data_space: DataSpace,
    /// Bounds on what one caller, or all of them together, can make the server do.
    pub limits: Limits,
    /// Requests that the server itself makes: it fetches the key sets that clients registered by their URL.
    pub outbound: Outbound,
    /// What is written to standard error.
    pub log: Log,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// The URL under which clients reach this server: the `iss` of every token, and what endpoints in the metadata
    /// begin with. `https`, unless its host is a loopback address; without a query, a fragment or a slash at the end.
    /// Absent: `http://` (with `tls_cert` `https://`) and `listen`, which must then be a loopback address.
    pub issuer: Option<String>,
    /// Address and port of the public endpoints. Port 0 takes a free one. Beyond loopback it needs `tls_cert` and
    /// `tls_key`, or `behind_tls_proxy`.
    pub listen: SocketAddr,
    /// Address and port of the admin API and `/metrics`, made for a private network; under the same rule.
    pub admin_listen: SocketAddr,
    /// PEM file with the certificate and its intermediates. Both listeners then speak TLS only. Re-read when it
    /// changes; if the new file is of no use, the old certificate stays and the log says why.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of `tls_cert`. Re-read with it.
    pub tls_key: Option<PathBuf>,
    /// A proxy in front ends TLS, so plain HTTP beyond loopback is allowed.
    pub behind_tls_proxy: bool,
    /// Networks in CIDR notation from which `X-Forwarded-For` is believed. Needs `behind_tls_proxy`.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            issuer: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            tls_cert: None,
            tls_key: None,
            behind_tls_proxy: false,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Server {
    pub fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() { "https" } else { "http" }
    }

    /// The issuer, given the address that the public listener really has.
    pub fn issuer_at(&self, listen: SocketAddr) -> String {
        self.issuer.clone().unwrap_or_else(|| format!("{}://{listen}", self.scheme()))
    }

    /// How this very machine reaches a listener: by its address, or, since a certificate names a host, by the host of
    /// the issuer.
    pub fn local_url(&self, listen: SocketAddr) -> String {
        let issuer = self.issuer.as_deref().filter(|_| self.tls_cert.is_some());
        let host = issuer.and_then(|issuer| url::Url::parse(issuer).ok()?.host_str().map(str::to_owned));
        let host = host.unwrap_or_else(|| match reachable(listen).ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        format!("{}://{host}:{}", self.scheme(), listen.port())
    }
}

/// An address to connect to, for an address that was listened on.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(ip, listen.port())
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Store {
    /// `sqlite:PATH`, embedded, one file for any number of server processes on one machine; relative to the working
    /// directory. `postgres://USER@HOST/DATABASE` for servers on any number of machines; with `sslmode`, `sslrootcert`,
    /// `sslcert` and `sslkey` as parameters, and encrypted without them unless the host is this machine. `memory:` keeps
    /// everything in the process, and everything goes with it.
    #[schemars(with = "String")]
    pub url: StoreUrl,
    /// A file whose first line is the URL, instead of `url`: for one with a password in it.
    pub url_file: Option<PathBuf>,
    /// `memory:` and `redis://`, which can forget their clients: a file in which these are kept, with hashes of their
    /// secrets. What the store does not have is taken from it at the start, and it is written after each change of a client,
    /// before that is answered. Each server needs one of its own, and it is worth nothing without the master key. It may be
    /// edited while the server is stopped: [clients in a file](clients-file.md).
    pub clients_file: Option<PathBuf>,
    /// How long a call of the store may take altogether, before the request is answered 503 `temporarily_unavailable`:
    /// with SQLite waiting for another program that holds the lock of the file, with PostgreSQL waiting for a
    /// connection, for locks and for answers. Less than `limits.request_timeout`.
    pub busy_timeout: Lifetime,
    /// PostgreSQL: whether statements are prepared once a connection. `false` behind a pooler in transaction mode
    /// (PgBouncer, RDS Proxy): nothing then depends on the session.
    pub prepared: bool,
    /// PostgreSQL: how long it works on one statement. At most `busy_timeout`. Absent: four fifths of that.
    pub statement_timeout: Option<Lifetime>,
    /// PostgreSQL: how long it waits for one lock. At most `statement_timeout`. Absent: half of that.
    pub lock_timeout: Option<Lifetime>,
    /// PostgreSQL: how long one address may take to accept a connection. 10ms to 1m.
    pub connect_timeout: Lifetime,
    /// PostgreSQL: the most connections that write, which is the most batches that are committed at the same time. 1 to
    /// 8.
    pub write_connections: usize,
    /// PostgreSQL: the most connections that read. 1 to 16.
    pub read_connections: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: StoreUrl::new("sqlite:grantry-data/grantry.db"),
            url_file: None,
            clients_file: None,
            busy_timeout: Lifetime::from_secs(5),
            prepared: true,
            statement_timeout: None,
            lock_timeout: None,
            connect_timeout: Lifetime::from_secs(2),
            write_connections: 8,
            read_connections: 3,
        }
    }
}

impl Store {
    pub fn statement_timeout(&self) -> Duration {
        self.statement_timeout.map_or_else(|| self.busy_timeout.as_duration() * 4 / 5, Lifetime::as_duration)
    }

    pub fn lock_timeout(&self) -> Duration {
        self.lock_timeout.map_or_else(|| self.statement_timeout() / 2, Lifetime::as_duration)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keys {
    /// File with the base64 of 32 random bytes, mode 0600; made at the first start. It wraps the keys in the store and
    /// is never in it: back it up elsewhere than the store, which is worth nothing without it. The environment variable
    /// `GRANTRY_MASTER_KEY` (the base64 itself) goes before it.
    pub master_key_file: PathBuf,
    /// Signs JWT access tokens. All three public keys are published at `/oauth2/jwks` from the first start on, so a
    /// change takes verifiers by no surprise.
    #[schemars(with = "String", extend("enum" = ["EdDSA", "ES256", "RS256"]))]
    pub signing_algorithm: Algorithm,
    /// How long clients may keep the keys published at `/oauth2/jwks`. A new signing key is published for at least as
    /// long before its first use. 1s to 24h.
    pub jwks_max_age: Lifetime,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            master_key_file: PathBuf::from("grantry-data/master.key"),
            signing_algorithm: Algorithm::Es256,
            jwks_max_age: Lifetime::from_secs(300),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenPersistence {
    /// Whether tokens are stored. `false` means none: an access token, and a refresh token whose grant was never refreshed,
    /// says everything itself, and only what ends it early is written. `active_token_policy = "reuse"` cannot hand such a
    /// token out again, and no list of a subject's tokens shows it. A client's `persistence` goes before it. Can be changed
    /// at run time.
    pub enable: bool,
    /// Writers behind the answer. 0 means sync: a token is committed before it is answered. 1 to 64 means async: a token
    /// is answered once it stands in the journal, and so many writers bring it into the store. A client's `persistence`
    /// goes before it. At run time 0 and more than 0 can be exchanged on a server that was started with more than 0.
    pub pool_size: usize,
    /// How often a request may lose its slot to a token that turns out to be of no use, before it is answered 503.
    /// 0 to 1000.
    pub retry_count: u32,
    /// Writes that may wait for a commit; one more is answered 503. With `pool_size` also the tokens that may wait for
    /// their row after they were answered; one more is committed before it is answered. 1 to 16777216.
    pub queue_capacity: usize,
    /// The most writes in one transaction. 1 to 4096.
    pub max_batch: usize,
    /// What an answer waits for, with `pool_size` of at least 1. `fsync`: the token is on this machine's disk, and
    /// survives the loss of power. `os`: the operating system has it, and it survives `kill -9`, but not the loss of
    /// power. `off`: it is in memory, and a crash of the server loses what waits.
    pub journal: Journal,
    /// Directory of the journal, for one server alone: it holds the server's identity, too, and with `journal = "off"`
    /// nothing else. On a disk that stays, or what waits is lost with it.
    pub journal_dir: PathBuf,
    /// How large the journal may grow while the store is out of reach, in bytes; then tokens are committed before they
    /// are answered. 1048576 (1 MiB) to 1099511627776 (1 TiB).
    pub journal_max_bytes: u64,
}

impl Default for TokenPersistence {
    fn default() -> Self {
        Self {
            enable: true,
            pool_size: 0,
            retry_count: 5,
            queue_capacity: 65_536,
            max_batch: 1024,
            journal: Journal::Fsync,
            journal_dir: PathBuf::from("grantry-data/journal"),
            journal_max_bytes: 1 << 30,
        }
    }
}

impl TokenPersistence {
    /// Whether tokens may be answered before they are written.
    pub fn has_queue(&self) -> bool {
        self.pool_size > 0
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// At least 1s and less than `retention_time`. A change affects new tokens only.
    pub access_token_lifetime: Lifetime,
    /// How long after its issue a token's row is kept; the row of a token that is still alive stays in any case.
    pub retention_time: Lifetime,
    /// From the authorization to the absolute end of its refresh token, however often it is refreshed. At least 1s.
    pub refresh_token_lifetime: Lifetime,
    /// From one refresh to the end of a refresh token that nobody uses. At least 1s, at most `refresh_token_lifetime`.
    pub refresh_token_idle: Lifetime,
    /// How long after a refresh the token that was spent may come back as a retry, and gets the same successor again;
    /// later than that it is taken for stolen, and its grant ends. Less than `refresh_token_idle`.
    pub refresh_grace: Lifetime,
    /// What a client gets that asks again while it has a token: `reuse` the same one, `replace` a new one that ends
    /// the old one, `multiple` a new one beside it.
    pub active_token_policy: ActiveTokenPolicy,
    /// A token with no more life left than this is not handed out again. Less than `access_token_lifetime`.
    pub reuse_minimum_life: Lifetime,
    /// The `aud` of tokens that were asked for without `resource`. Absent: the issuer.
    pub default_audience: Option<Vec<String>>,
    /// Claims with fixed values that every access token says besides, as in `{ tenant = "acme" }`: in JWTs, and in the
    /// answers of introspection about tokens of either format. A client's `access_token_claims` go before them. At most
    /// 32 and 4 KiB as JSON, and none under a registered name. The same on all servers of a deployment.
    #[schemars(extend("example" = { "tenant": "acme" }))]
    pub claims: ConfiguredClaims,
    /// How old what a verifier knows from a status list may be: a list is answered until half of this has passed since it
    /// was made, and may be kept for the other half ([the whole bound](status-list.md#the-bound)). From 2s to 24h. The same on
    /// all servers of a deployment.
    pub status_list_ttl: Lifetime,
    /// Whether `/oauth2/revoke` says in headers what it was given and whose it is, as WSO2 Identity Server can:
    /// `RevokedAccessToken` or `RevokedRefreshToken`, and `AuthorizedUser`. Proxies may log headers; of what is revoked that
    /// is the token's text.
    pub revoked_token_headers_in_response: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            access_token_lifetime: Lifetime::from_secs(3600),
            retention_time: Lifetime::from_secs(24 * 3600),
            refresh_token_lifetime: Lifetime::from_secs(30 * 24 * 3600),
            refresh_token_idle: Lifetime::from_secs(14 * 24 * 3600),
            refresh_grace: Lifetime::from_secs(30),
            active_token_policy: ActiveTokenPolicy::Reuse,
            reuse_minimum_life: Lifetime::from_secs(30),
            default_audience: None,
            claims: ConfiguredClaims::default(),
            status_list_ttl: Lifetime::from_secs(60),
            revoked_token_headers_in_response: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// The largest request body, in bytes; a larger one is answered 413. At least 1024.
    pub max_body_bytes: usize,
    /// The largest request head, in bytes; a larger one is answered 431. At least 8192.
    pub max_header_bytes: usize,
    /// How long a caller may take for the TLS handshake, and for the head of a request. A connection over HTTP/1.1
    /// that carries no request for as long, or up to half as much longer, is closed, too.
    pub header_timeout: Lifetime,
    /// How long a caller may take to send a body, before it is answered 408; and how long it may leave an answer lying,
    /// before its connection is closed.
    pub body_timeout: Lifetime,
    /// How long a request may take altogether, before it is answered 503.
    pub request_timeout: Lifetime,
    /// Requests that are worked on at the same time; one more is answered 503.
    pub max_concurrent_requests: usize,
    /// Open connections, for each of the two listeners; one more waits to be accepted.
    pub max_connections: usize,
    /// Failed authentications of one client within the window, before it is answered 429.
    pub failed_attempts_per_client: u32,
    /// Failed authentications from one address within the window, before it is answered 429.
    pub failed_attempts_per_address: u32,
    /// The window over which failed authentications are counted.
    pub failed_attempts_window: Lifetime,
    /// How long requests that are under way at SIGTERM may take to finish, and after them the tokens that wait for their
    /// row to be written, both together.
    pub shutdown_grace: Lifetime,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 65_536,
            max_header_bytes: 32_768,
            header_timeout: Lifetime::from_secs(10),
            body_timeout: Lifetime::from_secs(10),
            request_timeout: Lifetime::from_secs(15),
            max_concurrent_requests: 4096,
            max_connections: 10_000,
            failed_attempts_per_client: 20,
            failed_attempts_per_address: 200,
            failed_attempts_window: Lifetime::from_secs(60),
            shutdown_grace: Lifetime::from_secs(30),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outbound {
    /// Networks in CIDR notation that requests may go to, besides the public internet. What is not in here is refused:
    /// loopback, private, link-local, carrier-grade NAT, multicast and all else that is not for everybody.
    #[schemars(with = "Vec<String>")]
    pub allowed_networks: Vec<IpNet>,
    /// PEM file with root certificates that are trusted besides those of the system. Read at the start.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take altogether. Less than `limits.request_timeout`.
    pub timeout: Lifetime,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { allowed_networks: Vec::new(), ca_file: None, timeout: Lifetime::from_secs(5) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; or several with a module in front, as in
    /// `info,grantry_persistence=debug`. `GRANTRY_LOG` is a short name for the variable of this key.
    pub level: String,
    /// `auto` is `text` on a terminal and `json` elsewhere.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

impl Config {
    /// What the chosen settings promise less than the defaults do, a sentence each.
    pub fn risks(&self) -> impl Iterator<Item = String> {
        self.token_persistence
            .risk()
            .map(str::to_owned)
            .into_iter()
            .chain(self.cache.risk())
            .chain(self.unstored_risk())
    }

    pub fn persistence_settings(&self) -> PersistenceSettings {
        PersistenceSettings {
            retry_count: self.token_persistence.retry_count,
            queue_capacity: self.token_persistence.queue_capacity,
            pool_size: self.token_persistence.pool_size,
            max_batch: self.token_persistence.max_batch,
            retention_time: self.tokens.retention_time.as_duration(),
        }
    }

    pub fn key_options(&self) -> KeyOptions {
        KeyOptions { signing_algorithm: self.keys.signing_algorithm, jwks_max_age: self.keys.jwks_max_age }
    }

    pub fn token_settings(&self, issuer: String) -> TokenSettings {
        let audience = self.tokens.default_audience.clone().unwrap_or_else(|| vec![issuer.clone()]);
        TokenSettings {
            issuer,
            access_token_lifetime: self.tokens.access_token_lifetime,
            retention_time: self.tokens.retention_time,
            active_token_policy: self.tokens.active_token_policy,
            reuse_minimum_life: self.tokens.reuse_minimum_life,
            refresh_token_lifetime: self.tokens.refresh_token_lifetime,
            refresh_token_idle: self.tokens.refresh_token_idle,
            refresh_grace: self.tokens.refresh_grace,
            default_audience: Audience::new(audience),
            claims: self.tokens.claims.clone(),
            status_list_ttl: self.tokens.status_list_ttl,
            persistence: TokenSettings::mode(self.token_persistence.enable, self.token_persistence.pool_size),
            has_queue: self.token_persistence.has_queue(),
            pool_size: self.token_persistence.pool_size,
        }
    }
}
