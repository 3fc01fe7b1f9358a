//! `coherence` and `max_staleness`.

use std::time::Duration;

use grantry_store_postgres::testing::Database;
use reqwest::StatusCode;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;

use super::Caller;
use crate::home::Home;
use crate::wait;

const MAX_STALENESS: Duration = Duration::from_secs(3);

fn home(database: &Database, coherence: &str) -> Home {
    // With `none` there is no bound that could be set.
    let bound = if coherence == "none" { "" } else { "max_staleness = \"3s\"\n" };
    Home::with_config(&format!(
        "[store]\nurl = \"{}\"\n[cache]\ncoherence = \"{coherence}\"\n{bound}",
        database.url()
    ))
}

/// From here on no node can commit to its own row, until the connection's transaction ends.
async fn block(database: &Database) -> Client {
    let connection = database.connect().await;
    connection.batch_execute("BEGIN; LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    connection
}

#[tokio::test]
async fn bounded_answers_from_copies_until_max_staleness_is_over_and_then_503() {
    let database = Database::empty();
    let home = home(&database, "bounded");
    let server = home.start().await;
    let caller = Caller::register(&home, &server).await;
    let token = caller.issue(&server, 0).await;
    let blocked = Instant::now();
    let connection = block(&database).await;
    assert!(caller.is_active(&server, &token).await, "nobody waits for a look at the log");
    assert!(blocked.elapsed() < MAX_STALENESS, "too slow a machine to tell");
    sleep_until(blocked + MAX_STALENESS).await; // wait: for the time that is promised to pass
    let answer =
        server.post("/oauth2/introspect", &caller.client, &[("token", &token)]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["error"], "temporarily_unavailable");
    assert!(server.metric("grantry_revocation_stale_refusals_total", "").await > 0.0);
    connection.batch_execute("ROLLBACK").await.unwrap();
    server.wait_for_readiness(StatusCode::OK).await;
    assert!(caller.is_active(&server, &token).await);
    server.stop().await;
}

#[tokio::test]
async fn strict_answers_nothing_without_a_look_that_begins_after_the_request() {
    let database = Database::empty();
    let home = home(&database, "strict");
    let server = home.start().await;
    let caller = Caller::register(&home, &server).await;
    let token = caller.issue(&server, 0).await;
    let looks = async || server.metric("grantry_revocation_probe_seconds_count", "").await;
    let before = looks().await;
    for _ in 0..20 {
        assert!(caller.is_active(&server, &token).await);
    }
    assert!(looks().await - before >= 20.0, "each of them waited for one of its own");
    let connection = block(&database).await;
    let status = caller.introspection_status(&server, &token).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "though the copy is in memory");
    connection.batch_execute("ROLLBACK").await.unwrap();
    server.wait_for_readiness(StatusCode::OK).await;
    assert!(caller.is_active(&server, &token).await);
    server.stop().await;
}

#[tokio::test]
async fn none_goes_on_however_long_the_log_cannot_be_followed_and_the_start_warns() {
    let database = Database::empty();
    let home = home(&database, "none");
    let server = home.start().await;
    for said in [server.process.out(), server.process.err()] {
        assert!(said.contains("cache.coherence is") && said.contains("stays active here"), "{said}");
    }
    let caller = Caller::register(&home, &server).await;
    let token = caller.issue(&server, 0).await;
    let connection = block(&database).await;
    let failures = async || server.metric("grantry_revocation_probe_failures_total", "").await;
    wait::until("looks at the log fail", async || (failures().await >= 2.0).then_some(())).await;
    for _ in 0..3 {
        wait::seconds(1).await;
        assert!(caller.is_active(&server, &token).await);
    }
    connection.batch_execute("ROLLBACK").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn strict_knows_at_once_what_another_node_has_revoked() {
    let home = Home::strict();
    let first = home.start().await;
    let caller = Caller::register(&home, &first).await;
    let second = home.start().await;
    for number in 0..20 {
        let token = caller.issue(&first, number).await;
        assert!(caller.is_active(&first, &token).await && caller.is_active(&second, &token).await);
        let revoked =
            second.post("/oauth2/revoke", &caller.client, &[("token", &token)]).send().await.unwrap();
        assert_eq!(revoked.status(), StatusCode::OK);
        assert!(!caller.is_active(&first, &token).await);
    }
    first.stop().await;
    second.stop().await;
}

/// Nothing rings between processes on a SQLite file, so the first hears of it by looking as often as the bound wants.
#[tokio::test]
async fn a_shorter_max_staleness_is_kept_to() {
    let home = Home::with_config("[cache]\nmax_staleness = \"300ms\"\n");
    let first = home.start().await;
    let caller = Caller::register(&home, &first).await;
    let second = home.start().await;
    for number in 0..5 {
        let token = caller.issue(&first, number).await;
        assert!(caller.is_active(&first, &token).await && caller.is_active(&second, &token).await);
        let revoked =
            second.post("/oauth2/revoke", &caller.client, &[("token", &token)]).send().await.unwrap();
        assert_eq!(revoked.status(), StatusCode::OK);
        sleep_until(Instant::now() + Duration::from_millis(300)).await; // wait: for the bound to pass
        assert!(!caller.is_active(&first, &token).await);
    }
    first.stop().await;
    second.stop().await;
}
