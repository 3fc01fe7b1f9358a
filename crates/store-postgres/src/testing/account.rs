use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The user that servers run as: PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy)]
pub struct Account(Option<(u32, u32)>);

impl Account {
    /// `postgres`, which its package has made, where we are root; else ourselves.
    pub fn for_servers() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let postgres = users.lines().find(|line| line.starts_with("postgres:"));
        let fields: Vec<_> = postgres.expect("a user named postgres").split(':').collect();
        Self(Some((fields[2].parse().unwrap(), fields[3].parse().unwrap())))
    }

    /// A program that outlives whoever started it: signals to the group of the test do not reach it, and nobody waits
    /// for its output.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub fn own(self, path: &Path) {
        if let Some((user, group)) = self.0 {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}
