//! Status lists, as a verifier that nobody here wrote sees them; on SQLite and on PostgreSQL.

mod outsider;

use std::collections::HashSet;

use grantry_store_postgres::testing::{Database, Server, ServerOptions};
use identity_kit::status_list::StatusType;
use reqwest::StatusCode;
use serde_json::{Value, json};

use self::outsider::{Outsider, get, place};
use crate::at::At;
use crate::home::{Home, ISSUER, text};
use crate::soak::grants::{Pair, Refreshers, refresh};
use crate::test_server::{Credentials, TestServer};
use crate::wait;

const VALID: StatusType = StatusType::VALID;
const INVALID: StatusType = StatusType::INVALID;

/// How old what a verifier knows may be, in seconds. Half of it is the time that a test has to take a list and look at it.
const BOUND: u64 = 4;
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const FIRST_LIST: &str = "/oauth2/status-list/0";

/// Nothing that a test does is to ask another node for what this one has not done yet.
fn config(mode: &str) -> String {
    let mode = match mode {
        "sync" => "pool_size = 0",
        "async" => "pool_size = 2",
        "none" => "enable = false",
        other => panic!("{other}"),
    };
    format!("[tokens]\nstatus_list_ttl = \"{BOUND}s\"\n[token_persistence]\n{mode}\n")
}

/// One deployment on each of the two.
struct Place {
    home: Home,
    _database: Option<Database>,
}

impl Place {
    fn both(config: &str) -> [Self; 2] {
        let database = Database::empty();
        let home = on(&database, config);
        [Self { home: Home::with_config(config), _database: None }, Self { home, _database: Some(database) }]
    }
}

/// A machine whose store is that database.
fn on(database: &Database, config: &str) -> Home {
    Home::with_config(&format!("[store]\nurl = \"{}\"\n{config}", database.url()))
}

async fn start(home: &Home) -> TestServer {
    home.start_with(|command| command.env("GRANTRY_MASTER_KEY", KEY)).await
}

/// Two clients whose tokens are told of: one for itself, with a new token each time, and one for its users.
struct Clients {
    own: Credentials,
    users: Refreshers,
}

impl Clients {
    async fn register(home: &Home, server: &TestServer) -> Self {
        let metadata = json!({
            "scope": "read write",
            "access_token_format": "jwt",
            "active_token_policy": "multiple",
            "status_list": true,
        });
        let own = server.create_client(&home.first_client(), metadata).await;
        let metadata = json!({ "access_token_format": "jwt", "slot_binding": "grant", "status_list": true });
        Self { own, users: Refreshers::register_with(home, server, metadata).await }
    }
}

