use super::process::{Process, arguments, free_port, wait_until};
use super::talk::ask;

/// For every server of a test: nothing is kept, and replicas get along at once.
pub const COMMON: [(&str, &str); 5] = [
    ("save", ""),
    ("appendonly", "no"),
    ("repl-diskless-sync-delay", "0"),
    ("repl-ping-replica-period", "1"),
    ("repl-backlog-size", "1mb"),
];

/// One that is started anew is empty, unless its settings keep what it has.
pub struct Server(Process);

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With settings besides the common ones, as in `redis.conf`.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::at(free_port(), settings)
    }

    /// One that follows `primary`, and has all of it.
    pub fn replica_of(primary: &Self) -> Self {
        let of = format!("127.0.0.1 {}", primary.port());
        let mut all = arguments(&COMMON);
        all.extend(["--replicaof".to_owned()].into_iter().chain(of.split(' ').map(str::to_owned)));
        let server = Self::started(free_port(), all);
        wait_until("the replica follows", || server.info("replication", "master_link_status") == "up");
        server
    }

    pub(super) fn at(port: u16, settings: &[(&str, &str)]) -> Self {
        Self::started(port, arguments(&[&COMMON, settings].concat()))
    }

    fn started(port: u16, arguments: Vec<String>) -> Self {
        let mut process = Process::new(port);
        process.start(arguments);
        Self(process)
    }

    pub const fn port(&self) -> u16 {
        self.0.port()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// As [`ask`]; panics if nobody answers.
    pub fn ask(&self, command: &[&str]) -> String {
        ask(self.port(), command).unwrap()
    }

    /// One line of what it tells about itself; empty where there is none.
    pub fn info(&self, section: &str, name: &str) -> String {
        let info = ask(self.port(), &["INFO", section]).unwrap_or_default();
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    }

    /// Waits until so many replicas have all of it.
    pub fn wait_for_replicas(&self, count: usize) {
        wait_until("the replicas are online", || {
            let info = ask(self.port(), &["INFO", "replication"]).unwrap_or_default();
            let is_online = |line: &&str| line.starts_with("slave") && line.contains("state=online");
            info.lines().filter(is_online).count() == count
        });
    }

    /// As by `kill -9`.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// On the same port.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// It stands still: connections stay open, and nobody answers.
    pub fn freeze(&self) {
        self.0.freeze();
    }

    pub fn thaw(&self) {
        self.0.thaw();
    }
}
