//! Mode async: tokens that are answered before they are written, and what becomes of them when the server ends.
//!
//! While another program holds the lock of the database nothing can be written, so what was answered is in the journal
//! alone.

use reqwest::StatusCode;
use rusqlite::Connection;
use serde_json::json;

use crate::at::At;
use crate::home::{Home, text};
use crate::process::Process;
use crate::test_server::{Credentials, TestServer};
use crate::wait;

const ASYNC: &str = "[token_persistence]\npool_size = 2\n[limits]\nshutdown_grace = \"1s\"\n";

/// The lock of the database, until it is dropped.
fn lock(home: &Home) -> Connection {
    let other = Connection::open(home.database_path()).unwrap();
    other.busy_timeout(wait::PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

/// Tokens of so many slots.
async fn tokens(server: &TestServer, client: &Credentials, count: usize) -> Vec<String> {
    let mut tokens = Vec::new();
    for n in 0..count {
        tokens.push(server.token(client, &[("resource", &format!("https://api.example/{n}"))]).await);
    }
    tokens
}

async fn assert_all_active(server: &TestServer, client: &Credentials, tokens: &[String]) {
    for token in tokens {
        assert!(server.is_active(client, token).await);
    }
}

/// A server that has answered tokens and written none of them, and the lock that kept it from it.
async fn answered(home: &Home, count: usize) -> (TestServer, Credentials, Vec<String>, Connection) {
    let server = home.start().await;
    let client = server.plain_client(&home.first_client()).await;
    // A segment stays for as long as one record in it is not drained, so what is tested gets a new one.
    server.stop().await;
    let server = home.start().await;
    let lock = lock(home);
    let tokens = tokens(&server, &client, count).await;
    (server, client, tokens, lock)
}

/// Until nothing waits for its row.
async fn drain_of(server: &TestServer) {
    wait::until("the queue is drained", async || {
        (server.metric("grantry_persistence_queue_depth", "").await == 0.0).then_some(())
    })
    .await;
}

fn records(home: &Home, directory: &str) -> serde_json::Value {
    let output = home.run(&["journal", "inspect", directory, "--records", "--json"]);
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_token_is_active_at_once_where_it_was_issued_and_elsewhere_once_it_is_written() {
    let home = Home::with_config(ASYNC);
    let (first, client, tokens, lock) = answered(&home, 3).await;
    let mut command = home.serve();
    let second = TestServer::reachable(
        Process::spawn(command.env("GRANTRY_TOKEN_PERSISTENCE__JOURNAL_DIR", "second")),
        crate::test_server::client(),
    );
    assert_all_active(&first, &client, &tokens).await;
    assert_eq!(self::tokens(&first, &client, 3).await, tokens, "the same token, though it has no row yet");
    lock.execute_batch("ROLLBACK").unwrap();
    let second = second.await;
    second.wait_for_readiness(StatusCode::OK).await;
    assert_all_active(&second, &client, &tokens).await;
    assert_eq!(self::tokens(&second, &client, 3).await, tokens);
}

#[tokio::test]
async fn a_token_that_may_still_be_on_its_way_is_503_elsewhere_and_never_inactive() {
    let home = Home::with_config(ASYNC);
    let second = {
        home.start().await.stop().await;
        home.start_with(|command| command.env("GRANTRY_TOKEN_PERSISTENCE__JOURNAL_DIR", "second")).await
    };
    let (_first, client, tokens, lock) = answered(&home, 1).await;
    let form = [("token", tokens[0].as_str())];
    let answer = second.post("/oauth2/introspect", &client, &form).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    lock.execute_batch("ROLLBACK").unwrap();
    assert_all_active(&second, &client, &tokens).await;
}

#[tokio::test]
async fn what_was_answered_before_kill_9_is_there_after_the_restart() {
    for journal in ["fsync", "os"] {
        let setting = format!("pool_size = 2\njournal = \"{journal}\"");
        let home = Home::with_config(&ASYNC.replace("pool_size = 2", &setting));
        let (mut server, client, tokens, lock) = answered(&home, 20).await;
        server.process.kill();
        drop(lock);
        let server = home.start().await;
        assert_all_active(&server, &client, &tokens).await;
        drain_of(&server).await;
        assert_all_active(&server, &client, &tokens).await;
        let rows: i64 = home
            .database()
            .query_row("SELECT count(*) FROM tokens WHERE client_id = ?1", [&client.0], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 20);
    }
}

#[tokio::test]
async fn a_token_revoked_before_it_was_written_stays_revoked() {
    let home = Home::with_config(ASYNC);
    let (mut server, client, tokens, lock) = answered(&home, 2).await;
    server.process.kill();
    drop(lock);
    // The second server knows of it only what its text says.
    let server =
        home.start_with(|command| command.env("GRANTRY_TOKEN_PERSISTENCE__JOURNAL_DIR", "second")).await;
    let form = [("token", tokens[0].as_str())];
    assert_eq!(server.post("/oauth2/revoke", &client, &form).send().await.unwrap().status(), 200);
    let first = home.start().await;
    drain_of(&first).await;
    for server in [&server, &first] {
        assert!(!server.is_active(&client, &tokens[0]).await);
        assert!(server.is_active(&client, &tokens[1]).await);
    }
}

#[tokio::test]
async fn sigterm_writes_what_waits() {
    let home = Home::with_config(&ASYNC.replace("1s", "60s"));
    let (mut server, _, tokens, lock) = answered(&home, 20).await;
    server.process.signal("TERM");
    wait::until("the server says what waits", async || {
        server.process.err().contains("writing the tokens that wait").then_some(())
    })
    .await;
    lock.execute_batch("ROLLBACK").unwrap();
    assert!(server.process.end().await.success());
    assert_eq!(records(&home, "grantry-data/journal")["records"], 0);
    let rows: i64 = home.database().query_row("SELECT count(*) FROM tokens", [], |row| row.get(0)).unwrap();
    assert!(rows >= i64::try_from(tokens.len()).unwrap());
}

#[tokio::test]
async fn when_the_time_to_stop_is_over_the_rest_is_in_the_journal_and_is_said() {
    let home = Home::with_config(ASYNC);
    let (mut server, client, tokens, lock) = answered(&home, 5).await;
    server.process.signal("TERM");
    assert!(server.process.end().await.success());
    let said = server.process.err();
    assert!(said.contains("\"left\":5") && said.contains("journal drain"), "{said}");
    drop(lock);
    let found = records(&home, "grantry-data/journal");
    assert_eq!(found["records"], 5);
    assert!(found["tokens"].as_array().unwrap().iter().all(|token| token["client_id"] == client.0));

    home.configure("");
    let refusal = text(&home.serve().output().unwrap());
    assert!(refusal.contains("holds 5 tokens") && refusal.contains("journal drain"), "{refusal}");
    home.configure(ASYNC);
    assert_all_active(&home.start().await, &client, &tokens).await;
}

#[tokio::test]
async fn without_a_journal_the_start_and_the_stop_say_what_is_lost() {
    let home = Home::with_config(&ASYNC.replace("pool_size = 2", "pool_size = 2\njournal = \"off\""));
    let (mut server, _client, _tokens, _lock) = answered(&home, 3).await;
    assert!(server.process.out().contains("if this process dies"), "{}", server.process.out());
    assert!(server.process.err().contains("if this process dies"), "{}", server.process.err());
    server.process.signal("TERM");
    assert!(server.process.end().await.success());
    let said = server.process.err();
    assert!(said.contains("are lost") && said.contains("\"left\":3"), "{said}");
    let files = std::fs::read_dir(home.path("grantry-data/journal")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lock", "node"], "its name, and no token");
}

#[tokio::test]
async fn the_journal_of_a_dead_machine_is_written_by_drain_as_often_as_one_likes() {
    let home = Home::with_config(ASYNC);
    let (mut server, client, tokens, lock) = answered(&home, 12).await;
    let drain = |directory: &str, more: &[&str]| {
        let args = [&["journal", "drain", directory, "--json"], more].concat();
        let output = home.run(&args);
        let json = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        json.map_err(|_| text(&output))
    };
    let refusal = drain("grantry-data/journal", &[]).unwrap_err();
    assert!(refusal.contains("a server uses the journal"), "{refusal}");
    server.process.kill();
    drop(lock);
    std::fs::rename(home.path("grantry-data/journal"), home.path("rescued")).unwrap();
    let status =
        std::process::Command::new("cp").args(["-r", "rescued", "copy"]).current_dir(home.root()).status();
    assert!(status.unwrap().success());

    let done = drain("rescued", &[]).unwrap();
    assert_eq!(
        (&done["records"], &done["written"], &done["parked"]),
        (&json!(12), &json!(12), &json!(0)),
        "{done}"
    );
    assert_eq!(records(&home, "rescued")["records"], 0);
    let again = drain("copy", &[]).unwrap();
    assert_eq!((&again["written"], &again["already_written"]), (&json!(0), &json!(12)), "{again}");
    assert_eq!(drain("rescued", &[]).unwrap()["records"], 0);
    assert!(drain("nowhere", &[]).unwrap_err().contains("not the directory of a journal"));
    assert!(!home.path("nowhere").exists());

    let server = home.start().await;
    assert_all_active(&server, &client, &tokens).await;

    let other = Home::with_config(ASYNC);
    other.start().await.stop().await;
    let foreign = home.path("copy").display().to_string();
    let output = other.run(&["journal", "drain", &foreign]);
    assert!(text(&output).contains("does not know the server"), "{}", text(&output));
}

#[tokio::test]
async fn one_journal_is_for_one_server() {
    let home = Home::with_config(ASYNC);
    let _first = home.start().await;
    let output = home.serve().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("token_persistence.journal_dir"), "{}", text(&output));
}

#[tokio::test]
async fn what_the_store_refuses_is_parked_until_it_is_redriven() {
    let home = Home::with_config(ASYNC);
    let server = home.start().await;
    let admin = home.first_client();
    let client = server.plain_client(&admin).await;
    drain_of(&server).await;
    let other = Connection::open(home.database_path()).unwrap();
    other.busy_timeout(wait::PATIENCE).unwrap();
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON tokens BEGIN SELECT RAISE(ABORT, 'no'); END";
    other.execute_batch(trigger).unwrap();
    let token = server.token(&client, &[]).await;
    let parked = async |wanted: f64| {
        wait::until(format_args!("{wanted} tokens are parked"), async || {
            (server.metric("grantry_persistence_parked", "").await == wanted).then_some(())
        })
        .await;
    };
    parked(1.0).await;
    assert!(server.is_active(&client, &token).await);
    other.execute_batch("DROP TRIGGER refuse").unwrap();
    let said = text(&At::Server(&server).run(&home, &["journal", "redrive"]));
    assert!(said.starts_with("1 tokens are tried again"), "{said}");
    parked(0.0).await;
    drain_of(&server).await;
    assert!(server.is_active(&client, &token).await);
    let said = text(&At::Server(&server).run(&home, &["journal", "redrive"]));
    assert_eq!(said, "nothing is parked\n");
}

#[tokio::test]
async fn a_client_may_have_its_tokens_written_before_the_answer_or_only_where_there_is_a_queue_after_it() {
    let home = Home::with_config(ASYNC);
    let (server, _, _, lock) = answered(&home, 1).await;
    lock.execute_batch("ROLLBACK").unwrap();
    drain_of(&server).await;
    let admin = home.first_client();
    let client = server.create_client(&admin, json!({ "scope": "read", "persistence": "sync" })).await;
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = server.token_answer(&client, &[]).await;
    assert_eq!(answer.status(), 503, "it waits for the store");
    drop(lock);
    server.token(&client, &[]).await;

    let home = Home::new();
    let _server = home.start().await;
    let args = ["clients", "create", "--scope", "read", "--persistence", "async"];
    let refusal = At::Store.refusal(&home, &args);
    assert!(refusal.contains("persistence") && refusal.contains("pool_size"), "{refusal}");
}
