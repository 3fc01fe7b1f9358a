use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_grantry-bench");

/// What one call of the program left behind.
pub struct Ran {
    pub success: bool,
    pub text: String,
    pub errors: String,
    /// `null` if nothing was written.
    pub json: serde_json::Value,
}

pub fn bench(flags: &[&str]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out.json");
    let mut command = Command::new(PROGRAM);
    command.args(flags).arg("--json").arg(&file).env("GRANTRY_BENCH_CLIENT_SECRET", "s");
    let output = command.output().unwrap();
    let json = std::fs::read(&file).map(|json| serde_json::from_slice(&json).unwrap());
    Ran {
        success: output.status.success(),
        text: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
        json: json.unwrap_or_default(),
    }
}

/// What it printed, and what it wrote to the file of `--out`.
pub fn figures(flags: &[&str]) -> (String, serde_json::Value) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out.json");
    let output = Command::new(PROGRAM).args(flags).arg("--out").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    (String::from_utf8(output.stdout).unwrap(), json)
}

/// With every endpoint named.
pub fn run_against(url: &str, scenario: &str, flags: &[&str]) -> Ran {
    let [token, introspect, revoke] =
        ["token", "introspect", "revoke"].map(|name| format!("{url}/oauth2/{name}"));
    let common = [
        "run",
        "--scenario",
        scenario,
        "--token-url",
        &token,
        "--introspect-url",
        &introspect,
        "--revoke-url",
        &revoke,
        "--client-id",
        "bench",
        "--timeout",
        "5",
    ];
    bench(&[&common[..], flags].concat())
}

pub struct Baseline {
    child: Child,
    pub url: String,
}

impl Baseline {
    pub fn start() -> Self {
        let mut child = Command::new(PROGRAM).arg("baseline").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
