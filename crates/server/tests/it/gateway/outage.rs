//! The promise under failures: no request that is sent later than the bound after a revocation was acknowledged passes.

use reqwest::StatusCode;

use super::raw::{bearer, request};
use super::stage::{BOUNDED, Gateway, Nginx, Stage};
use crate::soak::road::Condition;
use crate::wait;

/// `gateway.max_staleness` of these tests, in seconds.
const BOUND: u64 = 1;

#[tokio::test]
async fn a_revoked_token_does_not_pass_once_the_bound_is_over_and_others_do() {
    let Stage { issuer, gateway, upstream, nginx } = Stage::with(BOUNDED).await;
    let (one, other) = (issuer.token("read", 1).await, issuer.token("read", 2).await);
    nginx.settles("/read", &one, 200).await;
    nginx.settles("/read", &other, 200).await;
    upstream.take();
    issuer.revoke(&one).await;
    wait::seconds(BOUND).await;
    nginx.settles("/read", &one, 401).await;
    assert_eq!(upstream.take().len(), 0);
    nginx.settles("/read", &other, 200).await;
    gateway.wait_for_readiness(StatusCode::OK).await;
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_answers_503_after_the_bound_and_recovers_by_itself() {
    for condition in [Condition::cut(), Condition::silent(true, true)] {
        let Stage { issuer, gateway, upstream, nginx } = Stage::with(BOUNDED).await;
        let (one, other) = (issuer.token("read", 1).await, issuer.token("read", 2).await);
        nginx.settles("/read", &one, 200).await;
        upstream.take();

        gateway.road.set(condition);
        issuer.revoke(&one).await;
        wait::seconds(BOUND).await;
        for token in [&one, &other] {
            let answer = nginx.get("/read", token).await;
            assert_eq!(answer.status, 503, "{condition:?}");
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(answer.body.contains("temporarily_unavailable"), "{}", answer.body);
        }
        assert_eq!(upstream.take().len(), 0);
        gateway.wait_for_readiness(StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(nginx.get("/public", &one).await.status, 200, "needs no token");

        gateway.road.set(Condition::default());
        gateway.wait_for_readiness(StatusCode::OK).await;
        nginx.settles("/read", &one, 401).await;
        nginx.settles("/read", &other, 200).await;
    }
}

#[tokio::test]
async fn a_restart_of_the_gateway_opens_no_window() {
    let Stage { issuer, mut gateway, upstream, nginx } = Stage::with(BOUNDED).await;
    let (one, other) = (issuer.token("read", 1).await, issuer.token("read", 2).await);
    issuer.revoke(&one).await;
    wait::seconds(BOUND).await;

    gateway.process.kill();
    assert_eq!(nginx.get("/read", &one).await.status, 503, "nobody to ask");
    assert_eq!(nginx.get("/public", &one).await.status, 503, "nobody to ask");

    // It knows nothing yet, and cannot find out.
    gateway.road.set(Condition::cut());
    gateway.restart().await;
    for token in [&one, &other] {
        let answer = request(
            gateway.port,
            "GET /check",
            &[&bearer(token), "x-original-method: GET", "x-original-uri: /read"],
        )
        .await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(nginx.get("/read", token).await.status, 503);
    }
    assert_eq!(upstream.take().len(), 0);

    gateway.road.set(Condition::default());
    gateway.wait_for_readiness(StatusCode::OK).await;
    nginx.settles("/read", &other, 200).await;
    nginx.settles("/read", &one, 401).await;
}

#[tokio::test]
async fn a_restart_of_the_issuer_is_got_over_and_what_was_revoked_stays_revoked() {
    let Stage { mut issuer, gateway, nginx, upstream: _upstream } = Stage::with(BOUNDED).await;
    let (one, other) = (issuer.token("read", 1).await, issuer.token("read", 2).await);
    issuer.revoke(&one).await;
    wait::seconds(BOUND).await;
    issuer.restart().await;
    nginx.settles("/read", &other, 200).await;
    nginx.settles("/read", &one, 401).await;
    gateway.wait_for_readiness(StatusCode::OK).await;
}

#[tokio::test]
async fn of_several_gateways_one_that_is_cut_off_costs_nothing() {
    let Stage { issuer, gateway, upstream, nginx } = Stage::with(BOUNDED).await;
    drop(nginx);
    let others = [Gateway::ready(&issuer, BOUNDED).await, Gateway::ready(&issuer, BOUNDED).await];
    let nginx = Nginx::start(&[gateway.port, others[0].port, others[1].port], upstream.port).await;
    let (one, other) = (issuer.token("read", 1).await, issuer.token("read", 2).await);
    gateway.road.set(Condition::silent(true, true));
    issuer.revoke(&one).await;
    wait::seconds(BOUND).await;
    for _ in 0..6 {
        nginx.settles("/read", &other, 200).await;
        nginx.settles("/read", &one, 401).await;
    }
}
