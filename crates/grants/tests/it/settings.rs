//! Settings that are changed at run time: two nodes on one store.

use std::sync::Arc;

use grantry_grants::{Actor, CacheCapacities, FileSettings, SettingsAdminError};
use grantry_protocol::{Lifetime, Position, Seen};
use grantry_store::{Outage, StoreError};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::world::{World, settings};

fn patch(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

async fn change(world: &World, value: Value) {
    let changed = world.grants.settings_update(&patch(value), None, &Actor::host()).await;
    assert!(changed.is_ok_and(|state| state.problem.is_none()));
}

async fn other_node(world: &World) -> World {
    World::node(Arc::clone(&world.store), Arc::clone(&world.clock), settings(), 3).await
}

fn minutes(world: &World) -> u64 {
    world.grants.settings().access_token_lifetime.as_secs() / 60
}

/// Lets tasks run until it is so; where time has to pass, it passes at once.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if what() {
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
    }
    panic!("it never comes");
}

fn seen(position: u64) -> Seen {
    Seen { position: Position(position), ..grantry_protocol::LogHead::EMPTY.seen() }
}

#[tokio::test(start_paused = true)]
async fn a_node_follows_what_the_log_says_and_tries_again_until_it_has_read_it() {
    let first = World::start().await;
    let second = other_node(&first).await;
    let (log, changed) = watch::channel(Seen::NOTHING);
    let following = second.grants.settings_follow(changed);
    change(&first, json!({ "tokens": { "access_token_lifetime": "5m" } })).await;
    assert_eq!((minutes(&first), minutes(&second)), (5, 10));
    log.send_replace(seen(1));
    until(|| minutes(&second) == 5).await;

    // The store fails just then.
    change(&first, json!({ "tokens": { "access_token_lifetime": "7m" } })).await;
    first.store.fail_reads(Some(StoreError::unavailable(Outage::Io, "injected")));
    log.send_replace(seen(2));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(minutes(&second), 5);
    first.store.fail_reads(None);
    until(|| minutes(&second) == 7).await;

    // The store does not know yet what the log does, as one that was deposed.
    log.send_replace(seen(3));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    change(&first, json!({ "tokens": null })).await;
    until(|| minutes(&second) == 10).await;
    following.abort();
}

#[tokio::test]
async fn two_changes_at_the_same_time_are_both_done() {
    let first = World::start().await;
    let second = other_node(&first).await;
    let (left, right) = tokio::join!(
        async {
            for minutes in 1..20 {
                change(&first, json!({ "tokens": { "access_token_lifetime": format!("{minutes}m") } })).await;
            }
        },
        async {
            for seconds in 1..20 {
                change(&second, json!({ "tokens": { "refresh_grace": format!("{seconds}s") } })).await;
            }
        }
    );
    assert_eq!((left, right), ((), ()));
    let state = first.grants.settings_get().await.unwrap();
    assert_eq!(state.version, 38);
    assert_eq!(state.settings["tokens"]["access_token_lifetime"], "19m");
    assert_eq!(state.settings["tokens"]["refresh_grace"], "19s");
}

#[tokio::test]
async fn rules_are_remembered_for_as_long_as_the_grants_that_were_let_live_longer() {
    let world = World::start().await;
    let before = world.grants.settings().rule_memory();
    change(&world, json!({ "tokens": { "refresh_token_lifetime": "90d" } })).await;
    assert!(world.grants.settings().rule_memory() > before);
    assert_eq!(world.grants.settings().refresh_token_lifetime, Lifetime::from_secs(90 * 86_400));
}

#[tokio::test]
async fn capacities_are_handed_on_when_they_change_and_only_then() {
    let world = World::start().await;
    let (handed, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let capacities = CacheCapacities { tokens: 100, token_owners: 100, clients: 10 };
    let file = FileSettings {
        capacities: Some(capacities),
        set_capacities: Some(Box::new(move |capacities| handed.send(capacities).unwrap())),
        ..settings().into()
    };
    let node = World::node(Arc::clone(&world.store), Arc::clone(&world.clock), file, 4).await;
    change(&node, json!({ "cache": { "clients": { "capacity": 7 } } })).await;
    assert_eq!(seen.try_recv(), Ok(CacheCapacities { clients: 7, ..capacities }));
    node.grants.settings_get().await.unwrap();
    change(&node, json!({ "cache": { "clients": { "capacity": null } } })).await;
    assert_eq!(seen.try_recv(), Ok(capacities));
    assert!(seen.try_recv().is_err());
    for wrong in [0, 100_000_001] {
        let refused = json!({ "cache": { "tokens": { "capacity": wrong } } });
        let refused = node.grants.settings_update(&patch(refused), None, &Actor::host()).await;
        assert!(
            matches!(refused, Err(SettingsAdminError::Invalid(invalid)) if invalid.key == "cache.tokens.capacity")
        );
    }
}
