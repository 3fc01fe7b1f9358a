use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Barrier;

use super::grants::{GrantRow, Pair, Refreshers, grant_rows, refresh};
use crate::home::Home;
use crate::test_server::TestServer;
use crate::wait;

/// Grants that take turns.
const GRANTS: u32 = 20;
/// Longer than two answers can lie apart, short enough to wait for its end.
const GRACE: &str = "8s";

pub async fn run(rounds: u32) {
    let home = Home::with_config(&format!("[tokens]\nrefresh_grace = \"{GRACE}\"\n"));
    // One after the other, so that the second is there for the races and not for the first start.
    let first = home.start().await;
    let second = home.start().await;
    let refreshers = Refreshers::register(&home, &first).await;
    let servers = [Arc::new(first), Arc::new(second)];
    let mut pairs: Vec<Pair> = Vec::new();
    for grant in 0..GRANTS {
        pairs.push(refreshers.grant(&servers[0], &format!("user-{grant}")).await);
    }

    let first_pairs = pairs.clone();
    for round in 0..rounds {
        let pair = &mut pairs[(round % GRANTS) as usize];
        *pair = at_both(round, &servers, &refreshers, pair).await;
        if (round + 1) % 200 == 0 {
            eprintln!("refresh: round {} of {rounds}", round + 1);
        }
    }
    check_rows(&home, rounds).await;
    check_answers(&servers, rounds).await;
    check_replays(&servers, &refreshers, &first_pairs, &pairs, rounds).await;
    for server in servers {
        Arc::try_unwrap(server).ok().expect("nobody uses the server any more").stop().await;
    }
}

/// Both processes get the same refresh token at the same instant.
async fn at_both(round: u32, servers: &[Arc<TestServer>; 2], refreshers: &Refreshers, pair: &Pair) -> Pair {
    let barrier = Arc::new(Barrier::new(servers.len()));
    let asked = servers.iter().map(|server| {
        let (server, barrier) = (Arc::clone(server), Arc::clone(&barrier));
        let (credentials, spent) = (refreshers.credentials.clone(), pair.refresh.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            refresh(&server, &credentials, &spent).await
        })
    });
    let answers: Vec<(u16, Value)> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
    let given: Vec<Pair> = answers.iter().map(Pair::of).collect();
    assert_eq!(given[0], given[1], "round {round}: two callers, two successors");
    assert_ne!(given[0].refresh, pair.refresh, "round {round}: the refresh token was not rotated");
    given[0].clone()
}

/// Exactly one rotation a round, and every grant lives.
async fn check_rows(home: &Home, rounds: u32) {
    let rows = grant_rows(&home.database());
    assert_eq!(rows.len(), GRANTS as usize);
    assert!(rows.iter().all(|row| !row.ended), "a grant was ended: {rows:?}");
    let rotations: u32 = rows.iter().map(|row: &GrantRow| row.counter).sum();
    assert_eq!(rotations, rounds, "one rotation a round: {rows:?}");
}

async fn check_answers(servers: &[Arc<TestServer>; 2], rounds: u32) {
    let count = async |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        let counts = servers.iter().map(|server| server.metric("grantry_refreshes_total", &label));
        join_all(counts).await.iter().sum::<f64>()
    };
    let (refreshed, repeated) = (count("refreshed").await, count("repeated").await);
    eprintln!(
        "refresh: {rounds} rounds at two processes: {refreshed} rotations, {repeated} repeated answers"
    );
    assert_eq!((refreshed, repeated), (f64::from(rounds), f64::from(rounds)));
}

/// After the grace a spent refresh token is reuse: its grant ends, with the successor and its access token.
async fn check_replays(
    servers: &[Arc<TestServer>; 2],
    refreshers: &Refreshers,
    first_pairs: &[Pair],
    pairs: &[Pair],
    rounds: u32,
) {
    let credentials = &refreshers.credentials;
    let rotated = (rounds.min(GRANTS)) as usize;
    // wait: for the grace after the last rotation to pass; it is a promise about time.
    wait::seconds(9).await;
    for (spent, newest) in first_pairs.iter().zip(pairs).take(rotated) {
        assert!(servers[0].is_active(credentials, &newest.access).await, "a grant died without a reason");
        let (status, json) = refresh(&servers[0], credentials, &spent.refresh).await;
        assert_eq!((status, &json["error"]), (400, &Value::from("invalid_grant")));
        let (status, json) = refresh(&servers[1], credentials, &newest.refresh).await;
        assert_eq!(
            (status, &json["error"]),
            (400, &Value::from("invalid_grant")),
            "the grant outlived reuse"
        );
    }
    // By the time that is promised the other process has heard of the end, too.
    wait::seconds(1).await;
    for newest in pairs.iter().take(rotated) {
        for server in servers {
            assert!(
                !server.is_active(credentials, &newest.access).await,
                "an access token outlived its grant"
            );
        }
    }
}
