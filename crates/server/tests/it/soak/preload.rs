//! Libraries that are preloaded into a server, for what no setting of it can bring about.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that is made of this source in C, under its name in the directory.
pub fn compile(name: &str, text: &str, directory: &Path) -> PathBuf {
    let source = directory.join(format!("{name}.c"));
    let library = directory.join(format!("{name}.so"));
    fs::write(&source, text).unwrap();
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl");
    assert!(compile.status().unwrap().success(), "{compile:?}");
    library
}
