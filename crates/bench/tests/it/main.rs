//! The program as a user runs it, against servers on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod issuer;
mod modes;
mod program;
mod refreshing;
mod server;

use program::{Baseline, bench, run_against};
use server::{Reply, Server};

/// What a run wrote with `--json`.
fn outcome(ran: &program::Ran) -> (bool, u64, u64) {
    let number = |name: &str| ran.json[name].as_u64().unwrap();
    (ran.json["ok"].as_bool().unwrap(), number("sent"), number("measured"))
}

/// The baseline gives every grant the same refresh token, so that a run leaves a file that no other can use.
fn refill(refresh_tokens: &tempfile::NamedTempFile) {
    let lines: String = (0..16).map(|number| format!("r{number}\n")).collect();
    std::fs::write(refresh_tokens.path(), lines).unwrap();
}

/// Each scenario, with the flags that it needs.
fn scenarios(refresh_tokens: &str) -> [(&'static str, Vec<&str>); 6] {
    let refresh = ["--refresh-tokens", refresh_tokens];
    [
        ("issue", vec![]),
        ("reuse", vec![]),
        ("introspect", vec![]),
        ("revoke", vec![]),
        ("refresh", refresh.into()),
        ("mixed", [&refresh[..], &["--param", "resource={n}"]].concat()),
    ]
}

#[test]
fn every_scenario_runs_in_a_closed_loop() {
    let baseline = Baseline::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    for (scenario, flags) in scenarios(file.path().to_str().unwrap()) {
        refill(&file);
        let flags = [&["--count", "200", "--connections", "4"], &flags[..]].concat();
        let ran = run_against(&baseline.url, scenario, &flags);
        assert!(ran.success, "{scenario}: {}", ran.text);
        assert_eq!(outcome(&ran), (true, 200, 200), "{scenario}");
        assert!(ran.json["latency_us"]["p50"].as_u64().unwrap() > 0, "{scenario}");
        assert!(ran.text.contains("p99.9 ms"), "{}", ran.text);
    }
}

#[test]
fn every_scenario_runs_at_a_fixed_rate() {
    let baseline = Baseline::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    for (scenario, flags) in scenarios(file.path().to_str().unwrap()) {
        refill(&file);
        let flags = [&["--rate", "500", "--seconds", "0.2", "--warmup", "0"], &flags[..]].concat();
        let ran = run_against(&baseline.url, scenario, &flags);
        assert!(ran.success, "{scenario}: {}", ran.text);
        assert_eq!(outcome(&ran), (true, 100, 100), "{scenario}");
        assert_eq!(ran.json["backlog"]["unsent"], 0, "{scenario}");
    }
}

#[test]
fn revoking_ends_with_the_pool() {
    let baseline = Baseline::start();
    let ran = run_against(&baseline.url, "revoke", &["--pool", "50", "--warmup", "0"]);
    assert_eq!(outcome(&ran), (true, 50, 50));
    assert_eq!(ran.json["pool"]["tokens"], 50);
    assert_eq!(ran.json["pool"]["distinct"], 1);
}

#[test]
fn the_baseline_answers_like_a_token_endpoint() {
    let baseline = Baseline::start();
    let answer =
        server::ask(&baseline.url, "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na=b");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.contains("cache-control: no-store") && head.contains("content-type: application/json"),
        "{head}"
    );
    assert!((250..400).contains(&body.len()), "{} bytes", body.len());
    assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["active"].as_bool().unwrap());
}

#[test]
fn a_wrong_answer_fails_the_run_and_is_counted() {
    let server = Server::start(|request| {
        if request.number == 7 {
            Reply::new(500, r#"{"error":"server_error"}"#)
        } else {
            Reply::token(request)
        }
    });
    let ran = run_against(&server.url, "issue", &["--count", "20", "--connections", "1"]);
    assert!(!ran.success);
    assert_eq!(ran.json["errors"]["status 500"], 1);
    assert_eq!(ran.json["right"], 19);
    assert!(ran.text.contains("FAILED: 1 of 20 requests went wrong; the first: 500"), "{}", ran.text);
}

#[test]
fn a_token_that_is_not_active_fails_the_run() {
    let server = Server::start(|request| match request.path.as_str() {
        "/oauth2/introspect" => Reply::new(200, r#"{ "active": false }"#),
        _ => Reply::token(request),
    });
    let ran = run_against(&server.url, "introspect", &["--count", "5", "--pool", "3"]);
    assert!(!ran.success);
    assert_eq!(ran.json["errors"]["200, not active"], 5);
}

#[test]
fn a_server_that_closes_connections_is_asked_again() {
    let server = Server::start(|request| Reply::token(request).and_close());
    let ran = run_against(&server.url, "issue", &["--count", "20", "--connections", "2"]);
    assert!(ran.success, "{}", ran.text);
}

#[test]
fn a_server_that_hangs_up_is_reported() {
    let server = Server::start(|_| Reply::hang_up());
    let ran = run_against(&server.url, "issue", &["--count", "3", "--connections", "1"]);
    assert!(!ran.success);
    assert_eq!(ran.json["errors"]["connection"], 3);
}

#[test]
fn every_issue_request_has_a_number_of_its_own() {
    let server = Server::start(Reply::token);
    run_against(&server.url, "issue", &["--count", "50", "--param", "resource=https://bench.example/{n}"]);
    let mut bodies = server.bodies();
    assert!(
        bodies
            .iter()
            .all(|body| body.starts_with("grant_type=client_credentials&resource=https%3A%2F%2Fbench"))
    );
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), 50);
}

