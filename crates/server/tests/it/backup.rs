//! `grantry store backup` and `grantry store restore`, while servers run.

use std::fs;
use std::process::Output;

use serde_json::json;

use crate::home::{Home, text};
use crate::soak::grants::{Refreshers, refresh};

/// Base64 of 32 times 7.
const ANOTHER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn succeed(output: &Output) -> String {
    let said = text(output);
    assert!(output.status.success(), "{said}");
    said
}

fn refusal(output: &Output) -> String {
    let said = text(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn backup(home: &Home) -> String {
    succeed(&home.run(&["store", "backup", "backup.db"]))
}

fn restore(home: &Home) -> String {
    succeed(&home.run(&["store", "restore", "backup.db", "--yes"]))
}

#[tokio::test]
async fn nothing_that_was_revoked_since_a_backup_comes_back_with_it() {
    let home = Home::strict();
    let (server, second) = (home.start().await, home.start().await);
    let admin = home.first_client();
    let client = Refreshers::register(&home, &server).await;
    let plain = server.plain_client(&admin).await;
    let (alice, bob) = (client.grant(&server, "alice").await, client.grant(&server, "bob").await);
    let carol = client.grant(&server, "carol").await;
    let token = server.token(&plain, &[]).await;

    assert!(server.is_active(&client.credentials, &carol.access).await, "the question makes sense");
    let said = backup(&home);
    assert!(said.contains(" pages, ") && said.contains("master key is not in it"), "{said}");

    for (credentials, token) in [(&client.credentials, &alice.refresh), (&plain, &token)] {
        let answer = server.post("/oauth2/revoke", credentials, &[("token", token)]).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let (status, spent) = refresh(&server, &client.credentials, &bob.refresh).await;
    assert_eq!(status, 200, "{spent}");
    let [spent_access, spent_refresh] =
        ["access_token", "refresh_token"].map(|name| spent[name].as_str().unwrap().to_owned());
    let after = server.plain_client(&admin).await;

    let said = restore(&home);
    assert!(said.contains("ends everything that was issued before it") && said.contains("epoch 2"), "{said}");

    for server in [&server, &second] {
        assert!(!server.is_active(&plain, &token).await);
        for token in [&alice.access, &bob.access, &carol.access, &spent_access] {
            assert!(!server.is_active(&client.credentials, token).await);
        }
        for token in [&alice.refresh, &bob.refresh, &carol.refresh, &spent_refresh] {
            let (status, answer) = refresh(server, &client.credentials, token).await;
            assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{answer}");
        }
        assert_eq!(server.token_answer(&after, &[]).await.status(), 401, "this client is not in the backup");
        // Whoever asks anew is served.
        let fresh = server.token(&plain, &[]).await;
        assert_ne!(fresh, token);
        assert!(server.is_active(&plain, &fresh).await);
        let pair = client.grant(server, "alice").await;
        let (status, next) = refresh(server, &client.credentials, &pair.refresh).await;
        assert_eq!(status, 200, "{next}");
        assert!(server.is_active(&client.credentials, next["access_token"].as_str().unwrap()).await);
    }
    second.stop().await;
    server.stop().await;
    let server = home.start().await;
    assert!(!server.is_active(&plain, &token).await);
    assert_eq!(refresh(&server, &client.credentials, &carol.refresh).await.0, 400);
}

#[tokio::test]
async fn a_restore_that_is_refused_changes_nothing() {
    let home = Home::new();
    let server = home.start().await;
    let admin = home.first_client();
    backup(&home);
    let token = server.token(&admin, &[]).await;
    let whole = fs::read(home.path("backup.db")).unwrap();

    let said = refusal(&home.run(&["store", "restore", "backup.db"]));
    assert!(said.contains("--yes"), "{said}");
    let mut command = home.grantry(&["store", "restore", "backup.db", "--yes"]);
    let said = refusal(&command.env("GRANTRY_MASTER_KEY", ANOTHER_KEY).output().unwrap());
    assert!(said.contains("does not open backup.db") && said.contains("Nothing was changed"), "{said}");
    fs::write(home.path("nonsense.db"), "x".repeat(8192)).unwrap();
    for file in ["nowhere.db", "nonsense.db"] {
        let said = refusal(&home.run(&["store", "restore", file, "--yes"]));
        assert!(said.contains(file), "{said}");
    }
    assert!(!home.path("nowhere.db").exists());

    assert!(server.is_active(&admin, &token).await);
    assert_eq!(fs::read(home.path("backup.db")).unwrap(), whole, "the backup is only read");
    let left: Vec<String> = fs::read_dir(home.path("grantry-data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("partial") || name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_backup_of_another_deployment_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    let server = home.start().await;
    let token = server.token(&home.first_client(), &[]).await;
    other.start().await.stop().await;
    backup(&other);
    fs::rename(other.path("backup.db"), home.path("backup.db")).unwrap();
    let said = refusal(&home.run(&["store", "restore", "backup.db", "--yes"]));
    assert!(said.contains("does not open"), "{said}");
    // And with the other's key the store that is there would not open.
    let key = fs::read_to_string(other.path("grantry-data/master.key")).unwrap();
    let mut command = home.grantry(&["store", "restore", "backup.db", "--yes"]);
    let said = refusal(&command.env("GRANTRY_MASTER_KEY", key.trim()).output().unwrap());
    assert!(said.contains("but not the store") && said.contains("move it aside"), "{said}");
    assert!(server.is_active(&home.first_client(), &token).await);
}

#[tokio::test]
async fn a_lost_machine_is_made_good_with_the_backup_and_the_master_key() {
    let lost = Home::new();
    let server = lost.start().await;
    let admin = lost.first_client();
    let client = server.plain_client(&admin).await;
    let token = server.token(&client, &[]).await;
    backup(&lost);
    server.stop().await;

    let home = Home::new();
    fs::rename(lost.path("backup.db"), home.path("backup.db")).unwrap();
    let said = refusal(&home.run(&["store", "restore", "backup.db", "--yes"]));
    assert!(said.contains("master key") && said.contains("grantry-data/master.key"), "{said}");
    fs::create_dir_all(home.path("grantry-data")).unwrap();
    fs::rename(lost.path("grantry-data/master.key"), home.path("grantry-data/master.key")).unwrap();
    restore(&home);
    let server = home.start().await;
    assert!(!server.is_active(&client, &token).await, "what was revoked on the lost machine, nobody knows");
    let fresh = server.token(&client, &[]).await;
    assert!(server.is_active(&client, &fresh).await);
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_needs_a_store_in_a_file() {
    let home = Home::new();
    let said = refusal(&home.run(&["store", "backup", "backup.db"]));
    assert!(said.contains("there is no store grantry-data/grantry.db"), "{said}");
    let server = home.start().await;
    backup(&home);
    let said = refusal(&home.run(&["store", "backup", "backup.db"]));
    assert!(said.contains("backup.db exists"), "{said}");
    server.stop().await;
    for command in [&["store", "backup", "b.db"][..], &["store", "restore", "backup.db", "--yes"]] {
        let output = home.grantry(command).env("GRANTRY_STORE__URL", "memory:").output().unwrap();
        let said = refusal(&output);
        assert!(said.contains("store.url is memory:"), "{said}");
    }
    assert!(!home.path("b.db").exists());
}
