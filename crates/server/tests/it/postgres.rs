//! Servers on PostgreSQL, which they share.

use grantry_store_postgres::testing::Database;
use reqwest::StatusCode;

use crate::home::{Home, text};
use crate::process::Process;
use crate::soak::grants::{Refreshers, refresh};
use crate::test_server::TestServer;
use crate::wait;

/// Machines of one deployment have the master key in common and nothing else on their disks.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// One machine.
fn machine(database: &Database, more: &str) -> Home {
    Home::with_config(&format!("[store]\nurl = \"{}\"\n{more}", database.url()))
}

async fn start(home: &Home) -> TestServer {
    home.start_with(|command| command.env("GRANTRY_MASTER_KEY", KEY)).await
}

#[tokio::test]
async fn what_one_node_issues_the_other_knows_hands_out_again_and_revokes() {
    let database = Database::empty();
    let (first_home, second_home) = (machine(&database, ""), machine(&database, ""));
    let first = start(&first_home).await;
    let second = start(&second_home).await;
    let admin = first_home.first_client();
    assert!(
        !second_home.path("grantry-data/first-client").exists(),
        "the second node found an administrator"
    );
    let plain = first.plain_client(&admin).await;
    let token = first.token(&plain, &[]).await;
    assert!(second.is_active(&plain, &token).await);
    assert_eq!(second.token(&plain, &[]).await, token);
    let revoked = second.post("/oauth2/revoke", &plain, &[("token", &token)]).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    wait::seconds(1).await;
    assert!(!first.is_active(&plain, &token).await);

    let client = Refreshers::register(&first_home, &first).await;
    let pair = client.grant(&first, "alice").await;
    let (status, one) = refresh(&first, &client.credentials, &pair.refresh).await;
    let (_, other) = refresh(&second, &client.credentials, &pair.refresh).await;
    assert_eq!(status, 200, "{one}");
    assert_eq!(
        one["refresh_token"], other["refresh_token"],
        "a retry at the other node gets the same successor"
    );
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn nodes_that_start_at_once_on_an_empty_database_make_one_administrator() {
    for round in 0..3 {
        let database = Database::empty();
        let homes = [(); 3].map(|()| machine(&database, ""));
        let processes = homes.each_ref().map(|home| {
            let mut command = home.serve();
            // One of them is given its administrator, and may win or not.
            if round == 2 {
                command.env("GRANTRY_BOOTSTRAP_CLIENT_ID", home.root().file_name().unwrap());
                command.env("GRANTRY_BOOTSTRAP_CLIENT_SECRET", "a secret of my own");
            }
            Process::spawn(command.env("GRANTRY_MASTER_KEY", KEY))
        });
        let mut servers = Vec::new();
        for process in processes {
            servers.push(TestServer::ready(process).await);
        }
        let connection = database.connect().await;
        let count: i64 = connection.query_one("SELECT count(*) FROM clients", &[]).await.unwrap().get(0);
        assert_eq!(count, 1);
        let have_files: Vec<&Home> =
            homes.iter().filter(|home| home.path("grantry-data/first-client").exists()).collect();
        let banners =
            servers.iter().filter(|server| server.process.out().contains("had no administrator")).count();
        assert_eq!(banners, 1, "one node alone says that it made the administrator");
        if round == 2 {
            assert!(have_files.is_empty());
            continue;
        }
        assert_eq!(have_files.len(), 1, "credentials of nobody are left nowhere");
        for server in &servers {
            server.token(&have_files[0].first_client(), &[]).await;
        }
    }
}

/// From here on nobody can write tokens, and everybody can read them, until the lock is released.
const HOLD: &str = "
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END';
    CREATE TRIGGER hold BEFORE INSERT ON tokens FOR EACH ROW EXECUTE FUNCTION hold();
    SELECT pg_advisory_lock(1)";

#[tokio::test]
async fn a_token_answered_before_it_was_written_is_known_to_both_nodes_and_survives_kill_9() {
    let database = Database::empty();
    let queue = "[token_persistence]\npool_size = 2\n";
    let (first_home, second_home) = (machine(&database, queue), machine(&database, queue));
    let mut first = start(&first_home).await;
    let second = start(&second_home).await;
    let admin = first_home.first_client();
    let plain = first.plain_client(&admin).await;
    second.token(&plain, &[]).await;
    let connection = database.connect().await;
    connection.batch_execute(HOLD).await.unwrap();
    let mut tokens = Vec::new();
    for n in 0..10 {
        let resource = format!("https://api.example/{n}");
        tokens.push(first.token(&plain, &[("resource", &resource)]).await);
    }
    for token in &tokens {
        assert!(first.is_active(&plain, token).await, "at once where it was issued");
    }
    let elsewhere = second.post("/oauth2/introspect", &plain, &[("token", &tokens[0])]).send().await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::SERVICE_UNAVAILABLE, "never inactive");
    first.process.kill();
    connection.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    let first = start(&first_home).await;
    for token in &tokens {
        assert!(first.is_active(&plain, token).await);
        // Once the restarted node has written them.
        wait::until("the other node knows the token", async || {
            let answer = second.post("/oauth2/introspect", &plain, &[("token", token)]).send().await.unwrap();
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
        assert!(second.is_active(&plain, token).await);
    }
    first.stop().await;
    let rows: i64 = connection.query_one("SELECT count(*) FROM tokens", &[]).await.unwrap().get(0);
    assert!(rows >= 10);
}

#[tokio::test]
async fn the_command_line_works_on_the_database_and_says_what_it_cannot() {
    let database = Database::empty();
    let home = machine(&database, "");
    let run = |args: &[&str]| text(&home.grantry(args).env("GRANTRY_MASTER_KEY", KEY).output().unwrap());
    assert!(run(&["clients", "list", "--offline"]).contains("there is no store in postgres://"));
    assert!(run(&["migrate"]).contains("was brought from version 0 to"));
    assert!(run(&["migrate"]).contains("is up to date"));
    assert!(run(&["store", "backup", "x.db"]).contains("pg_dump"));
    let server = start(&home).await;
    assert!(run(&["clients", "list", "--offline"]).contains("admin"));
    assert!(server.process.out().contains("postgres://"), "the banner names the store");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_an_error_that_says_what_to_check() {
    let home = Home::with_config("[store]\nurl = \"postgres://grantry:hunter2@127.0.0.1:1/grantry\"\n");
    let output = home.serve().env("GRANTRY_MASTER_KEY", KEY).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("cannot be reached") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn when_the_database_stops_it_is_503_and_when_it_is_back_all_is_well() {
    use grantry_store_postgres::testing::{Server, ServerOptions};
    let mut postgres = Server::start(&ServerOptions::default());
    let home = Home::with_config(&format!("[store]\nurl = \"{}\"\n", postgres.url("postgres")));
    let server = start(&home).await;
    let admin = home.first_client();
    let token = server.token(&admin, &[]).await;
    postgres.crash();
    wait::seconds(1).await;
    let answer = server.post("/oauth2/introspect", &admin, &[("token", &token)]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    server.wait_for_readiness(StatusCode::SERVICE_UNAVAILABLE).await;
    postgres.resume_from_stop();
    server.wait_for_readiness(StatusCode::OK).await;
    assert!(server.is_active(&admin, &token).await);
    server.stop().await;
}