/// The point of the fixed rate: one stall is felt by every request that it delays.
#[test]
fn a_stall_is_felt_by_the_requests_that_it_delays() {
    let stalling = || {
        Server::start(|request| {
            if request.number == 5 {
                // wait: the stall itself
                std::thread::sleep(std::time::Duration::from_millis(400));
            }
            Reply::token(request)
        })
    };
    let p50 = |flags: &[&str]| {
        let ran = run_against(
            &stalling().url,
            "issue",
            &[&["--connections", "1", "--count", "50"], flags].concat(),
        );
        assert!(ran.success, "{}", ran.text);
        (ran.json["latency_us"]["p50"].as_u64().unwrap(), ran.json["backlog"]["longest"].as_u64())
    };
    let (closed, _) = p50(&[]);
    let (fixed, backlog) = p50(&["--rate", "100"]);
    assert!(closed < 50_000, "a closed loop hides the stall: {closed}");
    assert!(fixed > 50_000, "a fixed rate shows it: {fixed}");
    assert!(backlog.unwrap() > 20, "{backlog:?}");
}

#[test]
fn a_server_that_cannot_keep_up_fails_the_run() {
    let server = Server::start(|request| {
        // wait: the slow server itself
        std::thread::sleep(std::time::Duration::from_millis(20));
        Reply::token(request)
    });
    let flags = ["--connections", "1", "--rate", "1000", "--seconds", "1", "--max-backlog", "100"];
    let ran = run_against(&server.url, "issue", &flags);
    assert!(!ran.success);
    assert!(ran.text.contains("does not keep up"), "{}", ran.text);
}

#[test]
fn rows_are_compared_with_answers() {
    let server = Server::start(Reply::token);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows");
    // The first call finds no file and prints 0, the second prints how many rows the run is said to have written.
    let command = |rows: u32| {
        let file = file.display();
        format!("if test -e {file}; then echo {rows}; rm {file}; else touch {file}; echo 0; fi")
    };
    let run = |rows: u32| {
        run_against(
            &server.url,
            "issue",
            &["--count", "10", "--rows-wait", "0", "--rows-command", &command(rows)],
        )
    };
    assert!(run(10).success);
    let ran = run(9);
    assert!(!ran.success);
    assert!(ran.text.contains("rows written (9) differ from tokens answered (10)"), "{}", ran.text);
}

#[test]
fn endpoints_are_discovered() {
    let server = Server::start(|request| match request.path.as_str() {
        "/.well-known/oauth-authorization-server" => {
            let (_, host) = request.head.split_once("host: ").unwrap();
            let host = host.lines().next().unwrap();
            Reply::new(200, &format!(r#"{{"introspection_endpoint":"http://{host}/elsewhere"}}"#))
        }
        "/elsewhere" => Reply::new(200, r#"{"active":true}"#),
        _ => Reply::token(request),
    });
    let url = format!("{}/oauth2/token", server.url);
    let ran =
        bench(&["run", "--scenario", "introspect", "--token-url", &url, "--client-id", "c", "--count", "5"]);
    assert!(ran.success, "{}", ran.text);
    let ran =
        bench(&["run", "--scenario", "revoke", "--token-url", &url, "--client-id", "c", "--count", "5"]);
    assert!(!ran.success && ran.errors.contains("--revoke-url"), "{}", ran.errors);
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_flag_to_change() {
    let refused = |flags: &[&str], named: &str| {
        let ran = bench(&[&["run", "--client-id", "c"], flags].concat());
        assert!(!ran.success && ran.errors.contains(named), "{flags:?}: {}", ran.errors);
    };
    let url = "http://127.0.0.1:9/token";
    refused(&["--scenario", "issue", "--token-url", "http://192.0.2.1/token"], "--allow-remote");
    refused(&["--scenario", "issue", "--token-url", "https://127.0.0.1/token"], "plain http only");
    refused(
        &["--scenario", "reuse", "--token-url", url, "--param", "resource=x{n}"],
        "reuse asks for one slot",
    );
    refused(&["--scenario", "introspect", "--token-url", url, "--rows-command", "echo 1"], "--rows-command");
    refused(&["--scenario", "issue", "--token-url", url, "--pool", "5"], "--pool");
    refused(&["--scenario", "issue", "--token-url", url], "is the server running there?");
}
