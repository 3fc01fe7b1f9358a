//! Two nodes, each with its own connections, at the same few rows.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{ActiveTokenPolicy, Clock, Grant, LogHead, LogKind, Position, TokenId, TokenState};
use grantry_store::{
    NodeId, Nodes, Revocations, RotationOutcome, TokenWrite, Tokens, Unwritten, WriteOutcome,
};
use grantry_store_postgres::PostgresStore;
use grantry_store_postgres::testing::{Server, ServerOptions};

use crate::nouns::{LIFETIME, Nouns, issue_of};

const WRITERS: u64 = 6;
const BATCHES: u64 = 30;
const SLOTS: u64 = 5;

/// A small generator: what comes next has to be the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Writes batches of everything, and remembers what it may end and refresh.
async fn write_mixed(nouns: Arc<Nouns>, store: Arc<PostgresStore>, seed: u64) {
    let mut dice = Dice(seed);
    let node = store.node_register(NodeId([u8::try_from(seed).unwrap(); 16])).await.unwrap().number.unwrap();
    let mut tokens: Vec<TokenId> = Vec::new();
    let mut grants: Vec<(Grant, u32)> = Vec::new();
    for _ in 0..BATCHES {
        let mut batch = Vec::new();
        for _ in 0..=dice.roll(8) {
            let app = format!("app-{}", dice.roll(SLOTS));
            let policy = [ActiveTokenPolicy::Reuse, ActiveTokenPolicy::Multiple, ActiveTokenPolicy::Replace]
                [usize::try_from(dice.roll(3)).unwrap()];
            let token = nouns.token(&app);
            let known = tokens.last().copied();
            batch.push(match dice.roll(12) {
                0..=4 => TokenWrite::Issue(issue_of(&token, policy, known)),
                5..=6 => TokenWrite::Settle(issue_of(&nouns.deferred(&app, node), policy, known)),
                7 => TokenWrite::Open(Arc::new(nouns.opening(&app))),
                8 => match grants.last() {
                    Some((grant, counter)) => nouns.rotation(grant, *counter),
                    None => TokenWrite::Issue(issue_of(&token, policy, known)),
                },
                9 => TokenWrite::Revoke { id: known.unwrap_or(token.id), unwritten: None, audit: None },
                10 => {
                    let unwritten = Unwritten { by: Some(node), expires_by: token.expires_at };
                    TokenWrite::Revoke { id: token.id, unwritten: Some(unwritten), audit: None }
                }
                _ => match grants.pop() {
                    Some((grant, _)) => TokenWrite::RevokeGrant {
                        origin: None,
                        id: grant.id,
                        keep_until: nouns.clock.now() + LIFETIME,
                        audit: None,
                    },
                    None => TokenWrite::Heartbeat {
                        node: NodeId([u8::try_from(seed).unwrap(); 16]),
                        drained_below: None,
                    },
                },
            });
        }
        let outcomes = store.token_write(batch.clone()).await.unwrap();
        assert_eq!(outcomes.len(), batch.len());
        for (write, outcome) in batch.iter().zip(outcomes) {
            match (write, outcome) {
                (TokenWrite::Issue(issue), WriteOutcome::Issued) => tokens.push(issue.token.id),
                (TokenWrite::Settle(issue), WriteOutcome::Settled(_)) => tokens.push(issue.token.id),
                (TokenWrite::Open(opening), WriteOutcome::Opened) => grants.push((opening.grant.clone(), 0)),
                (TokenWrite::Open(_), WriteOutcome::GrantHeld(held)) => {
                    grants.push((held.grant.clone(), held.grant.counter));
                }
                (
                    TokenWrite::Rotate(_),
                    WriteOutcome::Rotated(
                        RotationOutcome::Refreshed { counter } | RotationOutcome::Repeated { counter, .. },
                    ),
                ) => {
                    if let Some((_, known)) = grants.last_mut() {
                        *known = counter;
                    }
                }
                _ => {}
            }
        }
    }
}

/// Positions follow one another, and the chain is what the entries make of it.
async fn assert_log_is_whole(store: &PostgresStore) {
    let entries = store.revocation_list(Position(0), 1_000_000).await.unwrap();
    let mut head = LogHead::EMPTY;
    for entry in &entries {
        let (again, next) = head.append(entry.kind, entry.key.clone(), entry.keep_until);
        assert_eq!(&again, entry);
        head = next;
    }
    assert_eq!(store.revocation_head().await.unwrap(), head);
    assert!(entries.iter().any(|entry| entry.kind == LogKind::Token));
}

