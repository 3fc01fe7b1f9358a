//! What reached the store in a run, done again in the same order on other stores: they answer and end the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grantry_protocol::{Clock, GrantId, LogEntry, LogHead, ManualClock, NodeNumber, Position, TokenId};
use grantry_store::{DeferredToken, MemoryStore, Node, Store, StoredGrant, TokenWrite};
use grantry_store_postgres::testing::{Database, block_on};
use grantry_store_postgres::{PostgresOptions, PostgresStore, StoreTime};
use grantry_store_sqlite::{SqliteOptions, SqliteStore};

use super::far_end::{Commit, Deed};
use super::random::Random;
use super::run;

const SEEDS: std::ops::Range<u64> = 0..50;

/// More than any run has.
const WHOLE_LOG: usize = 10_000;

/// All that a run can have changed.
#[derive(Debug, PartialEq)]
struct EndState {
    tokens: BTreeMap<TokenId, DeferredToken>,
    grants: BTreeMap<GrantId, StoredGrant>,
    log: Vec<LogEntry>,
    head: LogHead,
    nodes: Vec<Node>,
}

async fn replay(commits: &[Commit], store: &dyn Store, clock: &ManualClock) -> EndState {
    for (number, Commit { at, deed }) in commits.iter().enumerate() {
        clock.set(*at);
        match deed {
            Deed::Register(id, node) => {
                assert_eq!(store.node_register(*id).await.as_ref(), Ok(node), "{number}");
            }
            Deed::Append(append, seen) => {
                assert_eq!(store.revocation_append(append.clone()).await.as_ref(), Ok(seen), "{number}");
            }
            Deed::Write(batch, outcomes) => {
                let answer = store.token_write(batch.clone()).await;
                assert_eq!(answer.as_ref(), Ok(outcomes), "{number}: {batch:#?}");
            }
        }
    }
    end_state(commits, store).await
}

async fn end_state(commits: &[Commit], store: &dyn Store) -> EndState {
    let (mut tokens, mut grants) = (BTreeMap::new(), BTreeMap::new());
    for (id, by) in tokens_of(commits) {
        tokens.insert(id, store.token_find_deferred(id, by).await.unwrap());
    }
    for id in grants_of(commits) {
        if let Some(stored) = store.grant_find(id).await.unwrap() {
            grants.insert(id, stored);
        }
    }
    EndState {
        tokens,
        grants,
        log: store.revocation_list(Position(0), WHOLE_LOG).await.unwrap(),
        head: store.revocation_head().await.unwrap(),
        nodes: store.node_list().await.unwrap(),
    }
}

fn writes(commits: &[Commit]) -> impl Iterator<Item = &TokenWrite> {
    commits.iter().flat_map(|commit| match &commit.deed {
        Deed::Write(batch, _) => batch.as_slice(),
        Deed::Register(..) | Deed::Append(..) => &[],
    })
}

fn tokens_of(commits: &[Commit]) -> BTreeSet<(TokenId, NodeNumber)> {
    let anybody = NodeNumber::new(1).unwrap();
    let tokens = writes(commits).filter_map(|write| match write {
        TokenWrite::Issue(issue) | TokenWrite::Settle(issue) => {
            Some((issue.token.id, issue.token.deferred_by.unwrap_or(anybody)))
        }
        TokenWrite::Open(opening) => Some((opening.token.id, anybody)),
        TokenWrite::Rotate(rotation) => Some((rotation.token.id, anybody)),
        TokenWrite::Revoke { id, unwritten, .. } => {
            Some((*id, unwritten.and_then(|unwritten| unwritten.by).unwrap_or(anybody)))
        }
        _ => None,
    });
    tokens.collect()
}

fn grants_of(commits: &[Commit]) -> BTreeSet<GrantId> {
    let grants = writes(commits).filter_map(|write| match write {
        TokenWrite::Open(opening) => Some(opening.grant.id),
        _ => None,
    });
    grants.collect()
}

fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(grantry_protocol::Timestamp::from_secs(1_800_000_000)))
}

/// Every run once more in memory, then on the store that `open` makes.
fn compare(open: impl Fn(Arc<dyn Clock>) -> (Arc<dyn Store>, Box<dyn Send>)) {
    for seed in SEEDS {
        let commits = run(seed, None, false).commits;
        assert!(commits.len() > 3, "seed {seed}");
        let clock = manual_clock();
        let memory = MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let expected = block_on(replay(&commits, &memory, &clock));
        let clock = manual_clock();
        let (store, _guard) = open(Arc::clone(&clock) as Arc<dyn Clock>);
        let found = block_on(replay(&commits, store.as_ref(), &clock));
        assert_eq!(found, expected, "seed {seed}");
    }
}

#[test]
fn runs_end_the_same_on_sqlite() {
    compare(|clock| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grantry.db");
        let store = SqliteStore::open(&path, SqliteOptions::default(), clock).unwrap();
        (Arc::new(store), Box::new(directory))
    });
}

#[test]
fn runs_end_the_same_on_postgresql() {
    compare(|clock| {
        let database = Database::scratch();
        let (url, time) = (database.url(), StoreTime::Clock(clock));
        let rng = Arc::new(Random::new(0));
        let options = PostgresOptions::default();
        let store = block_on(async move { PostgresStore::open(&url, &options, time, rng).await }).unwrap();
        (Arc::new(store), Box::new(database))
    });
}
