//! Real servers for tests.
//!
//! [`shared_url`] leads to a server that all test processes of a run share; a test keeps to names that begin with its own
//! [`scratch_name`]. [`Server`] is one of a test's own, which it stops, kills, freezes or lets follow another;
//! [`Sentinels`] watch over such servers, and [`Cluster`] is several in one. Everything listens on loopback, lives in the
//! system's directory for temporary files and goes away with the tests, killed ones included.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod process;
mod sentinel;
mod server;
mod shared;
mod talk;

use std::future::Future;
use std::panic::resume_unwind;
use std::thread;

pub use cluster::Cluster;
pub use sentinel::Sentinels;
pub use server::Server;
pub use shared::{scratch_name, shared_cluster_urls, shared_port, shared_url};
pub use talk::ask;

/// Runs it to its end from anywhere, on a runtime of its own: what it has spawned ends with it.
pub fn block_on<F>(work: F) -> F::Output
where
    F: Future<Output: Send> + Send,
{
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    // A runtime can neither run nor be dropped inside another.
    thread::scope(|scope| scope.spawn(run).join().unwrap_or_else(|panic| resume_unwind(panic)))
}
