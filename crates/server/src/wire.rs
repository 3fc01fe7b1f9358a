//! The one file that names concrete back ends.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{Clock, Timestamp};
use grantry_store::transfer::{TransferSource, TransferState, TransferTarget};
use grantry_store::{ClusterId, DataSpace, MemoryStore, Store};
use grantry_store_postgres::{PostgresOptions, PostgresStore, StoreTime};
use grantry_store_redis::{RedisDataSpace, RedisOptions, RedisStore, StoreTime as RedisTime};
pub use grantry_store_sqlite::Progress as Copied;
use grantry_store_sqlite::{BackupError, SqliteOptions, SqliteStore};

use crate::ambient::rng;
use crate::config::{Config, Place, ReplicationPolicy, StoreUrl};
use crate::failure::Failure;
use crate::private_file::directory_of;

/// Opens the store, brings its schema up to date, and makes it where it is missing.
pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, Failure> {
    match config.store.url.place() {
        Place::Memory => {
            Ok(Arc::new(MemoryStore::new(clock).with_cluster_id(ClusterId::random(rng().as_ref()))))
        }
        Place::Sqlite(path) => {
            let options = SqliteOptions {
                busy_timeout: config.store.busy_timeout.as_duration(),
                ..SqliteOptions::default()
            };
            let file = path.clone();
            let store = blocking(move || SqliteStore::open(file, options, clock)).await?;
            refuse_moved(&path)?;
            Ok(Arc::new(store))
        }
        Place::Postgres(url) => {
            let options = postgres_options(config);
            // What is compared with "now" is compared with the database's, which all nodes share.
            let opened = PostgresStore::open(url.expose(), &options, StoreTime::Database, rng()).await;
            let store = opened.map_err(|error| Failure::new(error.to_string()))?;
            if store.is_being_filled().await? {
                return Err(Failure::new(format!(
                    "a copy to {url} has begun and not ended; let grantry store copy finish, or empty the database"
                )));
            }
            Ok(Arc::new(store))
        }
        Place::Redis(url) => Ok(open_redis(config, &url).await?),
    }
}

async fn open_redis(config: &Config, url: &StoreUrl) -> Result<Arc<RedisStore>, Failure> {
    let retention = config.tokens.retention_time.as_duration();
    let opened = RedisStore::open(&redis_options(config, url), retention, RedisTime::Redis, rng()).await;
    let store = opened.map_err(|error| Failure::new(error.to_string()))?;
    store.links().watch_replicas();
    Ok(Arc::new(store))
}

/// Where there is no database behind it, the data space is the store: its section says how.
fn redis_options(config: &Config, url: &StoreUrl) -> RedisOptions {
    let of_url = RedisOptions::of_url(url.expose(), &config.data_space.name);
    RedisOptions {
        discovery: of_url.discovery,
        sentinel_master: of_url.sentinel_master.or_else(|| config.data_space.sentinel_master.clone()),
        connect_timeout: config.store.connect_timeout.as_duration(),
        answer_timeout: config.store.busy_timeout.as_duration(),
        ..data_space_options(config)
    }
}

/// How long a server of Redis may take for anything that no request waits for.
const REDIS_PATIENCE: Duration = Duration::from_secs(1);

/// Joins the other servers of the same store in the data space, if there is one.
pub async fn data_space(config: &Config, cluster: ClusterId) -> Result<Option<Arc<dyn DataSpace>>, Failure> {
    if !config.data_space.is_used() {
        return Ok(None);
    }
    let joined = RedisDataSpace::join(&data_space_options(config), cluster).await;
    Ok(Some(Arc::new(joined.map_err(|error| Failure::new(error.to_string()))?)))
}

fn data_space_options(config: &Config) -> RedisOptions {
    let space = &config.data_space;
    let discovery = space.discovery.iter().map(|url| url.expose().to_owned()).collect();
    RedisOptions {
        username: space.username.clone(),
        password: space.password.as_ref().map(|password| password.expose().to_owned()),
        sentinel_master: space.sentinel_master.clone(),
        connect_timeout: REDIS_PATIENCE,
        answer_timeout: REDIS_PATIENCE.max(space.answer_timeout.as_duration()),
        replication_count: space.replicas(),
        replication_policy: match space.replication_policy {
            ReplicationPolicy::Async => grantry_store_redis::ReplicationPolicy::Async,
            ReplicationPolicy::Sync => grantry_store_redis::ReplicationPolicy::Sync,
        },
        replication_timeout: space.replication_timeout.as_duration(),
        ..RedisOptions::new(discovery, &space.name)
    }
}

