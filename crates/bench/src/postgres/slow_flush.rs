//! A disk that is slow to flush, by a library that the PostgreSQL server is made to load.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::failure::Failure;

const SOURCE: &str = include_str!("slow_flush.c");
/// The longest delay that can be asked for.
pub const LONGEST: Duration = Duration::from_secs(1);

/// Each flush of the processes that loaded the library takes so much longer, from the next one on.
pub struct SlowFlush {
    preloaded: PathBuf,
    delay: PathBuf,
    file: File,
}

impl SlowFlush {
    /// Compiles the library into `directory`; the delay is zero at first.
    ///
    /// # Errors
    /// There is no C compiler, or the loader could not be told of such a path.
    pub fn build(directory: &Path) -> Result<Self, Failure> {
        let library = directory.join("slow_flush.so");
        if library.to_string_lossy().contains([' ', ':']) {
            return Err(Failure::new(format!(
                "--work-dir: {} has a space or a colon in it, and LD_PRELOAD takes neither; name another directory",
                library.display()
            )));
        }
        compile(directory, &library)?;
        let delay = directory.join("flush_delay");
        let file = write(&delay).map_err(|error| cannot_write(&delay, &error))?;
        Ok(Self { preloaded: library, delay, file })
    }

    /// For the server's command; the processes that it starts inherit both variables.
    pub fn add_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.preloaded).env("GRANTRY_BENCH_FLUSH_DELAY", &self.delay);
    }

    /// At most [`LONGEST`]; to the microsecond.
    pub fn set(&self, delay: Duration) -> Result<(), Failure> {
        let micros = delay.min(LONGEST).as_micros() as u32;
        let written = self.file.write_all_at(&micros.to_ne_bytes(), 0);
        written.map_err(|error| cannot_write(&self.delay, &error))
    }
}

fn compile(directory: &Path, library: &Path) -> Result<(), Failure> {
    let source = directory.join("slow_flush.c");
    fs::write(&source, SOURCE).map_err(|error| cannot_write(&source, &error))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(library).arg(&source).arg("-ldl");
    let output = compiler.output().map_err(|error| {
        Failure::new(format!("slow flushes need a C compiler, and `cc` does not start: {error}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("`cc` cannot compile {}: {}", source.display(), said.trim())))
}

fn write(path: &Path) -> std::io::Result<File> {
    let file = File::create(path)?;
    file.write_all_at(&0_u32.to_ne_bytes(), 0)?;
    Ok(file)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be written: {error}", path.display()))
}
