//! What every store promises, under a name of its own a case.

use std::sync::Arc;

use grantry_store::FaultyStore;
use grantry_store::conformance::{Harness, block_on};
use grantry_store_redis::testing::{scratch_name, shared_url};
use grantry_store_redis::{RedisOptions, RedisStore, StoreTime};

use crate::{Counted, RETENTION};

fn redis() -> Harness {
    at(vec![shared_url()])
}

fn at(discovery: Vec<String>) -> Harness {
    Harness::new(|clock| {
        let options = RedisOptions::new(discovery, scratch_name());
        let time = StoreTime::Clock(clock);
        let opened =
            block_on(async move { RedisStore::open(&options, RETENTION, time, Counted::rng()).await });
        Arc::new(opened.unwrap())
    })
}

mod redis_store {
    use super::redis;

    grantry_store::conformance_suite!(redis);
}

/// A store is in one hash slot, wherever in the cluster that is.
mod cluster_of_three_primaries {
    use super::at;
    use grantry_store::conformance::Harness;
    use grantry_store_redis::testing::shared_cluster_urls;

    fn cluster() -> Harness {
        at(shared_cluster_urls())
    }

    grantry_store::conformance_suite!(cluster);
}

mod behind_faulty_store {
    use super::*;

    fn faulty() -> Harness {
        redis().decorated(|store| Arc::new(FaultyStore::new(store)))
    }

    grantry_store::conformance_suite!(faulty);
}