/// A server on it would be of no use, and one that was started by mistake should say so.
fn refuse_moved(path: &Path) -> Result<(), Failure> {
    let state = SqliteStore::transfer_state(path).map_err(|error| Failure::new(error.to_string()))?;
    match state {
        None | Some(TransferState::Copying { .. }) => Ok(()),
        Some(TransferState::Fenced { .. }) => Err(Failure::new(format!(
            "{} is being moved to another store (grantry store copy); let that finish, or give the store back to its \
             servers: grantry store copy --abort",
            path.display()
        ))),
        Some(TransferState::Moved { target, .. }) => Err(Failure::new(format!(
            "{} was moved to {target} (grantry store copy); set store.url to that",
            path.display()
        ))),
    }
}

/// Both ends of a move: the store of the settings, and the one at `to`.
pub struct Transfer {
    pub source: Box<dyn TransferSource>,
    pub target: Box<dyn TransferTarget>,
}

pub async fn transfer(config: &Config, to: &StoreUrl) -> Result<Transfer, Failure> {
    let source = transfer_source(config)?;
    let Place::Postgres(url) = to.place() else {
        return Err(Failure::new(
            "--to must be postgres://USER@HOST/DATABASE; other targets are not supported",
        ));
    };
    let opened =
        PostgresStore::open(url.expose(), &postgres_options(config), StoreTime::Database, rng()).await;
    let target = opened.map_err(|error| Failure::new(error.to_string()))?;
    Ok(Transfer { source, target: Box::new(target) })
}

pub fn transfer_source(config: &Config) -> Result<Box<dyn TransferSource>, Failure> {
    let Place::Sqlite(path) = config.store.url.place() else {
        return Err(Failure::new(
            "store.url must be the sqlite:PATH that is moved; other sources are not supported",
        ));
    };
    if !path.exists() {
        return Err(Failure::new(format!(
            "there is no store {} (store.url) here; run this where its files are",
            path.display()
        )));
    }
    let source = SqliteStore::transfer(&path).map_err(|error| Failure::new(error.to_string()))?;
    Ok(Box::new(source))
}

/// Found and needed version of the schema; `None` where there is no schema.
pub async fn schema_versions(config: &Config) -> Result<Option<(usize, usize)>, Failure> {
    Ok(match config.store.url.place() {
        Place::Memory | Place::Redis(_) => None,
        Place::Sqlite(path) => {
            let versions = blocking(|| SqliteStore::schema_versions(path)).await?;
            Some((versions.found, versions.needed))
        }
        Place::Postgres(url) => {
            let versions = PostgresStore::schema_versions(url.expose(), &postgres_options(config)).await;
            let versions = versions.map_err(|error| Failure::new(error.to_string()))?;
            Some((versions.found, versions.needed))
        }
    })
}

fn postgres_options(config: &Config) -> PostgresOptions {
    let store = &config.store;
    PostgresOptions {
        prepared: store.prepared,
        write_links: store.write_connections,
        read_links: store.read_connections,
        busy_timeout: store.busy_timeout.as_duration(),
        statement_timeout: store.statement_timeout(),
        lock_timeout: store.lock_timeout(),
        connect_timeout: store.connect_timeout.as_duration(),
        retention_time: config.tokens.retention_time.as_duration(),
        ..PostgresOptions::default()
    }
}

/// Refuses where no server has made a store yet: who works on it without a server means one that is there.
pub async fn expect_store(config: &Config) -> Result<(), Failure> {
    match config.store.url.place() {
        Place::Memory => Err(Failure::new(
            "store.url is memory:, and such a store exists only inside the running server; ask the server instead",
        )),
        Place::Sqlite(path) if !path.exists() => Err(Failure::new(format!(
            "there is no store {} (store.url) here; start the server once, or run this where its files are",
            path.display()
        ))),
        Place::Sqlite(_) => Ok(()),
        Place::Postgres(url) => match schema_versions(config).await? {
            Some((0, _)) => Err(Failure::new(format!(
                "there is no store in {url} (store.url) yet; start the server once, or correct store.url"
            ))),
            _ => Ok(()),
        },
        // Nobody can tell a store that is empty from one that was lost.
        Place::Redis(_) => Ok(()),
    }
}

