use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::ledger::Ledger;
use crate::home::Home;
use crate::test_server::{Credentials, TestServer};

/// In the second part: slots for each round of the first, each asked for at both processes.
const SLOTS_PER_ROUND: u32 = 10;
/// Callers that never pause.
const CALLERS: u32 = 16;

pub async fn run(rounds: u32) {
    let home = Home::new();
    // One after the other, so that the second is there for the races and not for the first start.
    let first = home.start().await;
    let second = home.start().await;
    let servers = [Arc::new(first), Arc::new(second)];
    let client = servers[0].plain_client(&home.first_client()).await;

    let collided = rounds_of_two(rounds, &servers, &client).await;
    eprintln!("collide: {rounds} rounds, {collided} of them collided");
    assert!(collided >= rounds / 5, "only {collided} of {rounds} rounds collided: this proves too little");
    let slots = rounds * SLOTS_PER_ROUND;
    sustained(slots, &servers, &client).await;

    for server in servers {
        Arc::try_unwrap(server).ok().expect("nobody uses the server any more").stop().await;
    }
    let ledger = Ledger::of(&home.database());
    eprintln!("collide: {ledger:?}");
    // The administrator's own token has a slot, too.
    let slots = i64::from(rounds + slots) + 1;
    assert_eq!(ledger, Ledger { slots, tokens: slots, active: slots, wrong: 0, sound: true });
}

/// Each round asks both processes for a token of the same new slot from a barrier. Gives the rounds in which one of
/// them lost the race and answered with the other one's token.
async fn rounds_of_two(rounds: u32, servers: &[Arc<TestServer>; 2], client: &Credentials) -> u32 {
    let mut collided = 0;
    let mut recoveries = recovered(servers).await;
    for round in 0..rounds {
        let barrier = Arc::new(Barrier::new(servers.len()));
        let resource = format!("https://api.example/round/{round}");
        let asked = servers.iter().map(|server| {
            let (server, client) = (Arc::clone(server), client.clone());
            let (barrier, resource) = (Arc::clone(&barrier), resource.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                server.token(&client, &[("resource", &resource)]).await
            })
        });
        let tokens: Vec<String> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(tokens[0], tokens[1], "round {round}: two callers, two tokens");
        let now = recovered(servers).await;
        collided += u32::from(now > recoveries);
        recoveries = now;
        if (round + 1) % 100 == 0 {
            eprintln!("collide: round {} of {rounds}, {collided} collided", round + 1);
        }
    }
    collided
}

async fn recovered(servers: &[Arc<TestServer>; 2]) -> f64 {
    let counts = servers.iter().map(|server| server.metric("grantry_recoveries_total", "mode=\"sync\""));
    join_all(counts).await.iter().sum()
}

/// Both processes under load, on the same slots.
async fn sustained(slots: u32, servers: &[Arc<TestServer>; 2], client: &Credentials) {
    let before = recovered(servers).await;
    let callers = (0..CALLERS).map(|caller| {
        let (servers, client) = (servers.clone(), client.clone());
        tokio::spawn(async move {
            for slot in (caller..slots).step_by(CALLERS as usize) {
                let resource = format!("https://api.example/load/{slot}");
                let parameters = [("resource", resource.as_str())];
                let (one, other) = tokio::join!(
                    servers[0].token(&client, &parameters),
                    servers[1].token(&client, &parameters)
                );
                assert_eq!(one, other, "two callers of one slot hold two tokens");
            }
        })
    });
    join_all(callers).await.into_iter().for_each(|caller| caller.unwrap());
    let collided = recovered(servers).await - before;
    eprintln!("collide: sustained load on {slots} slots at both, {collided} of them collided");
    for server in servers {
        let errors = server.metric("grantry_http_requests_total", "status=\"5").await;
        assert_eq!(errors, 0.0, "answers 5xx");
    }
}
