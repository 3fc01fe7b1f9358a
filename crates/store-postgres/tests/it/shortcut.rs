//! Most batches are one statement, which decides in SQL what `decide_issue` and `decide_settle` decide in Rust. Here
//! both decide about the same: the same write alone, and beside a heartbeat, which has no place in that statement.

use std::time::Duration;

use grantry_protocol::{AccessToken, ActiveTokenPolicy, Clock, Timestamp, TokenId};
use grantry_store::{NodeId, StoredToken, TokenWrite, Tokens, WriteOutcome};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::nouns::{LIFETIME, Nouns, issue_of};

/// What the slot's row names, before the write.
#[derive(Debug, Clone, Copy)]
enum Held {
    Nobody,
    /// By a token that was made before, with so much life left.
    Earlier(Duration),
    /// By one that was made after.
    Later(Duration),
    /// By a token whose row has gone.
    Gone,
}

const SHORT: Duration = Duration::from_secs(10);
const EXPIRED: Duration = Duration::ZERO;

const HELD: [Held; 8] = [
    Held::Nobody,
    Held::Earlier(LIFETIME),
    Held::Earlier(SHORT),
    Held::Earlier(EXPIRED),
    Held::Later(LIFETIME),
    Held::Later(SHORT),
    Held::Later(EXPIRED),
    Held::Gone,
];

/// What the token is, besides what its slot is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    New,
    Written,
    Expired,
    EndedEarly,
    EndedByRule,
}

const TOKENS: [Token; 5] =
    [Token::New, Token::Written, Token::Expired, Token::EndedEarly, Token::EndedByRule];

struct Case {
    token: AccessToken,
    holder: Option<TokenId>,
}

fn uuid(id: TokenId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

async fn insert(client: &Client, token: &AccessToken) {
    let sql =
        "INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at,
                                   expires_at, seen_epoch, seen_position)
               VALUES ($1, $2, $3, $4, 1, $5, '[]', 1, $6, $7, 1, 0)";
    let (issued_at, expires_at) = (token.issued_at.as_millis(), token.expires_at.as_millis());
    let (id, slot) = (uuid(token.id), token.slot.as_bytes().as_slice());
    let (app, subject, scope) = (token.client_id.as_str(), token.subject.as_str(), token.scope.as_str());
    client.execute(sql, &[&id, &slot, &app, &subject, &scope, &issued_at, &expires_at]).await.unwrap();
}

/// Puts the rows there.
async fn arrange(nouns: &Nouns, client: &Client, name: &str, held: Held, kind: Token) -> Case {
    let now = nouns.clock.now();
    let until = |life| now + life;
    let (before, mut token, after) = (nouns.token(name), nouns.token(name), nouns.token(name));
    let holder = match held {
        Held::Nobody => None,
        Held::Earlier(life) => Some(AccessToken { expires_at: until(life), ..before }),
        Held::Later(life) => Some(AccessToken { expires_at: until(life), ..after }),
        Held::Gone => Some(before),
    };
    if let Some(holder) = &holder {
        if !matches!(held, Held::Gone) {
            insert(client, holder).await;
        }
        let row = "INSERT INTO slots (slot, holder, expires_at) VALUES ($1, $2, $3)";
        let slot = holder.slot.as_bytes().as_slice();
        client.execute(row, &[&slot, &uuid(holder.id), &holder.expires_at.as_millis()]).await.unwrap();
    }
    match kind {
        Token::New => token.authority.seen.position.0 = 1,
        Token::Written => {
            token.authority.seen.position.0 = 1;
            insert(client, &token).await;
        }
        Token::Expired => {
            token.authority.seen.position.0 = 1;
            token.expires_at = now;
        }
        Token::EndedEarly => {
            token.authority.seen.position.0 = 1;
            let row = "INSERT INTO early_ends (id, keep_until) VALUES ($1, $2)";
            client.execute(row, &[&uuid(token.id), &until(LIFETIME).as_millis()]).await.unwrap();
        }
        Token::EndedByRule => {}
    }
    Case { token, holder: holder.map(|holder| holder.id) }
}

/// What came of it, told without the ids.
async fn told(store: &impl Tokens, case: &Case, outcome: WriteOutcome, now: Timestamp) -> String {
    let role = |id: TokenId| match id {
        id if id == case.token.id => "the token",
        id if Some(id) == case.holder => "the holder",
        _ => "somebody else",
    };
    let outcome = match outcome {
        WriteOutcome::SlotHeld(held) => format!("held by {}", role(held.token.id)),
        WriteOutcome::Settled(grantry_store::Settlement::ActiveAfter(id)) => {
            format!("active after {}", role(id))
        }
        other => format!("{other:?}"),
    };
    let state = |stored: Option<StoredToken>| stored.map(|stored| stored.state(now));
    let own = state(store.token_find(case.token.id).await.unwrap());
    let other = match case.holder {
        Some(id) => state(store.token_find(id).await.unwrap()),
        None => None,
    };
    let holds = store.token_find_holder(case.token.slot).await.unwrap().map(|holder| role(holder.token.id));
    format!("{outcome}; token {own:?}, holder {other:?}, slot {holds:?}")
}

async fn both_ways_agree(write: impl Fn(&AccessToken, ActiveTokenPolicy, Option<TokenId>) -> TokenWrite) {
    let nouns = Nouns::new();
    let store = nouns.store().await;
    let client = nouns.connect().await;
    // Makes the partitions.
    store.token_write(vec![write(&nouns.token("first"), ActiveTokenPolicy::Reuse, None)]).await.unwrap();
    let rule = "UPDATE log_head SET position = 1, last_rule_epoch = 1, last_rule_position = 1;
                INSERT INTO rules VALUES (5, '', 1, 1, 9e15, 0)";
    client.batch_execute(rule).await.unwrap();
    let mut number = 0;
    for policy in [ActiveTokenPolicy::Reuse, ActiveTokenPolicy::Multiple] {
        for (held, kind) in HELD.into_iter().flat_map(|held| TOKENS.map(|kind| (held, kind))) {
            for knows in [false, true] {
                let mut answers = Vec::new();
                for with_heartbeat in [false, true] {
                    number += 1;
                    let case = arrange(&nouns, &client, &format!("case-{number}"), held, kind).await;
                    let observed = case.holder.filter(|_| knows);
                    let mut batch = vec![write(&case.token, policy, observed)];
                    if with_heartbeat {
                        batch.push(TokenWrite::Heartbeat { node: NodeId([1; 16]), drained_below: None });
                    }
                    let outcome = store.token_write(batch).await.unwrap().swap_remove(0);
                    answers.push(told(store.as_ref(), &case, outcome, nouns.clock.now()).await);
                }
                assert_eq!(answers[0], answers[1], "{policy:?} {held:?} {kind:?}, knows {knows}");
            }
        }
    }
}

#[tokio::test]
async fn one_statement_issues_what_decide_issue_would() {
    both_ways_agree(|token, policy, observed| TokenWrite::Issue(issue_of(token, policy, observed))).await;
}

#[tokio::test]
async fn one_statement_settles_what_decide_settle_would() {
    both_ways_agree(|token, policy, observed| TokenWrite::Settle(issue_of(token, policy, observed))).await;
}
