//! What operators are told about the standbys of the database.

use serde_json::Value;

use crate::at::At;
use crate::home::{Home, text};
use crate::soak::postgres::Postgres;
use crate::test_server::TestServer;
use crate::wait;

async fn replicas(server: &TestServer, state: &str) -> f64 {
    server.metric("grantry_store_replicas", &format!("state=\"{state}\"")).await
}

#[tokio::test]
async fn the_state_of_replication_is_in_banner_log_admin_api_command_and_metrics() {
    let mut primary = Postgres::start().await;
    let standby = primary.standby().await;
    let administrator = primary.connect("postgres").await;
    let name = primary.make_database().await;
    wait::until("the standby follows", async || {
        let sql = "SELECT FROM pg_stat_replication WHERE state = 'streaming'";
        (administrator.query(sql, &[]).await.unwrap().len() == 1).then_some(())
    })
    .await;
    let home = Home::with_config(&format!("[store]\nurl = \"{}\"\n", primary.url(&name)));
    let server = home.start().await;
    for said in [server.process.out(), server.process.err()] {
        assert!(said.contains("asynchronous: no commit waits for standbys (1 connected)"), "{said}");
        assert!(said.contains("a failover loses the last commits"), "{said}");
    }
    assert_eq!([replicas(&server, "sync").await, replicas(&server, "async").await], [0.0, 1.0]);
    assert_eq!(server.metric("grantry_store_replication_warnings", "").await, 1.0);
    let status = text(&At::Server(&server).run(&home, &["cluster", "status"]));
    assert!(status.contains("the store is replicated so: asynchronous"), "{status}");
    assert!(status.contains("its near caches have copies of: tokens 1 of 100000, "), "{status}");
    assert!(status.contains("walreceiver streaming (asynchronous"), "{status}");
    assert!(status.contains("warning: PostgreSQL replicates asynchronously"), "{status}");

    for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
        administrator.execute(sql, &[]).await.unwrap();
    }
    wait::until("the standby is found to be synchronous", async || {
        (replicas(&server, "sync").await == 1.0).then_some(())
    })
    .await;
    assert_eq!(server.metric("grantry_store_replicas_required", "").await, 1.0);
    assert_eq!(server.metric("grantry_store_replication_warnings", "").await, 0.0);
    let log = server.process.err();
    assert!(log.contains("1 required, 1 of 1 connected ones synchronous"), "{log}");
    let status = At::Server(&server).json(&home, &["cluster", "status"]);
    let replication = &status["replication"];
    assert_eq!((&replication["mode"], &replication["required"]), (&"synchronous".into(), &1.into()));
    assert_eq!(replication["standbys"][0]["synchronous"], true);
    assert_eq!(replication["warnings"], Value::Array(Vec::new()));
    server.stop().await;
    drop(standby);
}

#[tokio::test]
async fn of_a_store_that_is_one_file_nothing_is_said_of_replication() {
    let home = Home::new();
    let server = home.start().await;
    assert!(!server.process.out().contains("replicas"));
    let status = At::Server(&server).json(&home, &["cluster", "status"]);
    assert_eq!(status["replication"], Value::Null);
    server.stop().await;
}
