//! `capacity` and `eviction_policy`.

use super::Source::{Memory, Store};
use super::{Caller, of_tokens};
use crate::home::Home;

fn tokens(capacity: usize, policy: &str) -> Home {
    Home::with_config(&format!("[cache.tokens]\ncapacity = {capacity}\neviction_policy = \"{policy}\"\n"))
}

#[tokio::test]
async fn a_cache_never_has_more_copies_than_its_capacity_and_the_oldest_go() {
    for policy in ["lru", "lfu", "s3fifo"] {
        let home = tokens(3, policy);
        let server = home.start().await;
        let caller = Caller::register(&home, &server).await;
        assert_eq!(of_tokens(&server, "grantry_cache_capacity").await, 3.0);
        let mut issued = Vec::new();
        for number in 0..10 {
            issued.push(caller.issue(&server, number).await);
            assert!(of_tokens(&server, "grantry_cache_size").await <= 3.0, "{policy}");
        }
        assert_eq!(of_tokens(&server, "grantry_cache_size").await, 3.0, "{policy}");
        // The administrator's was the eleventh.
        assert_eq!(of_tokens(&server, "grantry_cache_evictions_total").await, 8.0, "{policy}");
        assert_eq!(caller.source(&server, &issued[0]).await, Store, "{policy}");
        server.stop().await;
    }
}

#[tokio::test]
async fn each_cache_has_a_capacity_of_its_own() {
    let home = Home::with_config(
        "[cache.tokens]\ncapacity = 4\n[cache.token_owners]\ncapacity = 3\n[cache.clients]\ncapacity = 2\n",
    );
    let server = home.start().await;
    let admin = home.first_client();
    for number in 0..6 {
        let caller = Caller { client: server.plain_client(&admin).await };
        caller.issue(&server, number).await;
    }
    for (cache, capacity) in [("tokens", 4.0), ("token_owners", 3.0), ("clients", 2.0)] {
        let labels = format!("cache=\"{cache}\"");
        assert_eq!(server.metric("grantry_cache_capacity", &labels).await, capacity, "{cache}");
        assert_eq!(server.metric("grantry_cache_size", &labels).await, capacity, "{cache}");
        assert!(server.metric("grantry_cache_evictions_total", &labels).await > 0.0, "{cache}");
    }
    server.stop().await;
}

#[tokio::test]
async fn lru_evicts_the_token_that_nobody_asked_about_for_the_longest_time() {
    let home = tokens(3, "lru");
    let server = home.start().await;
    let caller = Caller::register(&home, &server).await;
    let issued = caller.issue_all(&server, 0..3).await;
    let [a, b, c] = issued.as_slice() else { panic!("three tokens") };
    assert_eq!(caller.source(&server, a).await, Memory);
    let d = &caller.issue(&server, 3).await;
    // In this order each look leaves in memory what is asked for next.
    assert_eq!(caller.sources(&server, &[c, d, a]).await, [Memory; 3]);
    assert_eq!(caller.source(&server, b).await, Store, "it was the oldest when the fourth came");
    // Now it was C that was not used for the longest time.
    assert_eq!(caller.sources(&server, &[d, a, b]).await, [Memory; 3]);
    assert_eq!(caller.source(&server, c).await, Store);
    server.stop().await;
}

/// Asks about one token again and again, then about `others` new ones, `times` about each; whether the first has stayed
/// in memory.
async fn stays(policy: &str, asked: usize, others: usize, times: usize) -> bool {
    let home = tokens(10, policy);
    let server = home.start().await;
    let caller = Caller::register(&home, &server).await;
    let first = caller.issue(&server, 0).await;
    for _ in 0..asked {
        assert_eq!(caller.source(&server, &first).await, Memory);
    }
    for number in 1..=others {
        let other = caller.issue(&server, number).await;
        for _ in 0..times {
            assert!(caller.is_active(&server, &other).await);
        }
    }
    let source = caller.source(&server, &first).await;
    server.stop().await;
    source == Memory
}

#[tokio::test]
async fn a_scan_pushes_out_what_is_used_often_with_lru_alone() {
    assert!(!stays("lru", 5, 30, 0).await);
    assert!(stays("lfu", 5, 30, 0).await);
    assert!(stays("s3fifo", 5, 30, 0).await);
}

#[tokio::test]
async fn lfu_knows_how_often_and_s3fifo_only_that_it_was_more_than_once() {
    assert!(stays("lfu", 30, 60, 2).await);
    assert!(!stays("s3fifo", 30, 60, 2).await);
}
