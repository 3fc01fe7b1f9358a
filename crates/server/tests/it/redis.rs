//! Servers with nothing but Redis behind them.

use grantry_store_redis::testing::{Server, scratch_name, shared_url};
use reqwest::StatusCode;

use crate::home::{Home, text};
use crate::process::Process;
use crate::soak::grants::{Refreshers, refresh};
use crate::test_server::TestServer;
use crate::wait;

const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn machine(url: &str, name: &str, more: &str) -> Home {
    Home::with_config(&format!("[store]\nurl = \"{url}\"\n[data_space]\nname = \"{name}\"\n{more}"))
}

async fn start(home: &Home) -> TestServer {
    home.start_with(|command| command.env("GRANTRY_MASTER_KEY", KEY)).await
}

#[tokio::test]
async fn what_one_node_issues_the_other_knows_hands_out_again_and_revokes() {
    let (url, name) = (shared_url(), scratch_name());
    let homes = [machine(&url, &name, ""), machine(&url, &name, "")];
    let (first, second) = (start(&homes[0]).await, start(&homes[1]).await);
    let plain = first.plain_client(&homes[0].first_client()).await;
    let token = first.token(&plain, &[]).await;
    assert!(second.is_active(&plain, &token).await);
    assert_eq!(second.token(&plain, &[]).await, token);
    let revoked = second.post("/oauth2/revoke", &plain, &[("token", &token)]).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    wait::seconds(1).await;
    assert!(!first.is_active(&plain, &token).await);

    let client = Refreshers::register(&homes[0], &first).await;
    let pair = client.grant(&first, "alice").await;
    let (status, one) = refresh(&first, &client.credentials, &pair.refresh).await;
    let (_, other) = refresh(&second, &client.credentials, &pair.refresh).await;
    assert_eq!(status, 200, "{one}");
    assert_eq!(one["refresh_token"], other["refresh_token"]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn tokens_answered_before_they_are_written_are_known_to_both_nodes() {
    let (url, name) = (shared_url(), scratch_name());
    let asynchronous = "[token_persistence]\npool_size = 2\n";
    let homes = [machine(&url, &name, asynchronous), machine(&url, &name, asynchronous)];
    let (mut first, second) = (start(&homes[0]).await, start(&homes[1]).await);
    let plain = first.plain_client(&homes[0].first_client()).await;
    let token = first.token(&plain, &[]).await;
    assert!(second.is_active(&plain, &token).await);
    first.process.kill();
    let first = start(&homes[0]).await;
    assert!(first.is_active(&plain, &token).await);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn while_redis_is_gone_it_is_503_and_what_it_keeps_is_there_again() {
    let mut redis = Server::with(&[("appendonly", "yes"), ("appendfsync", "always")]);
    let home = machine(&redis.url(), "grantry", "");
    let server = start(&home).await;
    let plain = server.plain_client(&home.first_client()).await;
    let token = server.token(&plain, &[]).await;
    redis.kill();
    let answer = server.token_answer(&plain, &[("resource", "https://api.example/")]).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    server.wait_for_readiness(StatusCode::SERVICE_UNAVAILABLE).await;
    redis.restart();
    server.wait_for_readiness(StatusCode::OK).await;
    assert_eq!(server.token(&plain, &[]).await, token);
    server.stop().await;
}

#[tokio::test]
async fn a_redis_that_evicts_or_is_not_there_is_refused_at_the_start() {
    let redis = Server::with(&[("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")]);
    let evicting = machine(&redis.url(), "grantry", "");
    let absent = machine("redis://:hunter2@127.0.0.1:1", "grantry", "");
    for (home, said) in [(evicting, "maxmemory-policy noeviction"), (absent, "127.0.0.1:1")] {
        let mut process = Process::spawn(home.serve().env("GRANTRY_MASTER_KEY", KEY));
        assert!(!process.end().await.success());
        let error = process.err();
        assert!(error.contains(said), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn the_start_says_what_redis_alone_can_lose() {
    let home = machine(&shared_url(), &scratch_name(), "");
    let server = start(&home).await;
    let said = server.process.out();
    assert!(said.contains("can be lost"), "{said}");
    server.stop().await;
}

#[test]
fn keys_of_the_data_space_that_mean_nothing_are_refused() {
    let refused = |more: &str| text(&machine(&shared_url(), "grantry", more).run(&["config", "check"]));
    let said = refused("answer_timeout = \"20ms\"\n");
    assert!(said.contains("data_space.answer_timeout") && said.contains("store.busy_timeout"), "{said}");
    let said = refused("discovery = [\"redis://127.0.0.1:1\"]\n");
    assert!(said.contains("data_space.discovery"), "{said}");
}
