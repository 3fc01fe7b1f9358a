//! Two processes on one PostgreSQL, the same requests to both from a barrier, in one mode after the other.
//!
//! 1. New slots at both, until the servers have counted as many recoveries as were wanted.
//! 2. Openings of one grant at both: a client whose logins share a slot.
//! 3. The same refresh token at both.
//! 4. What the database says of every slot that was asked for.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio_postgres::Client;

use super::grants::{Pair, Refreshers, refresh};
use super::postgres::{Postgres, Row, Slots, rows, token_id};
use super::queue;
use crate::home::Home;
use crate::test_server::{Credentials, TestServer};

/// Pairs of callers that are under way at the same time.
const CALLERS: u32 = 8;
/// Slots that a caller asks for before the recoveries are counted again.
const SLOTS_AT_A_TIME: u32 = 10;
/// Below this many pairs a recovery collisions are too rare for the test to mean much.
const MOST_PAIRS_A_RECOVERY: u32 = 20;
/// For each so many recoveries one opening and one refresh.
const RECOVERIES_A_GRANT: u32 = 5;
const GRANTS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Sync,
    Async,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

type Servers = [Arc<TestServer>; 2];

pub async fn run(wanted: u32) {
    let mut postgres = Postgres::start().await;
    for mode in [Mode::Sync, Mode::Async] {
        run_mode(mode, wanted, &mut postgres).await;
    }
    postgres.assert_no_deadlock();
}

async fn run_mode(mode: Mode, wanted: u32, postgres: &mut Postgres) {
    let home = Home::with_config("[tokens]\nrefresh_grace = \"10m\"\n");
    let name = postgres.make_database().await;
    let url = postgres.url(&name);
    let start = async |journal: &str| {
        home.start_with(|command| {
            command.env("GRANTRY_STORE__URL", &url);
            match mode {
                Mode::Sync => command,
                Mode::Async => command
                    .env("GRANTRY_TOKEN_PERSISTENCE__POOL_SIZE", "2")
                    .env("GRANTRY_TOKEN_PERSISTENCE__JOURNAL_DIR", journal),
            }
        })
        .await
    };
    let servers: Servers = [Arc::new(start("journal-a").await), Arc::new(start("journal-b").await)];
    let administrator = home.first_client();
    let client = servers[0].plain_client(&administrator).await;
    let bearer = servers[0].token(&administrator, &[("scope", "grantry:admin")]).await;
    let database = postgres.connect(&name).await;

    // 1.
    let pairs = collide(mode, wanted, &servers, &client, &bearer).await;
    let recoveries = recovered(mode, &servers).await;
    // 2. and 3.
    let grants = (wanted / RECOVERIES_A_GRANT).max(1);
    let opened = open_at_both(&home, &servers, grants).await;
    let rotations = refresh_at_both(&home, &servers, &database, grants).await;
    // 4.
    drained(&servers, &bearer).await;
    check_rows(mode, &database, &pairs, Row::Inactive { announced: true }).await;
    // Of one grant, as if it had been refreshed.
    check_rows(mode, &database, &opened, Row::Retired).await;
    let slots = Slots::of(&database).await;
    assert_eq!((slots.with_several_unended, slots.with_a_missing_holder), (0, 0), "{slots:?}");
    for server in &servers {
        assert_eq!(server.metric("grantry_http_requests_total", "status=\"5").await, 0.0, "answers 5xx");
    }
    let deadlocks: i64 = database
        .query_one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(deadlocks, 0);
    eprintln!(
        "recoveries: {}: {recoveries} recoveries in {} pairs of requests; {} openings and {rotations} rotations at both; \
         {} slots in all",
        mode.as_str(),
        pairs.len(),
        opened.len(),
        slots.all
    );
    for server in servers {
        Arc::try_unwrap(server).ok().expect("nobody uses the server any more").stop().await;
    }
}

/// Asks both for new slots until enough recoveries are counted; what each pair of callers was given.
async fn collide(
    mode: Mode,
    wanted: u32,
    servers: &Servers,
    client: &Credentials,
    bearer: &str,
) -> Vec<[String; 2]> {
    let mut given = Vec::new();
    let mut round = 0;
    while recovered(mode, servers).await < f64::from(wanted) {
        assert!(given.len() < (wanted * MOST_PAIRS_A_RECOVERY) as usize, "collisions are too rare");
        let callers = (0..CALLERS).map(|caller| {
            let (servers, client) = (servers.clone(), client.clone());
            tokio::spawn(async move {
                let mut given = Vec::new();
                for n in 0..SLOTS_AT_A_TIME {
                    let resource = format!("https://api.example/{round}/{caller}/{n}");
                    given.push(token_at_both(&servers, &client, &resource).await);
                }
                given
            })
        });
        given.extend(join_all(callers).await.into_iter().flat_map(Result::unwrap));
        if mode == Mode::Async {
            // What is under way is counted when it is written.
            drained(servers, bearer).await;
        }
        round += 1;
    }
    given
}