/// Where the store is, for work that needs a file.
pub fn store_path(config: &Config) -> Result<PathBuf, Failure> {
    Err(Failure::new(match config.store.url.place() {
        Place::Sqlite(path) => return Ok(path),
        Place::Memory => {
            "store.url is memory:, and such a store exists only inside the running server and goes with it; backups are \
             for sqlite:"
        }
        Place::Redis(_) => {
            "store.url is redis://, which is saved with Redis's own means: appendonly yes on its servers, replicas, and BGSAVE"
        }
        Place::Postgres(_) => {
            "store.url is postgres://, which is backed up with PostgreSQL's own tools: pg_dump while servers run, or \
             pg_basebackup and an archive of the WAL for any point in time"
        }
    }))
}

/// The store's file, which a server has made before.
pub fn store_file(config: &Config) -> Result<PathBuf, Failure> {
    let path = store_path(config)?;
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "there is no store {} (store.url) here; run this where its files are",
        path.display()
    )))
}

/// Copies a store while servers run on it; answers how many pages it has.
pub async fn backup(
    source: PathBuf,
    target: PathBuf,
    progress: impl FnMut(Copied) + Send + 'static,
) -> Result<u64, Failure> {
    blocking(move || {
        let mut counted = Counted::new(progress);
        SqliteStore::backup(&source, &target, |copied| counted.report(copied))?;
        Ok::<_, BackupError>(counted.pages)
    })
    .await
}

/// Puts a backup in the place of the store; answers how many pages it has.
pub async fn restore(
    backup: PathBuf,
    target: PathBuf,
    keep_until: Timestamp,
    clock: Arc<dyn Clock>,
    progress: impl FnMut(Copied) + Send + 'static,
) -> Result<u64, Failure> {
    blocking(move || {
        let mut counted = Counted::new(progress);
        SqliteStore::restore(&backup, &target, keep_until, clock.as_ref(), |copied| counted.report(copied))?;
        // Each is copied to the side first.
        Ok::<_, BackupError>(counted.pages / 2)
    })
    .await
}

/// Remembers how much there was.
struct Counted<P> {
    progress: P,
    pages: u64,
}

impl<P: FnMut(Copied)> Counted<P> {
    fn new(progress: P) -> Self {
        Self { progress, pages: 0 }
    }

    fn report(&mut self, copied: Copied) {
        self.pages = copied.pages_total;
        (self.progress)(copied);
    }
}

/// A copy of a backup that can be opened as a store, which would change the backup itself. It is gone when this is
/// dropped.
pub struct OpenCopy {
    // In this order: the directory goes when nobody has a file in it open any more.
    store: SqliteStore,
    _directory: Scratch,
}

impl OpenCopy {
    pub fn store(&self) -> &dyn Store {
        &self.store
    }
}

/// Copied beside `near`, where there must be room for it anyway.
pub async fn open_copy(backup: &Path, near: &Path, clock: Arc<dyn Clock>) -> Result<OpenCopy, Failure> {
    let directory = Scratch::make(&directory_of(near))?;
    let (backup, copy) = (backup.to_owned(), directory.0.join("copy.db"));
    let path = copy.clone();
    blocking(move || SqliteStore::backup(&backup, &path, |_| {})).await?;
    let store = blocking(move || SqliteStore::open(copy, SqliteOptions::default(), clock)).await?;
    Ok(OpenCopy { store, _directory: directory })
}

/// A directory that nobody else can look into.
struct Scratch(PathBuf);

impl Scratch {
    fn make(parent: &Path) -> Result<Self, Failure> {
        let path = parent.join(format!(".grantry-{}", std::process::id()));
        // One of a process that had this id and was killed here.
        let _ = fs::remove_dir_all(&path);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| Failure::of_file(&path, "made", &error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Opening a file may wait for another process.
async fn blocking<T, E, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    let done =
        done.map_err(|_| Failure::new("opening the store failed in an unforeseen way; please report it"))?;
    done.map_err(|error| Failure::new(error.to_string()))
}
