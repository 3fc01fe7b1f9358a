//! One test or more a step of `refresh.rs`.

use grantry_grants::{Credentials, GrantError, Proof};
use grantry_protocol::{
    AccessTokenFormat, ActiveTokenPolicy, GrantId, GrantState, GrantType, ScopeSet, Secret, TokenState,
    Wanted,
};
use grantry_store::{Fault, Grants, Outage, StoreError, Tokens};
use serde_json::json;

use crate::mint;
use crate::world::{Pair, World, code, public, refusal, secret_of, wanted};

const INVALID: (&str, &str) = ("invalid_grant", "the refresh token is not valid");

#[track_caller]
fn assert_invalid(answer: Result<Pair, GrantError>) {
    let (code, description) = refusal(answer);
    assert_eq!((code, description.as_str()), INVALID);
}

async fn world() -> World {
    let world = World::start().await;
    world.client("app", json!({})).await;
    world
}

/// The only grant of the subject.
async fn grant_of(world: &World, subject: &str) -> GrantId {
    let all = world.store.grant_list(&subject.parse().unwrap(), None, 10).await.unwrap();
    assert_eq!(all.len(), 1);
    all[0].grant.id
}

async fn state_of(world: &World, grant: GrantId) -> (GrantState, u32) {
    let stored = world.store.grant_find(grant).await.unwrap().unwrap();
    (stored.state(world.now()), stored.grant.counter)
}

#[tokio::test]
async fn step_1_the_client_is_authenticated_and_nothing_is_told_before() {
    let world = world().await;
    let pair = world.pair("app", "alice").await;
    for wrong in [
        Credentials { client_id: "app".into(), proof: Proof::Basic(Secret::new("wrong")) },
        Credentials { client_id: "nobody".into(), proof: Proof::Basic(Secret::new("wrong")) },
        public("app"),
    ] {
        for token in [pair.refresh(), "gtr_forged"] {
            let answer = world.refresh_as(&wrong, token, Wanted::default()).await;
            assert_eq!(refusal(answer), ("invalid_client", "client authentication failed".to_owned()));
        }
    }
    assert!(world.refresh("app", pair.refresh()).await.is_ok());
}

#[tokio::test]
async fn step_1_a_refresh_token_that_is_not_ours_is_refused_without_a_look_up() {
    let world = world().await;
    let good = world.pair("app", "alice").await;
    let mut damaged = good.refresh().to_owned().into_bytes();
    damaged[20] = if damaged[20] == b'A' { b'B' } else { b'A' };
    let damaged = String::from_utf8(damaged).unwrap();
    for text in ["", "gtr_", "gtr_AAAA", &damaged, &good.access, &good.refresh().replace("gtr_", "gta_")] {
        let before = world.store.calls();
        assert_invalid(world.refresh("app", text).await);
        assert_eq!(world.store.calls() - before, 1, "the client alone is read");
    }
}

#[tokio::test]
async fn a_refresh_costs_two_reads_and_one_write() {
    let world = world().await;
    let pair = world.pair("app", "alice").await;
    let before = world.store.calls();
    world.refresh("app", pair.refresh()).await.unwrap();
    assert_eq!(world.store.calls() - before, 3);
}

#[tokio::test]
async fn step_2_a_client_that_may_not_refresh_is_refused() {
    let world = world().await;
    let pair = world.pair("app", "alice").await;
    world.update("app", |metadata| metadata.grant_types = vec![GrantType::JwtBearer]).await;
    assert!(world.refresh("app", pair.refresh()).await.is_ok(), "whoever opted in may");
    world.update("app", |metadata| metadata.jwt_bearer_refresh = false).await;
    assert_eq!(code(world.refresh("app", pair.refresh()).await), "unauthorized_client");
}

#[tokio::test]
async fn step_3_another_clients_refresh_token_is_refused_and_recorded_and_the_grant_stays() {
    let world = world().await;
    world.client("thief", json!({})).await;
    world.client("public", json!({ "token_endpoint_auth_method": "none" })).await;
    let first = world.pair("app", "alice").await;
    let second = world.refresh("app", first.refresh()).await.unwrap();
    world.wait(3600);
    let grant = grant_of(&world, "alice").await;
    let before = world.store.grant_find(grant).await.unwrap();
    // The current one, and a spent one that would end the grant in its own client's hands.
    for token in [second.refresh(), first.refresh()] {
        assert_invalid(world.refresh("thief", token).await);
        assert_invalid(world.refresh_as(&public("public"), token, Wanted::default()).await);
    }
    assert_eq!(world.store.grant_find(grant).await.unwrap(), before);
    let recorded = world.audit("grant.foreign_client").await;
    assert_eq!(recorded.len(), 2, "once an hour for each client");
    assert_eq!((recorded[0].actor.as_str(), recorded[0].target.clone()), ("thief", grant.to_string()));
    assert!(recorded[0].request_id.is_some());
    assert!(world.refresh("app", second.refresh()).await.is_ok());
}

