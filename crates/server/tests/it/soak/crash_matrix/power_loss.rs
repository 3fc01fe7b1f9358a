//! A disk that loses what it was not told to keep. The server runs on the real file system with a library preloaded that
//! writes down each `fsync` and `fdatasync` ([`power_loss.c`](power_loss.c)); after `kill -9` everything else is taken
//! from its directory.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::soak::preload;

/// What becomes of bytes, names and removals that were not synced: a disk may do any of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    /// Files end in the middle of it; names and removals came through.
    Torn,
    /// Files have their length and zeros in its place; names and removals came through.
    Zeroed,
}

pub const UNSYNCED: [Unsynced; 3] = [Unsynced::Lost, Unsynced::Torn, Unsynced::Zeroed];

pub struct Disk {
    preloaded: PathBuf,
    root: PathBuf,
    record: PathBuf,
    kept: PathBuf,
}

/// What the disk keeps, by inode.
#[derive(Default)]
struct Durable {
    sizes: HashMap<u64, u64>,
    entries: HashMap<u64, Vec<(String, u64)>>,
}

impl Disk {
    /// Below a directory that is its own, with the root that the server gets in it.
    pub fn new(directory: &Path) -> Self {
        fs::create_dir(directory).unwrap();
        let directory = directory.canonicalize().unwrap();
        let preloaded = preload::compile("power_loss", include_str!("power_loss.c"), &directory);
        let disk = Self {
            preloaded,
            root: directory.join("root"),
            record: directory.join("record"),
            kept: directory.join("kept"),
        };
        fs::create_dir(&disk.root).unwrap();
        disk.settle();
        disk
    }

    /// Everything below it is on this disk.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn watch<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("LD_PRELOAD", &self.preloaded)
            .env("POWER_LOSS_ROOT", &self.root)
            .env("POWER_LOSS_RECORD", &self.record)
            .env("POWER_LOSS_KEPT", &self.kept)
    }

    /// Nobody may have the disk open any more. What is left afterwards is durable.
    pub fn lose_power(&self, unsynced: Unsynced) {
        let durable = Durable::read(&fs::read_to_string(&self.record).unwrap());
        let mut places = HashMap::new();
        find(&self.root, &mut places);
        find(&self.kept, &mut places);
        let restored = self.root.with_extension("restored");
        let before = self.root.with_extension("before");
        durable.restore(&self.root, &restored, unsynced, &places);
        fs::rename(&self.root, &before).unwrap();
        fs::rename(&restored, &self.root).unwrap();
        fs::remove_dir_all(&before).unwrap();
        self.settle();
    }

    /// What is there now is on the disk for good.
    fn settle(&self) {
        let _ = fs::remove_dir_all(&self.kept);
        fs::create_dir(&self.kept).unwrap();
        let mut lines = String::new();
        describe(&self.root, &mut lines);
        fs::write(&self.record, lines).unwrap();
    }
}

/// As the library writes it.
fn describe(path: &Path, lines: &mut String) {
    use std::fmt::Write as _;
    let found = fs::metadata(path).unwrap();
    if found.is_file() {
        writeln!(lines, "file {} {}", found.ino(), found.len()).unwrap();
        return;
    }
    let mut line = format!("directory {}", found.ino());
    for entry in entries(path) {
        write!(line, " {} {}", entry.0, entry.1).unwrap();
        describe(&path.join(&entry.0), lines);
    }
    writeln!(lines, "{line}").unwrap();
}

fn entries(directory: &Path) -> Vec<(String, u64)> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino())
    };
    fs::read_dir(directory).unwrap().map(entry).collect()
}

/// Where each inode is.
fn find(directory: &Path, places: &mut HashMap<u64, PathBuf>) {
    for (name, inode) in entries(directory) {
        let path = directory.join(name);
        if path.is_dir() {
            find(&path, places);
        }
        places.insert(inode, path);
    }
}

impl Durable {
    /// The last word about each counts.
    fn read(record: &str) -> Self {
        let mut durable = Self::default();
        for line in record.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let inode = words[1].parse().unwrap();
            match words[0] {
                "file" => {
                    durable.sizes.insert(inode, words[2].parse().unwrap());
                }
                "directory" => {
                    let entry = |pair: &[&str]| (pair[0].to_owned(), pair[1].parse().unwrap());
                    durable.entries.insert(inode, words[2..].chunks(2).map(entry).collect());
                }
                other => panic!("the record has a line about a {other}"),
            }
        }
        durable
    }

    fn restore(&self, from: &Path, to: &Path, unsynced: Unsynced, places: &HashMap<u64, PathBuf>) {
        let found = fs::metadata(from).unwrap();
        if found.is_file() {
            self.restore_file(from, to, unsynced);
            return;
        }
        DirBuilder::new().mode(found.permissions().mode() & 0o777).create(to).unwrap();
        let names = match unsynced {
            Unsynced::Lost => self.entries.get(&found.ino()).cloned().unwrap_or_default(),
            Unsynced::Torn | Unsynced::Zeroed => entries(from),
        };
        for (name, inode) in names {
            self.restore(&places[&inode], &to.join(name), unsynced, places);
        }
    }

    fn restore_file(&self, from: &Path, to: &Path, unsynced: Unsynced) {
        let found = fs::metadata(from).unwrap();
        let mut bytes = fs::read(from).unwrap();
        let durable = self.sizes.get(&found.ino()).map_or(0, |size| usize::try_from(*size).unwrap());
        let durable = durable.min(bytes.len());
        match unsynced {
            Unsynced::Lost => bytes.truncate(durable),
            Unsynced::Torn => bytes.truncate(durable.midpoint(bytes.len())),
            Unsynced::Zeroed => bytes[durable..].fill(0),
        }
        fs::write(to, bytes).unwrap();
        fs::set_permissions(to, found.permissions()).unwrap();
    }
}
