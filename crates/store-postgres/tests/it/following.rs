//! Nodes that follow the log: who may vouch for it, and who hears that it has grown.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{LogHead, Seen};
use grantry_store::{
    Merge, NodeId, Nodes, Outage, Probe, Revocations, RevokeOutcome, StoreError, TokenWrite,
};
use grantry_store::{Tokens, WriteOutcome};
use grantry_store_postgres::testing::{PgBouncer, Server, ServerOptions, shared_port};
use grantry_store_postgres::{PostgresOptions, PostgresStore, StoreTime};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, NoTls};

use crate::nouns::{Nouns, issue_of};
use crate::{Fixed, options};

const NODE: NodeId = NodeId([1; 16]);
/// For what comes at once, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(5);

fn probe(node: NodeId) -> Probe {
    Probe { node, applied: Seen::NOTHING, limit: 10 }
}

/// For servers that do not answer.
fn impatient() -> PostgresOptions {
    let half = Duration::from_millis(500);
    PostgresOptions { busy_timeout: half, statement_timeout: half, lock_timeout: half, ..options() }
}

async fn open(url: &str, options: &PostgresOptions) -> PostgresStore {
    PostgresStore::open(url, options, StoreTime::Database, Fixed::rng()).await.unwrap()
}

/// Ours do not connect to a server that takes no writes.
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn revoke_one(nouns: &Nouns, store: &PostgresStore, client: &str) {
    let token = nouns.token(client);
    let issue = TokenWrite::Issue(issue_of(&token, grantry_protocol::ActiveTokenPolicy::Multiple, None));
    let revoke = TokenWrite::Revoke { id: token.id, unwritten: None, audit: None };
    let outcomes = store.token_write(vec![issue, revoke]).await.unwrap();
    assert!(matches!(outcomes[1], WriteOutcome::Revoked(RevokeOutcome::Revoked(_))), "{outcomes:?}");
}

async fn ring(bell: &mut Receiver<u64>) {
    timeout(PATIENCE, bell.changed()).await.expect("it rings").unwrap();
}

/// Sessions of the database that listen.
async fn listening(client: &Client) -> Vec<i32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// It answers whoever reads, and still nobody takes its word.
#[tokio::test]
async fn a_primary_that_was_demoted_cannot_vouch_for_the_log() {
    let server = Server::start(&ServerOptions::default());
    let url = server.url("postgres");
    let store = open(&url, &impatient()).await;
    assert_eq!(store.revocation_probe(probe(NODE)).await.unwrap().head, LogHead::EMPTY);
    assert_eq!(store.revocation_head().await, Ok(LogHead::EMPTY));
    let admin = connect(&url).await;
    for set in ["SET default_transaction_read_only = on", "RESET default_transaction_read_only"] {
        admin.batch_execute("SET default_transaction_read_only = off").await.unwrap();
        admin.batch_execute(&format!("ALTER SYSTEM {set}")).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let demotes = set.starts_with("SET");
        let began = Instant::now();
        let answer = loop {
            let answer = store.revocation_probe(probe(NODE)).await;
            if answer.is_err() == demotes {
                break answer;
            }
            assert!(began.elapsed() < PATIENCE, "{answer:?}");
            // wait: the server to have read its settings
            sleep(TICK).await;
        };
        if demotes {
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
            // It still answers who asks on a connection of before; ours are given up, those for reading, too.
            assert_eq!(admin.query("SELECT FROM log_head", &[]).await.unwrap().len(), 1);
            assert!(store.revocation_head().await.is_err_and(|error| error.is_outage()));
        }
    }
}

/// PostgreSQL has committed the node's row, but a standby that was to have it may lack it, and so may the log.
#[tokio::test]
async fn a_probe_that_did_not_wait_for_the_standby_proves_nothing() {
    let server = Server::start(&ServerOptions::default());
    let url = server.url("postgres");
    let store = Arc::new(open(&url, &options()).await);
    let admin = connect(&url).await;
    admin.batch_execute("SET synchronous_commit = local").await.unwrap();
    admin.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let asked = async {
        loop {
            // The server takes its time to read its settings.
            if let Err(error) = store.revocation_probe(probe(NODE)).await {
                break error;
            }
        }
    };
    let cancelled = async {
        let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while admin.query(sql, &[]).await.unwrap().is_empty() {
            // wait: the commit to wait for its standby
            sleep(TICK).await;
        }
    };
    let (error, ()) = tokio::join!(asked, cancelled);
    assert!(error.is_outage() && error.to_string().contains("standby"), "{error}");
}

