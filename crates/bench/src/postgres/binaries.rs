use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::failure::Failure;

/// Debian and its like keep the server's programs here and not on the PATH, a directory a version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The directory with `postgres` and `initdb`: one on the PATH, else the newest version in [`DEBIAN`].
///
/// # Errors
/// There is none.
pub fn directory() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut on_path = std::env::split_paths(&path).filter(|directory| is_complete(directory));
    on_path.next().or_else(newest).ok_or_else(|| {
        Failure::new(format!(
            "there is no PostgreSQL server: neither `postgres` and `initdb` on the PATH nor {DEBIAN}/*/bin; install the \
             package postgresql"
        ))
    })
}

fn is_complete(directory: &Path) -> bool {
    ["postgres", "initdb"].iter().all(|program| directory.join(program).is_file())
}

fn newest() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN).ok()?.flatten();
    let numbered = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let directory = entry.path().join("bin");
        is_complete(&directory).then_some((version, directory))
    });
    numbered.max_by_key(|(version, _)| *version).map(|(_, directory)| directory)
}

/// Whom the server's processes belong to.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    pub user: u32,
    pub group: u32,
}

/// PostgreSQL refuses to run as root: then the account `postgres` runs it. `None` is the caller's own account.
///
/// # Errors
/// The caller is root and there is no such account.
pub fn account() -> Result<Option<Account>, Failure> {
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    Ok(Some(Account { user: id(&["-u", "postgres"])?, group: id(&["-g", "postgres"])? }))
}

fn id(arguments: &[&str]) -> Result<u32, Failure> {
    let said = || format!("`id {}`", arguments.join(" "));
    let output = Command::new("id").args(arguments).output();
    let output = output.map_err(|error| Failure::new(format!("{} does not start: {error}", said())))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.trim().parse().map_err(|_| {
        Failure::new(format!(
            "{} names no account: {}; PostgreSQL does not run as root, so root needs the account postgres",
            said(),
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    })
}
