use std::convert::Infallible;

use grantry_cache::NearCacheSettings;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::{Cache, MEMORY_ONLY, insert, keys_in_memory};

#[tokio::test]
async fn what_a_cache_does_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let directory = tempfile::tempdir().unwrap();
    let cache = {
        let _local = metrics::set_default_local_recorder(&recorder);
        let settings = NearCacheSettings { capacity: 3, disk_offload: true, ..MEMORY_ONLY };
        Cache::open("tokens", settings, directory.path()).await.unwrap()
    };
    // In memory: 3, 4, 5, then 4, 5, 0; the three before them went to disk.
    insert(&cache, [0, 1, 2, 3, 4, 5, 5]);
    assert_eq!(keys_in_memory(&cache, [0, 3, 4, 5]), [3, 4, 5]);
    for key in [0, 5, 100] {
        let Ok(_) = cache.get_or_fill(&key, |_| true, async { Ok::<_, Infallible>(None) }).await;
    }
    cache.remove(&5);
    cache.set_capacity(7);
    let rendered = recorder.handle().render();
    for line in [
        r#"grantry_cache_hits_total{cache="tokens",tier="memory"} 4"#,
        r#"grantry_cache_hits_total{cache="tokens",tier="disk"} 1"#,
        r#"grantry_cache_misses_total{cache="tokens"} 1"#,
        r#"grantry_cache_evictions_total{cache="tokens"} 4"#,
        r#"grantry_cache_size{cache="tokens"} 2"#,
        r#"grantry_cache_capacity{cache="tokens"} 7"#,
    ] {
        assert!(rendered.lines().any(|rendered| rendered == line), "{line} in\n{rendered}");
    }
}
