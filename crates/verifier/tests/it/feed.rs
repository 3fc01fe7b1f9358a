//! Revocations: what ends a token, and how long the verifier goes on without hearing of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grantry_protocol::{Epoch, GrantId, LogKind, Position, Seen, SessionId, TokenId};
use grantry_verifier::{Outage, Reason, Refusal, Revocations, Verifier};
use serde_json::json;

use crate::issuer::{GRANT_ID, Issuer, SESSION_ID, SLOT, TOKEN_ID, lock};
use crate::wait;

const REVOKED: Refusal = Refusal::Invalid(Reason::Revoked);

fn is_stale(outcome: &Result<(), Refusal>) -> bool {
    matches!(outcome, Err(Refusal::Unavailable { because: Outage::Revocations, .. }))
}

async fn check(verifier: &Verifier, token: &str) -> Result<(), Refusal> {
    verifier.check(token).await.map(drop)
}

impl Issuer {
    /// No poll is answered until it is let through.
    fn hold_polls(&self) {
        self.script.poll_permits.forget_permits(usize::MAX >> 4);
    }

    /// A verifier that waits for its first snapshot, which was asked for at the present time.
    async fn held_verifier(&self) -> Arc<Verifier> {
        self.hold_polls();
        let verifier = self.verifier(self.settings());
        wait::until("the first poll", async || self.script.polls_begun.load(Ordering::SeqCst) > 0).await;
        verifier
    }

    async fn let_one_through(&self, verifier: &Verifier) {
        self.script.poll_permits.add_permits(1);
        wait::until("keys and a snapshot", async || verifier.is_ready()).await;
    }

    /// Waits until a poll has failed that was begun after now.
    async fn cut_off(&self) {
        self.script.feed_is_down.store(true, Ordering::SeqCst);
        let begun = self.script.polls_begun.load(Ordering::SeqCst);
        let is_past = async || self.script.polls_begun.load(Ordering::SeqCst) >= begun + 2;
        wait::until("two more polls", is_past).await;
    }

    fn token_id(&self) -> TokenId {
        TOKEN_ID.parse().unwrap()
    }
}

#[tokio::test]
async fn every_kind_of_end_ends_the_token_though_it_is_kept() {
    let grant: GrantId = GRANT_ID.parse().unwrap();
    let session: SessionId = SESSION_ID.parse().unwrap();
    let id: TokenId = TOKEN_ID.parse().unwrap();
    let kinds: [(LogKind, &[u8]); 7] = [
        (LogKind::Token, id.as_bytes()),
        (LogKind::Slot, &SLOT),
        (LogKind::Grant, grant.as_bytes()),
        (LogKind::Session, session.as_bytes()),
        (LogKind::Client, b"app"),
        (LogKind::Subject, b"ann"),
        (LogKind::All, b""),
    ];
    for (kind, key) in kinds {
        let issuer = Issuer::start().await;
        let verifier = issuer.ready_verifier().await;
        let token = issuer.token();
        check(&verifier, &token).await.unwrap();
        let at = issuer.end(kind, key);
        issuer.next_poll().await;
        assert_eq!(check(&verifier, &token).await, Err(REVOKED), "{kind:?}");
        if kind != LogKind::Token {
            let later = issuer.token_with(|claims| claims["grantry_seen"] = json!([1, at.position.0]));
            assert_eq!(check(&verifier, &later).await, Ok(()), "{kind:?}: it was made after the rule");
        }
    }
}

#[tokio::test]
async fn nothing_is_let_in_before_the_snapshot_is_there() {
    let issuer = Issuer::start().await;
    issuer.end(LogKind::Token, issuer.token_id().as_bytes());
    let verifier = issuer.held_verifier().await;
    wait::until("keys", async || is_stale(&check(&verifier, &issuer.token()).await)).await;
    assert!(!verifier.is_ready());
    issuer.let_one_through(&verifier).await;
    assert_eq!(check(&verifier, &issuer.token()).await, Err(REVOKED));
    let other = issuer.token_with(|claims| claims["jti"] = json!(GRANT_ID));
    assert_eq!(check(&verifier, &other).await, Ok(()));
}

