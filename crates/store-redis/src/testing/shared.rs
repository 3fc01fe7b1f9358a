//! The server, and the Cluster, that all test processes of a run share.
//!
//! Each process that uses it holds the lock `use` in its directory shared, for as long as it lives and however it ends. A
//! watcher, started with the server, tries the lock exclusively; once nobody has held it for a while, it kills the server
//! and removes the directory, still holding the lock. Starting happens under a lock beside the directory.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::FlockOperation;

use super::cluster::{self, PRIMARIES};
use super::process::{self, arguments, locked};
use super::server::COMMON;
use super::talk::ask;

struct Shared {
    port: u16,
    _in_use: File,
}

/// Where the shared server listens, on 127.0.0.1.
pub fn shared_port() -> u16 {
    static SERVER: OnceLock<Shared> = OnceLock::new();
    SERVER.get_or_init(open).port
}

pub fn shared_url() -> String {
    url(shared_port())
}

/// The members of a Cluster of three primaries that all test processes share.
pub fn shared_cluster_urls() -> Vec<String> {
    static CLUSTER: OnceLock<[Shared; PRIMARIES]> = OnceLock::new();
    CLUSTER.get_or_init(open_cluster).iter().map(|member| url(member.port)).collect()
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// A name that no test on the shared server has had.
pub fn scratch_name() -> String {
    format!("test-{}", ask(shared_port(), &["INCR", "scratch-names"]).unwrap())
}

fn open() -> Shared {
    let place = place("");
    let _starting = locked(&place.with_extension("start"), FlockOperation::LockExclusive);
    join(&place, || arguments(&COMMON)).0
}

/// Members that were all there are a cluster already; should one have to be started, none of the others is in use.
fn open_cluster() -> [Shared; PRIMARIES] {
    let starting = place("-cluster").with_extension("start");
    let _starting = locked(&starting, FlockOperation::LockExclusive);
    let buses: [u16; PRIMARIES] = std::array::from_fn(|_| process::free_port());
    let joined: [(Shared, bool); PRIMARIES] = std::array::from_fn(|member| {
        join(&place(&format!("-cluster-{member}")), || cluster::settings_of_member(buses[member]))
    });
    let ports: Vec<u16> = joined.iter().map(|(member, _)| member.port).collect();
    if joined.iter().any(|(_, is_new)| *is_new) {
        cluster::assemble(&ports, &buses);
    }
    joined.map(|(member, _)| member)
}

/// Its place, and whether it was started by this.
fn join(place: &Path, settings: impl Fn() -> Vec<String>) -> (Shared, bool) {
    loop {
        fs::create_dir_all(place.join("data")).unwrap();
        let in_use = locked(&place.join("use"), FlockOperation::LockShared);
        // The watcher may have removed the directory with the lock in it while that was waited for.
        let is_there = fs::metadata(place.join("use")).is_ok_and(|file| file.ino() == inode(&in_use));
        if is_there {
            let running = running(place);
            let is_new = running.is_none();
            let port = running.unwrap_or_else(|| start(place, &settings()));
            return (Shared { port, _in_use: in_use }, is_new);
        }
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

/// One a user and checkout.
fn place(of: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("grantry-redis-{user}-{:016x}{of}", hasher.finish()))
}

/// The port of the server, if it is there.
fn running(place: &Path) -> Option<u16> {
    let state = fs::read_to_string(place.join("server")).ok()?;
    let (pid, port) = state.split_once(' ')?;
    // The file outlives a server that was killed; its number may be another's by now.
    let is_ours = fs::read_link(format!("/proc/{pid}/cwd")).ok()? == place.join("data");
    let port = port.parse().ok()?;
    (is_ours && ask(port, &["PING"]).ok()? == "PONG").then_some(port)
}

#[expect(clippy::zombie_processes, reason = "the server outlives whoever started it")]
fn start(place: &Path, settings: &[String]) -> u16 {
    let port = process::free_port();
    let server = process::start(&place.join("data"), port, settings);
    fs::write(place.join("server"), format!("{} {port}", server.id())).unwrap();
    process::watch(place, server.id());
    port
}
