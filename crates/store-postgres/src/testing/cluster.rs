use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use super::account::Account;
use super::binaries::binary;

/// The superuser of every server; it needs no password.
pub const USER: &str = "grantry";

pub const STEP: Duration = Duration::from_millis(10);
/// What a server may take to start or to stop, in steps: half a minute.
pub const STEPS: usize = 3000;

pub fn make_directory(path: &Path, account: Account) {
    fs::create_dir_all(path).unwrap();
    account.own(path);
}

/// A new data directory.
pub fn init(data: &Path, account: Account) {
    let mut initdb = account.command(binary("initdb"));
    initdb.arg("-D").arg(data).args(["-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]);
    succeed(&mut initdb);
}

/// A copy of a running server that follows it.
pub fn copy(from_port: u16, data: &Path, account: Account) {
    let mut copy = account.command(binary("pg_basebackup"));
    copy.args(["-h", "127.0.0.1", "-U", USER, "-p", &from_port.to_string()]);
    succeed(copy.arg("-D").arg(data).args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]));
}

fn succeed(command: &mut Command) {
    let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Starts the server of a data directory and waits until it takes connections.
pub fn start(data: &Path, log: &Path, port: u16, settings: &[(String, String)], account: Account) -> Child {
    let mut postgres = account.command(binary("postgres"));
    postgres.arg("-D").arg(data).args(["-p", &port.to_string()]);
    for (name, value) in settings {
        postgres.arg("-c").arg(format!("{name}={value}"));
    }
    let output = File::options().append(true).create(true).open(log).unwrap();
    let mut child = postgres.stderr(output).spawn().unwrap();
    let pid = child.id();
    for _ in 0..STEPS {
        if is_ready(data, pid) {
            return child;
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the server did not start: {status}\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        // wait: the server to take connections; it says so in a file alone
        thread::sleep(STEP);
    }
    let _ = child.kill();
    panic!("the server did not start in time\n{}", fs::read_to_string(log).unwrap_or_default());
}

/// By the file that `pg_ctl` reads, too.
pub fn is_ready(data: &Path, pid: u32) -> bool {
    let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = state.lines();
    let is_its = lines.next() == Some(pid.to_string().as_str());
    is_its && lines.nth(6).map(str::trim) == Some("ready")
}

pub fn wait_for_end(child: &mut Child) {
    for _ in 0..STEPS {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        // wait: the server to stop
        thread::sleep(STEP);
    }
    panic!("the server did not stop in time");
}

pub fn wait_for_port(port: u16, child: &mut Child) {
    for _ in 0..STEPS {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended instead of listening");
        // wait: the program to listen
        thread::sleep(STEP);
    }
    panic!("nobody listens on port {port}");
}

/// Free when it was asked for.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// For every server of a test.
pub fn common_settings() -> Vec<(String, String)> {
    let settings = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("shared_buffers", "64MB"),
        ("log_min_messages", "warning"),
        ("timezone", "UTC"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
