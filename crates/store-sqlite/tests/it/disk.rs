//! What the store does to the disk, and what the disk does to the store, in a file system of its own.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use grantry_store::conformance::Harness;
use grantry_store_sqlite::{OpenError, SqliteOptions, SqliteStore};

use super::full;
use super::scratch::Scratch;

const DIRECTORY: &str = "GRANTRY_TEST_FILE_SYSTEM";

/// Where a file system of 2 MiB is mounted, if this is the process that has it. Otherwise runs `test` again in a
/// process, with a mount namespace, that does; nothing outside of it sees the mount, and it goes with the process.
fn in_file_system_of_its_own(test: &str) -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return Some(directory.into());
    }
    let scratch = Scratch::new();
    let mount = "mount -t tmpfs -o size=2m none \"$0\" && exec \"$@\"";
    let namespace = ["--mount", "--map-root-user", "--"];
    let can_mount =
        Command::new("unshare").args(namespace).arg("true").output().is_ok_and(|out| out.status.success());
    if !can_mount {
        // A user who may not mount anything: that the errors are told apart is tested without this, too.
        eprintln!("no mount namespace for this user; run as root for this test");
        return None;
    }
    let directory = scratch.path.parent().unwrap();
    let status = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", mount])
        .arg(directory)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .arg0("unshare")
        .env(DIRECTORY, directory)
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its own file system");
    None
}

#[tokio::test]
async fn a_full_disk_is_an_outage_that_ends_when_there_is_room_again() {
    let Some(directory) =
        in_file_system_of_its_own("disk::a_full_disk_is_an_outage_that_ends_when_there_is_room_again")
    else {
        return;
    };
    let ballast = directory.join("ballast");
    let path = directory.join("grantry.db");
    let harness =
        Harness::new(|clock| Arc::new(SqliteStore::open(&path, SqliteOptions::default(), clock).unwrap()));
    fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    full::assert_outage_until_there_is_room(harness, async |_| fs::remove_file(&ballast).unwrap()).await;
}

#[test]
fn a_file_system_that_is_mounted_read_only_is_named() {
    let Some(directory) = in_file_system_of_its_own("disk::a_file_system_that_is_mounted_read_only_is_named")
    else {
        return;
    };
    let mut scratch = Scratch::new();
    scratch.path = directory.join("grantry.db");
    drop(scratch.open());
    let remount = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&directory).status().unwrap();
    assert!(remount.success());
    assert!(matches!(scratch.try_open(), Err(OpenError::NotWritable { .. })));
    let complaint = scratch.complaint();
    assert!(
        complaint.starts_with(&format!("{} cannot be written: Read-only", scratch.path.display())),
        "{complaint}"
    );
}

#[test]
fn a_file_that_may_not_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    drop(scratch.open());
    fs::set_permissions(&scratch.path, fs::Permissions::from_mode(0o400)).unwrap();
    // Nothing is forbidden to root; the read-only file system is.
    if fs::OpenOptions::new().write(true).open(&scratch.path).is_err() {
        assert!(matches!(scratch.try_open(), Err(OpenError::NotWritable { .. })));
    }
}

fn length_of_log(path: &Path) -> u64 {
    fs::metadata(path.with_extension("db-wal")).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_stays_bounded_under_reads_that_never_pause() {
    const PAGES: u32 = 50;
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness_with(SqliteOptions { wal_pages: PAGES, ..SqliteOptions::default() });
    let first = harness.issued("first").await;

    let writing = Arc::new(AtomicBool::new(true));
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let (store, writing) = (Arc::clone(&harness.store), Arc::clone(&writing));
            tokio::spawn(async move {
                while writing.load(Ordering::Relaxed) {
                    assert!(store.token_find(first.id).await.unwrap().is_some());
                }
            })
        })
        .collect();
    let mut longest = 0;
    for batch in 0..150 {
        let writes = (0..4).map(|n| {
            let token = harness.token(&format!("client {batch} {n}"));
            grantry_store::conformance::issue(&token)
        });
        harness.store.token_write(writes.collect()).await.unwrap();
        longest = longest.max(length_of_log(&path));
    }
    writing.store(false, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(longest < u64::from(PAGES) * 4096 * 2, "the log grew to {longest} bytes");
}