async fn revoke(server: &TestServer, client: &Credentials, token: &str) {
    let answer = server.post("/oauth2/revoke", client, &[("token", token)]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// By an administrator.
async fn end(home: &Home, server: &TestServer, target: Value) {
    let bearer = server.token(&home.first_client(), &[("scope", "grantry:admin")]).await;
    let request = server.http.post(format!("{}/admin/v1/revocations", server.admin_url)).bearer_auth(bearer);
    let answer = request.json(&target).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED, "{target}");
}

/// Until every token has its row.
async fn written(server: &TestServer) {
    wait::until("the queue is drained", async || {
        (server.metric("grantry_persistence_queue_depth", "").await == 0.0).then_some(())
    })
    .await;
}

async fn made(server: &TestServer) -> f64 {
    server.metric("grantry_status_lists_made_total", "").await
}

#[tokio::test]
async fn a_verifier_of_others_knows_of_every_end_within_the_bound() {
    for mode in ["sync", "async", "none"] {
        for Place { home, _database } in Place::both(&config(mode)) {
            let server = start(&home).await;
            let clients = Clients::register(&home, &server).await;
            let users = &clients.users;
            let mut outsider = Outsider::default();

            let [by_token, by_grant, by_rule, kept] = [
                users.grant(&server, "alice").await,
                users.grant(&server, "bob").await,
                users.grant(&server, "carol").await,
                users.grant(&server, "dave").await,
            ];
            let (status, refreshed) = refresh(&server, &users.credentials, &by_grant.refresh).await;
            let refreshed = Pair::of(&(status, refreshed)).access;
            let own = [server.token(&clients.own, &[]).await, server.token(&clients.own, &[]).await];
            written(&server).await;
            let mut all = vec![&by_token.access, &by_grant.access, &refreshed, &by_rule.access, &kept.access];
            let mut over = vec![&by_token.access, &by_grant.access, &refreshed, &by_rule.access];
            match mode {
                "none" => assert!(own.iter().all(|token| place(token).is_none()), "neither row nor grant"),
                _ => {
                    all.extend(&own);
                    over.push(&own[0]);
                }
            }
            let all: Vec<&str> = all.into_iter().map(String::as_str).collect();
            let over: Vec<&str> = over.into_iter().map(String::as_str).collect();
            outsider.assert_status(&server, &all, VALID).await;

            revoke(&server, &users.credentials, &by_token.access).await;
            revoke(&server, &users.credentials, &by_grant.refresh).await;
            revoke(&server, &clients.own, &own[0]).await;
            end(&home, &server, json!({ "subject": "carol" })).await;
            wait::seconds(BOUND).await;
            outsider.assert_status(&server, &over, INVALID).await;
            outsider.assert_status(&server, &[&kept.access], VALID).await;
            if mode != "none" {
                outsider.assert_status(&server, &[&own[1]], VALID).await;
            }
            // What the list says is what the server says.
            for token in all {
                let client =
                    if own.iter().any(|own| own == token) { &clients.own } else { &users.credentials };
                let is_active = server.is_active(client, token).await;
                assert_eq!(
                    outsider.status(&server, token).await,
                    Some(if is_active { VALID } else { INVALID })
                );
            }
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn each_node_tells_what_the_other_has_ended_and_none_gives_a_place_twice() {
    let database = Database::empty();
    let homes = [on(&database, &config("sync")), on(&database, &config("sync"))];
    let servers = [start(&homes[0]).await, start(&homes[1]).await];
    let clients = Clients::register(&homes[0], &servers[0]).await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        for server in &servers {
            tokens.push(server.token(&clients.own, &[]).await);
        }
    }
    let places: HashSet<_> = tokens.iter().map(|token| place(token).unwrap()).collect();
    assert_eq!(places.len(), tokens.len());
    let mut outsiders = [Outsider::default(), Outsider::default()];
    for (outsider, server) in outsiders.iter_mut().zip(&servers) {
        outsider.assert_status(server, &[&tokens[0], &tokens[1]], VALID).await;
    }
    revoke(&servers[0], &clients.own, &tokens[0]).await;
    revoke(&servers[1], &clients.own, &tokens[1]).await;
    wait::seconds(BOUND).await;
    for (outsider, server) in outsiders.iter_mut().zip(&servers) {
        outsider.assert_status(server, &[&tokens[0], &tokens[1]], INVALID).await;
        outsider.assert_status(server, &[&tokens[2], &tokens[3]], VALID).await;
    }
}

#[tokio::test]
async fn after_kill_9_the_lists_say_the_same_and_no_place_is_given_twice() {
    for mode in ["sync", "async"] {
        for Place { home, _database } in Place::both(&config(mode)) {
            let mut server = start(&home).await;
            let clients = Clients::register(&home, &server).await;
            let mut tokens = Vec::new();
            for _ in 0..10 {
                tokens.push(server.token(&clients.own, &[]).await);
            }
            written(&server).await;
            revoke(&server, &clients.own, &tokens[0]).await;
            server.process.kill();

            let server = start(&home).await;
            for _ in 0..10 {
                tokens.push(server.token(&clients.own, &[]).await);
            }
            let places: HashSet<_> = tokens.iter().map(|token| place(token).unwrap()).collect();
            assert_eq!(places.len(), tokens.len());
            let mut outsider = Outsider::default();
            outsider.assert_status(&server, &[&tokens[0]], INVALID).await;
            let others: Vec<&str> = tokens[1..].iter().map(String::as_str).collect();
            outsider.assert_status(&server, &others, VALID).await;
        }
    }
}

#[tokio::test]
async fn after_a_restore_no_place_is_given_twice_and_new_tokens_are_told_of() {
    let config = format!("{}[cache]\ncoherence = \"strict\"\n", config("sync"));
    let home = Home::with_config(&config);
    let server = home.start().await;
    let clients = Clients::register(&home, &server).await;
    let mut tokens = vec![server.token(&clients.own, &[]).await];
    let backup = home.run(&["store", "backup", "backup.db"]);
    assert!(backup.status.success(), "{}", text(&backup));
    for _ in 0..300 {
        tokens.push(server.token(&clients.own, &[]).await);
    }
    let restore = home.run(&["store", "restore", "backup.db", "--yes"]);
    assert!(restore.status.success(), "{}", text(&restore));
    let old = place(&tokens[0]).unwrap();
    let mut after = Vec::new();
    for _ in 0..300 {
        after.push(server.token(&clients.own, &[]).await);
    }
    let mut outsider = Outsider::default();
    for token in &after {
        outsider.assert_status(&server, &[token], VALID).await;
    }
    tokens.extend(after);
    let places: HashSet<_> = tokens.iter().map(|token| place(token).unwrap()).collect();
    assert_eq!(places.len(), tokens.len());
    assert_eq!(get(&server, &old.uri).await.status(), StatusCode::NOT_FOUND, "all of those are over");
}

#[tokio::test]
async fn without_the_store_there_is_no_list_and_never_an_old_one() {
    let mut postgres = Server::start(&ServerOptions::default());
    let url = postgres.url("postgres");
    let home = Home::with_config(&format!("[store]\nurl = \"{url}\"\n{}", config("sync")));
    let server = start(&home).await;
    let clients = Clients::register(&home, &server).await;
    let token = server.token(&clients.own, &[]).await;
    let mut outsider = Outsider::default();
    outsider.assert_status(&server, &[&token], VALID).await;
    postgres.crash();
    // Half of the bound, and more, after what was made: nobody may be given that any more.
    wait::seconds(BOUND).await;
    let answer = get(&server, FIRST_LIST).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    postgres.resume_from_stop();
    server.wait_for_readiness(StatusCode::OK).await;
    outsider.assert_status(&server, &[&token], VALID).await;
    server.stop().await;
}

#[tokio::test]
async fn many_who_ask_cost_one_list_and_nothing_for_lists_that_are_not_there() {
    for Place { home, _database } in Place::both(&config("sync").replace("4s", "24h")) {
        let server = start(&home).await;
        let clients = Clients::register(&home, &server).await;
        server.token(&clients.own, &[]).await;
        let ask = |path: String| {
            let request = server.http.get(format!("{}{path}", server.url));
            tokio::spawn(async move { request.send().await.unwrap().status() })
        };
        // As many at once as may wait for lists, nearly.
        let asked: Vec<_> = (0..60).map(|_| ask(FIRST_LIST.to_owned())).collect();
        for status in asked {
            assert_eq!(status.await.unwrap(), StatusCode::OK);
        }
        let asked: Vec<_> = (1..=60).map(|list| ask(format!("/oauth2/status-list/{list}"))).collect();
        for status in asked {
            assert_eq!(status.await.unwrap(), StatusCode::NOT_FOUND);
        }
        assert_eq!(made(&server).await, 1.0);
        assert_eq!(server.metric("grantry_status_lists_kept", "").await, 1.0);
        let asked_for = "grantry_status_lists_asked_for_total";
        assert_eq!(server.metric(asked_for, "found").await, 60.0);
        assert_eq!(server.metric(asked_for, "unknown").await, 60.0);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_list_is_signed_anew_when_its_key_is_revoked() {
    let home = Home::with_config(&config("sync").replace("4s", "24h"));
    let server = start(&home).await;
    let clients = Clients::register(&home, &server).await;
    let token = server.token(&clients.own, &[]).await;
    Outsider::default().assert_status(&server, &[&token], VALID).await;
    let jwt = get(&server, FIRST_LIST).await.text().await.unwrap();
    let kid = jsonwebtoken::decode_header(&jwt).unwrap().kid.unwrap();
    let revoked = At::Server(&server).run(&home, &["keys", "revoke", &kid]);
    assert!(revoked.status.success(), "{}", text(&revoked));
    // It is verified with the keys that are published from now on.
    let token = server.token(&clients.own, &[]).await;
    Outsider::default().assert_status(&server, &[&token], VALID).await;
    assert_eq!(made(&server).await, 2.0);
}

#[tokio::test]
async fn metadata_and_command_line_lead_to_the_lists() {
    let home = Home::with_config(&config("sync"));
    let server = start(&home).await;
    let metadata = server.http.get(format!("{}/.well-known/oauth-authorization-server", server.url));
    let metadata: Value = metadata.send().await.unwrap().json().await.unwrap();
    let endpoint = metadata["status_list_aggregation_endpoint"].as_str().unwrap();
    assert_eq!(endpoint, format!("{ISSUER}/oauth2/status-list"));
    let none: Value = get(&server, endpoint).await.json().await.unwrap();
    assert_eq!(none, json!({ "status_lists": [] }));

    let create = ["clients", "create", "--scope", "read", "--status-list"];
    let refusal = At::Server(&server).refusal(&home, &create);
    assert!(refusal.contains("status_list") && refusal.contains("access_token_format"), "{refusal}");
    let created = At::Server(&server).json(&home, &[&create[..], &["--access-token-format", "jwt"]].concat());
    assert_eq!(created["status_list"], true);
    let text = |field: &str| created[field].as_str().unwrap().to_owned();
    let client = (text("client_id"), text("client_secret"));
    let token = server.token(&client, &[]).await;
    let all: Value = get(&server, endpoint).await.json().await.unwrap();
    assert_eq!(all, json!({ "status_lists": [place(&token).unwrap().uri] }));
    server.stop().await;
}
