//! Tokens that are never stored: what others give up in this mode, and what stays as it is when the mode changes.

use std::sync::Arc;

use grantry_grants::{Actor, RevocationTarget, SettingsAdminError, TokenSettings};
use grantry_jose::from_base64url;
use grantry_protocol::{LogKind, PersistenceMode, Position, Wanted};
use grantry_store::{Grants, Revocations, Tokens};
use serde_json::{Value, json};

use crate::world::{Pair, World, code, refusal, secret_of, settings};

const FORMATS: [&str; 2] = ["opaque", "jwt"];

fn unstored() -> TokenSettings {
    TokenSettings { persistence: PersistenceMode::None, ..settings() }
}

/// A client for each format that gets tokens for itself, and one that gets pairs for users.
async fn clients(world: &World, more: Value) {
    for format in FORMATS {
        let mut own = json!({
            "grant_types": ["client_credentials"],
            "jwt_bearer_refresh": false,
            "jwt_bearer_subjects": [],
            "access_token_format": format,
        });
        own.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.client(&own_of(format), own).await;
        let mut users = json!({ "access_token_format": format });
        users.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.client(&users_of(format), users).await;
    }
}

fn own_of(format: &str) -> String {
    format!("{format}-own")
}

fn users_of(format: &str) -> String {
    format!("{format}-users")
}

async fn world() -> World {
    let world = World::with(unstored()).await;
    clients(&world, json!({})).await;
    world
}

async fn token(world: &World, client: &str) -> String {
    let answer = world.grants.client_credentials(&secret_of(client), Wanted::default()).await.unwrap();
    answer.access_token.expose().to_owned()
}

async fn switch(world: &World, enable: bool) {
    let Value::Object(patch) = json!({ "token_persistence": { "enable": enable } }) else { unreachable!() };
    let changed = world.grants.settings_update(&patch, None, &Actor::host()).await;
    assert!(changed.is_ok_and(|state| state.problem.is_none()));
}

async fn revoke(world: &World, target: RevocationTarget) {
    assert!(world.grants.revocation_create(target, &Actor::host()).await.is_ok());
}

async fn rows(world: &World) -> (u64, u64) {
    (world.store.token_count().await.unwrap(), world.store.grant_count().await.unwrap())
}

/// All that one deployment has given out in one mode.
struct Given {
    own: Vec<(String, String)>,
    pairs: Vec<(String, Pair)>,
}

impl Given {
    async fn by(world: &World, subject: &str) -> Self {
        let (mut own, mut pairs) = (Vec::new(), Vec::new());
        for format in FORMATS {
            own.push((own_of(format), token(world, &own_of(format)).await));
            pairs.push((users_of(format), world.pair(&users_of(format), subject).await));
        }
        Self { own, pairs }
    }

    async fn assert_active(&self, world: &World, is_active: bool) {
        for (client, token) in &self.own {
            assert_eq!(world.is_active(client, token).await, is_active, "{client}");
        }
        for (client, pair) in &self.pairs {
            assert_eq!(world.is_active(client, &pair.access).await, is_active, "{client}");
            assert_eq!(world.is_active(client, pair.refresh()).await, is_active, "{client}, refresh token");
        }
    }

    async fn refreshed(&self, world: &World) -> Self {
        let mut pairs = Vec::new();
        for (client, pair) in &self.pairs {
            pairs.push((client.clone(), world.refresh(client, pair.refresh()).await.unwrap()));
        }
        Self { own: self.own.clone(), pairs }
    }
}

