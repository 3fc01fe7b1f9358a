use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{clock, failure::Failure};

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a child may take to end.
pub const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Runs to the end, or until somebody wants the program to stop: children end with the guards that this drops.
pub async fn unless_told_to_stop<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        stopped = told_to_stop() => {
            stopped?;
            Err(Failure::new("stopped before the end; no figures were written"))
        }
    }
}

async fn told_to_stop() -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::new(format!("SIGTERM cannot be waited for: {error}")))?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => {
            pressed.map_err(|error| Failure::new(format!("Ctrl-C cannot be waited for: {error}")))
        }
    }
}

pub fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::new(format!("this program cannot be found: {error}")))
}

/// On 127.0.0.1, for a process to listen on.
pub fn free_port() -> Result<u16, Failure> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|error| Failure::new(format!("no free port on 127.0.0.1: {error}")))
}

/// A process that ends with this value, whatever happens.
pub struct Guarded {
    name: &'static str,
    child: Child,
    is_released: bool,
}

impl Guarded {
    pub fn start(name: &'static str, command: &mut Command) -> Result<Self, Failure> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).spawn();
        let child =
            child.map_err(|error| Failure::new(format!("the {name} ({program}) does not start: {error}")))?;
        Ok(Self { name, child, is_released: false })
    }

    /// What it prints first; its standard output must be a pipe.
    pub fn first_line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if let Some(out) = self.child.stdout.take() {
            let read = BufReader::new(out).read_line(&mut line);
            read.map_err(|error| Failure::new(format!("the {} says nothing: {error}", self.name)))?;
        }
        Ok(line.trim().to_owned())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `Some` once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// It did not end in time, or not well; it is gone nevertheless.
    pub fn stop(self, patience: Duration) -> Result<(), Failure> {
        self.end_by("TERM", patience)
    }

    /// The same with SIGINT, at which PostgreSQL ends without waiting for its clients to leave.
    ///
    /// # Errors
    /// As for [`Guarded::stop`].
    pub fn interrupt(self, patience: Duration) -> Result<(), Failure> {
        self.end_by("INT", patience)
    }

    /// Lets it live on, and returns its process id.
    pub fn release(mut self) -> u32 {
        self.is_released = true;
        self.child.id()
    }

    fn end_by(mut self, signal: &str, patience: Duration) -> Result<(), Failure> {
        let asked = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        asked.map_err(|error| Failure::new(format!("the command kill does not start: {error}")))?;
        let until = clock::now() + patience;
        while clock::now() < until {
            if let Some(status) = self.ended() {
                return self.judge(status);
            }
            thread::sleep(LOOK_AGAIN);
        }
        Err(Failure::new(format!(
            "the {} did not end within {patience:?} of SIG{signal} and was killed",
            self.name
        )))
    }

    fn judge(&self, status: ExitStatus) -> Result<(), Failure> {
        use std::os::unix::process::ExitStatusExt as _;
        if status.success() || status.signal().is_some() {
            return Ok(());
        }
        Err(Failure::new(format!("the {} ended with {status}", self.name)))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.is_released && self.ended().is_none() {
            // It may have ended just now; either way nothing is left of it after the wait.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_when_it_is_asked_to() {
        let child = Guarded::start("sleeper", Command::new("sleep").arg("60")).unwrap();
        assert!(child.stop(Duration::from_secs(10)).is_ok());
    }

    #[test]
    fn a_process_does_not_outlive_its_guard() {
        let child = Guarded::start("sleeper", Command::new("sleep").arg("60")).unwrap();
        let pid = child.child.id().to_string();
        drop(child);
        let found = Command::new("kill").args(["-0", &pid]).stderr(Stdio::null()).status().unwrap();
        assert!(!found.success());
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error =
            Guarded::start("server", &mut Command::new("/nowhere/grantry")).err().unwrap().to_string();
        assert!(error.contains("/nowhere/grantry"), "{error}");
    }
}
