//! What only this store has to care about: it is memory, and somebody else's server.

use std::time::Duration;

use grantry_protocol::{LogHead, LogKind};
use grantry_store::conformance::issue;
use grantry_store::{
    NodeId, Outage, Probe, Retention, Revocations, Settings, StoreError, TokenWrite, Tokens, WriteOutcome,
};
use grantry_store_redis::testing::{Server, ask, scratch_name, shared_port, shared_url};
use grantry_store_redis::{OpenError, RedisOptions, RedisStore, StoreTime};

use crate::{Counted, RETENTION, open, open_replicated, real_time, tokens, wait_until};

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = Server::with(&[("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")]);
    let options = RedisOptions::new(vec![server.url()], "grantry");
    let refused = RedisStore::open(&options, RETENTION, StoreTime::Redis, Counted::rng()).await;
    let error = refused.err().unwrap();
    assert!(matches!(&error, OpenError::Evicts(policy) if policy == "allkeys-lru"));
    assert!(error.to_string().contains("maxmemory-policy noeviction"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address_and_without_the_password() {
    let options = RedisOptions::new(vec!["redis://me:hunter2@127.0.0.1:1".into()], "grantry");
    let refused = RedisStore::open(&options, RETENTION, StoreTime::Redis, Counted::rng()).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn names_keep_stores_apart_and_one_name_is_one_store() {
    let name = scratch_name();
    let one = open(vec![shared_url()], &name).await;
    let same = open(vec![shared_url()], &name).await;
    let other = open(vec![shared_url()], &scratch_name()).await;
    assert_eq!(one.cluster_id().await, same.cluster_id().await);
    assert_ne!(one.cluster_id().await, other.cluster_id().await);
}

#[tokio::test]
async fn another_schema_is_refused() {
    let name = scratch_name();
    let key = format!("{{{name}}}:meta");
    ask(shared_port(), &["SET", &key, r#"{"schema":99,"cluster":"00"}"#]).unwrap();
    let options = RedisOptions::new(vec![shared_url()], &name);
    let refused = RedisStore::open(&options, RETENTION, StoreTime::Redis, Counted::rng()).await;
    assert!(matches!(refused, Err(OpenError::OtherSchema { found: 99, .. })));
}

#[tokio::test]
async fn a_full_server_is_an_outage_and_what_it_has_stays() {
    let server = Server::with(&[("maxmemory", "3mb"), ("maxmemory-policy", "noeviction")]);
    let store = open(vec![server.url()], "grantry").await;
    let tokens = tokens();
    let first = tokens.token("client-0");
    assert_eq!(store.token_write(vec![issue(&first)]).await, Ok(vec![WriteOutcome::Issued]));
    let mut refused = None;
    for number in 1..10_000 {
        let token = tokens.token(&format!("client-{number}"));
        if let Err(error) = store.token_write(vec![issue(&token)]).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(StoreError::Unavailable { outage: Outage::Full, .. })), "{refused:?}");
    assert!(store.token_find(first.id).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_over_leaves_by_itself() {
    let name = scratch_name();
    let options = RedisOptions::new(vec![shared_url()], &name);
    let store = RedisStore::open(&options, RETENTION, StoreTime::Redis, Counted::rng()).await.unwrap();
    let token = tokens().token("billing");
    store.token_write(vec![issue(&token)]).await.unwrap();
    let millis = |key: String| ask(shared_port(), &["PTTL", &key]).unwrap().parse::<u64>().unwrap();
    let life = Duration::from_millis(millis(format!("{{{name}}}:token:{}", token.id)));
    let left = token.expires_at.since(real_time());
    let longest = left + RETENTION + Duration::from_secs(120);
    assert!(life > left && life <= longest, "{life:?} of {left:?}");

    // As if its time had come: the clean-up then takes it out of the index.
    ask(shared_port(), &["DEL", &format!("{{{name}}}:token:{}", token.id)]).unwrap();
    assert_eq!(store.token_find(token.id).await, Ok(None));
    assert_eq!(store.token_count().await, Ok(1));
    let swept = store.retention_sweep(Duration::ZERO, 10).await.unwrap();
    assert_eq!((swept.tokens, store.token_count().await), (1, Ok(0)));
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let mut server = Server::with(&[("appendonly", "yes"), ("appendfsync", "always")]);
    let store = open(vec![server.url()], "grantry").await;
    let token = tokens().token("billing");
    store.token_write(vec![issue(&token)]).await.unwrap();
    server.kill();
    assert!(matches!(store.token_find(token.id).await, Err(StoreError::Unavailable { .. })));
    server.restart();
    assert!(store.token_find(token.id).await.unwrap().is_some());
    let again = vec![issue(&token)];
    assert_eq!(store.token_write(again).await, Ok(vec![WriteOutcome::Issued]), "a script is sent again");
}

#[tokio::test]
async fn the_bell_rings_for_what_another_node_appends_even_after_the_server_was_away() {
    let mut server = Server::with(&[("appendonly", "yes")]);
    let listening = open(vec![server.url()], "grantry").await;
    let mut bell = listening.revocation_bell();
    let appending = open(vec![server.url()], "grantry").await;
    let token = tokens().token("billing");
    appending.token_write(vec![issue(&token)]).await.unwrap();
    // The first ring is the subscription itself.
    bell.changed().await.unwrap();
    let revoke = TokenWrite::Revoke { id: token.id, unwritten: None, audit: None };
    appending.token_write(vec![revoke]).await.unwrap();
    bell.changed().await.unwrap();

    server.kill();
    server.restart();
    // It is subscribed again.
    bell.changed().await.unwrap();
    let next = tokens().token("books");
    appending.token_write(vec![issue(&next)]).await.unwrap();
    let revoke = TokenWrite::Revoke { id: next.id, unwritten: None, audit: None };
    appending.token_write(vec![revoke]).await.unwrap();
    bell.changed().await.unwrap();
    let probe = Probe { node: NodeId([7; 16]), applied: LogHead::EMPTY.seen(), limit: 10 };
    let page = listening.revocation_probe(probe).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [LogKind::Token; 2]);
}

#[tokio::test]
async fn a_replica_that_stands_still_is_reported_and_waited_for_once() {
    let primary = Server::start();
    let replicas = [Server::replica_of(&primary), Server::replica_of(&primary)];
    primary.wait_for_replicas(2);
    let store = open_replicated(vec![primary.url()]).await;
    let tokens = tokens();
    let write = async |number: u32| {
        let token = tokens.token(&format!("client-{number}"));
        let outcome = store.token_write(vec![issue(&token)]).await;
        assert_eq!(outcome, Ok(vec![WriteOutcome::Issued]));
        store.links().replication()
    };
    let state = write(0).await;
    assert_eq!((state.wanted, state.achieved), (2, 2));
    replicas[0].freeze();
    let state = write(1).await;
    assert_eq!((state.wanted, state.achieved, state.is_degraded()), (2, 1, true));
    store.links().watch_replicas();
    replicas[0].thaw();
    wait_until(async || !store.links().replication().is_degraded()).await;
    let state = write(2).await;
    assert_eq!((state.wanted, state.achieved), (2, 2));
}
