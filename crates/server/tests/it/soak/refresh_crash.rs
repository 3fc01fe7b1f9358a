use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use rusqlite::Connection;

use super::grants::{Pair, Refreshers, grant_rows, refresh};
use crate::home::Home;
use crate::test_server::{Credentials, TestServer};
use crate::wait;

/// Callers with a grant each, for the rounds under load.
const WORKERS: usize = 8;
/// Such a round ends once so many refreshes have been answered.
const ENOUGH: usize = 60;
/// What every batch of writes is counted by before it is committed.
const BATCHES: &str = "grantry_commit_batch_size_count";

/// Each round kills the server once before the commit, once after it, and once under load at whatever point it is; then
/// the callers, who have no answer, try again.
pub async fn run(rounds: u32) {
    let home = Home::new();
    let mut server = home.start().await;
    let refreshers = Refreshers::register(&home, &server).await;
    let mut alone = refreshers.grant(&server, "alone").await;
    let mut workers: Vec<Pair> = Vec::new();
    for worker in 0..WORKERS {
        workers.push(refreshers.grant(&server, &format!("worker-{worker}")).await);
    }
    let (mut committed, mut lost) = (0, 0);
    for round in 0..rounds {
        for is_committed in [false, true] {
            let counter = counter_of(&home, "alone");
            if is_committed {
                killed_after_the_commit(&home, &mut server, &refreshers.credentials, &alone).await;
            } else {
                killed_before_the_commit(&home, &mut server, &refreshers.credentials, &alone).await;
            }
            server = home.start().await;
            alone = retried(&server, &refreshers.credentials, &alone).await;
            assert_eq!(counter_of(&home, "alone"), counter + 1, "round {round}: not exactly one rotation");
        }
        killed_under_load(&mut server, &refreshers.credentials, &mut workers).await;
        server = home.start().await;
        for (worker, pair) in workers.iter_mut().enumerate() {
            let name = format!("worker-{worker}");
            let before = counter_of(&home, &name);
            *pair = retried(&server, &refreshers.credentials, pair).await;
            match counter_of(&home, &name) - before {
                0 => committed += 1,
                1 => lost += 1,
                more => panic!("round {round}: {name} was rotated {more} times by a retry"),
            }
        }
        eprintln!(
            "refresh-crash: round {} of {rounds}; of the refreshes that got no answer under load {committed} were \
             committed before the kill and {lost} were not",
            round + 1
        );
    }
    assert!(grant_rows(&home.database()).iter().all(|row| !row.ended), "a retry was taken for reuse");
}

/// SQLite's write lock is held here, so the server cannot have committed when it dies.
async fn killed_before_the_commit(
    home: &Home,
    server: &mut TestServer,
    credentials: &Credentials,
    pair: &Pair,
) {
    let counter = counter_of(home, "alone");
    let lock = Connection::open(home.database_path()).unwrap();
    lock.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batches = server.metric(BATCHES, "").await;
    let asked = spawn_refresh(server, credentials, pair);
    wait::until("a batch is on its way to the commit", async || {
        (server.metric(BATCHES, "").await > batches).then_some(())
    })
    .await;
    server.process.kill();
    asked.abort();
    drop(lock);
    assert_eq!(counter_of(home, "alone"), counter, "it was committed before the kill");
}

async fn killed_after_the_commit(
    home: &Home,
    server: &mut TestServer,
    credentials: &Credentials,
    pair: &Pair,
) {
    let counter = counter_of(home, "alone");
    let asked = spawn_refresh(server, credentials, pair);
    wait::until("the rotation is committed", async || (counter_of(home, "alone") > counter).then_some(()))
        .await;
    server.process.kill();
    // Whether an answer had left already: this caller never reads it.
    asked.abort();
}

fn spawn_refresh(server: &TestServer, credentials: &Credentials, pair: &Pair) -> tokio::task::JoinHandle<()> {
    let form = [("grant_type", "refresh_token"), ("refresh_token", pair.refresh.as_str())];
    let request = server.post("/oauth2/token", credentials, &form);
    tokio::spawn(async move {
        let _ = request.send().await;
    })
}

/// The same refresh token again, twice: one and the same successor.
async fn retried(server: &TestServer, credentials: &Credentials, pair: &Pair) -> Pair {
    let given = Pair::of(&refresh(server, credentials, &pair.refresh).await);
    let again = Pair::of(&refresh(server, credentials, &pair.refresh).await);
    assert_eq!(given, again, "two retries, two successors");
    assert_ne!(given.refresh, pair.refresh);
    assert!(server.is_active(credentials, &given.access).await, "the access token of a retry is not known");
    given
}

/// Each pair is then the last that its worker was answered with, and each worker has one refresh without an answer.
async fn killed_under_load(server: &mut TestServer, credentials: &Credentials, workers: &mut [Pair]) {
    let answered = Arc::new(AtomicUsize::new(0));
    let work = workers.iter().map(|pair| {
        let (http, url) = (server.http.clone(), server.url.clone());
        let (credentials, mut pair, answered) = (credentials.clone(), pair.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            loop {
                let form = [("grant_type", "refresh_token"), ("refresh_token", pair.refresh.as_str())];
                let request = http.post(format!("{url}/oauth2/token"));
                let sent = request.basic_auth(&credentials.0, Some(&credentials.1)).form(&form).send().await;
                let Ok(answer) = sent else { return pair };
                let status = answer.status().as_u16();
                let Ok(json) = answer.json().await else { return pair };
                pair = Pair::of(&(status, json));
                answered.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    let work: Vec<_> = work.collect();
    wait::until("enough refreshes are answered", async || {
        (answered.load(Ordering::SeqCst) >= ENOUGH).then_some(())
    })
    .await;
    server.process.kill();
    let last = join_all(work).await.into_iter().map(Result::unwrap);
    workers.iter_mut().zip(last).for_each(|(worker, pair)| *worker = pair);
}

fn counter_of(home: &Home, subject: &str) -> u32 {
    let rows = grant_rows(&home.database());
    rows.iter().find(|row| row.subject == subject).map(|row| row.counter).unwrap()
}
