//! The server that all test processes of a run share.
//!
//! Two lock files stand beside its directory. Each process that uses the server holds `use` shared for as long as it
//! lives, however it ends. A watcher, started with the server, tries `use` exclusively; once nobody has held it for a
//! while, it stops the server and removes the directory, still holding the lock. Starting happens under `start`.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

use super::account::Account;
use super::cluster::{self, USER};

/// Enough for every test of a run at once.
const CONNECTIONS: u32 = 400;

pub struct Shared {
    pub port: u16,
    _in_use: File,
}

impl Shared {
    /// Started by whoever asks first.
    pub fn server() -> &'static Self {
        static SERVER: OnceLock<Shared> = OnceLock::new();
        SERVER.get_or_init(|| {
            let place = place();
            let in_use = locked(&place.with_extension("use"), FlockOperation::LockShared);
            let _starting = locked(&place.with_extension("start"), FlockOperation::LockExclusive);
            let port = running(&place).unwrap_or_else(|| start(&place));
            Self { port, _in_use: in_use }
        })
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Work that one process does at a time.
    pub fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _starting = locked(&place().with_extension("start"), FlockOperation::LockExclusive);
        work()
    }
}

/// Where the shared server listens, on 127.0.0.1.
pub fn shared_port() -> u16 {
    Shared::server().port
}

/// One a user and checkout.
fn place() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("grantry-postgres-{user}-{:016x}", hasher.finish()))
}

pub fn locked(path: &Path, operation: FlockOperation) -> File {
    let file = File::options().create(true).append(true).open(path).unwrap();
    flock(&file, operation).unwrap();
    file
}

/// The port of the server, if it is there.
fn running(place: &Path) -> Option<u16> {
    let state = fs::read_to_string(place.join("data").join("postmaster.pid")).ok()?;
    let mut lines = state.lines();
    let pid: u32 = lines.next()?.parse().ok()?;
    let port = lines.nth(2)?.parse().ok()?;
    // The file outlives a server that was killed; its number may be another's by now.
    let is_ours = fs::read_link(format!("/proc/{pid}/cwd")).ok()? == place.join("data");
    (is_ours && cluster::is_ready(&place.join("data"), pid)).then_some(port)
}

#[expect(clippy::zombie_processes, reason = "the server outlives whoever started it")]
fn start(place: &Path) -> u16 {
    let account = Account::for_servers();
    let _ = fs::remove_dir_all(place);
    cluster::make_directory(place, account);
    cluster::init(&place.join("data"), account);
    let mut settings = cluster::common_settings();
    let quick = [
        ("max_connections", CONNECTIONS.to_string()),
        // What is committed is visible at once all the same; tests of crashes start a server of their own.
        ("fsync", "off".into()),
        ("full_page_writes", "off".into()),
        // Copying a database takes 15 ms with these, 130 ms without.
        ("wal_level", "minimal".into()),
        ("max_wal_senders", "0".into()),
    ];
    settings.extend(quick.map(|(name, value)| (name.to_owned(), value)));
    let port = cluster::free_port();
    let server = cluster::start(&place.join("data"), &place.join("log"), port, &settings, account);
    watch(place, server.id(), &place.with_extension("use"));
    port
}

#[expect(clippy::zombie_processes, reason = "it outlives whoever started it")]
pub fn watch(place: &Path, pid: u32, in_use: &Path) {
    // Not as the server's user: it has to remove what is ours, too.
    let mut watcher = std::process::Command::new("sh");
    std::os::unix::process::CommandExt::process_group(&mut watcher, 0);
    watcher.arg("-c").arg(include_str!("watcher.sh")).arg("grantry-postgres-watcher");
    watcher.arg(place).arg(pid.to_string()).arg(in_use).current_dir("/");
    let nothing = std::process::Stdio::null;
    watcher.stdin(nothing()).stdout(nothing()).stderr(nothing()).spawn().unwrap();
}
