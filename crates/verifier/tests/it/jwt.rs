//! What a JWT has to be.

use std::time::Duration;

use grantry_jose::{Algorithm, base64url};
use grantry_verifier::{Reason, Refusal};
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Issuer, header, key, sign};

#[tokio::test]
async fn a_good_token_is_accepted_and_says_what_it_says() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let verified = verifier.check(&issuer.token()).await.unwrap();
    assert_eq!((verified.subject(), verified.client_id(), verified.scope()), ("ann", "app", "read write"));
    assert_eq!(verified.audiences(), [AUDIENCE]);
    assert_eq!(verified.expires_at(), issuer.clocks.now() + Duration::from_secs(600));
    assert!(verified.has_scope("write read") && !verified.has_scope("admin") && !verified.has_scope("rea"));
    assert_eq!(verified.claims::<Value>().unwrap()["grantry_stored"], "row");
}

#[tokio::test]
async fn each_claim_has_to_be_right() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let now = issuer.clocks.now().as_secs();
    let without = Value::Null;
    let table = [
        ("iss", json!("https://other.example"), Some(Reason::Issuer)),
        ("iss", json!(format!("{}/", issuer.url)), Some(Reason::Issuer)),
        ("iss", without.clone(), Some(Reason::Issuer)),
        ("aud", json!("https://other.example"), Some(Reason::Audience)),
        ("aud", json!([]), Some(Reason::Audience)),
        ("aud", without.clone(), Some(Reason::Audience)),
        ("aud", json!(["https://other.example", AUDIENCE]), None),
        ("aud", json!({"a": 1}), Some(Reason::Claims)),
        ("sub", without.clone(), Some(Reason::Claims)),
        ("client_id", without.clone(), Some(Reason::Claims)),
        ("jti", without.clone(), Some(Reason::Claims)),
        ("jti", json!("1"), Some(Reason::Claims)),
        ("scope", without.clone(), None),
        ("exp", without.clone(), Some(Reason::Claims)),
        ("exp", json!(now.to_string()), Some(Reason::Claims)),
        ("exp", json!(now - 5), Some(Reason::Expired)),
        ("exp", json!(now - 4), None),
        ("iat", without.clone(), Some(Reason::Claims)),
        ("iat", json!(now + 5), None),
        ("iat", json!(now + 6), Some(Reason::NotYet)),
        ("nbf", json!(now + 5), None),
        ("nbf", json!(now + 6), Some(Reason::NotYet)),
        ("cnf", json!({"jkt": "a"}), Some(Reason::SenderConstrained)),
        ("grantry_seen", without.clone(), Some(Reason::Unfollowable)),
        ("grantry_seen", json!([1]), Some(Reason::Claims)),
        ("grantry_slot", without.clone(), Some(Reason::Unfollowable)),
        ("grantry_slot", json!("AAAA"), Some(Reason::Unfollowable)),
        ("grantry_grant", without.clone(), None),
        ("grantry_grant", json!("1"), Some(Reason::Claims)),
        ("sid", without, None),
    ];
    for (name, value, refused) in table {
        let token = issuer.token_with(|claims| match &value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        });
        let outcome = verifier.check(&token).await.map(drop);
        let expected = refused.map_or(Ok(()), |reason| Err(Refusal::Invalid(reason)));
        assert_eq!(outcome, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_claim_twice_is_refused() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let claims = issuer.claims().to_string().replacen('{', r#"{"sub":"eve","#, 1);
    let signed = format!("{}.{}", base64url(header(&issuer.key).to_string()), base64url(claims));
    let signature = issuer.key.sign(signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", base64url(signature));
    assert_eq!(verifier.check(&token).await.unwrap_err(), Refusal::Invalid(Reason::Claims));
}

#[tokio::test]
async fn type_algorithm_and_key_have_to_be_right() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let (stranger, kid) = (key(Algorithm::EdDsa), issuer.key.kid());
    let table = [
        (&issuer.key, json!({"alg": "EdDSA", "typ": "application/at+jwt", "kid": kid}), None),
        (&issuer.key, json!({"alg": "EdDSA", "typ": "JWT", "kid": kid}), Some(Reason::Type)),
        (&issuer.key, json!({"alg": "EdDSA", "kid": kid}), Some(Reason::Type)),
        (&issuer.key, json!({"alg": "none", "typ": "at+jwt", "kid": kid}), Some(Reason::Algorithm)),
        (&issuer.key, json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}), Some(Reason::Algorithm)),
        (&issuer.key, json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}), Some(Reason::Algorithm)),
        (&issuer.key, json!({"alg": "EdDSA", "typ": "at+jwt"}), Some(Reason::Malformed)),
        (&stranger, header(&stranger), Some(Reason::UnknownKey)),
        (&stranger, header(&issuer.key), Some(Reason::Signature)),
    ];
    for (key, header, refused) in table {
        let outcome = verifier.check(&sign(key, &header, &issuer.claims())).await.map(drop);
        let expected = refused.map_or(Ok(()), |reason| Err(Refusal::Invalid(reason)));
        assert_eq!(outcome, expected, "{header}");
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_listed_is_refused() {
    let issuer = Issuer::start().await;
    let mut settings = issuer.settings();
    settings.algorithms = vec![Algorithm::Es256];
    let verifier = issuer.verifier(settings);
    crate::wait::until("keys and a snapshot", async || verifier.is_ready()).await;
    let refusal = verifier.check(&issuer.token()).await.unwrap_err();
    assert_eq!(refusal, Refusal::Invalid(Reason::Algorithm));
}

#[tokio::test]
async fn a_token_that_is_kept_is_judged_again_each_time() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let token = issuer.token();
    verifier.check(&token).await.unwrap();
    issuer.clocks.advance(Duration::from_millis(604_999));
    crate::wait::until("a new proof", async || verifier.is_ready()).await;
    verifier.check(&token).await.unwrap();
    issuer.clocks.advance(Duration::from_millis(1));
    assert_eq!(verifier.check(&token).await.unwrap_err(), Refusal::Invalid(Reason::Expired));
}

#[tokio::test]
async fn a_byte_that_is_changed_is_noticed_though_the_token_is_kept() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let token = issuer.token();
    verifier.check(&token).await.unwrap();
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(verifier.check(&changed).await.is_err(), "byte {at}");
    }
    let long = format!("{token}{}", "A".repeat(16 * 1024));
    assert_eq!(verifier.check(&long).await.unwrap_err(), Refusal::Invalid(Reason::Malformed));
}
