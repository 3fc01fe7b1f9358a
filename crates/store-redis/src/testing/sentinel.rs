use std::fs;

use super::process::{Process, free_port, wait_until};
use super::server::Server;
use super::talk::ask;

/// What the Sentinels call the primary that they watch.
const NAME: &str = "grantry";

/// Three Sentinels, two of which have to agree. They take a server that says nothing for half a second for dead.
pub struct Sentinels(Vec<Process>);

impl Sentinels {
    /// Returns once they know each other and all replicas.
    pub fn watch(primary: &Server, replicas: usize) -> Self {
        let sentinels = Self((0..3).map(|_| sentinel(primary.port())).collect());
        wait_until("the Sentinels know each other and all replicas", || {
            sentinels.0.iter().all(|sentinel| {
                let others = listed(sentinel.port(), "SENTINELS");
                others == 2 && listed(sentinel.port(), "REPLICAS") == replicas
            })
        });
        sentinels
    }

    pub fn urls(&self) -> Vec<String> {
        self.0.iter().map(|sentinel| format!("redis://127.0.0.1:{}", sentinel.port())).collect()
    }

    /// The port of the primary, as the Sentinels have it at the moment.
    pub fn primary(&self) -> u16 {
        let address = ask(self.0[0].port(), &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).unwrap();
        address.lines().last().and_then(|port| port.parse().ok()).unwrap()
    }

    /// Waits until another than this one is the primary.
    pub fn wait_for_failover(&self, from: &Server) {
        wait_until("another server is the primary", || {
            let now = self.primary();
            let role = ask(now, &["ROLE"]).unwrap_or_default();
            now != from.port() && role.starts_with("master")
        });
    }
}

fn sentinel(primary: u16) -> Process {
    let mut process = Process::new(free_port());
    let file = process.data().join("sentinel.conf");
    let settings = format!(
        "sentinel monitor {NAME} 127.0.0.1 {primary} 2\nsentinel down-after-milliseconds {NAME} 500\n\
         sentinel failover-timeout {NAME} 3000\n"
    );
    fs::write(&file, settings).unwrap();
    process.start(vec![file.display().to_string(), "--sentinel".into()]);
    process
}

/// How many of them it knows.
fn listed(port: u16, what: &str) -> usize {
    let answer = ask(port, &["SENTINEL", what, NAME]).unwrap_or_default();
    answer.lines().filter(|line| *line == "runid").count()
}
