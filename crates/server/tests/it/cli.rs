use serde_json::Value;

use crate::at::At;
use crate::home::{Home, text};
use crate::test_server::TestServer;

/// A client's whole life, the same at the server and at the store, while the server runs.
async fn a_clients_life(home: &Home, server: &TestServer, at: At<'_>) {
    let created = at.json(
        home,
        &[
            "clients",
            "create",
            "--id",
            "billing",
            "--name",
            "Billing",
            "--scope",
            "read write",
            "--grant-type",
            "client_credentials",
            "--auth-method",
            "client_secret_basic",
            "--access-token-format",
            "jwt",
            "--active-token-policy",
            "multiple",
            "--access-token-lifetime",
            "30m",
            "--resource",
            "https://billing.example",
            "--allowed-resource",
            "https://api.example",
        ],
    );
    assert_eq!(created["client_id"], "billing");
    assert_eq!(created["client_name"], "Billing");
    assert_eq!(created["scope"], "read write");
    assert_eq!(created["access_token_format"], "jwt");
    assert_eq!(created["active_token_policy"], "multiple");
    assert_eq!(created["access_token_lifetime"], "30m");
    assert_eq!(created["resources"][0], "https://billing.example");
    assert_eq!(created["allowed_resources"][0], "https://api.example");
    let credentials = ("billing".to_owned(), created["client_secret"].as_str().unwrap().to_owned());
    let parameters = [("resource", "https://api.example")];
    let token = server.token(&credentials, &parameters).await;
    assert!(server.is_active(&credentials, &token).await);

    let listed = at.json(home, &["clients", "list"]);
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().filter_map(|client| client["client_id"].as_str()).collect();
    assert_eq!(ids, ["admin", "billing"]);
    let shown = at.json(home, &["clients", "show", "billing"]);
    assert_eq!(shown["client_name"], "Billing");
    assert_eq!(shown["client_secret"], Value::Null, "the secret is shown once");

    let updated = at.json(
        home,
        &[
            "clients",
            "update",
            "billing",
            "--name",
            "Bills",
            "--unset",
            "access_token_lifetime",
            "--unset",
            "resources",
        ],
    );
    assert_eq!(updated["client_name"], "Bills");
    assert_eq!(updated["access_token_lifetime"], Value::Null);
    assert_eq!(updated["resources"], Value::Null);
    assert_eq!(updated["scope"], "read write", "what is not given stays");
    assert!(server.is_active(&credentials, &token).await, "a change of metadata ends nothing");

    let rotated = at.json(home, &["clients", "rotate-secret", "billing"]);
    assert_eq!(server.token_answer(&credentials, &parameters).await.status(), 401);
    let credentials = ("billing".to_owned(), rotated["client_secret"].as_str().unwrap().to_owned());
    assert!(server.is_active(&credentials, &token).await, "a new secret ends no token");

    let inspected = at.json(home, &["token", "inspect", &token]);
    assert_eq!(inspected["token"]["row"]["state"], "ACTIVE");
    assert_eq!(inspected["active"], true);

    at.json(home, &["clients", "disable", "billing"]);
    assert_eq!(server.token_answer(&credentials, &parameters).await.status(), 401);
    at.json(home, &["clients", "enable", "billing"]);
    assert!(!server.is_active(&credentials, &token).await, "disabling ends every token");
    server.token(&credentials, &parameters).await;

    at.json(home, &["clients", "delete", "billing"]);
    assert_eq!(server.token_answer(&credentials, &parameters).await.status(), 401);
    assert!(at.refusal(home, &["clients", "show", "billing"]).contains("there is no client with this id"));
}

#[tokio::test]
async fn clients_are_administered_over_the_admin_api() {
    let home = Home::new();
    let server = home.start().await;
    a_clients_life(&home, &server, At::Server(&server)).await;
}

#[tokio::test]
async fn clients_are_administered_on_the_store_while_the_server_runs() {
    let home = Home::strict();
    let server = home.start().await;
    a_clients_life(&home, &server, At::Store).await;
}

