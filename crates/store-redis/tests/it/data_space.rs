//! Copies for all nodes, on real servers.

use std::time::Duration;

use grantry_store::{ClusterId, CopyKind, DataSpace, Outage, Precedence, Replicas, SharedCopy, StoreError};
use grantry_store_redis::testing::{Cluster, Sentinels, Server, ask, scratch_name, shared_port, shared_url};
use grantry_store_redis::{JoinError, RedisDataSpace, RedisOptions, ReplicationPolicy};
use tokio::time::{Instant, sleep, timeout};

const OWN: ClusterId = ClusterId([1; 16]);
const OTHER: ClusterId = ClusterId([2; 16]);
const LONG: Duration = Duration::from_secs(60);
/// For what servers agree on among themselves.
const PATIENCE: Duration = Duration::from_secs(30);

async fn join(urls: Vec<String>, name: &str) -> RedisDataSpace {
    RedisDataSpace::join(&RedisOptions::new(urls, name), OWN).await.unwrap()
}

async fn shared() -> RedisDataSpace {
    join(vec![shared_url()], &scratch_name()).await
}

fn token(key: &str, value: &str, ttl: Duration) -> SharedCopy {
    let (key, value) = (key.to_owned(), value.as_bytes().to_vec());
    SharedCopy { kind: CopyKind::Token, key, value, ttl, precedence: Precedence::Last }
}

async fn find(space: &RedisDataSpace, key: &str) -> Option<String> {
    let found = space.copy_find(CopyKind::Token, key).await.unwrap();
    found.map(|bytes| String::from_utf8(bytes).unwrap())
}

