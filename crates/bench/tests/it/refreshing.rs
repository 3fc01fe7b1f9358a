use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, Issuer},
    outcome,
    program::{bench, run_against},
    server::{Reply, Server},
};

struct Tokens {
    _directory: tempfile::TempDir,
    file: PathBuf,
}

impl Tokens {
    fn new(tokens: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        std::fs::write(&file, tokens.join("\n")).unwrap();
        Self { _directory: directory, file }
    }

    fn flag(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.file).unwrap().lines().map(str::to_owned).collect()
    }
}

fn never(_: &HashMap<String, String>) -> Option<Reply> {
    None
}

/// Does it to the refresh with this number, counted from 1.
fn to_refresh(
    number: u64,
    reply: fn() -> Reply,
) -> impl Fn(&HashMap<String, String>) -> Option<Reply> + Send + Sync + 'static {
    let seen = AtomicU64::new(0);
    move |form| {
        let is_refresh = form.get("grant_type").is_some_and(|it| it == "refresh_token");
        (is_refresh && seen.fetch_add(1, Relaxed) + 1 == number).then(reply)
    }
}

fn refused() -> Reply {
    Reply::new(400, r#"{"error":"invalid_grant"}"#)
}

/// Returns the file of a new key and its public half.
fn assertion_key(directory: &Path) -> (String, Value) {
    let file = directory.join("key.pem").to_str().unwrap().to_owned();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_grantry-bench"))
        .args(["assertion-key", "--out", &file])
        .output()
        .unwrap();
    assert!(output.status.success());
    (file, serde_json::from_slice(&output.stdout).unwrap())
}

fn each_once(presented: &[String]) -> bool {
    presented.iter().collect::<HashSet<_>>().len() == presented.len()
}

#[test]
fn every_refresh_presents_the_newest_token_of_its_grant_and_each_once() {
    let names = ["g1", "g2", "g3", "g4", "g5", "g6"];
    let (issuer, tokens) = (Issuer::start(&names, Value::Null, never), Tokens::new(&names));
    for run in 1..=2 {
        let flags = ["--refresh-tokens", tokens.flag(), "--count", "120", "--connections", "4"];
        let ran = run_against(&issuer.server.url, "refresh", &flags);
        assert!(ran.success, "{}", ran.text);
        assert_eq!(outcome(&ran), (true, 120, 120));
        assert_eq!(ran.json["grants"], json!({"count": 6, "obtained_again": 0, "lost": 0}));
        let state = issuer.state.lock().unwrap();
        assert_eq!(state.presented.len(), run * 120);
        assert!(each_once(&state.presented));
        let left: HashSet<String> = tokens.lines().into_iter().collect();
        assert_eq!(left, state.newest.keys().cloned().collect(), "the file can be used again");
    }
}

#[test]
fn a_connection_refreshes_its_grants_in_turn() {
    let (issuer, tokens) = (Issuer::start(&["x", "y"], Value::Null, never), Tokens::new(&["x", "y"]));
    let flags = ["--refresh-tokens", tokens.flag(), "--count", "4", "--connections", "1"];
    assert!(run_against(&issuer.server.url, "refresh", &flags).success);
    let presented = issuer.state.lock().unwrap().presented.clone();
    assert_eq!(presented, ["x", "y", "r-given-1", "r-given-2"]);
}

#[test]
fn subjects_get_their_grants_by_assertions_before_the_measurement() {
    let directory = tempfile::tempdir().unwrap();
    let (key, jwks) = assertion_key(directory.path());
    let issuer = Issuer::start(&[], jwks, never);
    // The second call finds the first one's file: as many rows as there were refreshes.
    let seen = directory.path().join("seen");
    let rows = format!("if test -e {0}; then echo 40; else touch {0}; echo 0; fi", seen.display());
    let flags = ["--subjects", "8", "--assertion-key", &key, "--count", "40", "--rows-command", &rows];
    let ran = run_against(&issuer.server.url, "refresh", &[&flags[..], &["--connections", "4"]].concat());
    assert!(ran.success, "{} {}", ran.text, ran.errors);
    assert_eq!(ran.json["rows"]["answered"], 40);
    let state = issuer.state.lock().unwrap();
    let of = |name: &str| state.assertions.iter().map(|it| it[name].to_string()).collect::<HashSet<_>>();
    assert_eq!(state.assertions.len(), 8);
    assert_eq!((of("sub").len(), of("jti").len()), (8, 8));
    assert!(of("sub").contains("\"user-0\"") && of("sub").contains("\"user-7\""));
    assert_eq!(of("aud"), HashSet::from([json!(AUDIENCE).to_string()]));
    assert_eq!(of("iss"), HashSet::from(["\"bench\"".to_owned()]));
}

#[test]
fn a_refused_refresh_is_an_error_and_its_grant_is_obtained_again() {
    let directory = tempfile::tempdir().unwrap();
    let (key, jwks) = assertion_key(directory.path());
    let issuer = Issuer::start(&[], jwks, to_refresh(3, refused));
    let flags = ["--subjects", "2", "--assertion-key", &key, "--count", "20", "--connections", "1"];
    let ran = run_against(&issuer.server.url, "refresh", &flags);
    assert!(!ran.success);
    assert_eq!(ran.json["errors"], json!({"status 400": 1}));
    assert_eq!((&ran.json["right"], &ran.json["sent"]), (&json!(19), &json!(20)));
    assert_eq!(ran.json["grants"], json!({"count": 2, "obtained_again": 1, "lost": 0}));
    let state = issuer.state.lock().unwrap();
    assert_eq!(state.assertions.len(), 3);
    assert!(each_once(&state.presented));
}

#[test]
fn a_refresh_without_an_answer_is_not_sent_again() {
    let (issuer, tokens) =
        (Issuer::start(&["x", "y"], Value::Null, to_refresh(1, Reply::hang_up)), Tokens::new(&["x", "y"]));
    let flags = ["--refresh-tokens", tokens.flag(), "--count", "10", "--connections", "1"];
    let ran = run_against(&issuer.server.url, "refresh", &flags);
    assert!(!ran.success);
    assert_eq!(ran.json["errors"], json!({"connection": 1}));
    assert_eq!(ran.json["right"], 9);
    assert_eq!(ran.json["grants"]["lost"], 1);
    assert!(each_once(&issuer.state.lock().unwrap().presented));
    assert_eq!(tokens.lines().len(), 1);
}

#[test]
fn a_run_ends_when_no_grant_is_left() {
    let server = Server::start(|_| refused());
    for flags in [&["--seconds", "60"][..], &["--seconds", "60", "--rate", "10"]] {
        let tokens = Tokens::new(&["x"]);
        let flags = [&["--refresh-tokens", tokens.flag(), "--connections", "1"], flags].concat();
        let ran = run_against(&server.url, "refresh", &flags);
        assert!(!ran.success);
        assert_eq!(ran.json["sent"], 1);
        assert!(tokens.lines().is_empty());
    }
}

#[test]
fn an_answer_without_a_refresh_token_does_not_count() {
    let server = Server::start(Reply::token);
    let tokens = Tokens::new(&["x"]);
    let flags = ["--refresh-tokens", tokens.flag(), "--count", "5", "--connections", "1"];
    let ran = run_against(&server.url, "refresh", &flags);
    assert!(!ran.success);
    assert_eq!(ran.json["errors"], json!({"200 without a refresh token": 1}));
}

#[test]
fn two_mixed_runs_send_the_same_and_never_introspect_what_they_revoke() {
    let ask = || {
        let (issuer, tokens) = (Issuer::start(&["x"], Value::Null, never), Tokens::new(&["x"]));
        let flags =
            ["--refresh-tokens", tokens.flag(), "--count", "400", "--connections", "1", "--pool", "20"];
        let flags = [&flags[..], &["--param", "resource=r{n}"]].concat();
        let ran = run_against(&issuer.server.url, "mixed", &flags);
        assert!(ran.success, "{} {}", ran.text, ran.errors);
        let count = |part: &str| ran.json["parts"][part].as_u64().unwrap();
        let state = issuer.state.lock().unwrap();
        // The pool's twenty come first.
        let asked = |kind: &str| state.asked[20..].iter().filter(|(of, _)| of == kind).count() as u64;
        assert_eq!(count("introspect"), asked("introspect"));
        assert_eq!(count("refresh"), asked("refresh"));
        assert_eq!(count("revoke"), asked("revoke"));
        assert_eq!(count("reuse") + count("issue"), asked("token"));
        assert!((220..340).contains(&count("introspect")) && count("revoke") > 0);
        assert!(count("issue") - count("revoke") <= 1, "they take turns");
        assert!(state.revoked.len() as u64 == count("revoke"), "each is revoked once");
        assert!(
            !state.asked.iter().any(|(kind, token)| kind == "introspect" && state.revoked.contains(token))
        );
        state.asked.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ask(), ask());
}

#[test]
fn flags_that_do_not_fit_the_scenario_are_refused() {
    let tokens = Tokens::new(&["x"]);
    let refused = |scenario: &str, flags: &[&str], named: &str| {
        let url = "http://127.0.0.1:9/token";
        let common = ["run", "--client-id", "c", "--token-url", url, "--scenario", scenario];
        let ran = bench(&[&common[..], flags].concat());
        assert!(!ran.success && ran.errors.contains(named), "{flags:?}: {}", ran.errors);
    };
    let given = ["--refresh-tokens", tokens.flag()];
    refused("refresh", &[], "--refresh-tokens or --subjects");
    refused("refresh", &["--subjects", "5"], "--assertion-key");
    refused(
        "refresh",
        &[&given[..], &["--subjects", "5", "--assertion-key", "x"]].concat(),
        "cannot be used with",
    );
    refused("refresh", &[&given[..], &["--connections", "2"]].concat(), "fewer --connections");
    refused("refresh", &[&given[..], &["--param", "a=b"]].concat(), "--param");
    refused("refresh", &[&given[..], &["--pool", "5"]].concat(), "--pool");
    refused("refresh", &["--refresh-tokens", "/nowhere"], "cannot be read");
    refused("issue", &given, "leave it out for issue");
    refused("mixed", &given, "--param with {n}");
    refused(
        "refresh",
        &["--subjects", "5", "--assertion-key", tokens.flag(), "--issuer", "x"],
        "is no Ed25519 key",
    );
    let elsewhere = [
        "--param",
        "a={n}",
        "--introspect-url",
        "http://127.0.0.1:10/",
        "--revoke-url",
        "http://127.0.0.1:9/",
    ];
    refused("mixed", &[&given[..], &elsewhere].concat(), "not on one address");
}

#[test]
fn a_key_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let (file, _) = assertion_key(directory.path());
    let before = std::fs::read(&file).unwrap();
    let mut again = std::process::Command::new(env!("CARGO_BIN_EXE_grantry-bench"));
    assert!(!again.args(["assertion-key", "--out", &file]).output().unwrap().status.success());
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn growth_says_what_it_lacks() {
    let growth = |flags: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_grantry-bench"));
        let output = command.arg("growth").args(flags).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(growth(&["--server-bin", "/nowhere/grantry"]).contains("no server at /nowhere/grantry"));
    assert!(growth(&["--refreshes", "1000"]).contains("too few for three stations"));
}
