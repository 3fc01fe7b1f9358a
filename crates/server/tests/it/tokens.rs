//! What a subject has, and the end of it, on the command line.

use serde_json::{Value, json};

use crate::at::At;
use crate::home::{Home, text};
use crate::soak::grants::{Refreshers, refresh};

fn list(home: &Home, at: At<'_>, subject: &str) -> Value {
    at.json(home, &["tokens", "list", "--subject", subject])
}

#[tokio::test]
async fn the_list_is_the_same_at_the_server_and_at_the_store() {
    let home = Home::new();
    let server = home.start().await;
    let client = Refreshers::register_with(&home, &server, json!({ "slot_binding": "grant" })).await;
    for _ in 0..3 {
        client.grant(&server, "alice").await;
    }
    client.grant(&server, "bob").await;
    let at_server = list(&home, At::Server(&server), "alice");
    assert_eq!(at_server, list(&home, At::Store, "alice"));
    let (grants, tokens) = (at_server["grants"].as_array().unwrap(), at_server["tokens"].as_array().unwrap());
    assert_eq!((grants.len(), tokens.len(), &at_server["more"]), (3, 3, &json!(false)));
    assert!(grants.iter().chain(tokens).all(|one| one["subject"] == "alice" && one["state"] == "ACTIVE"));

    for limit in ["1", "2"] {
        let args = ["tokens", "list", "--subject", "alice", "--limit", limit];
        let few = At::Server(&server).json(&home, &args);
        assert_eq!(few, At::Store.json(&home, &args));
        assert_eq!(few["grants"].as_array().unwrap().len().to_string(), limit);
        assert_eq!(few["more"], true);
    }
    let shown = text(&At::Server(&server).run(&home, &["token", "list", "--subject", "alice"]));
    assert!(
        shown.starts_with("GRANT_ID") && shown.contains("\nTOKEN_ID") && shown.contains("ACTIVE"),
        "{shown}"
    );
    assert_eq!(text(&At::Store.run(&home, &["tokens", "list", "--subject", "carol"])), "carol has nothing\n");
}

#[tokio::test]
async fn each_target_ends_what_it_names_and_nothing_else() {
    let home = Home::strict();
    let server = home.start().await;
    for at in [At::Server(&server), At::Store] {
        let client = Refreshers::register(&home, &server).await;
        let revoke = |flag: &str, value: &str| at.json(&home, &["tokens", "revoke", flag, value]);

        let pair = client.grant(&server, "alice").await;
        assert!(revoke("--token", &pair.access)["position"].is_u64());
        assert!(!server.is_active(&client.credentials, &pair.access).await);
        let (status, next) = refresh(&server, &client.credentials, &pair.refresh).await;
        assert_eq!(status, 200, "an access token ends alone: {next}");

        let access = next["access_token"].as_str().unwrap();
        revoke("--token", next["refresh_token"].as_str().unwrap());
        assert!(
            !server.is_active(&client.credentials, access).await,
            "a refresh token takes its access tokens along"
        );

        let pair = client.grant(&server, "alice").await;
        let held = list(&home, at, "alice");
        let live = |name: &str| {
            let mut of = held[name].as_array().unwrap().iter().filter(|one| one["state"] == "ACTIVE");
            of.next().unwrap()["id"].as_str().unwrap().to_owned()
        };
        revoke("--token-id", &live("tokens"));
        assert!(!server.is_active(&client.credentials, &pair.access).await);
        revoke("--grant-id", &live("grants"));
        assert_eq!(refresh(&server, &client.credentials, &pair.refresh).await.0, 400);
        assert_eq!(revoke("--grant-id", &live("grants"))["already_over"], true);

        let (alice, bob) = (client.grant(&server, "alice").await, client.grant(&server, "bob").await);
        revoke("--subject", "alice");
        assert!(!server.is_active(&client.credentials, &alice.access).await);
        assert!(server.is_active(&client.credentials, &bob.access).await);
        revoke("--client", &client.credentials.0);
        assert!(!server.is_active(&client.credentials, &bob.access).await);

        let bob = client.grant(&server, "bob").await;
        let said = at.json(&home, &["tokens", "revoke", "--all"]);
        assert!(said["position"].is_u64(), "{said}");
        assert!(!server.is_active(&client.credentials, &bob.access).await);
    }
}

#[tokio::test]
async fn what_cannot_be_revoked_is_refused_with_a_sentence() {
    let home = Home::new();
    let server = home.start().await;
    let unknown = "01980000-0000-7000-8000-000000000000";
    for at in [At::Server(&server), At::Store] {
        let refusal = |flag: &str, value: &str| at.refusal(&home, &["tokens", "revoke", flag, value]);
        assert!(refusal("--token", "gta_forged").contains("not made with the keys of this deployment"));
        assert!(refusal("--grant-id", "seven").contains("must be a UUID"));
        assert!(refusal("--token-id", unknown).contains("there is no such token or grant"));
    }
    assert_eq!(home.run(&["tokens", "revoke"]).status.code(), Some(2), "nothing is no target");
    let two = home.run(&["tokens", "revoke", "--all", "--subject", "alice"]);
    assert_eq!(two.status.code(), Some(2));
}

#[tokio::test]
async fn a_token_to_revoke_may_come_from_standard_input() {
    let home = Home::strict();
    let server = home.start().await;
    let token = server.token(&home.first_client(), &[]).await;
    std::fs::write(home.path("token"), format!("{token}\n")).unwrap();
    let mut command = home.grantry(&["tokens", "revoke", "--offline", "--token", "-"]);
    let output = command.stdin(std::fs::File::open(home.path("token")).unwrap()).output().unwrap();
    assert!(text(&output).starts_with("revoked, at position "), "{}", text(&output));
    assert!(!server.is_active(&home.first_client(), &token).await);
}