/// Tries until it is done, as the nodes do in the background.
async fn put_at_last(space: &RedisDataSpace, copy: SharedCopy) {
    let copies = [copy];
    let putting = async {
        while space.copy_put(&copies).await.is_err() {
            // wait: another server to take over
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, putting).await.unwrap();
}

async fn probe_at_last(space: &RedisDataSpace) {
    let probing = async {
        while space.probe().await.is_err() {
            // wait: another server to take over
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, probing).await.unwrap();
}

async fn wait_for_replicas(space: &RedisDataSpace, expected: Replicas) {
    let waiting = async {
        while space.replicas() != Some(expected) {
            // wait: the replicas to be counted, which happens once a second
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{:?}", space.replicas()));
}

#[tokio::test]
async fn a_copy_is_found_under_its_kind_and_key_until_its_time_is_over() {
    let space = shared().await;
    space.copy_put(&[token("a", "1", LONG), token("b", "2", Duration::from_millis(1))]).await.unwrap();
    assert_eq!(find(&space, "a").await.as_deref(), Some("1"));
    assert_eq!(space.copy_find(CopyKind::Client, "a").await.unwrap(), None);
    // wait: the server's clock to pass a millisecond
    sleep(Duration::from_millis(50)).await;
    assert_eq!(find(&space, "b").await, None);
    space.copy_put(&[token("a", "3", LONG)]).await.unwrap();
    assert_eq!(find(&space, "a").await.as_deref(), Some("3"), "the last one stays");
}

#[tokio::test]
async fn of_two_holders_of_a_slot_the_later_stays_in_whatever_order_they_come() {
    let space = shared().await;
    let owner = |value: &str| SharedCopy {
        kind: CopyKind::TokenOwner,
        precedence: Precedence::Greatest,
        ..token("slot", value, LONG)
    };
    let [earlier, later] = ["\"0190a0b0\"", "\"0190a0c0\""];
    for order in [[earlier, later], [later, earlier]] {
        for value in order {
            space.copy_put(&[owner(value)]).await.unwrap();
        }
        let found = space.copy_find(CopyKind::TokenOwner, "slot").await.unwrap();
        assert_eq!(found.unwrap(), later.as_bytes());
    }
}

#[tokio::test]
async fn a_name_belongs_to_the_nodes_of_one_store() {
    let name = scratch_name();
    join(vec![shared_url()], &name).await;
    join(vec![shared_url()], &name).await;
    let options = RedisOptions::new(vec![shared_url()], &name);
    let refused = RedisDataSpace::join(&options, OTHER).await.err().unwrap();
    assert!(matches!(refused, JoinError::OtherCluster { .. }), "{refused:?}");
    let sentence = refused.to_string();
    assert!(sentence.contains(&format!("data_space.name is \"{name}\"")), "{sentence}");
    assert!(sentence.contains(&OWN.to_string()) && sentence.contains(&format!("{name}:meta")), "{sentence}");
}

#[tokio::test]
async fn a_name_that_another_version_or_somebody_else_uses_is_refused() {
    let (newer, foreign, list) = (scratch_name(), scratch_name(), scratch_name());
    ask(shared_port(), &["SET", &format!("{newer}:meta"), &format!("2 {OWN}")]).unwrap();
    ask(shared_port(), &["SET", &format!("{foreign}:meta"), "hello"]).unwrap();
    ask(shared_port(), &["RPUSH", &format!("{list}:meta"), "hello"]).unwrap();
    let refused = async |name: &str| {
        RedisDataSpace::join(&RedisOptions::new(vec![shared_url()], name), OWN).await.err().unwrap()
    };
    assert!(matches!(refused(&newer).await, JoinError::OtherSchema { found, .. } if found == "2"));
    assert!(matches!(refused(&foreign).await, JoinError::NotOurs { .. }));
    assert!(matches!(refused(&list).await, JoinError::NotOurs { .. }));
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_named() {
    let mut server = Server::start();
    server.stop();
    let options = RedisOptions::new(vec![server.url()], "grantry");
    let refused = RedisDataSpace::join(&options, OWN).await.err().unwrap();
    let sentence = refused.to_string();
    assert!(matches!(refused, JoinError::Unreachable { .. }), "{refused:?}");
    assert!(sentence.contains(&format!("127.0.0.1:{}", server.port())), "{sentence}");
    assert!(sentence.contains("data_space.discovery"), "{sentence}");
}

#[tokio::test]
async fn one_that_was_emptied_is_claimed_again_and_not_used_where_others_were_faster() {
    let server = Server::start();
    let space = join(vec![server.url()], "grantry").await;
    server.ask(&["FLUSHALL"]);
    space.probe().await.unwrap();
    let refused = RedisDataSpace::join(&RedisOptions::new(vec![server.url()], "grantry"), OTHER).await;
    assert!(matches!(refused.err(), Some(JoinError::OtherCluster { .. })));
    server.ask(&["FLUSHALL"]);
    RedisDataSpace::join(&RedisOptions::new(vec![server.url()], "grantry"), OTHER).await.unwrap();
    assert!(space.probe().await.is_err());
}

#[tokio::test]
async fn one_that_is_full_says_so_and_can_still_be_read_and_probed() {
    let server = Server::with(&[("maxmemory-policy", "noeviction")]);
    let space = join(vec![server.url()], "grantry").await;
    space.copy_put(&[token("a", "1", LONG)]).await.unwrap();
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = space.copy_put(&[token("b", "2", LONG)]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { outage: Outage::Full, .. }), "{refused:?}");
    assert_eq!(find(&space, "a").await.as_deref(), Some("1"));
    space.probe().await.unwrap();
}

#[tokio::test]
async fn one_that_stands_still_fails_in_time_and_is_used_again_afterwards() {
    let server = Server::start();
    let quick = Duration::from_millis(100);
    let options = RedisOptions { answer_timeout: quick, ..RedisOptions::new(vec![server.url()], "grantry") };
    let space = RedisDataSpace::join(&options, OWN).await.unwrap();
    space.copy_put(&[token("a", "1", LONG)]).await.unwrap();
    server.freeze();
    let started = Instant::now();
    assert!(space.copy_find(CopyKind::Token, "a").await.is_err());
    assert!(started.elapsed() < PATIENCE / 2);
    server.thaw();
    probe_at_last(&space).await;
    assert_eq!(find(&space, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_replica_that_is_gone_or_stands_still_is_reported_and_copies_are_put_all_the_same() {
    for is_killed in [true, false] {
        let primary = Server::start();
        let mut replicas = [Server::replica_of(&primary), Server::replica_of(&primary)];
        primary.wait_for_replicas(2);
        let within = Duration::from_millis(200);
        let options = RedisOptions {
            replication_policy: ReplicationPolicy::Sync,
            replication_timeout: within,
            ..RedisOptions::new(vec![primary.url()], "grantry")
        };
        let space = RedisDataSpace::join(&options, OWN).await.unwrap();
        space.copy_put(&[token("a", "1", LONG)]).await.unwrap();
        wait_for_replicas(&space, Replicas { wanted: 2, achieved: 2 }).await;
        match is_killed {
            true => replicas[1].kill(),
            false => replicas[1].freeze(),
        }
        let started = Instant::now();
        space.copy_put(&[token("b", "2", LONG)]).await.unwrap();
        assert!(started.elapsed() < within + Duration::from_secs(2));
        assert_eq!(space.replicas(), Some(Replicas { wanted: 2, achieved: 1 }), "killed: {is_killed}");
        assert_eq!(find(&space, "b").await.as_deref(), Some("2"));
        match is_killed {
            true => replicas[1].restart(),
            false => replicas[1].thaw(),
        }
        wait_for_replicas(&space, Replicas { wanted: 2, achieved: 2 }).await;
    }
}

#[tokio::test]
async fn after_a_failover_by_sentinels_copies_go_to_the_new_primary() {
    let mut primary = Server::start();
    let replica = Server::replica_of(&primary);
    primary.wait_for_replicas(1);
    let sentinels = Sentinels::watch(&primary, 1);
    let space = join(sentinels.urls(), "grantry").await;
    space.copy_put(&[token("a", "1", LONG)]).await.unwrap();
    primary.kill();
    sentinels.wait_for_failover(&primary);
    assert_eq!(sentinels.primary(), replica.port());
    put_at_last(&space, token("b", "2", LONG)).await;
    assert_eq!(replica.ask(&["GET", "grantry:copy:tokens:b"]), "2");
    probe_at_last(&space).await;
    assert_eq!(find(&space, "b").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn in_a_cluster_copies_are_spread_over_the_primaries_and_outlive_one_of_them() {
    let mut cluster = Cluster::start(1);
    let space = join(cluster.urls(), "grantry").await;
    let keys: Vec<String> = (0..200).map(|number| format!("key-{number}")).collect();
    let copies: Vec<_> = keys.iter().map(|key| token(key, key, LONG)).collect();
    space.copy_put(&copies).await.unwrap();
    for key in &keys {
        assert_eq!(find(&space, key).await.as_ref(), Some(key));
    }
    let sizes: Vec<usize> =
        cluster.members[..3].iter().map(|member| member.ask(&["DBSIZE"]).parse().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size > 30), "{sizes:?}");
    let lost = cluster.primary_of("grantry:copy:tokens:key-0");
    cluster.members[lost].kill();
    cluster.wait_for_promotion(lost + 3);
    for key in &keys {
        put_at_last(&space, token(key, "anew", LONG)).await;
    }
    probe_at_last(&space).await;
    for key in &keys {
        assert_eq!(find(&space, key).await.as_deref(), Some("anew"));
    }
}
