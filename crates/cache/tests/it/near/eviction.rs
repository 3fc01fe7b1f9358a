use std::sync::Arc;
use std::thread;

use grantry_cache::EvictionPolicy::{self, Lfu, Lru, S3Fifo};

use super::{in_memory, insert, keys_in_memory};

#[tokio::test]
async fn lru_evicts_what_was_not_used_for_the_longest_time() {
    let cache = in_memory(4, Lru).await;
    insert(&cache, 1..=4);
    cache.get(&1);
    cache.get(&3);
    insert(&cache, [5]);
    assert_eq!(keys_in_memory(&cache, 1..=5), [1, 3, 4, 5]);
    // Used in that order just now: 1 is the oldest.
    insert(&cache, [6, 7]);
    assert_eq!(keys_in_memory(&cache, 1..=7), [4, 5, 6, 7]);
}

#[tokio::test]
async fn lru_counts_a_replacement_as_a_use_and_evicts_nothing_for_it() {
    let cache = in_memory(3, Lru).await;
    insert(&cache, [1, 2, 3, 1, 3]);
    assert_eq!(cache.len(), 3);
    insert(&cache, [4]);
    assert_eq!(keys_in_memory(&cache, 1..=4), [1, 3, 4]);
}

#[tokio::test]
async fn lfu_keeps_what_is_used_often() {
    let cache = in_memory(100, Lfu).await;
    insert(&cache, 0..100);
    for _ in 0..20 {
        keys_in_memory(&cache, 0..10);
    }
    insert(&cache, 1000..3000);
    assert_eq!(keys_in_memory(&cache, 0..10), Vec::from_iter(0..10));
}

#[tokio::test]
async fn s3fifo_resists_a_scan() {
    let cache = in_memory(100, S3Fifo).await;
    insert(&cache, 0..10);
    for _ in 0..5 {
        keys_in_memory(&cache, 0..10);
    }
    insert(&cache, 1000..3000);
    assert_eq!(keys_in_memory(&cache, 0..10), Vec::from_iter(0..10));
}

#[tokio::test]
async fn no_policy_ever_holds_more_than_the_capacity() {
    for policy in [Lru, Lfu, S3Fifo] {
        for capacity in [0, 1, 2, 50] {
            let cache = in_memory(capacity, policy).await;
            for key in 0..500 {
                insert(&cache, [key]);
                assert!(cache.len() <= capacity, "{policy:?} {capacity}");
                keys_in_memory(&cache, key / 2..key);
            }
            assert_eq!(cache.len(), capacity, "{policy:?}");
        }
    }
}

#[tokio::test]
async fn the_capacity_holds_when_threads_read_and_insert_at_the_same_time() {
    for policy in [Lru, Lfu, S3Fifo] {
        let cache = Arc::new(in_memory(3, policy).await);
        thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..5_000 {
                        insert(cache, [(thread + round) % 7]);
                        keys_in_memory(cache, 0..7);
                    }
                });
            }
        });
        assert!(cache.len() <= 3, "{policy:?}: {}", cache.len());
    }
}

#[tokio::test]
async fn a_large_cache_is_filled_to_its_capacity() {
    let cache = in_memory(70_001, Lru).await;
    insert(&cache, 0..200_000);
    assert_eq!(cache.len(), 70_001);
}

#[tokio::test]
async fn the_capacity_changes_at_run_time() {
    let cache = in_memory(10, Lru).await;
    insert(&cache, 0..10);
    cache.set_capacity(2);
    assert_eq!((cache.capacity(), keys_in_memory(&cache, 0..10)), (2, vec![8, 9]));
    cache.set_capacity(4);
    insert(&cache, 10..20);
    assert_eq!((cache.capacity(), keys_in_memory(&cache, 0..20)), (4, vec![16, 17, 18, 19]));
    cache.set_capacity(0);
    insert(&cache, [1]);
    assert!(cache.is_empty());
}

#[tokio::test]
async fn a_large_cache_keeps_to_a_small_capacity() {
    let cache = in_memory(70_000, Lru).await;
    insert(&cache, 0..1_000);
    cache.set_capacity(3);
    insert(&cache, 0..1_000);
    assert!(cache.len() <= 3);
}

#[tokio::test]
async fn what_was_removed_is_gone() {
    let cache = in_memory(2, Lru).await;
    insert(&cache, [1, 2]);
    cache.remove(&1);
    assert_eq!((keys_in_memory(&cache, 1..=2), cache.len()), (vec![2], 1));
}

#[test]
fn a_policy_is_written_as_in_the_configuration() {
    for (policy, text) in [(Lru, "lru"), (Lfu, "lfu"), (S3Fifo, "s3fifo")] {
        assert_eq!(policy.as_str(), text);
        assert_eq!(text.parse(), Ok(policy));
        assert_eq!(serde_json::to_value(policy).unwrap(), text);
    }
    assert!("LRU".parse::<EvictionPolicy>().is_err());
}
