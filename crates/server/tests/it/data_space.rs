//! Servers with a real Redis between them.

use std::fmt::Write as _;

use grantry_store_redis::testing::{Server, scratch_name, shared_url};
use rusqlite::Connection;
use serde_json::Value;

use crate::at::At;
use crate::home::{Home, text};
use crate::test_server::{Credentials, TestServer};
use crate::wait;

/// A look-up is given time: the machine may be busy.
fn settings(url: &str, name: &str) -> String {
    format!("[data_space]\ndiscovery = [\"{url}\"]\nname = \"{name}\"\nanswer_timeout = \"2s\"\n")
}

async fn second(home: &Home) -> TestServer {
    home.start_with(|command| command.env("GRANTRY_TOKEN_PERSISTENCE__JOURNAL_DIR", "second")).await
}

async fn wait_for_metric(server: &TestServer, name: &str, labels: &str, is_it: impl Fn(f64) -> bool) {
    wait::until(format_args!("{name} is as expected"), async || {
        is_it(server.metric(name, labels).await).then_some(())
    })
    .await;
}

/// As a command for people.
fn status(home: &Home, server: &TestServer) -> String {
    text(&At::Server(server).run(home, &["cluster", "status"]))
}

async fn data_space(server: &TestServer, administrator: &Credentials) -> Value {
    let bearer = server.token(administrator, &[("scope", "grantry:admin")]).await;
    let request = server.http.get(format!("{}/admin/v1/cluster", server.admin_url)).bearer_auth(bearer);
    let mut cluster: Value = request.send().await.unwrap().json().await.unwrap();
    cluster["data_space"].take()
}

#[tokio::test]
async fn a_token_that_only_the_journal_of_another_server_has_is_active_and_revoked_in_time() {
    let queue = "[token_persistence]\npool_size = 2\n[limits]\nshutdown_grace = \"1s\"\n";
    let home = Home::with_config(&format!("{queue}{}", settings(&shared_url(), &scratch_name())));
    let first = home.start().await;
    let second = second(&home).await;
    let client = first.plain_client(&home.first_client()).await;
    assert!(!second.is_active(&client, "known by now").await);
    let lock = Connection::open(home.database_path()).unwrap();
    lock.busy_timeout(wait::PATIENCE).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let token = first.token(&client, &[]).await;
    assert!(second.is_active(&client, &token).await, "though it has no row");
    assert!(second.metric("grantry_data_space_hits_total", "cache=\"tokens\"").await > 0.0);
    lock.execute_batch("ROLLBACK").unwrap();
    let revoked = first.post("/oauth2/revoke", &client, &[("token", &token)]).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    wait::until("the other server has heard of it", async || {
        (!second.is_active(&client, &token).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_was_just_started_serves_what_others_have_read_before() {
    let home = Home::with_config(&settings(&shared_url(), &scratch_name()));
    let first = home.start().await;
    let client = first.plain_client(&home.first_client()).await;
    let token = first.token(&client, &[]).await;
    wait_for_metric(&first, "grantry_data_space_puts_total", "", |puts| puts >= 2.0).await;
    let second = home.start_with(|command| command.env("GRANTRY_CACHE__ENABLED", "false")).await;
    assert!(second.is_active(&client, &token).await);
    assert_eq!(second.token(&client, &[]).await, token, "the slot's holder is found there, too");
    for cache in ["tokens", "token_owners"] {
        let hits = second.metric("grantry_data_space_hits_total", &format!("cache=\"{cache}\"")).await;
        assert!(hits > 0.0, "{cache}");
    }
}

#[tokio::test]
async fn a_server_of_another_store_does_not_start_under_the_same_name() {
    let settings = settings(&shared_url(), &scratch_name());
    let home = Home::with_config(&settings);
    let first = home.start().await;
    let refused = Home::with_config(&settings).serve().output().unwrap();
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("data_space.name is ") && said.contains("another store"), "{said}");
    first.stop().await;
    home.start().await.stop().await;
}

#[tokio::test]
async fn a_replica_that_is_lost_is_shown_while_tokens_are_issued() {
    let redis = Server::start();
    let mut replicas = [Server::replica_of(&redis), Server::replica_of(&redis)];
    redis.wait_for_replicas(2);
    let mut settings = settings(&redis.url(), "grantry");
    let _ = write!(settings, "replication_policy = \"sync\"\nreplication_timeout = \"200ms\"\n");
    let home = Home::with_config(&settings);
    let server = home.start().await;
    let administrator = home.first_client();
    let client = server.plain_client(&administrator).await;
    wait_for_metric(&server, "grantry_data_space_replicas", "", |achieved| achieved == 2.0).await;
    let shown = status(&home, &server);
    assert!(shown.contains("data space: in use, replication 2 of 2"), "{shown}");
    replicas[0].kill();
    let mut issued = 0;
    wait::until("the loss is shown", async || {
        issued += 1;
        let resource = format!("https://api.example/{issued}");
        let token = server.token(&client, &[("resource", &resource)]).await;
        assert!(server.is_active(&client, &token).await);
        let space = data_space(&server, &administrator).await;
        assert_eq!(space["replicas_wanted"], 2);
        (space["replicas_achieved"] == 1).then_some(())
    })
    .await;
    let shown = status(&home, &server);
    assert!(shown.contains("replication 1 of 2"), "{shown}");
    assert_eq!(server.metric("grantry_data_space_replicas", "").await, 1.0);
    assert_eq!(server.metric("grantry_data_space_replicas_wanted", "").await, 2.0);
    replicas[0].restart();
    wait_for_metric(&server, "grantry_data_space_replicas", "", |achieved| achieved == 2.0).await;
}

#[tokio::test]
async fn a_data_space_that_is_lost_is_left_out_and_used_again() {
    let mut redis = Server::start();
    let home = Home::with_config(&settings(&redis.url(), "grantry"));
    let server = home.start().await;
    let client = server.plain_client(&home.first_client()).await;
    redis.kill();
    let token = server.token(&client, &[]).await;
    assert!(server.is_active(&client, &token).await);
    wait_for_metric(&server, "grantry_data_space_up", "", |up| up == 0.0).await;
    let shown = status(&home, &server);
    assert!(shown.contains("data space: left out"), "{shown}");
    assert!(server.is_active(&client, &token).await);
    redis.restart();
    wait_for_metric(&server, "grantry_data_space_up", "", |up| up == 1.0).await;
    assert!(server.is_active(&client, &token).await);
}
