//! The persister behind the wrapper that injects faults: one test a step of each flow, on the memory store unless the
//! store matters. What holds in mode none, too, runs there on the real stores ([`modes`]).

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, as the test itself would")]

#[macro_use]
mod modes;

mod grants;
mod group_commit;
mod journal;
mod nodes;
mod queue;
mod recovery_async;
mod recovery_open;
mod recovery_sync;
mod simulation;
mod unwritten;
mod world;

use std::time::Duration;

use grantry_persistence::Persisted;
pub use world::{BackEnd, RNG, World};

/// A token with no more life left than this may be displaced.
pub const MIN_LIFE: Duration = Duration::from_secs(10);

/// Committed before the answer.
pub const ISSUED: Persisted = Persisted::Issued { deferred_by: None };