#[tokio::test]
async fn freshness_dates_from_before_the_question_was_sent() {
    let issuer = Issuer::start().await;
    let verifier = issuer.held_verifier().await;
    issuer.clocks.advance(Duration::from_millis(500));
    issuer.let_one_through(&verifier).await;
    let token = issuer.token();
    issuer.clocks.advance(Duration::from_millis(399));
    assert_eq!(check(&verifier, &token).await, Ok(()));
    issuer.clocks.advance(Duration::from_millis(1));
    assert!(is_stale(&check(&verifier, &token).await));
}

#[tokio::test]
async fn the_age_of_the_nodes_own_proof_counts() {
    let issuer = Issuer::start().await;
    *lock(&issuer.script.age) = Duration::from_millis(300);
    let verifier = issuer.held_verifier().await;
    issuer.let_one_through(&verifier).await;
    let token = issuer.token();
    issuer.clocks.advance(Duration::from_millis(599));
    assert_eq!(check(&verifier, &token).await, Ok(()));
    issuer.clocks.advance(Duration::from_millis(1));
    assert!(is_stale(&check(&verifier, &token).await));
}

#[tokio::test]
async fn a_wall_clock_that_is_set_back_makes_nothing_younger() {
    let issuer = Issuer::start().await;
    let verifier = issuer.held_verifier().await;
    issuer.let_one_through(&verifier).await;
    let token = issuer.token_with(|claims| claims["iat"] = json!(0));
    issuer.clocks.wall.set(issuer.clocks.now().saturating_sub(Duration::from_secs(30)));
    issuer.clocks.advance_boot(Duration::from_millis(899));
    assert_eq!(check(&verifier, &token).await, Ok(()));
    issuer.clocks.advance_boot(Duration::from_millis(1));
    assert!(is_stale(&check(&verifier, &token).await));
}

#[tokio::test]
async fn news_ends_tokens_but_proves_nothing() {
    let issuer = Issuer::start().await;
    let verifier = issuer.held_verifier().await;
    issuer.let_one_through(&verifier).await;
    let (token, other) = (issuer.token(), issuer.token_with(|claims| claims["jti"] = json!(GRANT_ID)));
    issuer.clocks.advance(Duration::from_millis(899));
    issuer.end(LogKind::Token, issuer.token_id().as_bytes());
    // No poll is let through: only the request that waits for news can have brought it.
    wait::until("the news", async || check(&verifier, &token).await == Err(REVOKED)).await;
    assert_eq!(check(&verifier, &other).await, Ok(()));
    issuer.clocks.advance(Duration::from_millis(1));
    assert!(is_stale(&check(&verifier, &other).await));
}

#[tokio::test]
async fn cut_off_it_refuses_after_the_bound_and_goes_on_from_where_it_was() {
    let issuer = Issuer::start().await;
    issuer.end(LogKind::Subject, b"bob");
    let verifier = issuer.ready_verifier().await;
    let token = issuer.token();
    issuer.cut_off().await;
    issuer.clocks.advance(Duration::from_millis(899));
    assert_eq!(check(&verifier, &token).await, Ok(()), "within the bound nobody notices");
    issuer.clocks.advance(Duration::from_millis(1));
    assert!(is_stale(&check(&verifier, &token).await));
    issuer.end(LogKind::Token, issuer.token_id().as_bytes());
    let answered = lock(&issuer.script.polls).len();
    issuer.script.feed_is_down.store(false, Ordering::SeqCst);
    wait::until("the feed again", async || verifier.is_ready()).await;
    assert_eq!(check(&verifier, &token).await, Err(REVOKED));
    let first = lock(&issuer.script.polls)[answered];
    assert!(first >= Some(Seen { epoch: Epoch(1), position: Position(1) }), "not everything anew: {first:?}");
}

