//! Another server takes over. What was written last may be lost with the first, and nothing else.

use grantry_store::conformance::{Harness, issue};
use grantry_store::{Tokens, WriteOutcome};
use grantry_store_redis::testing::{Cluster, Sentinels, Server};
use grantry_store_redis::{Kind, RedisStore};

use crate::{open_replicated, tokens, wait_until};

async fn takes_writes(store: &RedisStore, tokens: &Harness) {
    wait_until(async || {
        let token = tokens.token("another");
        store.token_write(vec![issue(&token)]).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn after_a_failover_by_sentinels_the_new_primary_is_found() {
    let mut primary = Server::start();
    let _replicas = [Server::replica_of(&primary), Server::replica_of(&primary)];
    let sentinels = Sentinels::watch(&primary, 2);
    let store = open_replicated(sentinels.urls()).await;
    assert_eq!(store.links().kind(), Kind::Sentinel);
    let tokens = tokens();
    let token = tokens.token("billing");
    assert_eq!(store.token_write(vec![issue(&token)]).await, Ok(vec![WriteOutcome::Issued]));
    assert_eq!(store.links().replication().achieved, 2);
    primary.kill();
    sentinels.wait_for_failover(&primary);
    takes_writes(&store, &tokens).await;
    assert!(store.token_find(token.id).await.unwrap().is_some());
}

#[tokio::test]
async fn after_a_failover_in_a_cluster_the_new_primary_is_found() {
    let mut cluster = Cluster::start(1);
    let store = open_replicated(cluster.urls()).await;
    assert_eq!(store.links().kind(), Kind::Cluster);
    let tokens = tokens();
    let token = tokens.token("billing");
    assert_eq!(store.token_write(vec![issue(&token)]).await, Ok(vec![WriteOutcome::Issued]));
    assert_eq!(store.links().replication().achieved, 1);
    let primary = cluster.primary_of("{grantry}:head");
    cluster.members[primary].kill();
    cluster.wait_for_promotion(primary + 3);
    takes_writes(&store, &tokens).await;
    assert!(store.token_find(token.id).await.unwrap().is_some());
}
