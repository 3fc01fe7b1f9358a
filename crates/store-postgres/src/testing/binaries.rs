use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A program on the path, or where Debian keeps PostgreSQL's: the newest of `/usr/lib/postgresql/*/bin`.
pub fn binary(name: &str) -> PathBuf {
    let on_path = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let system = [PathBuf::from("/usr/sbin")];
    let found = on_path.into_iter().chain(system).chain(debian()).map(|directory| directory.join(name));
    let missing = || panic!("{name} is not installed; cargo xtask test installs what the tests need");
    found.into_iter().find(|path| path.is_file()).unwrap_or_else(missing)
}

fn debian() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions.map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| std::cmp::Reverse(version(path)));
    versions.into_iter().map(|path| path.join("bin")).collect()
}

fn version(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}
