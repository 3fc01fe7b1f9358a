use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use grantry_cache::NearCacheSettings;
use tempfile::TempDir;

use super::{Cache, MEMORY_ONLY, insert, keys_in_memory, value_of};

const OFFLOAD: NearCacheSettings = NearCacheSettings { disk_offload: true, ..MEMORY_ONLY };
const OFFLOAD_AND_FLUSH: NearCacheSettings = NearCacheSettings { flush_to_disk_on_stop: true, ..OFFLOAD };
const FLUSH: NearCacheSettings = NearCacheSettings { flush_to_disk_on_stop: true, ..MEMORY_ONLY };

const NOTHING: [u64; 0] = [];

async fn open(directory: &TempDir, settings: NearCacheSettings) -> Cache {
    Cache::open("tokens", settings, directory.path()).await.unwrap()
}

/// The keys that are found in memory or on disk; what is found is what was put there.
async fn found(cache: &Cache, keys: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut found = Vec::new();
    for key in keys {
        let Ok(copy) = cache.get_or_fill(&key, |_| true, async { Ok::<_, Infallible>(None) }).await;
        if let Some(copy) = copy {
            assert_eq!(*copy, value_of(key));
            found.push(key);
        }
    }
    found
}

fn files(directory: &TempDir) -> Vec<PathBuf> {
    fs::read_dir(directory.path().join("tokens")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn damage(file: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(file).unwrap();
    how(&mut content);
    fs::write(file, content).unwrap();
}

#[tokio::test]
async fn what_was_evicted_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, OFFLOAD).await;
    insert(&cache, 0..20_000);
    assert_eq!(keys_in_memory(&cache, 0..20_000), [19_998, 19_999]);
    assert_eq!(found(&cache, 0..20_000).await, Vec::from_iter(0..20_000));
    // Each went back to disk when the next ones came.
    assert_eq!(found(&cache, 0..20_000).await, Vec::from_iter(0..20_000));
}

#[tokio::test]
async fn what_comes_from_disk_is_in_memory_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, OFFLOAD).await;
    insert(&cache, 0..4);
    assert_eq!(found(&cache, [0]).await, [0]);
    assert_eq!(keys_in_memory(&cache, 0..4), [0, 3]);
}

#[tokio::test]
async fn a_copy_on_disk_that_is_not_good_is_filled_anew() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, OFFLOAD).await;
    insert(&cache, 0..4);
    let fill = async { Ok::<_, Infallible>(Some("new".to_owned())) };
    let Ok(filled) = cache.get_or_fill(&0, |copy| copy == "new", fill).await;
    assert_eq!(*filled.unwrap(), "new");
}

#[tokio::test]
async fn what_was_removed_or_replaced_does_not_come_back_from_disk() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, OFFLOAD_AND_FLUSH).await;
    cache.insert(0, "old".to_owned());
    insert(&cache, 1..10);
    insert(&cache, [0]);
    cache.remove(&1);
    insert(&cache, 10..20);
    assert_eq!(found(&cache, 0..3).await, [0, 2]);
    cache.stop().await;
    assert_eq!(found(&open(&directory, OFFLOAD_AND_FLUSH).await, 1..3).await, [2]);
}

#[tokio::test]
async fn a_copy_on_disk_does_not_outlive_what_replaced_it_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, OFFLOAD).await;
    cache.insert(0, "old".to_owned());
    insert(&cache, [1, 2, 0]);
    cache.stop().await;
    assert_eq!(found(&open(&directory, OFFLOAD).await, 0..2).await, [1]);
}

