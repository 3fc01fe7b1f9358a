//! `enabled`, `load_batch_size`, and the filling at the start.

use rusqlite::Connection;

use super::Source::{Memory, Store};
use super::{Caller, of_tokens};
use crate::home::Home;
use crate::wait;

/// Whatever a server still says about a token after this, it has from a copy.
fn forget_all_tokens(home: &Home) {
    Connection::open(home.database_path()).unwrap().execute("DELETE FROM tokens", []).unwrap();
}

#[tokio::test]
async fn with_copies_the_store_is_not_asked_and_without_it_is_each_time() {
    for (enabled, is_active_from_a_copy) in [(true, true), (false, false)] {
        let home = Home::with_config(&format!("[cache]\nenabled = {enabled}\n"));
        let server = home.start().await;
        let caller = Caller::register(&home, &server).await;
        let token = caller.issue(&server, 0).await;
        assert!(caller.is_active(&server, &token).await);
        forget_all_tokens(&home);
        assert_eq!(caller.is_active(&server, &token).await, is_active_from_a_copy);
        for name in ["grantry_cache_capacity", "grantry_cache_hits_total"] {
            assert_eq!(server.metric(name, "").await > 0.0, enabled, "{name}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn the_start_reads_the_newest_tokens_so_many_at_a_time_until_the_cache_is_full() {
    let home = Home::new();
    let server = home.start().await;
    let caller = Caller::register(&home, &server).await;
    let issued = caller.issue_all(&server, 0..10).await;
    server.stop().await;
    home.configure("[cache]\nload_batch_size = 2\n[cache.tokens]\ncapacity = 5\n");
    let server = home.start().await;
    wait::until("the cache is full", async || {
        (of_tokens(&server, "grantry_cache_loaded_total").await == 5.0).then_some(())
    })
    .await;
    // Two, two and one.
    assert_eq!(of_tokens(&server, "grantry_cache_load_batch_size_count").await, 3.0);
    assert_eq!(of_tokens(&server, "grantry_cache_load_batch_size_sum").await, 5.0);
    let newest: Vec<_> = issued[5..].iter().collect();
    assert_eq!(caller.sources(&server, &newest).await, [Memory; 5]);
    assert_eq!(caller.source(&server, &issued[4]).await, Store);
    server.stop().await;
}

/// As many rows more as are wanted, each like the newest but for its id and its slot.
fn multiply_tokens(home: &Home, count: u32) {
    let database = Connection::open(home.database_path()).unwrap();
    let columns = "SELECT group_concat(CASE name
                       WHEN 'id' THEN 'CAST(substr(t.id, 1, 6) || x''70008000'' || randomblob(6) AS BLOB)'
                       WHEN 'slot' THEN 'randomblob(length(t.slot))'
                       ELSE 't.' || name END) FROM (SELECT name FROM pragma_table_info('tokens') ORDER BY cid)";
    let columns: String = database.query_row(columns, [], |row| row.get(0)).unwrap();
    let sql = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
         INSERT INTO tokens SELECT {columns} FROM numbers, (SELECT * FROM tokens ORDER BY id DESC LIMIT 1) t"
    );
    database.execute(&sql, [count]).unwrap();
}

#[tokio::test]
async fn a_server_is_ready_and_answers_long_before_its_caches_are_full() {
    const TOKENS: u32 = 20_000;
    let home = Home::new();
    let server = home.start().await;
    let caller = Caller::register(&home, &server).await;
    let token = caller.issue(&server, 0).await;
    server.stop().await;
    multiply_tokens(&home, TOKENS);
    // One statement for each.
    home.configure("[cache]\nload_batch_size = 1\n");
    let server = home.start().await;
    assert!(caller.is_active(&server, &token).await);
    let later = caller.issue(&server, 1).await;
    assert!(caller.is_active(&server, &later).await);
    let loaded = of_tokens(&server, "grantry_cache_loaded_total").await;
    assert!(loaded < f64::from(TOKENS), "all were loaded before the server was ready: {loaded}");
    wait::until("all are loaded", async || {
        (of_tokens(&server, "grantry_cache_loaded_total").await >= f64::from(TOKENS)).then_some(())
    })
    .await;
    server.stop().await;
}
