//! Status lists: which tokens have a place in them, what they say, and when they are made.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grantry_cache::{CachedStore, Coherence, Tail};
use grantry_grants::{Actor, GrantError, RevocationTarget, StatusList, TokenSettings};
use grantry_jose::from_base64url;
use grantry_protocol::{
    BootClock, Clock, LogKind, ManualClock, PersistenceMode, Position, StatusIndex, Wanted,
};
use grantry_revocation::Freshness;
use grantry_store::{
    FaultyStore, Grants, MemoryStore, Merge, NodeId, Outage, Revocations, StatusLists, Store, StoreError,
    Tokens,
};
use serde_json::{Value, json};

use crate::world::{ISSUER, START, World, secret_of, settings};

const PER_LIST: u64 = StatusIndex::PER_LIST as u64;

fn unstored() -> TokenSettings {
    TokenSettings { persistence: PersistenceMode::None, ..settings() }
}

/// With a client for users, one for itself, and one for users whose tokens are in no list.
async fn world(settings: TokenSettings) -> World {
    let world = World::with(settings).await;
    world.client("app", json!({ "access_token_format": "jwt", "status_list": true })).await;
    world.client("machine", of_machine(json!({ "status_list": true }))).await;
    world.client("plain", json!({ "access_token_format": "jwt" })).await;
    world
}

fn of_machine(mut fields: Value) -> Value {
    fields["grant_types"] = json!(["client_credentials"]);
    fields["jwt_bearer_refresh"] = json!(false);
    fields["jwt_bearer_subjects"] = json!([]);
    fields["access_token_format"] = json!("jwt");
    fields
}

async fn of_itself(world: &World, client: &str) -> String {
    let answer = world.grants.client_credentials(&secret_of(client), Wanted::default()).await.unwrap();
    answer.access_token.expose().to_owned()
}

async fn switch(world: &World, patch: Value) {
    let Value::Object(patch) = patch else { unreachable!() };
    let changed = world.grants.settings_update(&patch, None, &Actor::host()).await;
    assert!(changed.is_ok_and(|state| state.problem.is_none()));
}

fn claims(jwt: &str) -> Value {
    let payload = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&from_base64url(payload).unwrap()).unwrap()
}

/// Where the token says that its status is.
fn place(token: &str) -> Option<StatusIndex> {
    let status = claims(token)["status"].take();
    let place = status.get("status_list")?;
    let uri = place["uri"].as_str().unwrap();
    let list: u64 = uri.strip_prefix(&format!("{ISSUER}/oauth2/status-list/")).unwrap().parse().unwrap();
    Some(StatusIndex(list * PER_LIST + place["idx"].as_u64().unwrap()))
}

async fn list(world: &World, number: u64) -> Option<StatusList> {
    world.grants.status_list(number).await.unwrap()
}

fn said(list: &StatusList) -> Value {
    claims(std::str::from_utf8(&list.jwt).unwrap())
}

/// Whether the list is another one than that in which no token has ended.
async fn is_marked(world: &World, token: &str) -> bool {
    let place = place(token).unwrap();
    // What was made before is too old.
    world.wait(31);
    let list = said(&list(world, place.list()).await.unwrap());
    let lst = from_base64url(list["status_list"]["lst"].as_str().unwrap()).unwrap();
    let bytes = miniz_oxide::inflate::decompress_to_vec_zlib(&lst).unwrap();
    assert_eq!(bytes.len() as u64 * 8, PER_LIST);
    bytes[place.idx() as usize / 8] >> (place.idx() % 8) & 1 == 1
}

#[tokio::test]
async fn each_stored_token_has_a_place_of_its_own() {
    let world = world(settings()).await;
    let (alice, bob) = (world.pair("app", "alice").await, world.pair("app", "bob").await);
    let own = of_itself(&world, "machine").await;
    let next = world.refresh("app", alice.refresh()).await.unwrap();
    let mut places: Vec<StatusIndex> =
        [&alice.access, &bob.access, &own, &next.access].map(|token| place(token).unwrap()).to_vec();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 4);

    assert_eq!(place(&of_itself(&world, "machine").await), place(&own), "the same token again");
    assert_eq!(place(&world.pair("plain", "alice").await.access), None);

    world.grants.revoke(&secret_of("app"), &next.access, world.requests.next()).await.unwrap();
    assert!(is_marked(&world, &next.access).await);
    assert!(!is_marked(&world, &bob.access).await);
    assert!(!is_marked(&world, &own).await);
}

#[tokio::test]
async fn a_rule_shows_in_the_list() {
    let world = world(settings()).await;
    let (alice, bob) = (world.pair("app", "alice").await, world.pair("app", "bob").await);
    let target = RevocationTarget::Subject("alice".parse().unwrap());
    world.grants.revocation_create(target, &Actor::host()).await.unwrap();
    assert!(is_marked(&world, &alice.access).await);
    assert!(!is_marked(&world, &bob.access).await);
}

