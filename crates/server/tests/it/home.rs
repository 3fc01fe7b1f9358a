//! The directory that servers of a test work in, as an operator's would be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::process::Process;
use crate::test_server::TestServer;

/// What every server of the tests is known as, whichever port it gets: restarts and second processes go on as one.
pub const ISSUER: &str = "http://127.0.0.1:8080";

pub struct Home {
    directory: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("grantry-test-").tempdir().unwrap() }
    }

    /// Where each request sees at once what other processes have done to the store.
    pub fn strict() -> Self {
        Self::with_config("[cache]\ncoherence = \"strict\"\n")
    }

    pub fn with_config(toml: &str) -> Self {
        let home = Self::new();
        home.configure(toml);
        home
    }

    /// Writes `grantry.toml`, which is found without being named.
    pub fn configure(&self, toml: &str) {
        fs::write(self.path("grantry.toml"), toml).unwrap();
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The binary, in this directory, without what the environment of the tests may hold.
    pub fn grantry(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grantry"));
        command.args(args).current_dir(self.root());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GRANTRY_"))
        {
            command.env_remove(name);
        }
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.grantry(args).output().unwrap()
    }

    /// `serve` on free ports.
    pub fn serve(&self) -> Command {
        let mut command = self.grantry(&["serve"]);
        command
            .env("GRANTRY_SERVER__LISTEN", "127.0.0.1:0")
            .env("GRANTRY_SERVER__ADMIN_LISTEN", "127.0.0.1:0")
            .env("GRANTRY_SERVER__ISSUER", ISSUER);
        command
    }

    pub async fn start(&self) -> TestServer {
        self.start_with(|command| command).await
    }

    pub async fn start_with(&self, change: impl FnOnce(&mut Command) -> &mut Command) -> TestServer {
        let mut command = self.serve();
        change(&mut command);
        TestServer::ready(Process::spawn(&mut command)).await
    }

    /// Id and secret of the first client, from the file that the server wrote.
    pub fn first_client(&self) -> (String, String) {
        let text = fs::read_to_string(self.path("grantry-data/first-client")).unwrap();
        let (id, secret) = text.trim_end().split_once(':').unwrap();
        (id.to_owned(), secret.to_owned())
    }

    pub fn database_path(&self) -> PathBuf {
        self.path("grantry-data/grantry.db")
    }

    /// The database, for looking only.
    pub fn database(&self) -> Connection {
        Connection::open_with_flags(self.database_path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }
}

/// Gives a command the directory and the environment of another one.
pub fn in_the_place_of(other: &Command, mut command: Command) -> Command {
    for (name, value) in other.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(other.get_current_dir().unwrap());
    command
}

/// What a command printed, for assertions.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