#[tokio::test]
async fn step_3_a_grant_that_is_over_or_unknown_is_refused_alike() {
    let world = world().await;
    let (ended, idle) = (world.pair("app", "alice").await, world.pair("app", "bob").await);
    let grant = grant_of(&world, "alice").await;
    let unknown = {
        let other = self::world().await;
        other.wait(1);
        other.pair("app", "nobody").await
    };
    world.grants.revoke(&secret_of("app"), ended.refresh(), world.requests.next()).await.unwrap();
    assert_eq!(state_of(&world, grant).await, (GrantState::Revoked, 0));
    assert_invalid(world.refresh("app", ended.refresh()).await);
    assert_invalid(world.refresh("app", unknown.refresh()).await);
    world.wait(7_199);
    let refreshed = world.refresh("app", idle.refresh()).await.unwrap();
    world.wait(7_200);
    assert_invalid(world.refresh("app", refreshed.refresh()).await);
}

#[tokio::test]
async fn a_grant_ends_at_its_absolute_lifetime_however_often_it_is_refreshed() {
    let world = world().await;
    let mut pair = world.pair("app", "alice").await;
    for _ in 0..5 {
        world.wait(7_000);
        pair = world.refresh("app", pair.refresh()).await.unwrap();
    }
    world.wait(1_000);
    assert_invalid(world.refresh("app", pair.refresh()).await);
}

#[tokio::test]
async fn step_4_the_scope_can_be_narrowed_and_not_widened() {
    let world = world().await;
    let mut pair = world.pair("app", "alice").await;
    assert_eq!(pair.scope, "read write");
    let narrow = world.refresh_for("app", pair.refresh(), wanted("read", &[])).await.unwrap();
    assert_eq!(narrow.scope, "read");
    // The grant keeps all of it (RFC 6749 §6).
    pair = world.refresh("app", narrow.refresh()).await.unwrap();
    assert_eq!(pair.scope, "read write");
    world.update("app", |metadata| metadata.scope = ScopeSet::parse("read write admin").unwrap()).await;
    let wider = world.refresh_for("app", pair.refresh(), wanted("read admin", &[])).await;
    assert_eq!(code(wider), "invalid_scope");
    assert!(world.refresh("app", pair.refresh()).await.is_ok(), "the refused request spent nothing");
}

#[tokio::test]
async fn step_4_what_the_client_is_no_longer_registered_for_does_not_come_out() {
    let world = world().await;
    let pair = world.pair("app", "alice").await;
    world.update("app", |metadata| metadata.scope = ScopeSet::parse("read").unwrap()).await;
    assert_eq!(code(world.refresh_for("app", pair.refresh(), wanted("write", &[])).await), "invalid_scope");
    let pair = world.refresh("app", pair.refresh()).await.unwrap();
    assert_eq!(pair.scope, "read");
    world.update("app", |metadata| metadata.scope = ScopeSet::parse("other").unwrap()).await;
    assert_eq!(code(world.refresh("app", pair.refresh()).await), "invalid_scope");
}

#[tokio::test]
async fn step_4_the_resource_can_be_narrowed_and_not_widened() {
    const A: &str = "https://a.example/";
    const B: &str = "https://b.example/";
    let world = world().await;
    let assertion = world.signer.sign(&world.claims("app", "alice"));
    let pair = world.bearer("app", &assertion, wanted("", &[A, B])).await.unwrap();
    let pair = world.refresh_for("app", pair.refresh(), wanted("", &[A])).await.unwrap();
    let id = world.id_of("app", &pair.access).await;
    let stored = world.store.token_find(id).await.unwrap().unwrap();
    assert_eq!(stored.token.audience.names(), [A]);
    let wider = world.refresh_for("app", pair.refresh(), wanted("", &[A, "https://c.example/"])).await;
    assert_eq!(code(wider), "invalid_target");
    // The client loses one of them, then both.
    world.update("app", |metadata| metadata.allowed_resources = Some(vec![B.to_owned()])).await;
    assert_eq!(code(world.refresh_for("app", pair.refresh(), wanted("", &[A])).await), "invalid_target");
    let pair = world.refresh("app", pair.refresh()).await.unwrap();
    let id = world.id_of("app", &pair.access).await;
    assert_eq!(world.store.token_find(id).await.unwrap().unwrap().token.audience.names(), [B]);
    world.update("app", |metadata| metadata.allowed_resources = Some(Vec::new())).await;
    assert_eq!(code(world.refresh("app", pair.refresh()).await), "invalid_target");
    // The configuration's own audience is nobody's to lose.
    let pair = world.pair("app", "bob").await;
    assert!(world.refresh("app", pair.refresh()).await.is_ok());
}

