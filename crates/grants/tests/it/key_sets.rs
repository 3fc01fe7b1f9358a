//! One test or more a step of `key_sets.rs`, seen through jwt-bearer assertions.

use grantry_grants::{FetchError, GrantError};
use grantry_jose::Algorithm;
use grantry_protocol::Wanted;
use serde_json::json;

use crate::world::{Answer, START, TestSigner, World, code};

const URL: &str = "https://app.example/jwks";

async fn world() -> World {
    let world = World::start().await;
    world.client("app", json!({ "jwks": null, "jwks_uri": URL })).await;
    world
}

async fn bring(world: &World, signer: &TestSigner) -> Answer {
    let assertion = signer.sign(&world.claims("app", "alice"));
    world.bearer("app", &assertion, Wanted::default()).await
}

fn failed() -> Result<serde_json::Value, FetchError> {
    Err(FetchError::Failed("timeout".to_owned()))
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert!(matches!(answer, Err(GrantError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn step_1_an_inline_set_that_changes_is_never_taken_for_the_old_one() {
    let world = World::start().await;
    world.client("app", json!({})).await;
    assert!(bring(&world, &world.signer).await.is_ok());
    let new = TestSigner::new(Algorithm::EdDsa, "new");
    world.update("app", |metadata| metadata.jwks = Some(serde_json::from_value(new.jwks()).unwrap())).await;
    assert_eq!(code(bring(&world, &world.signer).await), "invalid_grant");
    assert!(bring(&world, &new).await.is_ok());
    // The same for a client that was deleted and made again under its old name.
    world.grants.client_delete(&"app".parse().unwrap(), &grantry_grants::Actor::host()).await.ok().unwrap();
    world.client("app", json!({})).await;
    assert_eq!(code(bring(&world, &new).await), "invalid_grant");
    assert!(bring(&world, &world.signer).await.is_ok());
}

#[tokio::test]
async fn step_1_the_keys_of_a_client_and_of_its_issuer_are_kept_apart() {
    let world = World::start().await;
    let idp = TestSigner::new(Algorithm::EdDsa, "shared");
    let issuer = json!({ "issuer": "https://idp.example", "jwks": idp.jwks() });
    let fields = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwt_bearer_issuer": issuer });
    world.client("app", fields).await;
    for _ in 0..2 {
        let proof = world.signer.sign(&world.claims("app", "app"));
        let credentials =
            grantry_grants::Credentials::from_assertion(grantry_protocol::Secret::new(proof), None);
        let assertion = idp.sign(&world.claims("https://idp.example", "alice"));
        let answer = world.bearer_as(&credentials.ok().unwrap(), &assertion, Wanted::default()).await;
        assert!(answer.is_ok());
    }
}

#[tokio::test]
async fn step_2_a_set_is_fetched_once_in_five_minutes() {
    let world = world().await;
    world.fetch.answer(Ok(world.signer.jwks()));
    for wait in [0, 150, 149] {
        world.wait(wait);
        assert!(bring(&world, &world.signer).await.is_ok());
    }
    assert_eq!(world.fetch.fetches(), 1);
    world.wait(1);
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
    assert_eq!(world.fetch.fetches(), 2);
}

#[tokio::test]
async fn step_2_a_key_that_was_withdrawn_is_not_good_after_the_five_minutes() {
    let world = world().await;
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
    world.wait(300);
    world.fetch.answer(Ok(TestSigner::new(Algorithm::EdDsa, "next").jwks()));
    assert_eq!(code(bring(&world, &world.signer).await), "invalid_grant");
}

#[tokio::test]
async fn step_2_who_comes_during_a_fetch_shares_it() {
    let world = world().await;
    for answer in [Ok(world.signer.jwks()), failed()] {
        let succeeds = answer.is_ok();
        world.fetch.answer(answer);
        let before = world.fetch.fetches();
        let open = world.fetch.gate.lock().await;
        let three = async {
            tokio::join!(
                bring(&world, &world.signer),
                bring(&world, &world.signer),
                bring(&world, &world.signer)
            )
        };
        let release = async {
            // All three have come as far as they can before this is polled again.
            tokio::task::yield_now().await;
            drop(open);
        };
        let ((one, two, three), ()) = tokio::join!(three, release);
        assert_eq!(world.fetch.fetches() - before, 1);
        for answer in [one, two, three] {
            assert_eq!(answer.is_ok(), succeeds);
        }
        // The copy is too old to make up for anything the second time.
        world.wait(3_601);
    }
}

#[tokio::test]
async fn step_3_a_failed_fetch_is_made_up_for_by_a_copy_of_at_most_an_hour() {
    let world = world().await;
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
    world.wait(3_600);
    world.fetch.answer(failed());
    assert!(bring(&world, &world.signer).await.is_ok());
    assert_eq!(world.fetch.fetches(), 2);
    world.wait(1);
    assert_unavailable(&bring(&world, &world.signer).await);
    world.wait(1);
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
}

#[tokio::test]
async fn step_3_a_source_that_fails_is_left_in_peace_for_a_while() {
    let world = world().await;
    world.fetch.answer(failed());
    assert_unavailable(&bring(&world, &world.signer).await);
    assert_unavailable(&bring(&world, &world.signer).await);
    assert_eq!(world.fetch.fetches(), 1);
    world.wait(1);
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
    // With a copy to go on with, for longer.
    world.wait(300);
    world.fetch.answer(failed());
    for wait in [0, 29] {
        world.wait(wait);
        assert!(bring(&world, &world.signer).await.is_ok());
    }
    assert_eq!(world.fetch.fetches(), 3);
    world.wait(1);
    assert!(bring(&world, &world.signer).await.is_ok());
    assert_eq!(world.fetch.fetches(), 4);
}

#[tokio::test]
async fn step_3_what_is_no_key_set_is_a_failed_fetch_and_an_address_that_is_not_allowed_a_refusal() {
    let world = world().await;
    for document in [json!("<html>"), json!({ "keys": [] }), json!({ "keys": [{ "kty": "oct", "k": "AA" }] })]
    {
        world.fetch.answer(Ok(document));
        assert_unavailable(&bring(&world, &world.signer).await);
        world.wait(1);
    }
    world.fetch.answer(Err(FetchError::Refused("169.254.169.254".to_owned())));
    let (code, description) = crate::world::refusal(bring(&world, &world.signer).await);
    assert_eq!(code, "invalid_grant");
    assert!(!description.contains("169"));
}

#[tokio::test]
async fn step_4_an_unknown_key_leads_to_one_more_fetch_in_thirty_seconds() {
    let world = world().await;
    let next = TestSigner::new(Algorithm::EdDsa, "next");
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
    // Too soon: the copy is a moment old.
    assert_eq!(code(bring(&world, &next).await), "invalid_grant");
    assert_eq!(world.fetch.fetches(), 1);
    world.wait(30);
    world.fetch.answer(Ok(json!({ "keys": [world.signer.jwk(), next.jwk()] })));
    assert!(bring(&world, &next).await.is_ok());
    assert!(bring(&world, &world.signer).await.is_ok());
    assert_eq!(world.fetch.fetches(), 2);
    let stranger = TestSigner::new(Algorithm::EdDsa, "stranger");
    for _ in 0..3 {
        assert_eq!(code(bring(&world, &stranger).await), "invalid_grant");
    }
    assert_eq!(world.fetch.fetches(), 2);
    // A refetch that fails takes nothing away.
    world.wait(30);
    world.fetch.answer(failed());
    assert_eq!(code(bring(&world, &stranger).await), "invalid_grant");
    assert!(bring(&world, &next).await.is_ok());
    assert_eq!(world.fetch.fetches(), 3);
}

#[tokio::test]
async fn step_4_nobody_else_waits_for_the_fetch_of_an_unknown_key() {
    let world = world().await;
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
    world.wait(30);
    let open = world.fetch.gate.lock().await;
    let stranger = TestSigner::new(Algorithm::EdDsa, "stranger");
    let good = async {
        let answer = bring(&world, &world.signer).await;
        drop(open);
        answer
    };
    let (refused, good) = tokio::join!(bring(&world, &stranger), good);
    assert!(good.is_ok());
    assert_eq!(code(refused), "invalid_grant");
    assert_eq!(world.fetch.fetches(), 2);
}

#[tokio::test]
async fn a_clock_that_went_back_makes_no_copy_young() {
    let world = world().await;
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
    world.clock.set(START.saturating_sub(std::time::Duration::from_secs(1)));
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(bring(&world, &world.signer).await.is_ok());
    assert_eq!(world.fetch.fetches(), 2);
}
