//! The issuer's keys come and go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use grantry_jose::Algorithm;
use grantry_verifier::{Outage, Reason, Refusal};
use serde_json::json;

use crate::issuer::{Issuer, header, key, lock, sign};
use crate::wait;

const BETWEEN_FETCHES: Duration = Duration::from_secs(10);

fn is_out_of(refusal: &Refusal, what: Outage) -> bool {
    matches!(refusal, Refusal::Unavailable { because, .. } if *because == what)
}

/// Lets time pass, and the verifier get over it.
async fn pass(issuer: &Issuer, verifier: &grantry_verifier::Verifier, span: Duration) {
    issuer.clocks.advance(span);
    wait::until("a new proof", async || verifier.is_ready()).await;
}

#[tokio::test]
async fn a_new_key_is_fetched_when_it_is_met_and_one_that_has_left_verifies_nothing_more() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let old = issuer.token();
    verifier.check(&old).await.unwrap();
    let next = key(Algorithm::Es256);
    let new = sign(&next, &header(&next), &issuer.claims());
    *lock(&issuer.script.jwks) = json!({ "keys": [next.jwk()] });
    pass(&issuer, &verifier, BETWEEN_FETCHES).await;
    verifier.check(&new).await.unwrap();
    assert_eq!(verifier.check(&old).await.unwrap_err(), Refusal::Invalid(Reason::UnknownKey));
}

#[tokio::test]
async fn keys_that_nobody_has_cost_a_fetch_in_ten_seconds() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let fetches = || issuer.script.jwks_fetches.load(Ordering::SeqCst);
    pass(&issuer, &verifier, BETWEEN_FETCHES).await;
    let before = fetches();
    for _ in 0..20 {
        let stranger = key(Algorithm::EdDsa);
        let token = sign(&stranger, &header(&stranger), &issuer.claims());
        assert_eq!(verifier.check(&token).await.unwrap_err(), Refusal::Invalid(Reason::UnknownKey));
    }
    assert_eq!(fetches(), before + 1);
}

#[tokio::test]
async fn whether_a_key_is_known_cannot_be_told_while_the_issuer_does_not_say() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    issuer.script.jwks_is_down.store(true, Ordering::SeqCst);
    pass(&issuer, &verifier, BETWEEN_FETCHES).await;
    let stranger = key(Algorithm::EdDsa);
    let token = sign(&stranger, &header(&stranger), &issuer.claims());
    assert!(is_out_of(&verifier.check(&token).await.unwrap_err(), Outage::Keys));
    verifier.check(&issuer.token()).await.unwrap();
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_are_good_for_an_hour_and_not_longer() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    issuer.script.jwks_is_down.store(true, Ordering::SeqCst);
    pass(&issuer, &verifier, Duration::from_millis(3_599_999)).await;
    verifier.check(&issuer.token()).await.unwrap();
    issuer.clocks.advance(Duration::from_millis(1));
    let token = issuer.token();
    assert!(is_out_of(&verifier.check(&token).await.unwrap_err(), Outage::Keys));
    assert!(!verifier.is_ready());
}

#[tokio::test]
async fn a_set_without_keys_is_taken_for_what_it_says() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    verifier.check(&issuer.token()).await.unwrap();
    *lock(&issuer.script.jwks) = json!({ "keys": [] });
    pass(&issuer, &verifier, BETWEEN_FETCHES).await;
    let stranger = key(Algorithm::EdDsa);
    let foreign = sign(&stranger, &header(&stranger), &issuer.claims());
    assert_eq!(verifier.check(&foreign).await.unwrap_err(), Refusal::Invalid(Reason::UnknownKey));
    assert_eq!(verifier.check(&issuer.token()).await.unwrap_err(), Refusal::Invalid(Reason::UnknownKey));
}

#[tokio::test]
async fn the_metadata_of_another_issuer_is_not_taken() {
    let issuer = Issuer::start().await;
    *lock(&issuer.script.issuer) = "https://other.example".to_owned();
    let verifier = issuer.verifier(issuer.settings());
    let is_read_again = async || issuer.script.metadata_reads.load(Ordering::SeqCst) >= 4;
    wait::until("the metadata is asked for again and again", is_read_again).await;
    assert!(is_out_of(&verifier.check(&issuer.token()).await.unwrap_err(), Outage::Keys));
    assert_eq!(issuer.script.jwks_fetches.load(Ordering::SeqCst), 0, "nor where it leads");
    *lock(&issuer.script.issuer) = issuer.url.clone();
    wait::until("the right metadata", async || verifier.is_ready()).await;
}
