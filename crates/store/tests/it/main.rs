mod faults;

use std::sync::Arc;

use grantry_store::conformance::Harness;
use grantry_store::{FaultyStore, MemoryStore};

fn memory() -> Harness {
    Harness::new(|clock| Arc::new(MemoryStore::new(clock)))
}

mod memory_store {
    use super::memory;

    grantry_store::conformance_suite!(memory);
}

mod faulty_store_without_faults {
    use super::*;

    fn behind_faults() -> Harness {
        memory().decorated(|inner| Arc::new(FaultyStore::new(inner)))
    }

    grantry_store::conformance_suite!(behind_faults);
}