#[tokio::test]
async fn a_probe_that_hangs_ends_in_time() {
    let server = Server::start(&ServerOptions::default());
    let store = open(&server.url("postgres"), &impatient()).await;
    store.revocation_probe(probe(NODE)).await.unwrap();
    server.freeze();
    for _ in 0..2 {
        let began = Instant::now();
        let answer = store.revocation_probe(probe(NODE)).await;
        assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    server.thaw();
    let began = Instant::now();
    while let Err(error) = store.revocation_probe(probe(NODE)).await {
        assert!(began.elapsed() < PATIENCE, "{error}");
    }
}

#[tokio::test]
async fn the_connection_of_a_probe_that_was_given_up_is_closed() {
    let nouns = Nouns::new();
    let (store, admin, locking) = (nouns.store().await, nouns.connect().await, nouns.connect().await);
    store.revocation_probe(probe(NODE)).await.unwrap();
    locking.batch_execute("BEGIN; SELECT FROM nodes FOR UPDATE").await.unwrap();
    let waiting = "SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let given_up = async {
        loop {
            let found = admin.query(waiting, &[]).await.unwrap();
            if let Some(row) = found.first() {
                break row.get::<_, i32>(0);
            }
            // wait: the probe to meet the lock
            sleep(TICK).await;
        }
    };
    let session = tokio::select! {
        biased;
        session = given_up => session,
        answer = store.revocation_probe(probe(NODE)) => panic!("{answer:?}"),
    };
    // Another one goes over a connection of its own.
    store.revocation_probe(probe(NodeId([2; 16]))).await.unwrap();
    locking.batch_execute("COMMIT").await.unwrap();
    let there = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
    let began = Instant::now();
    while admin.query_one(there, &[&session]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(began.elapsed() < PATIENCE, "nobody has closed it");
        // wait: the server to find that the connection is closed
        sleep(TICK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_does_not_stand_in_line_behind_writes_and_reads() {
    let nouns = Nouns::new();
    let patient = PostgresOptions {
        busy_timeout: PATIENCE,
        statement_timeout: PATIENCE,
        lock_timeout: PATIENCE,
        ..options()
    };
    let (admin, locking) = (nouns.connect().await, nouns.connect().await);
    let store = Arc::new(open(&nouns.url, &patient).await);
    locking.batch_execute("BEGIN; SELECT FROM log_head FOR UPDATE").await.unwrap();
    let from = LogHead::EMPTY;
    let writes: Vec<_> = (0..options().write_links)
        .map(|_| {
            let (store, merge) = (Arc::clone(&store), Merge { from, raise_epoch: true, entries: Vec::new() });
            tokio::spawn(async move { store.revocation_merge(merge).await })
        })
        .collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while admin.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < 8 {
        // wait: every link that writes to meet the lock
        sleep(TICK).await;
    }
    assert_eq!(store.revocation_probe(probe(NODE)).await.unwrap().head, LogHead::EMPTY);
    assert!(writes.iter().all(|write| !write.is_finished()));
    locking.batch_execute("COMMIT").await.unwrap();
    for write in writes {
        write.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn every_node_hears_what_any_of_them_appends() {
    let nouns = Nouns::new();
    let (one, two, admin) = (nouns.store().await, nouns.store().await, nouns.connect().await);
    let mut bells = [one.revocation_bell(), two.revocation_bell()];
    for bell in &mut bells {
        // It listens.
        ring(bell).await;
    }
    for store in [&one, &two] {
        revoke_one(&nouns, store, "app").await;
        for bell in &mut bells {
            ring(bell).await;
        }
    }
    assert_eq!(listening(&admin).await.len(), 2, "one connection a store, however many ask for the bell");

    // What was told while nobody listened is made up for by a ring.
    let ended = "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid";
    admin.query(ended, &[&listening(&admin).await]).await.unwrap();
    for bell in &mut bells {
        ring(bell).await;
    }
    revoke_one(&nouns, &one, "app").await;
    for bell in &mut bells {
        ring(bell).await;
    }
}

#[tokio::test]
async fn nobody_listens_who_was_not_asked_and_nobody_for_a_store_that_is_gone() {
    let nouns = Nouns::new();
    let (store, admin) = (nouns.store().await, nouns.connect().await);
    store.revocation_probe(probe(NODE)).await.unwrap();
    assert_eq!(listening(&admin).await, [0; 0]);
    let mut bell = store.revocation_bell();
    ring(&mut bell).await;
    let _second = store.revocation_bell();
    assert_eq!(listening(&admin).await.len(), 1);
    let weak = Arc::downgrade(&store);
    drop(store);
    assert!(weak.upgrade().is_none(), "listening does not keep the store");
    let began = Instant::now();
    while !listening(&admin).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "the connection is still there");
        // wait: the server to find that the connection is closed
        sleep(TICK).await;
    }
    assert!(bell.changed().await.is_err());
}

/// A pooler in transaction mode gives nobody a session to listen on, and takes what is told.
#[tokio::test]
async fn behind_a_pooler_the_log_is_followed_by_asking() {
    let nouns = Nouns::new();
    let pooler = PgBouncer::start(shared_port(), 2);
    let (_, name) = nouns.url.rsplit_once('/').unwrap();
    let url = pooler.url(name.split('?').next().unwrap());
    let pooled = open(&url, &PostgresOptions { prepared: false, ..options() }).await;
    let direct = nouns.store().await;
    let (silent, mut bell) = (pooled.revocation_bell(), direct.revocation_bell());
    ring(&mut bell).await;
    revoke_one(&nouns, &pooled, "app").await;
    ring(&mut bell).await;
    assert_eq!(silent.has_changed().ok(), Some(false));
    let page = pooled.revocation_probe(probe(NODE)).await.unwrap();
    assert_eq!((page.head, page.entries.len()), (direct.revocation_head().await.unwrap(), 1));
    assert_eq!(pooled.node_list().await.unwrap()[0].applied, Some(Seen::NOTHING));
}

#[tokio::test]
async fn a_write_that_is_refused_is_told_from_a_server_that_is_not_there() {
    let server = Server::start(&ServerOptions::default());
    let url = server.url("postgres");
    let store = open(&url, &options()).await;
    store.revocation_probe(probe(NODE)).await.unwrap();
    let admin = connect(&url).await;
    // Of the write alone: a server that takes none at all is found out when a connection to it is made.
    let demote = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                      RAISE read_only_sql_transaction; END $$;
                  CREATE TRIGGER demoted BEFORE INSERT ON nodes EXECUTE FUNCTION refuse()";
    admin.batch_execute(demote).await.unwrap();
    let answer = store.revocation_probe(probe(NODE)).await;
    assert!(matches!(answer, Err(StoreError::Unavailable { outage: Outage::ReadOnly, .. })), "{answer:?}");
}
