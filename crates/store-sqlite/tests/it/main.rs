#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod disk;
mod following;
mod full;
mod migration;
mod opening;
mod processes;
mod restore;
mod scratch;

use std::sync::Arc;

use grantry_store::FaultyStore;
use grantry_store::conformance::Harness;

fn sqlite() -> Harness {
    scratch::Scratch::new().harness()
}

mod sqlite_store {
    use super::sqlite;

    grantry_store::conformance_suite!(sqlite);
}

mod behind_faulty_store {
    use super::*;

    fn behind_faults() -> Harness {
        sqlite().decorated(|inner| Arc::new(FaultyStore::new(inner)))
    }

    grantry_store::conformance_suite!(behind_faults);
}
