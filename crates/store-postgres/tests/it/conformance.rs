//! What every store promises, on a database a case.

use std::sync::Arc;
use std::time::Duration;

use grantry_store::FaultyStore;
use grantry_store::conformance::Harness;
use grantry_store_postgres::testing::{Database, block_on};
use grantry_store_postgres::{PostgresOptions, PostgresStore, StoreTime};

use crate::{Fixed, options};

/// Rows leave with the partition that they are in. One of the revocation log spans a day, and goes the retention time
/// of a day after that.
const SWEPT_LATE: Duration = Duration::from_secs(3 * 24 * 3600);

fn postgres() -> Harness {
    harness(options())
}

fn harness(options: PostgresOptions) -> Harness {
    let database = Database::scratch();
    let harness = Harness::new(|clock| {
        let (url, time) = (database.url(), StoreTime::Clock(clock));
        Arc::new(
            block_on(async move { PostgresStore::open(&url, &options, time, Fixed::rng()).await }).unwrap(),
        )
    });
    harness.keeping(database).sweeping_late(SWEPT_LATE)
}

mod postgres_store {
    use super::postgres;

    grantry_store::conformance_suite!(postgres);
}

mod behind_faulty_store {
    use super::*;

    fn behind_faults() -> Harness {
        postgres().decorated(|inner| Arc::new(FaultyStore::new(inner)))
    }

    grantry_store::conformance_suite!(behind_faults);
}

/// As behind a pooler in transaction mode, where a statement comes with its types and nothing outlives a transaction.
mod unprepared {
    use super::*;

    fn unprepared() -> Harness {
        harness(PostgresOptions { prepared: false, ..options() }).deaf()
    }

    grantry_store::conformance_suite!(unprepared);
}