#[tokio::test]
async fn step_5_the_new_token_is_of_the_grant_and_in_the_slot_that_it_was_opened_for() {
    let world = world().await;
    world.client("each", json!({ "slot_binding": "grant" })).await;
    for client in ["app", "each"] {
        let subject = format!("alice of {client}");
        let pair = world.pair(client, &subject).await;
        let grant = grant_of(&world, &subject).await;
        let first = world.store.token_find(world.id_of(client, &pair.access).await).await.unwrap().unwrap();
        // The client's setting of today does not matter.
        world.update(client, |metadata| metadata.slot_binding = grantry_protocol::SlotBinding::None).await;
        let pair = world.refresh(client, pair.refresh()).await.unwrap();
        let second = world.store.token_find(world.id_of(client, &pair.access).await).await.unwrap().unwrap();
        assert_eq!(second.token.slot, first.token.slot);
        assert_eq!(second.token.authority, first.token.authority);
        assert_eq!(second.token.authority.grant, Some(grant));
        let first = world.store.token_find(first.token.id).await.unwrap().unwrap();
        assert_eq!(first.state(world.now()), TokenState::Retired, "the previous one lives until it expires");
    }
}

#[tokio::test]
async fn step_5_under_replace_the_previous_access_token_ends_and_a_jwt_is_a_jwt() {
    let world = world().await;
    world
        .update("app", |metadata| {
            metadata.active_token_policy = Some(ActiveTokenPolicy::Replace);
            metadata.access_token_format = AccessTokenFormat::Jwt;
        })
        .await;
    let first = world.pair("app", "alice").await;
    assert!(world.is_active("app", &first.access).await);
    let second = world.refresh("app", first.refresh()).await.unwrap();
    assert!(second.access.starts_with("ey"));
    assert!(world.is_active("app", &second.access).await);
    assert!(!world.is_active("app", &first.access).await);
}

#[tokio::test]
async fn step_6_equal_rotates_and_gives_a_new_access_token() {
    let world = world().await;
    let mut pair = world.pair("app", "alice").await;
    let grant = grant_of(&world, "alice").await;
    for counter in 1..=3 {
        let next = world.refresh("app", pair.refresh()).await.unwrap();
        assert_ne!(next.access, pair.access);
        assert_ne!(next.refresh, pair.refresh);
        assert_eq!(state_of(&world, grant).await, (GrantState::Active, counter));
        pair = next;
    }
}

#[tokio::test]
async fn step_6_under_never_the_refresh_token_stays_and_the_access_token_is_new() {
    let world = world().await;
    world.client("fapi", json!({ "refresh_token_rotation": "never" })).await;
    let first = world.pair("fapi", "alice").await;
    let mut seen = vec![first.access.clone()];
    for _ in 0..3 {
        world.wait(7_000);
        let next = world.refresh("fapi", first.refresh()).await.unwrap();
        assert_eq!(next.refresh, first.refresh);
        assert!(!seen.contains(&next.access));
        seen.push(next.access);
    }
    assert_eq!(state_of(&world, grant_of(&world, "alice").await).await, (GrantState::Active, 0));
}

#[tokio::test]
async fn step_6_behind_by_one_within_the_grace_gives_the_same_pair_again() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let second = world.refresh("app", first.refresh()).await.unwrap();
    world.wait(30);
    let again = world.refresh("app", first.refresh()).await.unwrap();
    assert_eq!((&again.access, &again.refresh), (&second.access, &second.refresh));
    assert_eq!(again.expires_in, second.expires_in - 30);
    assert_eq!(state_of(&world, grant_of(&world, "alice").await).await, (GrantState::Active, 1));
}