async fn token_at_both(servers: &Servers, client: &Credentials, resource: &str) -> [String; 2] {
    at_both(servers, |server| {
        let (client, resource) = (client.clone(), resource.to_owned());
        async move { server.token(&client, &[("resource", &resource)]).await }
    })
    .await
}

/// The same from a barrier.
async fn at_both<T, F>(servers: &Servers, ask: impl Fn(Arc<TestServer>) -> F) -> [T; 2]
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(servers.len()));
    let [one, other] = [0, 1].map(|at: usize| {
        let (barrier, asked) = (Arc::clone(&barrier), ask(Arc::clone(&servers[at])));
        tokio::spawn(async move {
            barrier.wait().await;
            asked.await
        })
    });
    [one.await.unwrap(), other.await.unwrap()]
}

async fn recovered(mode: Mode, servers: &Servers) -> f64 {
    let label = format!("mode=\"{}\"", mode.as_str());
    let counts = servers.iter().map(|server| server.metric("grantry_recoveries_total", &label));
    join_all(counts).await.iter().sum()
}

async fn drained(servers: &Servers, bearer: &str) {
    for server in servers {
        queue::wait_for_drain(server, bearer).await;
    }
}

/// Two who log in at the same time, at two processes, as the same user of a client whose logins share a slot: one
/// grant, and both hold its refresh token. Gives the access tokens, which are like those of any slot.
async fn open_at_both(home: &Home, servers: &Servers, openings: u32) -> Vec<[String; 2]> {
    let metadata = json!({ "slot_binding": "none" });
    let refreshers = Arc::new(Refreshers::register_with(home, &servers[0], metadata).await);
    let mut opened = Vec::new();
    for opening in 0..openings {
        let given = at_both(servers, |server| {
            let (refreshers, subject) = (Arc::clone(&refreshers), format!("opener-{opening}"));
            async move { refreshers.grant(&server, &subject).await }
        });
        let [one, other] = given.await;
        assert_eq!(one.refresh, other.refresh, "opening {opening}: two callers, two grants");
        opened.push([one.access, other.access]);
    }
    opened
}

/// One rotation, and both hold the same successor.
async fn refresh_at_both(home: &Home, servers: &Servers, database: &Client, rotations: u32) -> u32 {
    let refreshers = Refreshers::register(home, &servers[0]).await;
    let mut pairs: Vec<Pair> = Vec::new();
    for grant in 0..GRANTS {
        pairs.push(refreshers.grant(&servers[0], &format!("refresher-{grant}")).await);
    }
    for rotation in 0..rotations {
        let pair = &mut pairs[rotation as usize % GRANTS];
        let answers: [(u16, Value); 2] = at_both(servers, |server| {
            let (credentials, spent) = (refreshers.credentials.clone(), pair.refresh.clone());
            async move { refresh(&server, &credentials, &spent).await }
        })
        .await;
        let [one, other] = answers.map(|answer| Pair::of(&answer));
        assert_eq!(one, other, "rotation {rotation}: two callers, two successors");
        assert_ne!(one.refresh, pair.refresh, "rotation {rotation}: the refresh token was not rotated");
        *pair = one;
    }
    let sql =
        "SELECT count(*), sum(counter)::bigint, count(ended_at) FROM grants WHERE subject LIKE 'refresher-%'";
    let row = database.query_one(sql, &[]).await.unwrap();
    let found: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(found, (GRANTS as i64, i64::from(rotations), 0), "grants, rotations, ended grants");
    rotations
}

/// Sync: both callers hold the slot's one token. Async: both tokens have a row, and the later is ACTIVE.
async fn check_rows(mode: Mode, database: &Client, pairs: &[[String; 2]], earlier: Row) {
    for some in pairs.chunks(1000) {
        let mut ids: Vec<[String; 2]> =
            some.iter().map(|pair| pair.each_ref().map(|text| token_id(text))).collect();
        // As they were made.
        ids.iter_mut().for_each(|pair| pair.sort());
        let found = rows(database, &ids.concat()).await;
        for (pair, found) in ids.iter().zip(found.chunks(2)) {
            if pair[0] == pair[1] {
                assert_eq!(found, [Row::Active, Row::Active], "{pair:?}");
                continue;
            }
            assert_eq!(mode, Mode::Async, "two callers of one slot hold two tokens: {pair:?}");
            assert_eq!(found, [earlier, Row::Active], "{pair:?}");
        }
    }
}
