use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::talk::ask;

const STEP: Duration = Duration::from_millis(10);
/// What a server may take for anything, in steps: half a minute.
const STEPS: usize = 3000;

/// A server of a test's own; it is killed when this is dropped.
pub struct Process {
    arguments: Vec<String>,
    child: Option<Child>,
    port: u16,
    directory: TempDir,
    /// Where the test is killed, a watcher kills the server.
    _in_use: File,
}

impl Process {
    /// Does not start it: there may be files to write first.
    pub fn new(port: u16) -> Self {
        let directory = tempfile::Builder::new().prefix("grantry-redis-").tempdir().unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        let in_use = locked(&directory.path().join("use"), FlockOperation::LockShared);
        Self { arguments: Vec::new(), child: None, port, directory, _in_use: in_use }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Waits until it answers.
    pub fn start(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
        self.restart();
    }

    pub fn restart(&mut self) {
        let child = start(&self.data(), self.port, &self.arguments);
        watch(self.directory.path(), child.id());
        self.child = Some(child);
    }

    /// As by `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As by `kill`: it says goodbye.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            child.wait().unwrap();
        }
    }

    /// It stands still: connections stay open, and nobody answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().expect("a server that runs")), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program that outlives whoever started it: signals to the group of the test do not reach it, and nobody waits for its
/// output.
fn detached(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// On loopback alone, with its files in `data`; waits until it answers.
pub fn start(data: &Path, port: u16, arguments: &[String]) -> Child {
    let log = data.join("log");
    let mut command = detached("redis-server");
    command.args(arguments).args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.arg("--dir").arg(data).arg("--logfile").arg(&log);
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("redis-server cannot be started ({error}); cargo xtask test installs what the tests need")
    });
    wait_until("the server answers", || {
        let status = child.try_wait().unwrap();
        let log = || fs::read_to_string(&log).unwrap_or_default();
        assert!(status.is_none(), "the server did not start: {status:?}\n{}", log());
        ask(port, &["PING"]).is_ok_and(|answer| answer == "PONG")
    });
    child
}

/// Kills the server once nobody holds the lock beside its directory, and removes both.
#[expect(clippy::zombie_processes, reason = "it outlives whoever started it")]
pub fn watch(place: &Path, pid: u32) {
    let mut watcher = detached("sh");
    watcher.arg("-c").arg(include_str!("watcher.sh")).arg("grantry-redis-watcher");
    watcher.arg(place).arg(pid.to_string()).arg(place.join("use")).spawn().unwrap();
}

pub fn locked(path: &Path, operation: FlockOperation) -> File {
    let file = File::options().create(true).append(true).open(path).unwrap();
    flock(&file, operation).unwrap();
    file
}

/// Free when it was asked for.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..STEPS {
        if is_so() {
            return;
        }
        // wait: servers tell nobody when they have agreed on something
        thread::sleep(STEP);
    }
    panic!("waited in vain until {what}");
}

/// As arguments of `redis-server`.
pub fn arguments(settings: &[(&str, &str)]) -> Vec<String> {
    settings.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]).collect()
}
