//! The wall clock of one server, which a test can set wrong while it runs ([`wrong_clock.c`](wrong_clock.c)).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct WallClock {
    preloaded: PathBuf,
    path: PathBuf,
}

impl WallClock {
    pub fn library(directory: &Path) -> PathBuf {
        crate::soak::preload::compile("wrong_clock", include_str!("wrong_clock.c"), directory)
    }

    /// A right one. The file at `path` is its own.
    pub fn new(library: &Path, path: PathBuf) -> Self {
        fs::write(&path, 0_i64.to_ne_bytes()).unwrap();
        Self { preloaded: library.to_owned(), path }
    }

    pub fn give_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.preloaded).env("WRONG_CLOCK", &self.path);
    }

    /// From now on it is ahead by so many seconds, or behind.
    pub fn set_wrong(&self, seconds: i64) {
        // Into the same file: the server has it mapped.
        File::options()
            .write(true)
            .open(&self.path)
            .unwrap()
            .write_all_at(&seconds.to_ne_bytes(), 0)
            .unwrap();
    }
}