#[tokio::test]
async fn a_log_of_a_later_epoch_is_read_anew_and_takes_nothing_back() {
    let issuer = Issuer::start().await;
    issuer.end(LogKind::Token, issuer.token_id().as_bytes());
    let verifier = issuer.ready_verifier().await;
    assert_eq!(check(&verifier, &issuer.token()).await, Err(REVOKED));
    {
        let mut log = lock(&issuer.script.log);
        (log.epoch, log.entries) = (2, Vec::new());
    }
    let anew = Some(Seen { epoch: Epoch(2), position: Position(0) });
    wait::until("the new epoch", async || lock(&issuer.script.polls).last() == Some(&anew)).await;
    assert!(verifier.is_ready());
    assert_eq!(check(&verifier, &issuer.token()).await, Err(REVOKED));
    issuer.end(LogKind::Client, b"app");
    issuer.next_poll().await;
    let other = issuer.token_with(|claims| claims["jti"] = json!(GRANT_ID));
    assert_eq!(check(&verifier, &other).await, Err(REVOKED));
}

#[tokio::test]
async fn a_node_that_is_behind_another_is_not_asked_for_everything() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    issuer.script.polls_lag.store(true, Ordering::SeqCst);
    issuer.end(LogKind::Token, issuer.token_id().as_bytes());
    wait::until("the news", async || check(&verifier, &issuer.token()).await == Err(REVOKED)).await;
    issuer.next_poll().await;
    let start = Seen { epoch: Epoch(1), position: Position(0) };
    assert_eq!(lock(&issuer.script.polls)[1..].iter().find(|after| **after != Some(start)), None);
    issuer.script.polls_lag.store(false, Ordering::SeqCst);
    issuer.next_poll().await;
    let end = Seen { position: Position(1), ..start };
    wait::until("where the other node was", async || lock(&issuer.script.polls).last() == Some(&Some(end)))
        .await;
    assert_eq!(check(&verifier, &issuer.token()).await, Err(REVOKED));
}

#[tokio::test]
async fn a_feed_token_that_is_refused_is_replaced() {
    let issuer = Issuer::start().await;
    let verifier = issuer.ready_verifier().await;
    assert_eq!(issuer.script.logins.load(Ordering::SeqCst), 1);
    *lock(&issuer.script.feed_token) = "second".to_owned();
    issuer.next_poll().await;
    assert_eq!(issuer.script.logins.load(Ordering::SeqCst), 2);
    assert!(verifier.is_ready());
}

#[tokio::test]
async fn a_large_snapshot_is_known_whole() {
    let issuer = Issuer::start().await;
    for number in 0..20_000_u32 {
        issuer.end(LogKind::Subject, format!("subject-{number}").as_bytes());
    }
    let verifier = issuer.ready_verifier().await;
    for number in [0, 4_095, 4_096, 19_999] {
        let token = issuer.token_with(|claims| claims["sub"] = json!(format!("subject-{number}")));
        assert_eq!(check(&verifier, &token).await, Err(REVOKED), "{number}");
    }
    assert_eq!(check(&verifier, &issuer.token()).await, Ok(()));
}

#[tokio::test]
async fn without_the_feed_nothing_is_asked_and_tokens_need_not_be_ours() {
    let issuer = Issuer::start().await;
    let mut settings = issuer.settings();
    settings.revocations = Revocations::Off;
    let verifier = issuer.verifier(settings);
    wait::until("keys", async || verifier.is_ready()).await;
    let foreign = issuer.token_with(|claims| drop(claims.as_object_mut().unwrap().remove("grantry_seen")));
    assert_eq!(check(&verifier, &foreign).await, Ok(()));
    assert_eq!(issuer.script.logins.load(Ordering::SeqCst), 0);
}
