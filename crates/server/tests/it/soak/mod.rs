//! What is rare, looked for with rounds: a few in every run, many with `cargo xtask soak`.

mod collide;
mod crash;
mod crash_matrix;
mod gateways;
pub mod grants;
mod ledger;
pub mod links;
mod lost_commits;
pub mod postgres;
mod preload;
mod promise;
mod queue;
mod random;
mod recoveries;
mod refresh;
mod refresh_crash;
mod revocations;
pub mod road;
mod rotate_keys;
mod switching;

use crash_matrix::Mode;

/// How often; `GRANTRY_SOAK_ROUNDS` says so, else the number that every run can afford.
fn rounds(few: u32) -> u32 {
    match std::env::var("GRANTRY_SOAK_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("GRANTRY_SOAK_ROUNDS is a number"),
        Err(_) => few,
    }
}

/// Two processes on one file are asked for the same token at the same instant: both callers hold the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collide() {
    collide::run(rounds(60)).await;
}

/// `kill -9` with writes under way: what was answered is known afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash() {
    crash::run(rounds(4)).await;
}

/// Two processes spend the same refresh token at the same instant: one rotation, both answers carry the same successor,
/// the grant lives; a spent one after the grace ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh() {
    refresh::run(rounds(60)).await;
}

/// `kill -9` before the commit of a rotation, after it, and under load: a retry is given the one successor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_crash() {
    refresh_crash::run(rounds(2)).await;
}

/// Keys are rotated under load: nothing is refused that should pass, nothing accepted that should not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotate_keys() {
    rotate_keys::run(rounds(2)).await;
}

/// Two processes on one PostgreSQL are asked for the same token, grant and rotation at the same instant, in mode sync and
/// in mode async, until so many recoveries were counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recoveries() {
    recoveries::run(rounds(60)).await;
}

/// Servers, databases, connections, disks and power fail with requests under way: what was answered holds afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_matrix_sync() {
    crash_matrix::run(Mode::Sync, rounds(3)).await;
}

/// The same in mode async, with the journal on the disk before the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_matrix_async_fsync() {
    crash_matrix::run(Mode::Fsync, rounds(3)).await;
}

/// With the journal at the operating system before the answer: a loss of power may take what is in the queue, no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_matrix_async_os() {
    crash_matrix::run(Mode::Os, rounds(3)).await;
}

/// Without a journal: `kill -9` may take what is in the queue, no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_matrix_async_off() {
    crash_matrix::run(Mode::Off, rounds(3)).await;
}

/// Three nodes on one PostgreSQL with a standby, and links, nodes and databases that fail: what was revoked is active
/// nowhere later than the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations() {
    revocations::run(rounds(60)).await;
}

/// Three gateways behind nginx, and links, gateways and an issuer that fail: what was revoked gets through nowhere later than
/// the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways() {
    gateways::run(rounds(30)).await;
}

/// A standby that does not have the last commits takes over: what a node still knows comes back, the rest is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_commits() {
    lost_commits::run(rounds(2)).await;
}

/// The mode is switched under load, at two nodes: no valid token is refused, no revoked one accepted after the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching() {
    switching::run(rounds(2)).await;
}