#[tokio::test]
async fn a_token_that_is_replaced_shows_in_the_list() {
    let world = world(settings()).await;
    world
        .client("replacing", of_machine(json!({ "status_list": true, "active_token_policy": "replace" })))
        .await;
    let first = of_itself(&world, "replacing").await;
    let second = of_itself(&world, "replacing").await;
    assert!(is_marked(&world, &first).await);
    assert!(!is_marked(&world, &second).await);
}

#[tokio::test]
async fn a_token_that_waits_for_its_row_has_a_place() {
    let asynchronous =
        TokenSettings { persistence: PersistenceMode::Async, has_queue: true, pool_size: 2, ..settings() };
    let world = world(asynchronous).await;
    let (first, again) = (of_itself(&world, "machine").await, of_itself(&world, "machine").await);
    assert!(place(&first).is_some());
    assert_eq!(place(&first), place(&again));
}

#[tokio::test]
async fn without_rows_all_tokens_of_a_grant_share_its_place() {
    let world = world(unstored()).await;
    let first = world.pair("app", "alice").await;
    assert_eq!(world.store.grant_count().await.unwrap(), 1, "written before it is answered");
    let mut pairs = vec![first];
    for _ in 0..3 {
        world.wait(31);
        let refreshed = world.refresh("app", pairs.last().unwrap().refresh()).await.unwrap();
        pairs.push(refreshed);
    }
    let other = world.pair("app", "alice").await;
    assert!(pairs.iter().all(|pair| place(&pair.access) == place(&pairs[0].access)));
    assert_ne!(place(&other.access), place(&pairs[0].access));
    assert_eq!(world.store.grant_count().await.unwrap(), 2);
    assert_eq!(world.store.token_count().await.unwrap(), 0);
    assert_eq!(place(&of_itself(&world, "machine").await), None, "it has neither a row nor a grant");
    for pair in &pairs {
        assert!(world.is_active("app", &pair.access).await);
    }

    world
        .grants
        .revoke(&secret_of("app"), pairs.last().unwrap().refresh(), world.requests.next())
        .await
        .unwrap();
    assert!(is_marked(&world, &pairs[0].access).await);
    assert!(!is_marked(&world, &other.access).await);
}

