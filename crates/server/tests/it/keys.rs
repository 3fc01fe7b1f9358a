//! `grantry keys` and the keys of running servers. That nobody notices a rotation under load is in `soak/`.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::test_server::{Credentials, TestServer};
use crate::wait;

const MASTER: &str = "grantry-data/master.key";
const NEXT: &str = "grantry-data/master.key.next";
const QUICK: &str = "[keys]\njwks_max_age = \"1s\"\n";
/// Base64 of 32 times 7, and of 32 times 8.
const SEVENS: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const EIGHTS: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

/// Where a command is carried out.
#[derive(Clone, Copy)]
enum At<'a> {
    Server(&'a TestServer),
    Store,
}

impl At<'_> {
    fn run(self, home: &Home, args: &[&str]) -> Output {
        let mut command = home.grantry(&[&["keys"], args].concat());
        match self {
            At::Store => command.arg("--offline"),
            At::Server(server) => {
                command.args(["--admin-url", &server.admin_url, "--server-url", &server.url])
            }
        };
        command.output().unwrap()
    }

    fn json(self, home: &Home, args: &[&str]) -> Value {
        let output = self.run(home, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refusal(self, home: &Home, args: &[&str]) -> String {
        let output = self.run(home, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
        text(&output)
    }

    fn state(self, home: &Home, purpose: &str, version: u64) -> String {
        let keys = self.json(home, &["list"]);
        let key = keys.as_array().unwrap().iter();
        let mut key = key.filter(|key| key["purpose"] == purpose && key["version"] == version);
        key.next().unwrap()["state"].as_str().unwrap().to_owned()
    }
}

/// A client that gets a new JWT each time.
async fn jwt_client(server: &TestServer, home: &Home) -> Credentials {
    let metadata = json!({ "access_token_format": "jwt", "active_token_policy": "multiple" });
    server.create_client(&home.first_client(), metadata).await
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

async fn published(server: &TestServer) -> Vec<String> {
    let answer = server.http.get(format!("{}/oauth2/jwks", server.url)).send().await.unwrap();
    let keys: Value = answer.json().await.unwrap();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

async fn a_keys_life(at_store: bool) {
    let home = Home::with_config(QUICK);
    let (server, other) = (home.start().await, home.start().await);
    let at = if at_store { At::Store } else { At::Server(&server) };
    let client = jwt_client(&server, &home).await;
    let old = server.token(&client, &[]).await;
    let made = at.json(&home, &["rotate", "signing"]);
    assert_eq!(
        (&made["purpose"], &made["version"], &made["state"]),
        (&json!("signing"), &json!(4), &json!("pending"))
    );
    let new_kid = made["kid"].as_str().unwrap();
    let newer = wait::until("the other server signs with the new key", async || {
        let token = other.token(&client, &[]).await;
        (kid(&token) == new_kid).then_some(token)
    })
    .await;
    assert!(published(&other).await.contains(&new_kid.to_owned()));
    for server in [&server, &other] {
        assert!(server.is_active(&client, &old).await && server.is_active(&client, &newer).await);
    }
    assert_eq!(
        (at.state(&home, "signing", 2).as_str(), at.state(&home, "signing", 4).as_str()),
        ("retiring", "active")
    );

    // By its kid, which the token itself tells.
    let revoked = at.json(&home, &["revoke", new_kid]);
    assert_eq!((&revoked["version"], &revoked["state"]), (&json!(4), &json!("revoked")));
    for server in [&server, &other] {
        wait::until("both servers refuse what it signed", async || {
            (!server.is_active(&client, &newer).await).then_some(())
        })
        .await;
        assert!(server.is_active(&client, &old).await);
        assert!(!published(server).await.contains(&new_kid.to_owned()));
        assert!(server.is_active(&client, &server.token(&client, &[]).await).await);
    }
    let opaque = server.token(&home.first_client(), &[]).await;
    at.json(&home, &["revoke", "token_mac/1"]);
    for server in [&server, &other] {
        wait::until("both servers refuse opaque tokens of the version", async || {
            (!server.is_active(&client, &opaque).await).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn keys_are_administered_over_the_admin_api() {
    a_keys_life(false).await;
}

#[tokio::test]
async fn keys_are_administered_on_the_store_while_servers_run() {
    a_keys_life(true).await;
}

#[tokio::test]
async fn a_key_that_was_made_elsewhere_signs_after_its_import() {
    let home = Home::with_config(QUICK);
    let server = home.start().await;
    let client = jwt_client(&server, &home).await;
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    fs::write(home.path("signing.pem"), pair.serialize_pem()).unwrap();
    let at = At::Server(&server);
    let refused = at.refusal(&home, &["import", "signing.pem", "--algorithm", "EdDSA"]);
    assert!(refused.contains("private_key_pem: ") && refused.contains("EdDSA"), "{refused}");
    let imported = at.json(&home, &["import", "signing.pem"]);
    wait::until("the imported key signs", async || {
        (kid(&server.token(&client, &[]).await) == imported["kid"]).then_some(())
    })
    .await;
    for at in [at, At::Store] {
        let refused = at.refusal(&home, &["import", "signing.pem"]);
        assert!(refused.contains("must not come back"), "{refused}");
    }
    fs::write(
        home.path("other.pem"),
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    )
    .unwrap();
    let refused = At::Store.refusal(&home, &["import", "other.pem"]);
    assert!(refused.contains("openssl pkcs8 -topk8"), "{refused}");
    assert!(At::Store.refusal(&home, &["import", "nowhere.pem"]).contains("nowhere.pem cannot be read"));
}

#[tokio::test]
async fn what_people_read_says_what_happens_next() {
    let home = Home::strict();
    let server = home.start().await;
    for at in [At::Server(&server), At::Store] {
        let listed = text(&at.run(&home, &["list"]));
        assert!(listed.starts_with("KEY ") && listed.contains("signing/2"), "{listed}");
        let said = text(&at.run(&home, &["rotate"]));
        assert!(said.contains("is published now and signs from 2") && said.contains('Z'), "{said}");
        let said = at.refusal(&home, &["revoke", "client_secret/1"]);
        assert!(said.contains("--yes"), "{said}");
        assert!(at.refusal(&home, &["revoke", "signing/99"]).contains("there is no such key"));
        assert!(at.refusal(&home, &["revoke", "nobody"]).contains("there is no such key"));
        let said = at.refusal(&home, &["rotate", "token_mac", "--algorithm", "EdDSA"]);
        assert!(said.contains("algorithm: ") || said.contains("is for signing keys"), "{said}");
    }
    server.token(&home.first_client(), &[]).await;
    let said = text(&At::Store.run(&home, &["revoke", "client_secret/1", "--yes"]));
    assert!(said.contains("grantry admin recover"), "{said}");
    wait::until("secrets of the revoked key are refused", async || {
        (server.token_answer(&home.first_client(), &[]).await.status() == 401).then_some(())
    })
    .await;
    succeeds(&mut home.grantry(&["admin", "recover"]));
    server.token(&home.first_client(), &[]).await;
    let help = text(&home.run(&["keys", "--help"]));
    assert!(help.contains("Examples:") && help.contains("needs --yes"), "{help}");
}

#[tokio::test]
async fn the_master_key_is_changed_under_running_servers() {
    let home = Home::with_config(QUICK);
    let server = home.start().await;
    let client = server.plain_client(&home.first_client()).await;
    let token = server.token(&client, &[]).await;
    let old = fs::read_to_string(home.path(MASTER)).unwrap();
    let said = succeeds(&mut home.grantry(&["keys", "rotate-master"]));
    assert!(said.contains(MASTER) && said.contains("Back it up"), "{said}");
    let new = fs::read_to_string(home.path(MASTER)).unwrap();
    assert!(new != old && !home.path(NEXT).exists());
    // The server has the new one, or it could not seal another key.
    At::Server(&server).json(&home, &["rotate", "token_mac"]);
    assert!(server.is_active(&client, &token).await);
    let refused = home.grantry(&["keys", "list", "--offline"]).env("GRANTRY_MASTER_KEY", old.trim()).output();
    assert!(text(&refused.unwrap()).contains("the master key does not fit this store"));
    server.stop().await;
    let server = home.start().await;
    assert!(server.is_active(&client, &token).await);
}

#[tokio::test]
async fn a_change_of_the_master_key_that_was_cut_off_after_the_sealing_is_finished_by_the_next_start() {
    for by_command in [false, true] {
        let home = Home::new();
        let server = home.start().await;
        let token = server.token(&home.first_client(), &[]).await;
        let old = home.path("old.key");
        fs::copy(home.path(MASTER), &old).unwrap();
        succeeds(&mut home.grantry(&["keys", "rotate-master"]));
        // As a crash before the rename would have left it.
        fs::rename(home.path(MASTER), home.path(NEXT)).unwrap();
        fs::copy(&old, home.path(MASTER)).unwrap();
        let new = fs::read_to_string(home.path(NEXT)).unwrap();
        // The server that runs finds the next one, too.
        At::Server(&server).json(&home, &["rotate", "token_mac"]);
        server.stop().await;
        if by_command {
            succeeds(&mut home.grantry(&["keys", "list", "--offline"]));
            assert!(!home.path(NEXT).exists());
        }
        let server = home.start().await;
        assert!(server.is_active(&home.first_client(), &token).await);
        assert!(!home.path(NEXT).exists());
        assert_eq!(fs::read_to_string(home.path(MASTER)).unwrap(), new);
    }
}

#[tokio::test]
async fn a_change_of_the_master_key_that_was_cut_off_before_the_sealing_did_not_happen() {
    let home = Home::new();
    let server = home.start().await;
    let token = server.token(&home.first_client(), &[]).await;
    let old = fs::read_to_string(home.path(MASTER)).unwrap();
    // As a crash before the sealing would have left it.
    fs::copy(home.path(MASTER), home.path(NEXT)).unwrap();
    fs::write(home.path(NEXT), SEVENS).unwrap();
    server.stop().await;
    let server = home.start().await;
    assert!(server.is_active(&home.first_client(), &token).await);
    assert!(server.process.out().contains("rotate-master") || server.process.err().contains("rotate-master"));
    assert_eq!(fs::read_to_string(home.path(MASTER)).unwrap(), old);
    succeeds(&mut home.grantry(&["keys", "rotate-master"]));
    assert!(!home.path(NEXT).exists());
    let new = fs::read_to_string(home.path(MASTER)).unwrap();
    assert!(new != old && new.trim() != SEVENS);
    assert!(server.is_active(&home.first_client(), &token).await);
}

#[tokio::test]
async fn a_master_key_from_the_environment_is_changed_there() {
    let home = Home::new();
    let with = |command: &mut Command| {
        command.env("GRANTRY_MASTER_KEY", SEVENS).env("GRANTRY_NEW_MASTER_KEY", EIGHTS);
    };
    let server = home
        .start_with(|command| {
            with(command);
            command
        })
        .await;
    let token = server.token(&home.first_client(), &[]).await;
    let output = home.grantry(&["keys", "rotate-master"]).env("GRANTRY_MASTER_KEY", SEVENS).output().unwrap();
    assert!(
        text(&output).contains("GRANTRY_NEW_MASTER_KEY") && !output.status.success(),
        "{}",
        text(&output)
    );
    let mut rotate = home.grantry(&["keys", "rotate-master"]);
    with(&mut rotate);
    let said = succeeds(&mut rotate);
    assert!(said.contains("set GRANTRY_MASTER_KEY to it"), "{said}");
    assert!(!said.contains(SEVENS) && !said.contains(EIGHTS), "a key is never shown");
    // The server was told of both, and goes on.
    At::Server(&server).json(&home, &["rotate", "token_mac"]);
    assert!(server.is_active(&home.first_client(), &token).await);
    let old =
        home.grantry(&["keys", "list", "--offline"]).env("GRANTRY_MASTER_KEY", SEVENS).output().unwrap();
    assert!(text(&old).contains("does not fit"), "{}", text(&old));
    succeeds(home.grantry(&["keys", "list", "--offline"]).env("GRANTRY_MASTER_KEY", EIGHTS));
    assert!(!home.path(MASTER).exists());
}