async fn count(nouns: &Nouns, sql: &str) -> i64 {
    nouns.connect().await.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_write_everything_at_once_leave_everything_in_order() {
    let nouns = Arc::new(Nouns::new());
    let stores = [nouns.store().await, nouns.store().await];
    let writers: Vec<_> = (1..=WRITERS)
        .flat_map(|writer| {
            stores.iter().zip(0..).map(move |(store, node)| (Arc::clone(store), writer * 2 + node))
        })
        .map(|(store, seed)| tokio::spawn(write_mixed(Arc::clone(&nouns), store, seed)))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_log_is_whole(&stores[0]).await;
    let strays = "SELECT count(*) FROM slots s LEFT JOIN tokens t ON t.id = s.holder AND t.slot = s.slot
                  WHERE t.id IS NULL OR t.ended IS NOT NULL";
    assert_eq!(
        count(&nouns, strays).await,
        0,
        "each slot's holder is a token of that slot that has not ended"
    );
    let unannounced = "SELECT count(*) FROM tokens t WHERE t.ended IS NOT NULL
                       AND NOT EXISTS (SELECT FROM revocation_log l WHERE l.kind = 1 AND l.key = uuid_send(t.id))";
    assert_eq!(count(&nouns, unannounced).await, 0, "each end is in the log");
    drop(stores);
    // What a connection has counted is in the statistics once it is closed.
    let others = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'grantry'";
    while count(&nouns, others).await > 0 {
        // wait: for connections to close
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(count(&nouns, deadlocks).await, 0, "locks are taken in one order");
}

/// However a settlement on one node and a revocation on the other interleave, the revocation is never lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_revoked_at_one_node_while_another_writes_it_is_ended() {
    let nouns = Nouns::new();
    let (writer, revoker) = (nouns.store().await, nouns.store().await);
    let by = writer.node_register(NodeId([9; 16])).await.unwrap().number.unwrap();
    let neighbour = nouns.token("neighbour");
    for round in 0..100 {
        let token = nouns.deferred(&format!("app-{round}"), by);
        let unwritten = Some(Unwritten { by: Some(by), expires_by: token.expires_at });
        let mut settled = vec![TokenWrite::Settle(issue_of(&token, ActiveTokenPolicy::Reuse, None))];
        if round % 2 == 0 {
            // With something that takes the longer way.
            settled.push(TokenWrite::Revoke { id: neighbour.id, unwritten: None, audit: None });
        }
        let revoked = vec![TokenWrite::Revoke { id: token.id, unwritten, audit: None }];
        let write = |store: &Arc<PostgresStore>, batch| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.token_write(batch).await.unwrap() })
        };
        let (settled, revoked) = (write(&writer, settled), write(&revoker, revoked));
        settled.await.unwrap();
        revoked.await.unwrap();
        let stored = writer.token_find(token.id).await.unwrap().unwrap();
        assert_eq!(stored.state(nouns.clock.now()), TokenState::Revoked, "round {round}");
    }
}

/// Rows that change often do so where they lie: an index entry for each change would make every one slower. On a server
/// of its own: a transaction that lasts, in whichever database, keeps others from reusing the room of old versions.
#[tokio::test]
async fn slots_and_grants_change_in_place() {
    let server = Server::start(&ServerOptions::default());
    let nouns = Nouns::at(server.url("postgres"));
    let store = nouns.store().await;
    let apps: Vec<String> = (0..20).map(|number| format!("app-{number}")).collect();
    let openings: Vec<_> = apps.iter().map(|app| nouns.opening(&format!("granted to {app}"))).collect();
    let opened = openings.iter().map(|opening| TokenWrite::Open(Arc::new(opening.clone()))).collect();
    store.token_write(opened).await.unwrap();
    for round in 0..60 {
        let issues = apps
            .iter()
            .map(|app| TokenWrite::Issue(issue_of(&nouns.token(app), ActiveTokenPolicy::Multiple, None)));
        store.token_write(issues.collect()).await.unwrap();
        let rotations = openings.iter().map(|opening| nouns.rotation(&opening.grant, round));
        store.token_write(rotations.collect()).await.unwrap();
    }
    let client = nouns.connect().await;
    drop(store);
    for table in ["slots", "grants"] {
        let sql = format!(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = '{table}' AND n_tup_upd >= 1180"
        );
        let row = loop {
            if let Some(row) = client.query_opt(&sql, &[]).await.unwrap() {
                break row;
            }
            // wait: for the statistics of connections that close
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let (updated, in_place): (i64, i64) = (row.get(0), row.get(1));
        assert!(in_place * 10 > updated * 9, "{table}: {in_place} of {updated} in place");
    }
}
