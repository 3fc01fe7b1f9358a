use grantry_protocol::{Client, LogKind};

use super::harness::Harness;
use crate::ClientOutcome;

const APP: &str = "https://app.example";
const SHOP: &str = "https://shop.example:8443";

fn with_origins(harness: &Harness, id: &str, origins: &[&str]) -> Client {
    let mut client = harness.client(id);
    client.metadata.allowed_cors_origins = origins.iter().map(ToString::to_string).collect();
    client
}

async fn exist(harness: &Harness) -> [bool; 2] {
    let exists = async |origin| harness.store.client_origin_exists(origin).await.unwrap();
    [exists(APP).await, exists(SHOP).await]
}

pub async fn an_origin_exists_once_a_client_has_it(harness: Harness) {
    assert_eq!(exist(&harness).await, [false, false]);
    harness.insert(&with_origins(&harness, "app", &[APP, APP])).await;
    assert_eq!(exist(&harness).await, [true, false]);
    for other in
        ["https://app.example/", "https://app.exampl", "HTTPS://APP.EXAMPLE", "", "https://%.example"]
    {
        assert_eq!(harness.store.client_origin_exists(other).await, Ok(false), "{other}");
    }
}

pub async fn an_update_replaces_the_origins(harness: Harness) {
    let mut client = with_origins(&harness, "app", &[APP]);
    harness.insert(&client).await;
    client.metadata.allowed_cors_origins = vec![SHOP.to_owned()];
    assert_eq!(harness.update(&mut client, LogKind::ClientChanged).await, ClientOutcome::Done);
    assert_eq!(exist(&harness).await, [false, true]);
    client.metadata.allowed_cors_origins.clear();
    harness.update(&mut client, LogKind::ClientChanged).await;
    assert_eq!(exist(&harness).await, [false, false]);
}

pub async fn the_origins_of_a_disabled_client_do_not_count(harness: Harness) {
    let mut client = with_origins(&harness, "app", &[APP]);
    client.metadata.enabled = false;
    harness.insert(&client).await;
    assert_eq!(exist(&harness).await, [false, false]);
    for enabled in [true, false] {
        client.metadata.enabled = enabled;
        harness.update(&mut client, LogKind::Client).await;
        assert_eq!(exist(&harness).await, [enabled, false]);
    }
}

pub async fn an_origin_goes_with_the_last_client_that_has_it(harness: Harness) {
    harness.insert(&with_origins(&harness, "a", &[APP, SHOP])).await;
    harness.insert(&with_origins(&harness, "b", &[APP])).await;
    assert_eq!(harness.delete("a").await, ClientOutcome::Done);
    assert_eq!(exist(&harness).await, [true, false]);
    assert_eq!(harness.delete("b").await, ClientOutcome::Done);
    assert_eq!(exist(&harness).await, [false, false]);
}

pub async fn what_is_refused_leaves_the_origins_alone(harness: Harness) {
    let client = with_origins(&harness, "app", &[APP]);
    harness.insert(&client).await;
    let taken = with_origins(&harness, "app", &[SHOP]);
    let outcome = harness.store.client_insert(taken.clone(), harness.entry("client.create", "app")).await;
    assert_eq!(outcome, Ok(ClientOutcome::AlreadyExists));
    let stale = Client { version: 7, ..taken };
    let outcome = harness.store.client_update(harness.change(&stale, LogKind::Client)).await;
    assert_eq!(outcome, Ok(ClientOutcome::VersionConflict));
    assert_eq!(exist(&harness).await, [true, false]);
}
