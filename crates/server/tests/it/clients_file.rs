//! `store.clients_file`: a server that keeps everything in memory, but its clients in a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::at::At;
use crate::home::{Home, text};
use crate::test_server::{Credentials, TestServer};

const FILE: &str = "grantry-data/clients.json";

fn home() -> Home {
    Home::with_config(&format!("[store]\nurl = \"memory:\"\nclients_file = \"{FILE}\"\n"))
}

fn kept(home: &Home) -> Value {
    serde_json::from_str(&fs::read_to_string(home.path(FILE)).unwrap()).unwrap()
}

fn write(home: &Home, content: &str) {
    fs::create_dir_all(home.path("grantry-data")).unwrap();
    fs::write(home.path(FILE), content).unwrap();
    fs::set_permissions(home.path(FILE), fs::Permissions::from_mode(0o600)).unwrap();
}

fn ids(home: &Home) -> Vec<String> {
    let kept = kept(home);
    kept["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|client| client["client_id"].as_str().unwrap().to_owned())
        .collect()
}

/// Kills the server as losing power would, and starts another one.
async fn restarted(home: &Home, mut server: TestServer) -> TestServer {
    server.process.kill();
    home.start().await
}

async fn accepts(server: &TestServer, client: &Credentials) -> bool {
    server.token_answer(client, &[]).await.status() == 200
}

#[tokio::test]
async fn clients_and_their_secrets_survive_kill_9() {
    let home = home();
    let server = home.start().await;
    let admin = home.first_client();
    let client = server.create_client(&admin, json!({ "client_id": "billing", "scope": "read" })).await;
    let token = server.token(&client, &[]).await;
    assert_eq!(fs::metadata(home.path(FILE)).unwrap().permissions().mode() & 0o7777, 0o600);
    let written = fs::read_to_string(home.path(FILE)).unwrap();
    assert!(!written.contains(&client.1) && !written.contains(&admin.1), "secrets are hashes there");

    let server = restarted(&home, server).await;
    assert!(accepts(&server, &client).await && accepts(&server, &admin).await);
    assert!(!accepts(&server, &("billing".to_owned(), "wrong".to_owned())).await);
    assert!(!server.is_active(&client, &token).await, "tokens are in memory alone");
    assert_eq!(ids(&home), ["admin", "billing"]);

    // What is changed, however, is there after the next start.
    let at = At::Server(&server);
    let rotated = at.json(&home, &["clients", "rotate-secret", "billing"]);
    at.json(&home, &["clients", "update", "billing", "--scope", "read write"]);
    let other = server.plain_client(&admin).await;
    at.json(&home, &["clients", "disable", &other.0]);
    let gone = server.plain_client(&admin).await;
    at.json(&home, &["clients", "delete", &gone.0]);

    let server = restarted(&home, server).await;
    assert!(!accepts(&server, &client).await, "the secret before");
    let client = ("billing".to_owned(), rotated["client_secret"].as_str().unwrap().to_owned());
    let answer: Value = server.token_answer(&client, &[]).await.json().await.unwrap();
    assert_eq!(answer["scope"], "read write");
    assert!(!accepts(&server, &other).await && !accepts(&server, &gone).await);
    let at = At::Server(&server);
    assert_eq!(at.json(&home, &["clients", "show", &other.0])["enabled"], false);
    assert!(at.refusal(&home, &["clients", "show", &gone.0]).contains("there is no client"));
    at.json(&home, &["clients", "enable", &other.0]);
    assert!(accepts(&server, &other).await);
}

#[tokio::test]
async fn the_keys_of_secrets_survive_and_a_revoked_one_stays_revoked() {
    let home = home();
    let server = home.start().await;
    let admin = home.first_client();
    let client = server.plain_client(&admin).await;
    let at = At::Server(&server);
    at.json(&home, &["keys", "rotate", "client_secret"]);
    let server = restarted(&home, server).await;
    assert!(accepts(&server, &client).await);
    let at = At::Server(&server);
    at.json(&home, &["keys", "revoke", "client_secret/1", "--yes"]);
    assert!(!accepts(&server, &client).await);
    let server = restarted(&home, server).await;
    assert!(!accepts(&server, &client).await, "a restart does not take a revocation back");
    let keys = kept(&home)["client_secret_keys"].clone();
    let revoked: Vec<bool> =
        keys.as_array().unwrap().iter().map(|key| key["revoked_at"].is_number()).collect();
    assert_eq!(revoked, [true, false, false], "the second was to take over, the third did so at once");
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_kept() {
    let home = home();
    let server = home.start().await;
    let admin = home.first_client();
    let mut made = Vec::new();
    for batch in 0..5 {
        let one = |n: usize| {
            server.create_client(&admin, json!({ "client_id": format!("c-{batch}-{n}"), "scope": "read" }))
        };
        let (a, b, c, d) = tokio::join!(one(0), one(1), one(2), one(3));
        // Acknowledged, so each is in the file by now.
        let kept = ids(&home);
        for client in [a, b, c, d] {
            assert!(kept.contains(&client.0), "{}", client.0);
            made.push(client);
        }
    }
    assert!(server.metric("grantry_clients_file_writes_total", "").await <= 22.0);
    let server = restarted(&home, server).await;
    for client in &made {
        assert!(accepts(&server, client).await, "{}", client.0);
    }
    let left: Vec<_> =
        fs::read_dir(home.path("grantry-data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".new")), "{left:?}");
}

#[tokio::test]
async fn a_file_that_a_person_wrote_is_taken_over_and_its_secrets_become_hashes() {
    let home = home();
    write(
        &home,
        r#"{"clients": [
            {"client_id": "root", "client_secret": "root's secret", "scope": "grantry:admin"},
            {"client_id": "billing", "client_secret": "chosen by hand", "scope": "read", "access_token_lifetime": "5m"},
            {"client_id": "app", "token_endpoint_auth_method": "none", "grant_types": ["refresh_token"]}
        ]}"#,
    );
    let server = home.start().await;
    assert!(!home.path("grantry-data/first-client").exists(), "there is an administrator");
    let client = ("billing".to_owned(), "chosen by hand".to_owned());
    assert!(accepts(&server, &client).await);
    let written = fs::read_to_string(home.path(FILE)).unwrap();
    assert!(!written.contains("chosen by hand") && !written.contains("root's secret"), "{written}");
    assert_eq!(ids(&home), ["app", "billing", "root"]);
    assert_eq!(kept(&home)["clients"][1]["access_token_lifetime"], "5m");
    let server = restarted(&home, server).await;
    assert!(accepts(&server, &client).await);
    assert!(accepts(&server, &("root".to_owned(), "root's secret".to_owned())).await);

    // A new secret instead of the kept one, while the server is stopped.
    server.stop().await;
    let mut edited = kept(&home);
    let billing =
        edited["clients"].as_array_mut().unwrap().iter_mut().find(|client| client["client_id"] == "billing");
    let billing = billing.unwrap();
    billing["kept"].as_object_mut().unwrap().remove("secret");
    billing["client_secret"] = json!("another one");
    write(&home, &edited.to_string());
    let server = home.start().await;
    assert!(!accepts(&server, &client).await);
    assert!(accepts(&server, &("billing".to_owned(), "another one".to_owned())).await);
}

#[tokio::test]
async fn what_cannot_be_understood_stops_the_start_and_is_left_as_it_is() {
    let home = home();
    for (content, part) in [
        ("{\"clients\": [\n{]}", "clients.json:2: key must be a string"),
        ("{\"clients\": [],\n \"user\": []}", "clients.json:2: unknown field `user`"),
        (
            "{\"clients\": [\n{\"client_id\": \"a\",\n\"scopes\": \"read\"}]}",
            "there is no field \"scopes\"; did you mean \"scope\"?",
        ),
        (
            "{\"clients\": [\n{\"client_id\": \"a\", \"scope\": \"read\"}]}",
            "clients.json:2: the client \"a\" cannot be taken over: client_secret",
        ),
        (
            "{\"clients\": [\n{\"client_id\": \"a\", \"client_secret\": \"s\", \"access_token_lifetime\": \"48h\"}]}",
            "access_token_lifetime",
        ),
    ] {
        write(&home, content);
        let output = home.serve().output().unwrap();
        let said = text(&output);
        assert!(!output.status.success() && said.contains(part), "{content}: {said}");
        assert!(said.contains("Correct grantry-data/clients.json"), "{said}");
        assert_eq!(fs::read_to_string(home.path(FILE)).unwrap(), content);
    }
    write(&home, "{}");
    fs::set_permissions(home.path(FILE), fs::Permissions::from_mode(0o644)).unwrap();
    let said = text(&home.serve().output().unwrap());
    assert!(said.contains("chmod 600"), "{said}");
}

#[tokio::test]
async fn another_master_key_or_none_stops_the_start_and_says_which_file_needs_it() {
    let home = home();
    let server = home.start().await;
    let admin = home.first_client();
    let client = server.plain_client(&admin).await;
    server.stop().await;
    let before = fs::read_to_string(home.path(FILE)).unwrap();

    let key = fs::read(home.path("grantry-data/master.key")).unwrap();
    fs::remove_file(home.path("grantry-data/master.key")).unwrap();
    let said = text(&home.serve().output().unwrap());
    assert!(said.contains("master key") && said.contains("store.clients_file"), "{said}");
    assert!(!home.path("grantry-data/master.key").exists(), "none is made in its place");

    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let said = text(&home.serve().env("GRANTRY_MASTER_KEY", other).output().unwrap());
    assert!(said.contains("the master key does not fit grantry-data/clients.json"), "{said}");
    assert_eq!(fs::read_to_string(home.path(FILE)).unwrap(), before);

    fs::write(home.path("grantry-data/master.key"), key).unwrap();
    fs::set_permissions(home.path("grantry-data/master.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(accepts(&home.start().await, &client).await);
}

#[tokio::test]
async fn a_change_that_cannot_be_kept_is_not_acknowledged_and_is_kept_later() {
    let home = home();
    let server = home.start().await;
    let admin = home.first_client();
    let bearer = server.token(&admin, &[("scope", "grantry:admin")]).await;
    // A directory in the file's place cannot be replaced by a file, for root neither.
    fs::rename(home.path(FILE), home.path("aside")).unwrap();
    fs::create_dir_all(home.path(FILE).join("in-the-way")).unwrap();
    let create = async |id: &str| {
        let request = server.http.post(format!("{}/admin/v1/clients", server.admin_url)).bearer_auth(&bearer);
        request
            .json(&json!({ "client_id": id, "client_secret": "s3cret", "scope": "read" }))
            .send()
            .await
            .unwrap()
    };
    let answer = create("billing").await;
    let (status, json) = (answer.status(), answer.json::<Value>().await.unwrap());
    assert_eq!(status, 503, "{json}");
    assert!(json["detail"].as_str().unwrap().contains("store.clients_file"), "{json}");
    assert_eq!(server.metric("grantry_clients_file_failed", "").await, 1.0);

    fs::remove_dir_all(home.path(FILE)).unwrap();
    assert_eq!(create("shop").await.status(), 201);
    assert_eq!(ids(&home), ["admin", "billing", "shop"]);
    let server = restarted(&home, server).await;
    assert!(accepts(&server, &("billing".to_owned(), "s3cret".to_owned())).await);
}

#[tokio::test]
async fn a_second_server_on_the_same_file_is_refused() {
    let home = home();
    let _server = home.start().await;
    let said = text(&home.serve().output().unwrap());
    assert!(said.contains("another server uses grantry-data/clients.json"), "{said}");
}

#[tokio::test]
async fn a_store_that_keeps_clients_itself_takes_no_file() {
    for url in ["sqlite:grantry-data/grantry.db", "postgres://grantry@127.0.0.1/grantry"] {
        let home = Home::with_config(&format!("[store]\nurl = \"{url}\"\nclients_file = \"{FILE}\"\n"));
        let said = text(&home.run(&["config", "check"]));
        assert!(
            said.contains("store.clients_file") && said.contains("would only go out of step. Remove it"),
            "{said}"
        );
    }
}
