//! A store is a store, with caches in front of it or without. Strict, since cases look at once at what others have
//! written.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use grantry_cache::{CacheSettings, CachedStore, Coherence, SharedCopies, Tail};
use grantry_protocol::ManualClock;
use grantry_revocation::Freshness;
use grantry_store::conformance::Harness;
use grantry_store::{NodeId, Store};
use tokio::task::JoinHandle;

use super::data_space::JoinsWhenAsked;
use super::{Boot, MAX_STALENESS, settings, shared};

/// Ends the task that follows the log, as the end of a server would.
struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn cached(settings: Option<CacheSettings>) -> Harness {
    sharing(settings, None)
}

fn sharing(settings: Option<CacheSettings>, space: Option<SharedCopies>) -> Harness {
    let shared = shared();
    let clock = Arc::clone(&shared.clock);
    let mut following = None;
    let harness = shared.decorated(|inner| {
        let (store, task) = behind(inner, &clock, settings, space);
        following = Some(task);
        store
    });
    harness.keeping(following)
}

fn behind(
    inner: Arc<dyn Store>,
    clock: &Arc<ManualClock>,
    settings: Option<CacheSettings>,
    space: Option<SharedCopies>,
) -> (Arc<dyn Store>, Following) {
    let (freshness, boot) = (Freshness::new(MAX_STALENESS).unwrap(), Arc::new(Boot(Arc::clone(clock))));
    let (wall, node) = (Arc::clone(clock) as _, NodeId([1; 16]));
    let tail = Tail::new(Arc::clone(&inner), node, Coherence::Strict, freshness, wall, boot);
    let following = Following(tail.start());
    let clock = Arc::clone(clock);
    let open = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(CachedStore::open(inner, tail, clock, settings, Path::new("/nonexistent"))).unwrap()
    };
    // A runtime cannot wait for another one on its own thread.
    let store = thread::spawn(open).join().unwrap();
    let store = match space {
        Some(space) => store.with_data_space(space),
        None => store,
    };
    (Arc::new(store), following)
}

mod with_copies {
    use super::*;

    fn harness() -> Harness {
        cached(Some(settings(1000)))
    }

    grantry_store::conformance_suite!(harness);
}

mod with_room_for_one_copy {
    use super::*;

    fn harness() -> Harness {
        cached(Some(settings(1)))
    }

    grantry_store::conformance_suite!(harness);
}

mod without_copies {
    use super::*;

    fn harness() -> Harness {
        cached(None)
    }

    grantry_store::conformance_suite!(harness);
}

/// A patience that is not at the mercy of a busy machine.
fn space() -> SharedCopies {
    SharedCopies::start(Arc::new(JoinsWhenAsked::default()), MAX_STALENESS)
}

mod with_copies_and_a_data_space {
    use super::*;

    fn harness() -> Harness {
        sharing(Some(settings(1000)), Some(space()))
    }

    grantry_store::conformance_suite!(harness);
}

mod with_a_data_space_alone {
    use super::*;

    fn harness() -> Harness {
        sharing(None, Some(space()))
    }

    grantry_store::conformance_suite!(harness);
}
