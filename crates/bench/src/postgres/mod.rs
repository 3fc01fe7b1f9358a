//! A PostgreSQL server of this program's own: on loopback, in a temporary directory, as durable as a real one.

mod binaries;
mod session;
mod slow_flush;

use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    child::{Guarded, STOP_WITHIN, free_port},
    clock,
    failure::Failure,
    stats::Spread,
};
use binaries::Account;
pub use session::{Session, connect, failed};
use slow_flush::SlowFlush;

const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often a commit is timed to learn how long it takes.
const COMMITS_TIMED: u32 = 50;

/// What the server is started with, besides where it listens. The first five are PostgreSQL's defaults, named because
/// every figure rests on them. Checkpoints are asked for between rounds, so that none falls into a measurement by
/// chance.
const SETTINGS: [(&str, &str); 12] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_sync_method", "fdatasync"),
    ("autovacuum", "on"),
    ("shared_buffers", "1GB"),
    ("max_connections", "500"),
    ("max_wal_size", "16GB"),
    ("min_wal_size", "2GB"),
    ("checkpoint_timeout", "1h"),
    ("unix_socket_directories", ""),
    ("listen_addresses", "127.0.0.1"),
];

pub struct Postgres {
    process: Option<Guarded>,
    directory: TempDir,
    port: u16,
    flush: SlowFlush,
    version: String,
}

impl Postgres {
    /// Returns when it takes connections.
    pub async fn start(work_dir: &Path) -> Result<Self, Failure> {
        let binaries = binaries::directory()?;
        let account = binaries::account()?;
        let directory = make_directory(work_dir)?;
        let flush = SlowFlush::build(directory.path())?;
        let data = initialize(&binaries, directory.path(), account)?;
        let port = free_port()?;
        let log = directory.path().join("postgres.log");
        let mut command = command(&binaries.join("postgres"), directory.path(), account);
        command.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        for (name, value) in SETTINGS {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        flush.add_to(&mut command);
        let out = File::create(&log)
            .and_then(|out| Ok((out.try_clone()?, out)))
            .map_err(|error| Failure::new(format!("{} cannot be written: {error}", log.display())))?;
        command.stdout(out.0).stderr(out.1);
        let process = Some(Guarded::start("PostgreSQL server", &mut command)?);
        let mut server = Self { process, directory, port, flush, version: String::new() };
        server.version = server.wait_until_ready(&log).await?;
        Ok(server)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    pub async fn create_database(&self, name: &str) -> Result<Session, Failure> {
        self.administrator().await?.run(&format!("CREATE DATABASE {name}")).await?;
        Session::open(&self.url(name)).await
    }

    /// Writes everything down now, so that no checkpoint is due for a while.
    pub async fn checkpoint(&self) -> Result<(), Failure> {
        self.administrator().await?.run("CHECKPOINT").await
    }

    /// How much longer each flush takes from now on.
    pub fn slow_flushes_by(&self, delay: Duration) -> Result<(), Failure> {
        self.flush.set(delay)
    }

    /// For a page of figures.
    pub fn description(&self) -> String {
        let settings = SETTINGS.map(|(name, value)| format!("{name}={value:?}")).join(", ").replace('"', "");
        format!("PostgreSQL {} with {settings}", self.version)
    }

    /// # Errors
    /// It did not end well; it is gone nevertheless.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.shut_down()
    }

    /// Leaves it running, and says where it is and how to end it.
    pub fn keep(mut self) -> String {
        let Some(process) = self.process.take() else { return String::new() };
        let pid = process.release();
        // Taken apart by hand, because a value that is dropped as a whole removes its directory.
        let directory = self.directory.path().to_owned();
        self.directory.disable_cleanup(true);
        format!(
            "PostgreSQL goes on at {}; end it with: kill -INT {pid}; rm -r {}\n",
            self.url("postgres"),
            directory.display()
        )
    }

    /// Its last checkpoint must not be slowed.
    fn shut_down(&mut self) -> Result<(), Failure> {
        let Some(process) = self.process.take() else { return Ok(()) };
        self.flush.set(Duration::ZERO)?;
        process.interrupt(STOP_WITHIN)
    }

    async fn administrator(&self) -> Result<Session, Failure> {
        Session::open(&self.url("postgres")).await
    }

    /// Returns its version.
    async fn wait_until_ready(&mut self, log: &Path) -> Result<String, Failure> {
        let until = clock::now() + READY_WITHIN;
        while clock::now() < until {
            if let Some(status) = self.process.as_mut().and_then(Guarded::ended) {
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(Failure::new(format!("PostgreSQL ended with {status}\n{said}")));
            }
            // It may not listen yet.
            if let Ok(session) = self.administrator().await {
                return session.text("SHOW server_version").await;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(Failure::new(format!("PostgreSQL is not ready after {READY_WITHIN:?}")))
    }
}

impl Drop for Postgres {
    /// A fast shutdown, since killing the first process would leave its shared memory.
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.shut_down();
    }
}

/// Everybody on this machine may connect without a password, for as long as the server runs.
pub fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// In seconds, of several commits, one after the other, on one connection.
pub async fn time_of_a_commit(url: &str) -> Result<Spread, Failure> {
    let session = Session::open(url).await?;
    session.run("CREATE TABLE IF NOT EXISTS timed_commits (number int)").await?;
    let mut took = Vec::new();
    for _ in 0..COMMITS_TIMED {
        let start = clock::now();
        session.run("INSERT INTO timed_commits VALUES (1)").await?;
        took.push(start.elapsed().as_secs_f64());
    }
    Spread::of(took).ok_or_else(|| Failure::new("no commit was timed"))
}

/// The server's account must get through it.
fn make_directory(work_dir: &Path) -> Result<TempDir, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(format!("--work-dir {} cannot be used: {error}", work_dir.display()))
    };
    let whole = work_dir.canonicalize().map_err(cannot)?;
    let directory = tempfile::Builder::new().prefix("grantry-bench-postgres-").tempdir_in(whole);
    let directory = directory.map_err(cannot)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).map_err(cannot)?;
    Ok(directory)
}