#[tokio::test]
async fn issuing_without_rows_writes_nothing_and_reads_the_client_alone() {
    let world = world().await;
    for format in FORMATS {
        let before = world.store.calls();
        let given = token(&world, &own_of(format)).await;
        assert_eq!(world.store.calls() - before, 1);
        assert_ne!(token(&world, &own_of(format)).await, given, "nobody knows the one before");
        let before = world.store.calls();
        assert!(world.is_active(&own_of(format), &given).await);
        assert_eq!(world.store.calls() - before, 2, "the caller, and the log");
    }
    world.pair(&users_of("jwt"), "alice").await;
    assert_eq!(rows(&world).await, (0, 0));
    assert!(world.store.revocation_list(Position(0), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_expires_without_a_row() {
    let world = world().await;
    let given = Given::by(&world, "alice").await;
    world.wait(599);
    given.assert_active(&world, true).await;
    world.wait(1);
    for (client, token) in &given.own {
        assert!(!world.is_active(client, token).await);
    }
}

#[tokio::test]
async fn tokens_issued_without_a_row_stay_valid_when_tokens_are_stored_again() {
    let world = world().await;
    let given = Given::by(&world, "alice").await;
    switch(&world, true).await;
    given.assert_active(&world, true).await;
    let refreshed = given.refreshed(&world).await;
    refreshed.assert_active(&world, true).await;
    assert_eq!(rows(&world).await, (2, 2), "what the refreshes gave is stored");
    world.wait(60);
    refreshed.refreshed(&world).await.assert_active(&world, true).await;
    revoke(&world, RevocationTarget::All).await;
    given.assert_active(&world, false).await;
    refreshed.assert_active(&world, false).await;
}

#[tokio::test]
async fn tokens_issued_with_a_row_stay_valid_when_tokens_are_no_longer_stored() {
    let world = World::start().await;
    clients(&world, json!({})).await;
    let given = Given::by(&world, "alice").await;
    let before = rows(&world).await;
    switch(&world, false).await;
    given.assert_active(&world, true).await;
    let refreshed = given.refreshed(&world).await;
    refreshed.assert_active(&world, true).await;
    assert_eq!(rows(&world).await, before);
    revoke(&world, RevocationTarget::Subject("alice".parse().unwrap())).await;
    for (client, pair) in given.pairs.iter().chain(&refreshed.pairs) {
        assert!(!world.is_active(client, &pair.access).await, "{client}");
        assert_eq!(code(world.refresh(client, pair.refresh()).await), "invalid_grant");
    }
}

#[tokio::test]
async fn tokens_from_before_and_after_a_switch_work_side_by_side() {
    let world = World::start().await;
    clients(&world, json!({})).await;
    let stored = Given::by(&world, "alice").await;
    switch(&world, false).await;
    let unstored = Given::by(&world, "alice").await;
    switch(&world, true).await;
    let stored_again = Given::by(&world, "bob").await;
    for given in [&stored, &unstored, &stored_again] {
        given.assert_active(&world, true).await;
    }
    // Each can be ended by its own client, and ends alone.
    for given in [&stored, &unstored] {
        for (client, token) in &given.own {
            world.grants.revoke(&secret_of(client), token, world.requests.next()).await.unwrap();
            assert!(!world.is_active(client, token).await);
        }
    }
    for (client, pair) in stored.pairs.iter().chain(&unstored.pairs) {
        assert!(world.is_active(client, &pair.access).await);
    }
}

#[tokio::test]
async fn the_previous_token_of_a_slot_ends_when_a_new_one_is_issued() {
    let world = World::start().await;
    clients(&world, json!({ "active_token_policy": "replace" })).await;
    for format in FORMATS {
        let client = own_of(format);
        let stored = token(&world, &client).await;
        switch(&world, false).await;
        let first = token(&world, &client).await;
        assert!(!world.is_active(&client, &stored).await);
        let second = token(&world, &client).await;
        assert!(!world.is_active(&client, &first).await);
        assert!(world.is_active(&client, &second).await);
        switch(&world, true).await;
    }
    let entries = world.store.revocation_list(Position(0), 100).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == LogKind::Slot).count(), 4);
}

#[tokio::test]
async fn ending_a_grant_ends_its_tokens() {
    let world = world().await;
    for format in FORMATS {
        let client = users_of(format);
        for by_administrator in [true, false] {
            let pair = world.pair(&client, "alice").await;
            let other = world.pair(&client, "alice").await;
            world.wait(60);
            let next = world.refresh(&client, pair.refresh()).await.unwrap();
            if by_administrator {
                let target = world.grants.revocation_target(next.refresh()).unwrap();
                revoke(&world, target).await;
            } else {
                world
                    .grants
                    .revoke(&secret_of(&client), pair.refresh(), world.requests.next())
                    .await
                    .unwrap();
            }
            for token in [&pair.access, &next.access, pair.refresh(), next.refresh()] {
                assert!(!world.is_active(&client, token).await);
            }
            assert_eq!(code(world.refresh(&client, next.refresh()).await), "invalid_grant");
            assert!(world.is_active(&client, &other.access).await);
            assert!(world.refresh(&client, other.refresh()).await.is_ok());
        }
    }
}

#[tokio::test]
async fn ending_a_grant_that_was_never_refreshed_ends_its_tokens() {
    let world = world().await;
    let client = users_of("jwt");
    let pair = world.pair(&client, "alice").await;
    world.grants.revoke(&secret_of(&client), pair.refresh(), world.requests.next()).await.unwrap();
    assert!(!world.is_active(&client, &pair.access).await);
    assert_eq!(code(world.refresh(&client, pair.refresh()).await), "invalid_grant");
    assert_eq!(rows(&world).await, (0, 0));
}

#[tokio::test]
async fn ending_a_client_or_a_subject_ends_what_it_has() {
    let world = world().await;
    for format in FORMATS {
        let client = users_of(format);
        let (alice, bob) = (world.pair(&client, "alice").await, world.pair(&client, "bob").await);
        revoke(&world, RevocationTarget::Subject("alice".parse().unwrap())).await;
        assert!(!world.is_active(&client, &alice.access).await);
        assert_eq!(code(world.refresh(&client, alice.refresh()).await), "invalid_grant");
        assert!(world.is_active(&client, &bob.access).await);
        revoke(&world, RevocationTarget::Client(client.parse().unwrap())).await;
        assert!(!world.is_active(&client, &bob.access).await);
        assert_eq!(code(world.refresh(&client, bob.refresh()).await), "invalid_grant");
    }
}

#[tokio::test]
async fn a_revocation_does_not_end_a_token_issued_after_it_in_the_same_second() {
    let world = world().await;
    for format in FORMATS {
        let client = own_of(format);
        let before = token(&world, &client).await;
        revoke(&world, RevocationTarget::Client(client.parse().unwrap())).await;
        let after = token(&world, &client).await;
        assert!(!world.is_active(&client, &before).await);
        assert!(world.is_active(&client, &after).await);
    }
}

#[tokio::test]
async fn a_token_of_another_client_cannot_be_ended() {
    let world = world().await;
    for format in FORMATS {
        let (own, pair) =
            (token(&world, &own_of(format)).await, world.pair(&users_of(format), "alice").await);
        for text in [&own, &pair.access, pair.refresh()] {
            let answer = world.grants.revoke(&secret_of(&own_of("jwt")), text, world.requests.next()).await;
            assert!(format == "jwt" && *text == own || code(answer) == "unauthorized_client");
        }
    }
}

#[tokio::test]
async fn a_spent_refresh_token_ends_the_grant_and_a_retry_gets_the_same_successor() {
    let world = world().await;
    for format in FORMATS {
        let client = users_of(format);
        let first = world.pair(&client, "alice").await;
        let second = world.refresh(&client, first.refresh()).await.unwrap();
        let retried = world.refresh(&client, first.refresh()).await.unwrap();
        assert_eq!(retried.refresh(), second.refresh());
        world.wait(31);
        let third = world.refresh(&client, second.refresh()).await.unwrap();
        world.wait(31);
        assert_eq!(code(world.refresh(&client, second.refresh()).await), "invalid_grant");
        assert_eq!(code(world.refresh(&client, third.refresh()).await), "invalid_grant");
        assert!(!world.is_active(&client, &third.access).await);
    }
    assert_eq!(world.audit("grant.reuse").await.len(), 2);
    assert_eq!(rows(&world).await, (0, 2));
}

#[tokio::test]
async fn two_nodes_cannot_both_spend_a_refresh_token() {
    let here = world().await;
    let there = World::node(Arc::clone(&here.store), Arc::clone(&here.clock), unstored(), 3).await;
    let client = users_of("opaque");
    let pair = here.pair(&client, "alice").await;
    let (one, two) =
        tokio::join!(here.refresh(&client, pair.refresh()), there.refresh(&client, pair.refresh()));
    assert_eq!(one.unwrap().refresh(), two.unwrap().refresh());
}

#[tokio::test]
async fn a_refresh_token_that_is_not_rotated_costs_no_write() {
    let world = World::with(unstored()).await;
    clients(&world, json!({ "refresh_token_rotation": "never" })).await;
    let client = users_of("jwt");
    let mut pair = world.pair(&client, "alice").await;
    let first = pair.clone();
    for _ in 0..5 {
        world.wait(7_100);
        let before = world.store.calls();
        pair = world.refresh(&client, pair.refresh()).await.unwrap();
        assert_eq!(world.store.calls() - before, 2, "the client and the grant are read");
        assert!(world.is_active(&client, &pair.access).await);
    }
    assert_eq!(rows(&world).await, (0, 0));
    assert_eq!(
        code(world.refresh(&client, first.refresh()).await),
        "invalid_grant",
        "nobody used it for long"
    );
    world.wait(501);
    assert_eq!(code(world.refresh(&client, pair.refresh()).await), "invalid_grant", "the absolute end");
}

#[tokio::test]
async fn under_replace_a_refresh_ends_the_previous_access_token() {
    for rotation in ["always", "never"] {
        let world = World::with(unstored()).await;
        clients(&world, json!({ "active_token_policy": "replace", "refresh_token_rotation": rotation }))
            .await;
        for format in FORMATS {
            let client = users_of(format);
            let first = world.pair(&client, "alice").await;
            world.wait(60);
            let second = world.refresh(&client, first.refresh()).await.unwrap();
            assert!(!world.is_active(&client, &first.access).await, "{rotation}, {format}");
            assert!(world.is_active(&client, &second.access).await, "{rotation}, {format}");
            world.wait(60);
            assert!(world.refresh(&client, second.refresh()).await.is_ok(), "{rotation}, {format}");
            assert!(!world.is_active(&client, &second.access).await, "{rotation}, {format}");
        }
    }
}

#[tokio::test]
async fn a_grant_without_a_row_lives_no_longer_than_rules_are_remembered() {
    let world = world().await;
    let client = users_of("opaque");
    let pair = world.pair(&client, "alice").await;
    let shorter = json!({ "tokens": { "refresh_token_lifetime": "2h", "refresh_token_idle": "1h" } });
    let Value::Object(shorter) = shorter else { unreachable!() };
    assert!(world.grants.settings_update(&shorter, None, &Actor::host()).await.is_ok());
    world.wait(3_600);
    assert_eq!(code(world.refresh(&client, pair.refresh()).await), "invalid_grant");
}

#[tokio::test]
async fn a_changed_token_is_refused_without_a_look_up() {
    let world = world().await;
    let pair = world.pair(&users_of("opaque"), "alice").await;
    for text in [pair.access.as_str(), pair.refresh()] {
        for at in [4, 6, 30, text.len() / 2, text.len() - 1] {
            let mut damaged = text.as_bytes().to_vec();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            let before = world.store.calls();
            assert!(!world.is_active(&users_of("opaque"), &damaged).await);
            assert_eq!(world.store.calls() - before, 1, "the caller alone is read");
        }
        let other_kind = if text.starts_with("gta_") { "gtr_" } else { "gta_" };
        let renamed = format!("{other_kind}{}", &text[4..]);
        assert!(!world.is_active(&users_of("opaque"), &renamed).await);
    }
}

#[tokio::test]
async fn an_administrator_is_told_that_a_token_is_not_stored() {
    let world = world().await;
    for format in FORMATS {
        let pair = world.pair(&users_of(format), "alice").await;
        let token = world.grants.inspect(&pair.access).await.unwrap();
        assert!(token.active && token.explanation.contains("not stored"), "{}", token.explanation);
        assert!(token.token.unwrap().stored.contains("mode none"));
        let refresh_token = world.grants.inspect(pair.refresh()).await.unwrap();
        assert!(refresh_token.active, "{}", refresh_token.explanation);
        let target = world.grants.revocation_target(&pair.access).unwrap();
        revoke(&world, target).await;
        assert!(!world.grants.inspect(&pair.access).await.unwrap().active);
    }
}

#[tokio::test]
async fn a_jwt_says_what_a_verifier_needs_to_judge_it_by_the_log() {
    let world = World::start().await;
    clients(&world, json!({})).await;
    for enable in [true, false] {
        switch(&world, enable).await;
        let pair = world.pair(&users_of("jwt"), &format!("alice-{enable}")).await;
        let claims = pair.access.split('.').nth(1).and_then(from_base64url).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["grantry_stored"], if enable { "row" } else { "none" });
        assert!(claims["grantry_seen"].as_array().is_some_and(|seen| seen.len() == 2));
        assert_eq!(from_base64url(claims["grantry_slot"].as_str().unwrap()).unwrap().len(), 32);
        assert!(claims["grantry_grant"].is_string() && claims.get("sid").is_none());
    }
}