#[tokio::test]
async fn step_6_a_repeat_does_not_hand_out_an_access_token_that_was_revoked_or_is_for_something_else() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let second = world.refresh("app", first.refresh()).await.unwrap();
    let narrow = world.refresh_for("app", first.refresh(), wanted("read", &[])).await.unwrap();
    assert_eq!((narrow.scope.as_str(), &narrow.refresh), ("read", &second.refresh));
    world.grants.revoke(&secret_of("app"), &second.access, world.requests.next()).await.unwrap();
    let again = world.refresh("app", first.refresh()).await.unwrap();
    assert_eq!(again.refresh, second.refresh);
    assert_ne!(again.access, second.access);
    assert!(world.is_active("app", &again.access).await);
}

#[tokio::test]
async fn step_6_a_lost_answer_logs_nobody_out() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let outage = || StoreError::unavailable(Outage::Io, "injected");
    for fault in [Fault::Before(outage()), Fault::After(outage())] {
        world.store.fail_writes([Some(fault)]);
        let answer = world.refresh("app", first.refresh()).await;
        assert!(matches!(answer, Err(GrantError::Unavailable(_))));
    }
    let retried = world.refresh("app", first.refresh()).await.unwrap();
    assert_eq!(state_of(&world, grant_of(&world, "alice").await).await, (GrantState::Active, 1));
    assert!(world.refresh("app", retried.refresh()).await.is_ok());
}

#[tokio::test]
async fn step_6_two_tabs_at_once_get_the_same_pair() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let (one, other) =
        tokio::join!(world.refresh("app", first.refresh()), world.refresh("app", first.refresh()));
    assert_eq!(one, other);
    assert_eq!(state_of(&world, grant_of(&world, "alice").await).await, (GrantState::Active, 1));
}

#[tokio::test]
async fn step_6_behind_by_two_within_the_grace_is_refused_and_nothing_ends() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let second = world.refresh("app", first.refresh()).await.unwrap();
    let third = world.refresh("app", second.refresh()).await.unwrap();
    assert_invalid(world.refresh("app", first.refresh()).await);
    assert!(world.refresh("app", third.refresh()).await.is_ok());
}

#[tokio::test]
async fn step_6_behind_after_the_grace_ends_the_grant_and_its_access_tokens_and_is_recorded() {
    let world = world().await;
    let (first, other) = (world.pair("app", "alice").await, world.pair("app", "bob").await);
    let second = world.refresh("app", first.refresh()).await.unwrap();
    let grant = grant_of(&world, "alice").await;
    world.clock.advance(std::time::Duration::from_millis(30_001));
    assert_invalid(world.refresh("app", first.refresh()).await);
    assert_eq!(state_of(&world, grant).await, (GrantState::Revoked, 1));
    for token in [&first.access, &second.access, second.refresh(), first.refresh()] {
        assert!(!world.is_active("app", token).await);
    }
    assert_invalid(world.refresh("app", second.refresh()).await);
    let recorded = world.audit("grant.reuse").await;
    assert_eq!(recorded.len(), 1);
    assert_eq!((recorded[0].actor.as_str(), recorded[0].target.clone()), ("app", grant.to_string()));
    assert!(world.is_active("app", &other.access).await, "another grant of the client stays");
}

#[tokio::test]
async fn step_6_ahead_is_refused_and_never_called_reuse() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let grant = grant_of(&world, "alice").await;
    for ahead in [1, 2, u32::MAX] {
        let token = mint::refresh_token(&world, "app", grant, ahead).await;
        assert_invalid(world.refresh("app", &token).await);
        world.wait(60);
        assert_invalid(world.refresh("app", &token).await);
    }
    assert_eq!(state_of(&world, grant).await, (GrantState::Active, 0));
    assert!(world.audit("grant.reuse").await.is_empty());
    assert!(world.refresh("app", first.refresh()).await.is_ok());
}

#[tokio::test]
async fn an_outage_is_told_as_one() {
    let world = world().await;
    let pair = world.pair("app", "alice").await;
    world.store.fail_reads(Some(StoreError::unavailable(Outage::Busy, "injected")));
    for token in [pair.refresh(), "gtr_forged"] {
        assert!(matches!(world.refresh("app", token).await, Err(GrantError::Unavailable(_))));
    }
    world.store.fail_reads(None);
    assert!(world.refresh("app", pair.refresh()).await.is_ok());
}
