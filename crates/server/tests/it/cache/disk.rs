//! `disk_offload`, `flush_to_disk_on_stop` and `directory`.

use serde_json::json;

use super::Source::{Disk, Memory, Store};
use super::{Caller, Source, of_tokens};
use crate::home::{Home, text};
use crate::test_server::TestServer;
use crate::wait;

/// Room for two tokens in memory.
fn with(disk_offload: bool, flush_to_disk_on_stop: bool) -> Home {
    Home::with_config(&format!(
        "[cache.tokens]\ncapacity = 2\ndisk_offload = {disk_offload}\n\
         flush_to_disk_on_stop = {flush_to_disk_on_stop}\n"
    ))
}

#[tokio::test]
async fn what_makes_room_is_found_on_disk_with_disk_offload_and_in_the_store_without() {
    for (offload, elsewhere) in [(true, Disk), (false, Store)] {
        let home = with(offload, false);
        let server = home.start().await;
        let caller = Caller::register(&home, &server).await;
        let issued = caller.issue_all(&server, 0..5).await;
        for token in &issued[..3] {
            assert_eq!(caller.source(&server, token).await, elsewhere);
            assert_eq!(caller.source(&server, token).await, Memory, "it is in memory again");
        }
        assert_eq!(of_tokens(&server, "grantry_cache_size").await, 2.0);
        assert_eq!(home.path("grantry-data/cache/tokens").exists(), offload);
        server.stop().await;
    }
}

/// A server that was asked about the first two of five tokens last, so that memory has those and, with an offload, the
/// disk has the others.
async fn before_the_stop(home: &Home) -> (TestServer, Caller, Vec<String>) {
    let server = home.start().await;
    let caller = Caller::register(home, &server).await;
    let issued = caller.issue_all(&server, 0..5).await;
    for token in &issued[..2] {
        assert!(caller.is_active(&server, token).await);
    }
    (server, caller, issued)
}

/// The next server, once it has read the two newest tokens from the store. They are the last two.
async fn after_the_start(home: &Home) -> TestServer {
    let server = home.start().await;
    wait::until("the newest tokens are loaded", async || {
        (of_tokens(&server, "grantry_cache_loaded_total").await >= 2.0).then_some(())
    })
    .await;
    server
}

#[tokio::test]
async fn a_clean_stop_keeps_what_the_settings_say_and_the_store_is_not_asked_for_it() {
    let table: [(bool, bool, [Source; 3]); 4] = [
        // disk_offload, flush_to_disk_on_stop; of two tokens that were in memory and one that had made room.
        (false, false, [Store, Store, Store]),
        (true, false, [Store, Store, Disk]),
        (false, true, [Disk, Disk, Store]),
        (true, true, [Disk, Disk, Disk]),
    ];
    for (offload, flush, expected) in table {
        let home = with(offload, flush);
        let (server, caller, issued) = before_the_stop(&home).await;
        server.stop().await;
        let server = after_the_start(&home).await;
        let found = caller.sources(&server, &[&issued[0], &issued[1], &issued[2]]).await;
        assert_eq!(found, expected, "disk_offload = {offload}, flush_to_disk_on_stop = {flush}");
        server.stop().await;
    }
}

#[tokio::test]
async fn after_kill_9_nothing_is_taken_from_the_disk_and_the_log_says_so() {
    let home = with(true, true);
    let (server, caller, issued) = before_the_stop(&home).await;
    server.stop().await;
    // What that stop has kept is not what a later end leaves behind.
    let mut server = after_the_start(&home).await;
    assert_eq!(caller.source(&server, &issued[0]).await, Disk);
    server.process.kill();
    let server = after_the_start(&home).await;
    let found = caller.sources(&server, &[&issued[0], &issued[1], &issued[2]]).await;
    assert_eq!(found, [Store; 3]);
    let log = server.process.err();
    assert!(log.contains("was not stopped cleanly"), "{log}");
    server.stop().await;
    // What it has put there since is kept by a clean stop again.
    let server = after_the_start(&home).await;
    assert_eq!(caller.source(&server, &issued[2]).await, Disk);
    assert!(!server.process.err().contains("was not stopped cleanly"));
    server.stop().await;
}

#[tokio::test]
async fn what_was_revoked_while_the_server_was_down_is_inactive_though_the_disk_has_a_copy() {
    let home = with(true, true);
    let (server, caller, issued) = before_the_stop(&home).await;
    server.stop().await;
    let revoked = home.run(&["tokens", "revoke", "--offline", "--token", &issued[0]]);
    assert!(revoked.status.success(), "{}", text(&revoked));
    let server = home.start().await;
    assert!(!caller.is_active(&server, &issued[0]).await);
    assert_eq!(caller.source(&server, &issued[1]).await, Disk, "the others are not concerned");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_was_changed_while_the_server_was_down_is_not_taken_from_the_disk() {
    let home = Home::with_config(
        "[cache.clients]\ncapacity = 1\ndisk_offload = true\nflush_to_disk_on_stop = true\n",
    );
    let server = home.start().await;
    let admin = home.first_client();
    let caller = Caller {
        client: server.create_client(&admin, json!({ "client_id": "later", "scope": "read" })).await,
    };
    let token = caller.issue(&server, 0).await;
    assert!(caller.is_active(&server, &token).await);
    server.stop().await;
    let disabled = home.run(&["clients", "disable", "--offline", "later"]);
    assert!(disabled.status.success(), "{}", text(&disabled));
    let server = home.start().await;
    assert_eq!(caller.introspection_status(&server, &token).await, 401);
    server.stop().await;
}

#[tokio::test]
async fn the_copies_on_disk_are_in_the_directory_that_is_set() {
    let home = Home::with_config(
        "[cache]\ndirectory = \"elsewhere\"\n[cache.tokens]\ncapacity = 2\ndisk_offload = true\n",
    );
    let server = home.start().await;
    let caller = Caller::register(&home, &server).await;
    caller.issue_all(&server, 0..3).await;
    let segments = std::fs::read_dir(home.path("elsewhere/tokens")).unwrap();
    let bytes: u64 = segments.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes > 0);
    assert!(!home.path("grantry-data/cache").exists());
    server.stop().await;
}