#[tokio::test]
async fn a_clean_stop_keeps_what_the_settings_say() {
    for (settings, kept) in [
        (OFFLOAD_AND_FLUSH, vec![0, 1, 2, 3]),
        (OFFLOAD, vec![0, 1]),
        (FLUSH, vec![2, 3]),
        (MEMORY_ONLY, vec![]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(&directory, settings).await;
        insert(&cache, 0..4);
        cache.stop().await;
        drop(cache);
        assert_eq!(found(&open(&directory, settings).await, 0..4).await, kept, "{settings:?}");
    }
}

#[tokio::test]
async fn what_is_kept_outlives_several_clean_stops() {
    let directory = tempfile::tempdir().unwrap();
    for start in 0..20 {
        let cache = open(&directory, OFFLOAD_AND_FLUSH).await;
        assert_eq!(found(&cache, 0..start * 3).await, Vec::from_iter(0..start * 3));
        insert(&cache, start * 3..start * 3 + 3);
        cache.stop().await;
    }
}

#[tokio::test]
async fn after_an_unclean_end_nothing_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(&directory, OFFLOAD_AND_FLUSH).await;
    insert(&first, 0..4);
    first.stop().await;
    // From here on the mark of the first stop counts for nothing, whatever the second run does.
    let second = open(&directory, OFFLOAD_AND_FLUSH).await;
    insert(&second, 4..8);
    drop(second);
    let third = open(&directory, OFFLOAD_AND_FLUSH).await;
    assert_eq!(found(&third, 0..8).await, NOTHING);
    assert_eq!(files(&directory).len(), 1, "a new segment and nothing else");
}

#[tokio::test]
async fn what_an_earlier_configuration_left_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(&directory, FLUSH).await;
    insert(&first, 0..2);
    first.stop().await;
    open(&directory, MEMORY_ONLY).await.stop().await;
    assert_eq!(found(&open(&directory, FLUSH).await, 0..2).await, NOTHING);
}

#[tokio::test]
async fn after_a_stop_nothing_changes_what_it_kept() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, OFFLOAD_AND_FLUSH).await;
    insert(&cache, 0..4);
    cache.stop().await;
    cache.remove(&0);
    insert(&cache, 4..8);
    cache.stop().await;
    assert_eq!(found(&open(&directory, OFFLOAD_AND_FLUSH).await, 0..8).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_cache_in_memory_alone_leaves_the_disk_alone() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, MEMORY_ONLY).await;
    insert(&cache, 0..10);
    cache.stop().await;
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn damaged_copies_are_absent() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, OFFLOAD_AND_FLUSH).await;
    insert(&cache, 0..50);
    cache.stop().await;
    let segment = files(&directory).into_iter().find(|file| file.extension().is_some()).unwrap();
    let len = fs::metadata(&segment).unwrap().len() as usize;
    // One bit in the middle, and the end is missing.
    damage(&segment, |content| {
        content[len / 2] ^= 1;
        content.truncate(len - 3);
    });
    let found = found(&open(&directory, OFFLOAD_AND_FLUSH).await, 0..50).await;
    assert_eq!(found.len(), 48);
}

#[tokio::test]
async fn a_damaged_mark_is_no_mark() {
    let ways: [fn(&mut Vec<u8>); 4] = [
        Vec::clear,
        |mark| mark.truncate(3),
        |mark| mark.truncate(mark.len() - 1),
        |mark| {
            // The last digit of the last place: what is left is well-formed.
            let digit = mark.len() - 4;
            assert!(mark[digit].is_ascii_digit());
            mark[digit] ^= 1;
        },
    ];
    for way in ways {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(&directory, OFFLOAD_AND_FLUSH).await;
        insert(&cache, 0..4);
        cache.stop().await;
        damage(&directory.path().join("tokens/clean"), way);
        assert_eq!(found(&open(&directory, OFFLOAD_AND_FLUSH).await, 0..4).await, NOTHING);
    }
}

#[tokio::test]
async fn missing_segments_are_missing_copies() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory, OFFLOAD_AND_FLUSH).await;
    insert(&cache, 0..4);
    cache.stop().await;
    for segment in files(&directory).into_iter().filter(|file| file.extension().is_some()) {
        fs::remove_file(segment).unwrap();
    }
    assert_eq!(found(&open(&directory, OFFLOAD_AND_FLUSH).await, 0..4).await, NOTHING);
}

#[tokio::test]
async fn a_disk_that_cannot_be_used_is_an_error_that_names_the_key_and_the_path() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("tokens"), "not a directory").unwrap();
    for (settings, key) in [(OFFLOAD, "disk_offload"), (FLUSH, "flush_to_disk_on_stop")] {
        let Err(error) = Cache::open("tokens", settings, directory.path()).await else {
            panic!("a file was taken for a directory");
        };
        let message = error.to_string();
        assert!(message.contains(&format!("cache.tokens.{key}")), "{message}");
        assert!(message.contains(&*directory.path().join("tokens").to_string_lossy()), "{message}");
    }
    assert!(Cache::open("tokens", MEMORY_ONLY, directory.path()).await.is_ok());
}