#[tokio::test]
async fn a_token_that_shares_its_place_and_was_ended_by_its_id_ends_with_its_grant_by_its_text() {
    let world = world(unstored()).await;
    let (pair, other) = (world.pair("app", "alice").await, world.pair("app", "alice").await);
    let id = world.id_of("app", &pair.access).await;
    world.grants.revocation_create(RevocationTarget::Token(id), &Actor::host()).await.unwrap();
    assert!(!is_marked(&world, &pair.access).await, "its id does not tell the grant");
    for _ in 0..2 {
        world.grants.revoke(&secret_of("app"), &pair.access, world.requests.next()).await.unwrap();
        assert!(is_marked(&world, &pair.access).await);
    }
    assert!(!world.is_active("app", pair.refresh()).await);
    assert!(!is_marked(&world, &other.access).await);
    assert_eq!(world.store.revocation_list(Position(0), 100).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_that_has_expired_does_not_end_the_grant_whose_place_it_shared() {
    let world = world(unstored()).await;
    let first = world.pair("app", "alice").await;
    world.wait(3_600);
    world.grants.revoke(&secret_of("app"), &first.access, world.requests.next()).await.unwrap();
    assert!(world.is_active("app", first.refresh()).await);
}

#[tokio::test]
async fn a_token_that_shares_its_place_ends_with_its_grant() {
    let world = world(unstored()).await;
    for by_administrator in [true, false] {
        let first = world.pair("app", "alice").await;
        let second = world.refresh("app", first.refresh()).await.unwrap();
        let other = world.pair("app", "alice").await;
        if by_administrator {
            let target = world.grants.revocation_target(&first.access).unwrap();
            world.grants.revocation_create(target, &Actor::host()).await.unwrap();
        } else {
            world.grants.revoke(&secret_of("app"), &first.access, world.requests.next()).await.unwrap();
        }
        for token in [&first.access, &second.access, second.refresh()] {
            assert!(!world.is_active("app", token).await);
        }
        assert!(world.is_active("app", &other.access).await);
        assert!(is_marked(&world, &second.access).await);
        assert!(!is_marked(&world, &other.access).await);
    }
    let entries = world.store.revocation_list(Position(0), 100).await.unwrap();
    assert!(entries.iter().all(|entry| entry.kind == LogKind::Grant));
}

#[tokio::test]
async fn a_switch_of_the_mode_changes_the_place_of_new_tokens_alone() {
    let world = world(unstored()).await;
    let unstored = world.pair("app", "alice").await;
    switch(&world, json!({ "token_persistence": { "enable": true } })).await;
    let stored = world.refresh("app", unstored.refresh()).await.unwrap();
    assert!(place(&stored.access).is_some_and(|own| Some(own) != place(&unstored.access)));
    // It has a place of its own, and ends alone.
    world.grants.revoke(&secret_of("app"), &stored.access, world.requests.next()).await.unwrap();
    assert!(world.is_active("app", &unstored.access).await);
    assert!(is_marked(&world, &stored.access).await);
    assert!(!is_marked(&world, &unstored.access).await);

    let opened_with_rows = world.pair("app", "bob").await;
    switch(&world, json!({ "token_persistence": { "enable": false } })).await;
    world.wait(31);
    let again = world.refresh("app", stored.refresh()).await.unwrap();
    assert_eq!(place(&again.access), place(&unstored.access));
    let other = world.refresh("app", opened_with_rows.refresh()).await.unwrap();
    assert_eq!(place(&other.access), None, "its grant has no place that it could share");
    assert!(world.is_active("app", &other.access).await);
}

#[tokio::test]
async fn what_could_end_alone_shares_no_place() {
    let world = world(unstored()).await;
    let shared = world.pair("app", "alice").await;
    switch(&world, json!({ "tokens": { "active_token_policy": "replace" } })).await;
    let alone = world.refresh("app", shared.refresh()).await.unwrap();
    assert_eq!(place(&alone.access), None);
    assert_eq!(place(&world.pair("app", "bob").await.access), None);
}

#[tokio::test]
async fn a_list_is_made_once_and_answered_until_half_of_its_time_has_passed() {
    let world = world(settings()).await;
    let token = of_itself(&world, "machine").await;
    let first = list(&world, 0).await.unwrap();
    let now = world.now().as_secs();
    let says = said(&first);
    assert_eq!(says["iss"], ISSUER);
    assert_eq!(says["sub"], claims(&token)["status"]["status_list"]["uri"]);
    assert_eq!(
        (says["iat"].as_i64(), says["exp"].as_i64(), says["ttl"].as_i64()),
        (Some(now), Some(now + 60), Some(30))
    );
    assert_eq!(says["status_list"]["bits"], 1);
    assert_eq!(says["status_list"]["aggregation_uri"], format!("{ISSUER}/oauth2/status-list"));

    world.grants.revoke(&secret_of("machine"), &token, world.requests.next()).await.unwrap();
    world.wait(30);
    let calls = world.store.calls();
    let again = list(&world, 0).await.unwrap();
    assert_eq!((&again.jwt, &again.digest), (&first.jwt, &first.digest));
    assert_eq!(world.store.calls(), calls);
    assert!(again.max_age.is_zero() && first.max_age.as_secs() > 25);
    world.wait(1);
    let next = list(&world, 0).await.unwrap();
    assert_ne!((&next.jwt, &next.digest), (&first.jwt, &first.digest));
}

#[tokio::test]
async fn an_outage_is_said_and_never_an_older_list() {
    let world = world(settings()).await;
    of_itself(&world, "machine").await;
    let kept = list(&world, 0).await.unwrap();
    world.store.fail_reads(Some(StoreError::unavailable(Outage::Io, "injected")));
    world.wait(30);
    assert_eq!(list(&world, 0).await.unwrap().jwt, kept.jwt);
    world.wait(1);
    assert!(matches!(world.grants.status_list(0).await, Err(GrantError::Unavailable(_))));
    assert!(matches!(world.grants.status_lists().await, Err(GrantError::Unavailable(_))));
    world.store.fail_reads(None);
    assert_ne!(list(&world, 0).await.unwrap().jwt, kept.jwt);
}

#[tokio::test]
async fn a_list_that_is_not_in_use_is_not_made() {
    let world = world(settings()).await;
    assert_eq!(list(&world, 0).await, None, "no token has a place yet");
    of_itself(&world, "machine").await;
    for number in [1, 2, u64::MAX / PER_LIST, u64::MAX] {
        let calls = world.store.calls();
        assert_eq!(list(&world, number).await, None);
        assert_eq!(world.store.calls() - calls, 1, "which lists there are");
    }
    let all: Value = serde_json::from_slice(&world.grants.status_lists().await.unwrap()).unwrap();
    assert_eq!(all, json!({ "status_lists": [format!("{ISSUER}/oauth2/status-list/0")] }));
    world.store.status_index_reserve(StatusIndex::PER_LIST).await.unwrap();
    assert!(list(&world, 1).await.is_some(), "as soon as another node may give out its places");
    let all: Value = serde_json::from_slice(&world.grants.status_lists().await.unwrap()).unwrap();
    assert_eq!(all["status_lists"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn many_who_ask_at_once_have_the_store_read_once() {
    let world = world(settings()).await;
    of_itself(&world, "machine").await;
    let calls = world.store.calls();
    let grants = Arc::clone(&world.grants);
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let grants = Arc::clone(&grants);
            tokio::spawn(async move { grants.status_list(0).await.unwrap().unwrap().jwt })
        })
        .collect();
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    assert!(answers.iter().all(|jwt| jwt == &answers[0]));
    // On one thread each question is answered before the next request runs, so those are not shared here.
    let questions = 50;
    assert!(world.store.calls() - calls <= questions + 1);
}

/// Until the store has been called so often.
async fn called(world: &World, calls: u64) {
    while world.store.calls() < calls {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_list_that_nobody_waits_for_any_more_is_made_all_the_same_and_once() {
    let world = world(settings()).await;
    of_itself(&world, "machine").await;
    let calls = world.store.calls();
    let gate = world.store.lists_gate.write().await;
    let grants = Arc::clone(&world.grants);
    let asked = tokio::spawn(async move { grants.status_list(0).await });
    // Which lists there are, and what is over.
    called(&world, calls + 2).await;
    asked.abort();
    assert!(asked.await.is_err_and(|error| error.is_cancelled()));
    drop(gate);
    assert!(list(&world, 0).await.is_some());
    assert_eq!(world.store.calls() - calls, 3, "which lists there are, but not again what is over");
}

#[tokio::test]
async fn a_bounded_number_of_requests_wait_for_lists() {
    let world = world(settings()).await;
    of_itself(&world, "machine").await;
    world.store.status_index_reserve(StatusIndex::PER_LIST).await.unwrap();
    let kept = list(&world, 0).await;
    let calls = world.store.calls();
    let gate = world.store.lists_gate.write().await;
    let ask = |_| {
        let grants = Arc::clone(&world.grants);
        tokio::spawn(async move { grants.status_list(1).await })
    };
    let waiting: Vec<_> = (0..64).map(ask).collect();
    called(&world, calls + 64 + 1).await;
    assert!(matches!(world.grants.status_list(1).await, Err(GrantError::Unavailable(_))));
    assert!(matches!(world.grants.status_lists().await, Err(GrantError::Unavailable(_))));
    assert_eq!(list(&world, 0).await.map(|list| list.jwt), kept.map(|list| list.jwt), "nobody waits for it");
    drop(gate);
    for asked in waiting {
        assert!(asked.await.unwrap().unwrap().is_some());
    }
    assert!(world.grants.status_lists().await.is_ok());
}

struct Boot(Arc<ManualClock>);

impl BootClock for Boot {
    fn since_boot(&self) -> Duration {
        self.0.now().since(START)
    }
}

#[tokio::test]
async fn in_a_new_epoch_no_refresh_gets_a_place_from_before_it() {
    let clock = Arc::new(ManualClock::at(START));
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let (node, freshness) = (NodeId([9; 16]), Freshness::new(Duration::from_secs(1)).unwrap());
    let boot = Arc::new(Boot(clock.clone()));
    let tail = Tail::new(memory.clone(), node, Coherence::Bounded, freshness, clock.clone(), boot);
    let following = tail.start();
    let cached =
        CachedStore::open(memory.clone(), tail.clone(), clock.clone(), None, Path::new("/nonexistent"));
    let store = Arc::new(FaultyStore::new(Arc::new(cached.await.unwrap())));
    let world = World::node(store, clock, settings(), 2).await;
    world.client("app", json!({ "access_token_format": "jwt", "status_list": true })).await;
    let opened = world.pair("app", "alice").await;

    let from = memory.revocation_head().await.unwrap();
    memory.revocation_merge(Merge { from, raise_epoch: true, entries: Vec::new() }).await.unwrap();
    tail.catch_up().await;
    let refreshed = world.refresh("app", opened.refresh()).await.unwrap();
    let (before, after) = (place(&opened.access).unwrap(), place(&refreshed.access).unwrap());
    assert_eq!(before.list(), 0);
    assert!(after.list() > 0, "{after:?} was reserved before the epoch");
    following.abort();
}

#[tokio::test]
async fn a_node_reserves_places_by_the_block_and_two_never_give_out_one_twice() {
    let here = world(settings()).await;
    let there = World::node(Arc::clone(&here.store), Arc::clone(&here.clock), settings(), 3).await;
    let many = of_machine(json!({ "status_list": true, "active_token_policy": "multiple" }));
    here.client("many", many).await;
    let mut places = Vec::new();
    for _ in 0..300 {
        for world in [&here, &there] {
            places.push(place(&of_itself(world, "many").await).unwrap().0);
        }
    }
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 600);
    assert_eq!(here.store.status_index_reserve(1).await.unwrap().start, 4 * 256);
}
