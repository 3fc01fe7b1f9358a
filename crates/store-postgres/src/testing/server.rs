use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;
use std::thread;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::account::Account;
use super::block_on;
use super::cluster::{self, USER};
use super::shared;

/// What a server of a test's own is like. The default is durable: it survives being killed.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Besides ours, as in `postgresql.conf`.
    pub settings: Vec<(&'static str, String)>,
    /// Certificate and key in PEM: the server then takes encrypted connections, too.
    pub tls: Option<(String, String)>,
    /// In PEM, the authority that signs the certificates of clients.
    pub client_authority: Option<String>,
    /// Instead of letting everybody in, as in `pg_hba.conf`.
    pub access: Option<String>,
}

/// A server of a test's own; it is stopped when this is dropped.
pub struct Server {
    postmaster: Option<Child>,
    port: u16,
    settings: Vec<(String, String)>,
    account: Account,
    directory: TempDir,
    /// Where the test is killed, a watcher stops the server.
    _in_use: File,
}

impl Server {
    pub fn start(options: &ServerOptions) -> Self {
        Self::with_data(options, cluster::init)
    }

    /// A standby that follows `primary`; it takes no writes until it is promoted.
    pub fn standby(primary: &Self) -> Self {
        Self::with_data(&ServerOptions::default(), |data, account| cluster::copy(primary.port, data, account))
    }

    fn with_data(options: &ServerOptions, fill: impl Fn(&std::path::Path, Account)) -> Self {
        let directory = tempfile::Builder::new().prefix("grantry-postgres-").tempdir().unwrap();
        let account = Account::for_servers();
        account.own(directory.path());
        let in_use = shared::locked(&directory.path().join("use"), FlockOperation::LockShared);
        let mut server = Self {
            postmaster: None,
            port: cluster::free_port(),
            settings: settings(options),
            account,
            directory,
            _in_use: in_use,
        };
        fill(&server.data(), account);
        server.write("server.crt", options.tls.as_ref().map(|(certificate, _)| certificate));
        server.write("server.key", options.tls.as_ref().map(|(_, key)| key));
        server.write("root.crt", options.client_authority.as_ref());
        server.write("pg_hba.conf", options.access.as_ref());
        server.resume_from_stop();
        server
    }

    fn write(&self, name: &str, text: Option<&String>) {
        let Some(text) = text else { return };
        let path = self.data().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        self.account.own(&path);
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// What the server has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Ends all connections and stops.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Stops as if the machine had lost power: the next start recovers.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    /// All its processes stand still: connections stay open, and nobody answers.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let postmaster = Pid::from_child(self.postmaster.as_ref().expect("a server that runs"));
        kill_process(postmaster, signal).unwrap();
        let own = postmaster.as_raw_nonzero();
        for child in
            fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap().split_whitespace()
        {
            // One may have ended since.
            let _ = kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), signal);
        }
    }

    fn end(&mut self, signal: Signal) {
        if self.postmaster.is_some() {
            // A frozen one would never hear that it is to end.
            self.thaw();
        }
        if let Some(mut postmaster) = self.postmaster.take() {
            kill_process(Pid::from_child(&postmaster), signal).unwrap();
            cluster::wait_for_end(&mut postmaster);
        }
    }

    /// Starts again on the same port.
    pub fn resume_from_stop(&mut self) {
        let log = self.directory.path().join("log");
        let child = cluster::start(&self.data(), &log, self.port, &self.settings, self.account);
        shared::watch(self.directory.path(), child.id(), &self.directory.path().join("use"));
        self.postmaster = Some(child);
    }

    /// Waits until this standby has all that the primary has at the moment.
    pub fn catch_up_with(&self, primary: &Self) {
        let wal = "SELECT pg_current_wal_lsn()::text";
        let wanted = block_on(async { one(&primary.url("postgres"), wal).await });
        let reached = format!("SELECT (pg_last_wal_replay_lsn() >= '{wanted}')::text");
        for _ in 0..cluster::STEPS {
            if block_on(async { one(&self.url("postgres"), &reached).await }) == "true" {
                return;
            }
            // wait: the standby; it tells nobody how far it is
            thread::sleep(cluster::STEP);
        }
        panic!("the standby does not follow\n{}", self.log());
    }

    /// Makes a standby a primary, and waits until it is one.
    pub fn promote(&self) {
        let mut promote = self.account.command(super::binaries::binary("pg_ctl"));
        let status = promote.arg("-D").arg(self.data()).args(["promote", "--wait"]).status().unwrap();
        assert!(status.success(), "{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Signal::QUIT);
    }
}

/// What a server answers to a question with one text for an answer.
async fn one(url: &str, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(sql, &[]).await.unwrap().get(0)
}

fn settings(options: &ServerOptions) -> Vec<(String, String)> {
    let mut settings = cluster::common_settings();
    if options.tls.is_some() {
        settings.push(("ssl".into(), "on".into()));
    }
    if options.client_authority.is_some() {
        settings.push(("ssl_ca_file".into(), "root.crt".into()));
    }
    settings.extend(options.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    settings
}