/// Returns the data directory.
fn initialize(binaries: &Path, directory: &Path, account: Option<Account>) -> Result<PathBuf, Failure> {
    let data = directory.join("data");
    let made = fs::create_dir(&data).and_then(|()| match account {
        Some(Account { user, group }) => std::os::unix::fs::chown(&data, Some(user), Some(group)),
        None => Ok(()),
    });
    made.map_err(|error| Failure::new(format!("{} cannot be made: {error}", data.display())))?;
    let mut initdb = command(&binaries.join("initdb"), directory, account);
    initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D"]).arg(&data);
    let output = initdb.output().map_err(|error| Failure::new(format!("initdb does not start: {error}")))?;
    if output.status.success() {
        return Ok(data);
    }
    Err(Failure::new(format!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Without the settings of the caller's own PostgreSQL.
fn command(program: &Path, directory: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory);
    if let Some(Account { user, group }) = account {
        command.uid(user).gid(group);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flush_takes_as_much_longer_as_it_is_told_to() {
        let server = Postgres::start(&std::env::temp_dir()).await.unwrap();
        server.slow_flushes_by(Duration::from_millis(50)).unwrap();
        assert!(time_of_a_commit(&server.url("postgres")).await.unwrap().least >= 0.05);
        server.slow_flushes_by(Duration::ZERO).unwrap();
        assert!(time_of_a_commit(&server.url("postgres")).await.unwrap().least < 0.05);
        let directory = server.directory.path().to_owned();
        server.stop().unwrap();
        assert!(!directory.exists());
    }

    #[tokio::test]
    async fn a_server_goes_with_its_value() {
        let server = Postgres::start(&std::env::temp_dir()).await.unwrap();
        let url = server.url("postgres");
        assert!(server.create_database("other").await.unwrap().count("pg_class").await.unwrap() > 0);
        drop(server);
        assert!(Session::open(&url).await.is_err());
    }
}
