use std::fs;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::account::Account;
use super::binaries::binary;
use super::cluster::{self, USER};

/// A pooler in transaction mode, as many run PostgreSQL behind one; it is stopped when this is dropped.
pub struct PgBouncer {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl PgBouncer {
    /// In front of the server that listens on this port of the machine, with so many connections to it.
    pub fn start(server_port: u16, connections: u32) -> Self {
        let directory = tempfile::Builder::new().prefix("grantry-pgbouncer-").tempdir().unwrap();
        let account = Account::for_servers();
        account.own(directory.path());
        let port = cluster::free_port();
        let settings = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port} user={USER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = {connections}\nlogfile = {}\n",
            directory.path().join("log").display()
        );
        fs::write(&settings, text).unwrap();
        account.own(&settings);
        let mut process = account.command(binary("pgbouncer")).arg(&settings).spawn().unwrap();
        cluster::wait_for_port(port, &mut process);
        Self { process, port, _directory: directory }
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::QUIT);
        cluster::wait_for_end(&mut self.process);
    }
}
