use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use reqwest::Client;
use serde_json::Value;

use super::ledger::Ledger;
use crate::home::Home;
use crate::test_server::{Credentials, TestServer, client};
use crate::wait;

const WORKERS: u32 = 16;
/// A round ends once so many new tokens have been answered.
const ENOUGH: usize = 300;
/// Every so many requests ask again for a slot that has a token.
const REUSE_EVERY: u32 = 4;

/// What a round has seen.
#[derive(Default)]
struct Round {
    /// Slot and token of each answer 200.
    answered: Mutex<Vec<(String, String)>>,
    under_way: AtomicU32,
    over: AtomicBool,
}

pub async fn run(rounds: u32) {
    let home = Home::new();
    let mut server = home.start().await;
    let registered = server.plain_client(&home.first_client()).await;
    let (mut known, mut cut_off) = (0, 0);
    for round in 0..rounds {
        let seen = load_and_kill(round, &mut server, &registered).await;
        cut_off += seen.under_way.load(Ordering::SeqCst);
        server = home.start().await;
        let answered = seen.answered.lock().unwrap().clone();
        check_all_are_known(&server, &registered, &answered).await;
        known += answered.len();
        let ledger = Ledger::of(&home.database());
        assert!(ledger.wrong == 0 && ledger.sound, "{ledger:?}");
        assert_eq!(ledger.tokens, ledger.slots, "a slot has more than one token: {ledger:?}");
        eprintln!(
            "crash: round {} of {rounds}: {known} tokens answered, {cut_off} requests cut off",
            round + 1
        );
    }
    assert!(cut_off > 0, "no request was under way at a kill: this proves nothing");
}

async fn load_and_kill(round: u32, server: &mut TestServer, registered: &Credentials) -> Arc<Round> {
    let seen = Arc::new(Round::default());
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (seen, registered, url) = (Arc::clone(&seen), registered.clone(), server.url.clone());
            tokio::spawn(async move {
                work(&client(), &url, &registered, &format!("{round}/{worker}"), &seen).await;
            })
        })
        .collect();
    wait::until("enough tokens are answered and requests are under way", async || {
        let enough = seen.answered.lock().unwrap().len() >= ENOUGH * (1 + round as usize % 3);
        (enough && seen.under_way.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    seen.over.store(true, Ordering::SeqCst);
    server.process.kill();
    join_all(workers).await.into_iter().for_each(|worker| worker.unwrap());
    seen
}

/// Asks for tokens until the server is gone. A request that gets no answer stays counted as under way.
async fn work(http: &Client, url: &str, registered: &Credentials, name: &str, seen: &Round) {
    for n in 0.. {
        let slot = format!("https://api.example/{name}/{}", n - u32::from(n % REUSE_EVERY == 1));
        let form = [("grant_type", "client_credentials"), ("resource", slot.as_str())];
        let request = http
            .post(format!("{url}/oauth2/token"))
            .basic_auth(&registered.0, Some(&registered.1))
            .form(&form);
        seen.under_way.fetch_add(1, Ordering::SeqCst);
        let Ok(answer) = request.send().await else { break };
        let status = answer.status();
        let Ok(json) = answer.json::<Value>().await else { break };
        seen.under_way.fetch_sub(1, Ordering::SeqCst);
        assert_eq!(status, 200, "{json}");
        let token = json["access_token"].as_str().unwrap().to_owned();
        seen.answered.lock().unwrap().push((slot, token));
    }
    assert!(seen.over.load(Ordering::SeqCst), "a request got no answer before the kill");
}

/// Every token that a caller was given is active, and is handed out again for its slot.
async fn check_all_are_known(server: &TestServer, registered: &Credentials, answered: &[(String, String)]) {
    for some in answered.chunks(32) {
        let checks = some.iter().map(async |(slot, token)| {
            assert!(
                server.is_active(registered, token).await,
                "a token that was answered is not known: {slot}"
            );
            assert_eq!(
                &server.token(registered, &[("resource", slot)]).await,
                token,
                "{slot} has another token"
            );
        });
        join_all(checks).await;
    }
}
