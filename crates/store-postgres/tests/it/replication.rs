//! What the store says of its standbys, on real ones.

use std::time::Duration;

use grantry_store::{Replication, ReplicationMode, ReplicationState};
use grantry_store_postgres::testing::{Database, Server, ServerOptions};
use grantry_store_postgres::{PostgresStore, StoreTime};

use crate::{Fixed, options};

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(url, &options(), StoreTime::Database, Fixed::rng()).await.unwrap()
}

async fn state(store: &PostgresStore) -> ReplicationState {
    store.replication_state().await.unwrap().unwrap()
}

/// Asks until it is so: a reload and a connection take effect some time after they were asked for.
async fn until(store: &PostgresStore, is_so: impl Fn(&ReplicationState) -> bool) -> ReplicationState {
    for _ in 0..3000 {
        let state = state(store).await;
        if is_so(&state) {
            return state;
        }
        // wait: the server to have heard
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it stays so: {:?}", state(store).await);
}

async fn administer(server: &Server, statements: &[&str]) {
    let (client, connection) =
        tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for statement in statements {
        client.execute(*statement, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_standby_is_asynchronous_until_it_is_named_and_its_absence_is_said() {
    let primary = Server::start(&ServerOptions::default());
    let store = open(&primary.url("postgres")).await;
    let alone = state(&store).await;
    assert_eq!((alone.mode, alone.standbys.len()), (ReplicationMode::Single, 0));
    assert!(alone.warnings.is_empty(), "{:?}", alone.warnings);

    let mut standby = Server::standby(&primary);
    let followed = until(&store, |state| !state.standbys.is_empty()).await;
    assert_eq!((followed.mode, followed.synchronous()), (ReplicationMode::Asynchronous, Some(0)));
    assert!(followed.warnings[0].contains("a failover loses the last commits"), "{:?}", followed.warnings);

    let name = "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (walreceiver)'";
    administer(&primary, &[name, "SELECT pg_reload_conf()"]).await;
    let named = until(&store, |state| state.synchronous() == Some(1)).await;
    assert_eq!(named.mode, ReplicationMode::Synchronous { required: 1 });
    assert!(named.warnings.is_empty(), "{:?}", named.warnings);
    assert_eq!(named.standbys[0].name.as_deref(), Some("walreceiver"));
    assert_eq!(named.standbys[0].state.as_deref(), Some("streaming"));

    standby.stop();
    let missed = until(&store, |state| state.synchronous() == Some(0)).await;
    assert_eq!(missed.mode, ReplicationMode::Synchronous { required: 1 });
    assert!(missed.warnings[0].contains("every commit waits"), "{:?}", missed.warnings);
}

/// The setting of the role that writes counts, and not that of the server.
#[tokio::test]
async fn a_role_whose_commits_do_not_wait_is_not_taken_for_synchronous() {
    let names = ("synchronous_standby_names", "walreceiver".to_owned());
    // Nobody waits until the standby is there.
    let local = ("synchronous_commit", "local".to_owned());
    let primary = Server::start(&ServerOptions { settings: vec![names, local], ..ServerOptions::default() });
    let _standby = Server::standby(&primary);
    administer(
        &primary,
        &[
            "CREATE ROLE hasty LOGIN",
            "ALTER ROLE hasty SET synchronous_commit = off",
            "CREATE ROLE careful LOGIN",
            "ALTER ROLE careful SET synchronous_commit = remote_apply",
            "GRANT pg_monitor TO careful",
            "CREATE DATABASE hasty OWNER hasty",
            "CREATE DATABASE careful OWNER careful",
        ],
    )
    .await;
    let url = |role: &str| primary.url(role).replace("grantry@", &format!("{role}@"));
    let careful = open(&url("careful")).await;
    let state_of_careful = until(&careful, |state| state.synchronous() == Some(1)).await;
    assert_eq!(state_of_careful.mode, ReplicationMode::Synchronous { required: 1 });
    assert!(state_of_careful.warnings.is_empty(), "{:?}", state_of_careful.warnings);

    let state_of_hasty = state(&open(&url("hasty")).await).await;
    assert_eq!(state_of_hasty.mode, ReplicationMode::Asynchronous);
    let [failover, hidden, crash] = state_of_hasty.warnings.as_slice() else {
        panic!("{:?}", state_of_hasty.warnings)
    };
    assert!(failover.contains("no commit waits") && failover.contains("the role hasty"), "{failover}");
    assert!(hidden.contains("GRANT pg_monitor TO hasty"), "{hidden}");
    assert!(crash.contains("without any failover"), "{crash}");
    assert_eq!(state_of_hasty.synchronous(), None, "it is not told which of them is synchronous");
}

#[tokio::test]
async fn a_server_that_does_not_flush_is_named() {
    // The tests' shared one is of that kind.
    let database = Database::scratch();
    let state = state(&open(&database.url()).await).await;
    assert_eq!(state.mode, ReplicationMode::Single);
    assert!(state.warnings[0].starts_with("fsync is off"), "{:?}", state.warnings);
}
