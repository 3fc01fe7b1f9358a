//! Settings that are changed while servers run, from outside.

use grantry_store_postgres::testing::Database;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::at::At;
use crate::home::{Home, text};
use crate::test_server::{Credentials, TestServer};
use crate::wait;

async fn call(
    server: &TestServer,
    admin: &Credentials,
    method: Method,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let bearer = server.token(admin, &[("scope", "grantry:admin")]).await;
    let url = format!("{}/admin/v1/settings", server.admin_url);
    let request = server.http.request(method, url).bearer_auth(bearer);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

pub async fn change(server: &TestServer, admin: &Credentials, patch: Value) -> Value {
    let (status, json) = call(server, admin, Method::PATCH, Some(patch)).await;
    assert_eq!(status, 200, "{json}");
    json
}

async fn settings(server: &TestServer, admin: &Credentials) -> Value {
    call(server, admin, Method::GET, None).await.1
}

/// How long a token lives that nobody was given before.
async fn lifetime(server: &TestServer, client: &Credentials, resource: &str) -> u64 {
    let resource = format!("https://{resource}.example");
    let answer = server.token_answer(client, &[("resource", &resource)]).await;
    answer.json::<Value>().await.unwrap()["expires_in"].as_u64().unwrap()
}

/// A new token a time, until they live as long as that.
async fn until_they_live_for(server: &TestServer, client: &Credentials, wanted: u64, name: &str) {
    let mut round = 0;
    wait::until(format_args!("tokens live for {wanted}s"), async || {
        round += 1;
        (lifetime(server, client, &format!("{name}-{round}")).await == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_at_one_server_is_in_force_at_another_within_the_bound() {
    let home = Home::with_config("[cache]\nmax_staleness = \"400ms\"\n[tokens]\nrefresh_grace = \"20s\"\n");
    let first = home.start().await;
    let second = home.start().await;
    let admin = home.first_client();
    let client = first.plain_client(&admin).await;
    let before = second.token(&client, &[("resource", "https://before.example")]).await;

    let changed = change(&first, &admin, json!({ "tokens": { "access_token_lifetime": "10m" } })).await;
    let acknowledged = tokio::time::Instant::now();
    assert_eq!(changed["sources"]["tokens.access_token_lifetime"], "run time");
    assert_eq!(changed["sources"]["tokens.refresh_grace"], "file");
    assert_eq!(changed["sources"]["tokens.refresh_token_idle"], "default");
    assert_eq!(lifetime(&first, &client, "at-once").await, 600);
    until_they_live_for(&second, &client, 600, "second").await;
    assert!(acknowledged.elapsed() < std::time::Duration::from_secs(2), "{:?}", acknowledged.elapsed());
    for server in [&first, &second] {
        assert_eq!(server.metric("grantry_settings_version", "").await, 1.0);
        assert_eq!(server.metric("grantry_settings_refused", "").await, 0.0);
    }

    // What was issued before keeps its lifetime.
    let shown = second.introspect(&client, &before).await;
    assert_eq!(shown["exp"].as_u64().unwrap() - shown["iat"].as_u64().unwrap(), 3600);

    second.stop().await;
    let second = home.start().await;
    assert_eq!(lifetime(&second, &client, "after-a-restart").await, 600);
    change(&second, &admin, json!({ "tokens": null })).await;
    until_they_live_for(&first, &client, 3600, "given-back").await;
}

#[tokio::test]
async fn a_smaller_capacity_makes_copies_leave_at_once() {
    let home = Home::new();
    let server = home.start().await;
    let admin = home.first_client();
    let client = server.plain_client(&admin).await;
    for round in 0..40 {
        server.token(&client, &[("resource", &format!("https://{round}.example"))]).await;
    }
    assert!(server.metric("grantry_cache_size", "cache=\"tokens\"").await >= 40.0);
    let changed = change(&server, &admin, json!({ "cache": { "tokens": { "capacity": 5 } } })).await;
    assert_eq!(changed["settings"]["cache"]["tokens"]["capacity"], 5);
    assert_eq!(changed["settings"]["cache"]["clients"]["capacity"], 10_000);
    assert!(server.metric("grantry_cache_size", "cache=\"tokens\"").await <= 5.0);
    assert_eq!(server.metric("grantry_cache_capacity", "cache=\"tokens\"").await, 5.0);
    assert!(server.metric("grantry_cache_size", "cache=\"token_owners\"").await >= 40.0);

    server.stop().await;
    let server = home.start().await;
    assert_eq!(server.metric("grantry_cache_capacity", "cache=\"tokens\"").await, 5.0);
    change(&server, &admin, json!({ "cache": { "tokens": { "capacity": null } } })).await;
    assert_eq!(server.metric("grantry_cache_capacity", "cache=\"tokens\"").await, 100_000.0);
}

#[tokio::test]
async fn what_needs_a_restart_is_refused_by_name() {
    let home = Home::new();
    let server = home.start().await;
    let admin = home.first_client();
    for (patch, key) in [
        (json!({ "tokens": { "retention_time": "48h" } }), "tokens.retention_time"),
        (json!({ "tokens": { "claims": { "tenant": "x" } } }), "tokens.claims.tenant"),
        (json!({ "cache": { "max_staleness": "2s" } }), "cache.max_staleness"),
        (json!({ "cache": { "load_batch_size": 1 } }), "cache.load_batch_size"),
        (json!({ "cache": { "tokens": { "eviction_policy": "lfu" } } }), "cache.tokens.eviction_policy"),
        (json!({ "server": { "listen": "127.0.0.1:9" } }), "server.listen"),
    ] {
        let (status, problem) = call(&server, &admin, Method::PATCH, Some(patch)).await;
        assert_eq!((status.as_u16(), &problem["field"]), (400, &json!(key)), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("needs a restart: set it in grantry.toml"), "{detail}");
    }
    assert_eq!(settings(&server, &admin).await["version"], 0);
}

/// A node whose own file contradicts the change goes on as before, and says so.
#[tokio::test]
async fn a_node_that_cannot_reconcile_a_change_with_its_file_leaves_it_alone() {
    let home = Home::new();
    let server = home.start().await;
    let narrow = home.start_with(|command| command.env("GRANTRY_TOKENS__RETENTION_TIME", "90m")).await;
    let admin = home.first_client();
    let client = server.plain_client(&admin).await;
    change(&server, &admin, json!({ "tokens": { "access_token_lifetime": "2h" } })).await;
    wait::until("the other node has said so", async || {
        (narrow.metric("grantry_settings_refused", "").await == 1.0).then_some(())
    })
    .await;
    assert!(narrow.process.err().contains("tokens.retention_time"), "{}", narrow.process.err());
    assert_eq!(lifetime(&narrow, &client, "narrow").await, 3600);
    assert_eq!(lifetime(&server, &client, "wide").await, 7200);
    assert_eq!(settings(&narrow, &admin).await["problem"]["key"], "tokens.access_token_lifetime");
    change(&server, &admin, json!({ "tokens": { "access_token_lifetime": "80m" } })).await;
    until_they_live_for(&narrow, &client, 4800, "narrower").await;
    assert_eq!(narrow.metric("grantry_settings_refused", "").await, 0.0);
}

#[tokio::test]
async fn the_command_line_shows_changes_and_resets_them_at_the_server_and_at_the_store() {
    let home = Home::new();
    let server = home.start().await;
    let admin = home.first_client();
    let client = server.plain_client(&admin).await;
    for (round, at) in [At::Server(&server), At::Store].into_iter().enumerate() {
        let set = at.json(
            &home,
            &["settings", "set", "tokens.access_token_lifetime=10m", "cache.clients.capacity=77"],
        );
        assert_eq!(set["settings"]["tokens"]["access_token_lifetime"], "10m");
        let shown = at.json(&home, &["settings", "show"]);
        assert_eq!(shown["settings"]["cache"]["clients"]["capacity"], 77);
        assert_eq!(shown["sources"]["cache.clients.capacity"], "run time");
        until_they_live_for(&server, &client, 600, &format!("set-{round}")).await;
        let reset =
            at.json(&home, &["settings", "reset", "tokens.access_token_lifetime", "cache.clients.capacity"]);
        assert_eq!(reset["sources"]["tokens.access_token_lifetime"], "default");
        until_they_live_for(&server, &client, 3600, &format!("reset-{round}")).await;
    }
    let table = text(&home.run(&["settings", "show", "--offline"]));
    assert!(table.contains("tokens.access_token_lifetime") && table.contains("default"), "{table}");
    for (args, part) in [
        (&["settings", "set", "tokens.retention_time=1h", "--offline"][..], "needs a restart"),
        (&["settings", "set", "tokens.access_token_lifetime", "--offline"], "write KEY=VALUE"),
        (&["settings", "reset", "tokens.acess_token_lifetime", "--offline"], "did you mean"),
    ] {
        let output = home.run(args);
        assert!(!output.status.success() && text(&output).contains(part), "{}", text(&output));
    }
}

#[tokio::test]
async fn changes_and_the_name_of_the_store_move_with_it_to_another_kind_of_store() {
    let home = Home::new();
    let server = home.start().await;
    let admin = home.first_client();
    let client = server.plain_client(&admin).await;
    change(&server, &admin, json!({ "tokens": { "access_token_lifetime": "10m" } })).await;
    change(&server, &admin, json!({ "tokens": { "refresh_grace": "9s" } })).await;
    server.stop().await;
    let name: String =
        home.database().query_row("SELECT lower(hex(id)) FROM cluster", [], |row| row.get(0)).unwrap();

    let database = Database::empty();
    let copied = home.run(&["store", "copy", "--to", &database.url()]);
    assert!(copied.status.success(), "{}", text(&copied));
    home.configure(&format!("[store]\nurl = \"{}\"\n", database.url()));
    let server = home.start().await;
    assert_eq!(lifetime(&server, &client, "moved").await, 600);
    assert_eq!(settings(&server, &admin).await["version"], 2);
    change(&server, &admin, json!({ "tokens": { "access_token_lifetime": null } })).await;
    assert_eq!(lifetime(&server, &client, "changed-there").await, 3600);
    let row = database.connect().await.query_one("SELECT replace(id::text, '-', '') FROM cluster", &[]).await;
    assert_eq!(row.unwrap().get::<_, String>(0), name);
}
