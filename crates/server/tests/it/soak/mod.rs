//! What is rare, looked for with rounds: a few in every run, many with `cargo xtask soak`.

mod collide;
mod crash;
mod ledger;

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
