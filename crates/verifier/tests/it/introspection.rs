//! Opaque tokens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grantry_protocol::{LogKind, TokenId};
use grantry_verifier::{Outage, Reason, Refusal, Verifier};
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Issuer, TOKEN_ID, lock};
use crate::wait;

const OPAQUE: &str = "gta_abc";

impl Issuer {
    fn active(&self) -> Value {
        let now = self.clocks.now().as_secs();
        json!({
            "active": true, "iss": self.url, "sub": "ann", "aud": AUDIENCE, "client_id": "app", "scope": "read",
            "iat": now, "exp": now + 600, "jti": TOKEN_ID, "token_type": "Bearer",
        })
    }

    fn say(&self, token: &str, said: Value) {
        lock(&self.script.introspection).insert(token.to_owned(), said);
    }

    fn introspections(&self) -> usize {
        self.script.introspections.load(Ordering::SeqCst)
    }
}

fn is_unavailable(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Unavailable { because: Outage::Introspection, .. })
}

#[tokio::test]
async fn an_answer_is_good_for_less_than_the_bound_from_when_it_was_asked_for() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    issuer.say(OPAQUE, issuer.active());
    for _ in 0..3 {
        assert_eq!(verifier.check(OPAQUE).await.unwrap().subject(), "ann");
    }
    issuer.clocks.advance(Duration::from_millis(899));
    verifier.check(OPAQUE).await.unwrap();
    assert_eq!(issuer.introspections(), 1);
    issuer.say(OPAQUE, json!({"active": false}));
    issuer.clocks.advance(Duration::from_millis(1));
    assert_eq!(verifier.check(OPAQUE).await.unwrap_err(), Refusal::Invalid(Reason::Inactive));
    assert_eq!(issuer.introspections(), 2);
}

#[tokio::test]
async fn an_answer_on_the_way_is_as_old_as_its_question() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    issuer.say(OPAQUE, issuer.active());
    issuer.script.introspection_permits.forget_permits(usize::MAX >> 4);
    let first = spawn(&verifier);
    wait::until("the question", async || issuer.introspections() == 1).await;
    issuer.clocks.advance(Duration::from_millis(900));
    let late = spawn(&verifier);
    issuer.say(OPAQUE, issuer.active());
    issuer.script.introspection_permits.add_permits(1);
    assert!(first.await.unwrap().is_ok(), "it was asked for this one");
    // Either the late one has joined, and the answer is too old for it, or it asks for itself.
    issuer.script.introspection_permits.add_permits(1);
    let late = late.await.unwrap();
    assert!(issuer.introspections() == 2 || late.is_err_and(|refusal| is_unavailable(&refusal)));
}

fn spawn(verifier: &Arc<Verifier>) -> tokio::task::JoinHandle<Result<(), Refusal>> {
    let verifier = Arc::clone(verifier);
    tokio::spawn(async move { verifier.check(OPAQUE).await.map(drop) })
}

#[tokio::test]
async fn those_who_ask_about_one_token_at_the_same_time_ask_once() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    issuer.say(OPAQUE, issuer.active());
    issuer.script.introspection_permits.forget_permits(usize::MAX >> 4);
    let callers: Vec<_> = (0..20).map(|_| spawn(&verifier)).collect();
    wait::until("the question", async || issuer.introspections() == 1).await;
    // Who asked first goes away, and the others are answered nevertheless.
    callers[0].abort();
    issuer.script.introspection_permits.add_permits(1);
    for caller in callers.into_iter().skip(1) {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(issuer.introspections(), 1);
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_an_outage_and_is_asked_again() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    assert!(is_unavailable(&verifier.check(OPAQUE).await.unwrap_err()));
    issuer.say(OPAQUE, json!("what?"));
    assert!(is_unavailable(&verifier.check(OPAQUE).await.unwrap_err()));
    issuer.say(OPAQUE, issuer.active());
    verifier.check(OPAQUE).await.unwrap();
}

#[tokio::test]
async fn what_is_active_still_has_to_be_an_access_token_for_us() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    let now = issuer.clocks.now().as_secs();
    let table = [
        ("iss", json!("https://other.example"), Reason::Issuer),
        ("token_type", Value::Null, Reason::Type),
        ("token_type", json!("DPoP"), Reason::Type),
        ("aud", Value::Null, Reason::Audience),
        ("aud", json!("https://other.example"), Reason::Audience),
        ("exp", json!(now - 5), Reason::Expired),
        ("jti", Value::Null, Reason::Claims),
        ("cnf", json!({"jkt": "a"}), Reason::SenderConstrained),
    ];
    for (at, (name, value, reason)) in table.into_iter().enumerate() {
        let mut said = issuer.active();
        match value {
            Value::Null => drop(said.as_object_mut().unwrap().remove(name)),
            value => said[name] = value,
        }
        let token = format!("{OPAQUE}{at}");
        issuer.say(&token, said);
        assert_eq!(verifier.check(&token).await.unwrap_err(), Refusal::Invalid(reason), "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_is_kept_is_ended_by_the_feed() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    issuer.say(OPAQUE, issuer.active());
    verifier.check(OPAQUE).await.unwrap();
    issuer.end(LogKind::Token, TOKEN_ID.parse::<TokenId>().unwrap().as_bytes());
    issuer.next_poll().await;
    assert_eq!(verifier.check(OPAQUE).await.unwrap_err(), Refusal::Invalid(Reason::Revoked));
    assert_eq!(issuer.introspections(), 1);
}

#[tokio::test]
async fn opaque_tokens_are_refused_where_nobody_may_be_asked() {
    let issuer = Issuer::start().await;
    let mut settings = issuer.settings();
    settings.introspection = None;
    let verifier = issuer.verifier(settings);
    assert_eq!(verifier.check(OPAQUE).await.unwrap_err(), Refusal::Invalid(Reason::Opaque));
}