#[tokio::test]
async fn a_client_may_go_without_rows_where_the_others_have_them() {
    let world = World::start().await;
    clients(&world, json!({})).await;
    world.client("light", json!({ "persistence": "none" })).await;
    let pair = world.pair("light", "alice").await;
    assert_eq!(rows(&world).await, (0, 0));
    assert!(world.is_active("light", &pair.access).await);
    token(&world, &own_of("jwt")).await;
    assert_eq!(rows(&world).await, (1, 0));
}

#[tokio::test]
async fn a_server_without_a_queue_does_not_take_the_mode_that_needs_one() {
    let world = World::start().await;
    let Value::Object(patch) = json!({ "token_persistence": { "pool_size": 2 } }) else { unreachable!() };
    let refused = world.grants.settings_update(&patch, None, &Actor::host()).await;
    let Err(SettingsAdminError::Invalid(invalid)) = refused else { panic!("not refused") };
    assert_eq!(invalid.key, "token_persistence.pool_size");
    assert!(invalid.problem.contains("restart"), "{}", invalid.problem);
}

#[tokio::test]
async fn another_clients_refresh_token_without_a_row_is_refused_and_recorded() {
    let world = world().await;
    let pair = world.pair(&users_of("jwt"), "alice").await;
    let answer = world.refresh(&users_of("opaque"), pair.refresh()).await;
    assert_eq!(refusal(answer).0, "invalid_grant");
    assert_eq!(world.audit("grant.foreign_client").await.len(), 1);
    assert!(world.refresh(&users_of("jwt"), pair.refresh()).await.is_ok());
}