#[tokio::test]
async fn what_people_read_says_what_to_do_next() {
    let home = Home::new();
    let server = home.start().await;
    let at = At::Server(&server);
    let created = text(&at.run(&home, &["clients", "create", "--id", "a client", "--scope", "read"]));
    let line = created.lines().find(|line| line.trim_start().starts_with("curl")).unwrap();
    let output = std::process::Command::new("bash").arg("-c").arg(line).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{created}{answer}"));
    let post =
        text(&at.run(&home, &["clients", "create", "--id", "b", "--auth-method", "client_secret_post"]));
    let line = post.lines().find(|line| line.trim_start().starts_with("curl")).unwrap();
    let output = std::process::Command::new("bash").arg("-c").arg(line).output().unwrap();
    assert!(text(&output).contains("access_token"), "{post}{}", text(&output));

    let listed = text(&at.run(&home, &["clients", "list"]));
    assert!(listed.starts_with("CLIENT_ID"), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("a client ")), "{listed}");
    let inspected = text(&at.run(&home, &["token", "inspect", token]));
    assert!(inspected.starts_with("It is ACTIVE") && inspected.contains("a client"), "{inspected}");
    let forged = text(&at.run(&home, &["token", "inspect", "gta_forged"]));
    assert!(forged.contains("not made with the keys of this deployment"), "{forged}");
    let disabled = text(&at.run(&home, &["clients", "disable", "b"]));
    assert_eq!(disabled, "b is disabled, and every token that it held has ended\n");
}

#[tokio::test]
async fn a_token_for_a_script_is_printed_alone() {
    let home = Home::new();
    let server = home.start().await;
    let url = ["--server-url", server.url.as_str()];
    let output = home.run(&[&["token", "get", "--scope", "grantry:admin"][..], &url].concat());
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(token.lines().count(), 1);
    assert!(server.is_active(&home.first_client(), token.trim()).await);

    let json =
        home.run(&[&["token", "get", "--resource", "https://a.example/", "--json"][..], &url].concat());
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["token_type"], "Bearer");
    let introspected = server.introspect(&home.first_client(), json["access_token"].as_str().unwrap()).await;
    assert_eq!(introspected["aud"], "https://a.example/");

    let refused = text(&home.run(&[&["token", "get", "--scope", "more"][..], &url].concat()));
    assert!(refused.contains("the client admin (from grantry-data/first-client)"), "{refused}");
}

#[tokio::test]
async fn a_token_may_come_from_standard_input() {
    let home = Home::new();
    let server = home.start().await;
    let token = server.token(&home.first_client(), &[]).await;
    std::fs::write(home.path("token"), format!("{token}\n")).unwrap();
    let mut command = home.grantry(&["token", "inspect", "--offline", "-"]);
    let output = command.stdin(std::fs::File::open(home.path("token")).unwrap()).output().unwrap();
    assert!(text(&output).starts_with("It is ACTIVE"), "{}", text(&output));
}

#[tokio::test]
async fn credentials_come_from_flags_then_the_environment_then_the_first_client() {
    let home = Home::new();
    let server = home.start().await;
    let (id, secret) = home.first_client();
    std::fs::rename(home.path("grantry-data/first-client"), home.path("elsewhere")).unwrap();
    std::fs::write(home.path("secret"), format!("{secret}\n")).unwrap();
    let list = ["clients", "list", "--admin-url", &server.admin_url, "--server-url", &server.url];

    let said = text(&home.run(&list));
    assert!(said.contains("--client-id") && said.contains("grantry admin recover"), "{said}");
    let flags = [&list[..], &["--client-id", &id, "--client-secret-file", "secret"]].concat();
    assert!(home.run(&flags).status.success());
    let said = text(&home.run(&[&list[..], &["--client-id", &id]].concat()));
    assert!(said.contains("--client-id needs its secret"), "{said}");
    let environment =
        home.grantry(&list).envs([("GRANTRY_CLIENT_ID", &id), ("GRANTRY_CLIENT_SECRET", &secret)]).output();
    assert!(environment.unwrap().status.success());
    let file = home
        .grantry(&list)
        .env("GRANTRY_CLIENT_ID", &id)
        .env("GRANTRY_CLIENT_SECRET_FILE", "secret")
        .output();
    assert!(file.unwrap().status.success());
    let wrong =
        home.grantry(&list).env("GRANTRY_CLIENT_ID", &id).env("GRANTRY_CLIENT_SECRET", "wrong").output();
    let said = text(&wrong.unwrap());
    assert!(said.contains("does not accept the client admin (from GRANTRY_CLIENT_ID)"), "{said}");
}

