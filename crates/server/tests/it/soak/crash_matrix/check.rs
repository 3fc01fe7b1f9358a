//! After the event: everything that was answered still holds.

use std::collections::HashSet;

use futures_util::StreamExt as _;

use super::load::{Answered, Seen};
use super::stage::Stage;
use crate::soak::grants::{Pair, refresh};
use crate::soak::postgres::{Row, rows, token_id};
use crate::test_server::{Credentials, TestServer};

/// Requests at a time.
const AT_A_TIME: usize = 128;
/// Of the tokens that a node answered before it died.
const LAST: usize = 32;
/// Slots that are asked for again.
const ASKED_AGAIN: usize = 16;

/// What a node says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Active,
    Inactive,
    /// 503: its row may be on its way.
    NotKnownYet,
}

async fn standings(stage: &Stage, node: usize, tokens: impl Iterator<Item = &String>) -> Vec<Standing> {
    let asked = tokens.map(|token| standing(&stage.nodes[node], &stage.client, token));
    futures_util::stream::iter(asked).buffered(AT_A_TIME).collect().await
}

async fn standing(node: &TestServer, client: &Credentials, token: &str) -> Standing {
    let answer = node.post("/oauth2/introspect", client, &[("token", token)]).send().await.unwrap();
    if answer.status() == 503 {
        return Standing::NotKnownYet;
    }
    assert_eq!(answer.status(), 200);
    let json: serde_json::Value = answer.json().await.unwrap();
    if json["active"] == true { Standing::Active } else { Standing::Inactive }
}

/// While the first node is dead, the second may not know what it has answered last, but never denies it.
pub async fn second_denies_nothing(stage: &Stage, seen: &Seen) {
    let answered = seen.answered.lock().unwrap().clone();
    let last = own(&answered, 0).rev().take(LAST).map(|one| &one.token);
    let found = standings(stage, 1, last).await;
    assert!(!found.contains(&Standing::Inactive), "a token that was answered was denied: {found:?}");
}

/// Tokens of slots that nobody but one caller asked for.
fn own(answered: &[Answered], node: usize) -> impl DoubleEndedIterator<Item = &Answered> {
    answered.iter().filter(move |one| one.node == node && !one.is_shared)
}

/// How many tokens are lost that were answered; only `may_lose` forgives any, and only of the first node.
pub async fn everything_holds(stage: &mut Stage, seen: &Seen, may_lose: bool) -> usize {
    let answered = seen.answered.lock().unwrap().clone();
    let revoked = seen.revoked.lock().unwrap().clone();
    // What a node has answered it knows from its first moment on.
    if !may_lose {
        for node in [0, 1] {
            assert_active(stage, node, own(&answered, node)).await;
        }
    }
    stage.wait_for_drain().await;
    let lost = check_rows(stage, &answered, may_lose).await;
    let at_both = async |node| {
        let kept = answered.iter().filter(|one| !one.is_shared && !lost.contains(&one.token));
        assert_active(stage, node, kept).await;
        let found = standings(stage, node, lost.iter()).await;
        assert!(!found.contains(&Standing::Active), "a lost token is active");
        let found = standings(stage, node, revoked.iter()).await;
        assert!(found.iter().all(|found| *found == Standing::Inactive), "revoked, then {found:?}");
    };
    tokio::join!(at_both(0), at_both(1));
    for one in own(&answered, 0).rev().filter(|one| !lost.contains(&one.token)).take(ASKED_AGAIN) {
        let again = stage.nodes[1].token(&stage.client, &[("resource", &one.slot)]).await;
        assert_eq!(again, one.token, "{} has another token", one.slot);
    }
    check_refreshing(stage).await;
    lost.len()
}

async fn assert_active(stage: &Stage, node: usize, answered: impl Iterator<Item = &Answered>) {
    let answered: Vec<&Answered> = answered.collect();
    let found = standings(stage, node, answered.iter().map(|one| &one.token)).await;
    let wrong = answered.iter().zip(&found).find(|(_, found)| **found != Standing::Active);
    assert!(wrong.is_none(), "node {node} says {wrong:?}");
}

/// The tokens without a row, each once, however often it was answered.
async fn check_rows(stage: &Stage, answered: &[Answered], may_lose: bool) -> HashSet<String> {
    let database = stage.postgres.connect(&stage.database).await;
    let ids: Vec<String> = answered.iter().map(|one| token_id(&one.token)).collect();
    let found = rows(&database, &ids).await;
    let mut lost = HashSet::new();
    for (one, row) in answered.iter().zip(found) {
        match row {
            Row::Active => {}
            // Both nodes had answered with a token of their own.
            Row::Inactive { announced: true } if one.is_shared => {}
            Row::Missing if may_lose && one.node == 0 => {
                lost.insert(one.token.clone());
            }
            other => panic!("{one:?} was answered, and its row is {other:?}"),
        }
    }
    lost
}

/// The pair that each caller was given last is good: it gets a successor, known at both nodes.
async fn check_refreshing(stage: &mut Stage) {
    for pair in 0..stage.pairs.len() {
        let credentials = &stage.refreshers.credentials;
        let answer = refresh(&stage.nodes[0], credentials, &stage.pairs[pair].refresh).await;
        let given = Pair::of(&answer);
        for node in &stage.nodes {
            let found = standing(node, credentials, &given.access).await;
            assert_eq!(found, Standing::Active, "the access token of a refresh");
        }
        stage.pairs[pair] = given;
    }
}
