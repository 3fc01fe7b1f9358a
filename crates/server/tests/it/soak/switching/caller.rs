//! What each caller does, one step after the other, and what has to be answered.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::NODES;
use super::held::Held;
use super::stage::{CLIENTS, Stage};
use crate::soak::revocations::MAX_STALENESS;

/// What is kept at a time; the oldest is revoked to make room.
const MOST_KEPT: usize = 200;

pub async fn call(stage: Arc<Stage>, caller: usize) {
    let mut turn = caller;
    while !stage.is_over() {
        turn += 1;
        let node = turn % NODES;
        let client = turn / NODES % CLIENTS;
        let about = format!("https://api.example/{caller}/{turn}");
        let new = stage.issue(node, client, &about).await;
        stage.see_active(&new).await;
        stage.kept().push_back(new);

        let (oldest, has_room) = {
            let mut kept = stage.kept();
            (kept.pop_front(), kept.len() < MOST_KEPT)
        };
        // Another caller may have been faster.
        let Some(mut held) = oldest else { continue };
        stage.see_active(&held).await;
        stage.refresh_at_both(turn / 3 % NODES, &mut held).await;
        if has_room && !turn.is_multiple_of(3) {
            stage.kept().push_back(held);
        } else {
            stage.revoke(turn / 5 % NODES, turn, held).await;
        }
    }
}

impl Stage {
    pub async fn see_active(&self, held: &Held) {
        for node in 0..NODES {
            for token in held.texts() {
                assert!(
                    self.is_active(node, held, token).await,
                    "node {node} refuses what nobody has revoked: {held:?}"
                );
            }
        }
    }

    /// At one node, and once more at the other, as if the answer had been lost: the same successor.
    pub async fn refresh_at_both(&self, first: usize, held: &mut Held) {
        if held.refresh.is_none() {
            return;
        }
        let (status, answered) = self.refresh(first, held).await;
        assert_eq!(status, 200, "node {first} does not refresh {held:?}: {answered}");
        let second = NODES - 1 - first;
        let (status, repeated) = self.refresh(second, held).await;
        assert_eq!(status, 200, "node {second} does not take a retry of {held:?}: {repeated}");
        let text = |json: &Value, field: &str| json[field].as_str().unwrap().to_owned();
        let successor = text(&answered, "refresh_token");
        assert_eq!(
            text(&repeated, "refresh_token"),
            successor,
            "one refresh token, two successors: {held:?}"
        );
        held.take(text(&answered, "access_token"), successor);
        self.tally.add_refreshed();
        self.see_active(held).await;
    }

    /// In one of several ways; from the acknowledgement on it is refused there, and after the bound everywhere.
    async fn revoke(&self, node: usize, turn: usize, held: Held) {
        match (turn / 3 % 3, &held.refresh) {
            (0, _) => self.revoke_as_client(node, &held).await,
            (1, Some(_)) => {
                self.revoke_as_administrator(node, &json!({ "subject": held.about })).await;
            }
            _ => self.revoke_as_administrator(node, &json!({ "token": held.root() })).await,
        }
        let acknowledged = Instant::now();
        self.tally.add_revoked();
        self.see_refused(node..=node, &held).await;
        // wait: for the bound, which the promise is about.
        sleep_until(acknowledged + MAX_STALENESS).await;
        self.see_refused(0..NODES, &held).await;
        if held.refresh.is_none() {
            let again = self.issue(NODES - 1 - node, held.client, &held.about).await;
            self.see_active(&again).await;
        }
        self.remember_revoked(held);
    }

    pub async fn see_refused(&self, nodes: impl IntoIterator<Item = usize>, held: &Held) {
        for node in nodes {
            for token in held.texts() {
                assert!(
                    !self.is_active(node, held, token).await,
                    "node {node} accepts what was revoked: {held:?}"
                );
                self.tally.add_refused();
            }
            if held.refresh.is_some() {
                let (status, json) = self.refresh(node, held).await;
                assert_eq!((status, &json["error"]), (400, &json!("invalid_grant")), "node {node}: {held:?}");
            }
        }
    }
}