#[tokio::test]
async fn what_is_refused_is_refused_with_a_sentence() {
    let home = Home::new();
    let server = home.start().await;
    for at in [At::Server(&server), At::Store] {
        at.json(&home, &["clients", "create", "--id", "twice"]);
        let said = at.refusal(&home, &["clients", "create", "--id", "twice"]);
        assert!(said.contains("a client with this id exists already"), "{said}");
        let said = at.refusal(&home, &["clients", "create", "--scope", "grantry:admim"]);
        assert!(said.contains("scope: ") && said.contains("grantry:admin"), "{said}");
        let said = at.refusal(&home, &["clients", "update", "twice", "--access-token-lifetime", "48h"]);
        assert!(said.contains("access_token_lifetime: ") && said.contains("retention_time"), "{said}");
        let said = at.refusal(&home, &["clients", "delete", "admin"]);
        assert!(said.contains("last client that can reach the admin API"), "{said}");
        let said = at.refusal(&home, &["clients", "update", "twice"]);
        assert!(said.contains("nothing to change"), "{said}");
        at.json(&home, &["clients", "delete", "twice"]);
    }
}

#[test]
fn without_a_server_the_ways_out_are_named() {
    let home = Home::with_config("[server]\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\n");
    let args = ["clients", "list", "--client-id", "admin", "--client-secret-file", "grantry.toml"];
    let said = text(&home.run(&args));
    assert!(
        said.contains("http://127.0.0.1:1") && said.contains("grantry serve") && said.contains("--offline"),
        "{said}"
    );
    let said = text(&home.run(&["clients", "list", "--offline"]));
    assert!(said.contains("there is no store grantry-data/grantry.db"), "{said}");
    let home = Home::with_config("[store]\nurl = \"memory:\"\n");
    let said = text(&home.run(&["clients", "list", "--offline"]));
    assert!(said.contains("exists only inside the running server"), "{said}");
}

#[tokio::test]
async fn the_last_administrator_is_recovered_at_the_host() {
    let home = Home::new();
    let server = home.start().await;
    let (id, lost) = home.first_client();
    let output = home.run(&["admin", "recover"]);
    assert!(text(&output).contains("grantry-data/first-client"), "{}", text(&output));
    let (again, secret) = home.first_client();
    assert_eq!(again, id);
    assert_eq!(server.token_answer(&(id, lost), &[]).await.status(), 401);
    server.token(&(again, secret), &[("scope", "grantry:admin")]).await;

    let output = home.run(&["admin", "recover", "--client-id", "second", "--output", "second-client"]);
    assert!(output.status.success(), "{}", text(&output));
    let pair = std::fs::read_to_string(home.path("second-client")).unwrap();
    let (id, secret) = pair.trim().split_once(':').unwrap();
    server.token(&(id.to_owned(), secret.to_owned()), &[("scope", "grantry:admin")]).await;
    assert!(!text(&output).contains(secret));
}

#[tokio::test]
async fn migrate_says_what_it_did() {
    let home = Home::new();
    let first = text(&home.run(&["migrate"]));
    assert!(first.contains("from version 0 to version"), "{first}");
    let second = text(&home.run(&["migrate"]));
    assert!(second.contains("is up to date"), "{second}");
    let memory = home.grantry(&["migrate"]).env("GRANTRY_STORE__URL", "memory:").output().unwrap();
    assert!(text(&memory).contains("memory: has no schema"), "{}", text(&memory));
    home.start().await.token(&home.first_client(), &[]).await;
}

#[test]
fn help_has_examples_and_the_version_is_that_of_the_package() {
    let home = Home::new();
    let help = text(&home.run(&["--help"]));
    assert!(help.contains("Examples:") && help.contains("grantry config check"), "{help}");
    assert!(text(&home.run(&["clients", "--help"])).contains("--offline"));
    assert_eq!(text(&home.run(&["--version"])), format!("grantry {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(home.run(&["clinets"]).status.code(), Some(2));
}

#[test]
fn output_that_is_cut_off_by_a_pipe_is_no_error() {
    let home = Home::new();
    let script = "set -o pipefail; \"$1\" config reference | head -1";
    let program = home.grantry(&[]).get_program().to_owned();
    // Which of the two is faster differs; neither may show.
    for _ in 0..5 {
        let output =
            std::process::Command::new("bash").args(["-c", script, "bash"]).arg(&program).output().unwrap();
        assert_eq!(text(&output), "# Configuration\n");
        assert!(output.status.success());
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = home.grantry(&["config", "show"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("standard output cannot be written"), "{}", text(&output));
}
