//! What one caller, or all of them together, can make the gateway do.

use serde_json::json;

use super::raw::{Answer, bearer, request};
use super::stage::{AUDIENCE, Gateway, Issuer, PATIENT};
use crate::soak::road::Condition;
use crate::wait;

/// Tokens that the issuer has to be asked about.
async fn opaque_tokens<const COUNT: usize>(issuer: &Issuer) -> [String; COUNT] {
    let several = json!({ "scope": "read", "active_token_policy": "multiple" });
    let client = issuer.server.create_client(&issuer.admin, several).await;
    let mut tokens = [const { String::new() }; COUNT];
    for token in &mut tokens {
        *token = issuer.server.token(&client, &[("resource", AUDIENCE)]).await;
    }
    tokens
}

async fn ask(port: u16, path: &str, token: &str) -> Answer {
    let said = ["x-original-method: GET".to_owned(), format!("x-original-uri: {path}"), bearer(token)];
    request(port, "GET /check", &said.each_ref().map(String::as_str)).await
}

fn assert_unavailable(answer: &Answer, because: &str) {
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.body);
    assert!(
        answer.body.contains("temporarily_unavailable") && answer.body.contains(because),
        "{}",
        answer.body
    );
    assert_eq!(answer.header("www-authenticate"), None, "the token is not at fault");
}

#[tokio::test]
async fn one_check_more_than_may_run_at_once_is_503_and_the_others_go_on() {
    let issuer = Issuer::start().await;
    let one_at_once = format!("{PATIENT}\n[gateway.limits]\nmax_concurrent_requests = 1");
    let gateway = Gateway::ready(&issuer, &one_at_once).await;
    let [first, second] = opaque_tokens(&issuer).await;

    gateway.road.set(Condition::silent(true, true));
    let port = gateway.port;
    let under_way = {
        let token = first.clone();
        tokio::spawn(async move { ask(port, "/read", &token).await })
    };
    wait::until("a check runs", async || {
        gateway.metrics().await.contains("grantry_gateway_running_checks 1").then_some(())
    })
    .await;
    assert_unavailable(&ask(port, "/read", &second).await, "too many requests at once");
    assert_unavailable(&ask(port, "/public", &second).await, "too many requests at once");

    gateway.road.set(Condition::default());
    assert_eq!(under_way.await.unwrap().status, 200);
    assert_eq!(ask(port, "/read", &second).await.status, 200);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(r#"grantry_gateway_checks_total{outcome="overloaded"} 2"#), "{metrics}");
    assert!(metrics.contains("grantry_gateway_running_checks 0"), "{metrics}");
}

#[tokio::test]
async fn a_check_that_takes_too_long_is_503_and_the_next_one_is_answered() {
    let issuer = Issuer::start().await;
    let hasty = format!("{PATIENT}\n[gateway.limits]\nrequest_timeout = \"500ms\"");
    let gateway = Gateway::ready(&issuer, &hasty).await;
    let [token] = opaque_tokens(&issuer).await;

    gateway.road.set(Condition::silent(true, true));
    assert_unavailable(&ask(gateway.port, "/read", &token).await, "the check took too long");
    assert_eq!(ask(gateway.port, "/public", &token).await.status, 200, "nobody has to be asked");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(r#"grantry_gateway_checks_total{outcome="too_slow"} 1"#), "{metrics}");
    gateway.says("gateway.limits.request_timeout").await;

    gateway.road.set(Condition::default());
    wait::until("the issuer can be asked again", async || {
        (ask(gateway.port, "/read", &token).await.status == 200).then_some(())
    })
    .await;
}
