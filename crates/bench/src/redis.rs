//! A Redis server of this program's own: on loopback, in a temporary directory, without anything on disk.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    child::{Guarded, STOP_WITHIN, free_port},
    clock,
    failure::Failure,
    grantry,
};

/// Either speaks the same protocol and takes the same arguments.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
const READY_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub struct Redis {
    process: Guarded,
    /// Removed when the process has ended, as fields are dropped in this order.
    _directory: TempDir,
    port: u16,
    version: String,
}

impl Redis {
    /// Returns when it answers.
    pub async fn start(work_dir: &Path) -> Result<Self, Failure> {
        let program = program()?;
        let directory = grantry::temporary_directory(work_dir)?;
        let port = free_port()?;
        let log = directory.path().join("redis.log");
        let out = File::create(&log)
            .and_then(|out| Ok((out.try_clone()?, out)))
            .map_err(|error| Failure::new(format!("{} cannot be written: {error}", log.display())))?;
        let mut command = Command::new(program);
        command.current_dir(directory.path()).stdout(out.0).stderr(out.1);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "."]);
        command.args(["--port", &port.to_string()]);
        let process = Guarded::start("Redis server", &mut command)?;
        let mut server = Self { process, _directory: directory, port, version: String::new() };
        server.version = server.wait_until_ready(&log).await?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// For a page of figures.
    pub fn description(&self) -> String {
        format!("Redis {}, nothing on disk", self.version)
    }

    pub fn stop(self) -> Result<(), Failure> {
        self.process.stop(STOP_WITHIN)
    }

    /// Returns its version.
    async fn wait_until_ready(&mut self, log: &Path) -> Result<String, Failure> {
        let until = clock::now() + READY_WITHIN;
        while clock::now() < until {
            if let Some(status) = self.process.ended() {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(Failure::new(format!("Redis ended with {status}\n{said}")));
            }
            // It may not listen yet.
            if let Ok(Some(version)) = version(self.port).await {
                return Ok(version);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(Failure::new(format!("Redis is not ready after {READY_WITHIN:?}")))
    }
}

async fn version(port: u16) -> std::io::Result<Option<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"INFO server\r\nQUIT\r\n").await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    let version = said.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(version.map(str::to_owned))
}

/// # Errors
/// There is none on the PATH.
fn program() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all =
        std::env::split_paths(&path).flat_map(|directory| PROGRAMS.map(|name| directory.join(name)));
    all.find(|program| program.is_file()).ok_or_else(|| {
        Failure::new(
            "there is no redis-server and no valkey-server on the PATH; install the package redis-server",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_answers_and_goes_with_its_directory() {
        let server = Redis::start(&std::env::temp_dir()).await.unwrap();
        assert!(server.description().starts_with("Redis "), "{}", server.description());
        assert!(!server.version.is_empty());
        let (port, directory) = (server.port, server._directory.path().to_owned());
        server.stop().unwrap();
        assert!(version(port).await.is_err() && !directory.exists());
    }
}
