//! `grantry store copy`: from SQLite to PostgreSQL while servers run.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use grantry_store::transfer::TABLES;
use grantry_store_postgres::testing::Database;
use serde_json::{Value, json};

use crate::at::At;
use crate::home::{Home, text};
use crate::process::Process;
use crate::soak::grants::{Refreshers, refresh};
use crate::test_server::TestServer;
use crate::wait;

fn copy(home: &Home, database: &Database) -> std::process::Output {
    home.run(&["store", "copy", "--to", &database.url(), "--json"])
}

fn copied(home: &Home, database: &Database) -> Value {
    let output = copy(home, database);
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn on(home: &Home, database: &Database) -> TestServer {
    home.configure(&format!("[store]\nurl = \"{}\"\n", database.url()));
    // The same machine key: the file stays where it is.
    home.start().await
}

#[tokio::test]
async fn a_store_moves_under_load_and_nothing_revoked_comes_back() {
    let home = Home::new();
    let server = home.start().await;
    let admin = home.first_client();
    let plain = server.plain_client(&admin).await;
    let client = Refreshers::register(&home, &server).await;
    let kept = server.token(&plain, &[]).await;
    let mut spent = Vec::new();
    for n in 0..50 {
        spent.push((client.grant(&server, &format!("user-{n}")).await, n));
    }
    let ended = client.grant(&server, "ended").await;
    server.post("/oauth2/revoke", &client.credentials, &[("token", &ended.refresh)]).send().await.unwrap();

    // While it is copied, tokens are issued, refreshed and revoked until nothing can be changed any more.
    let (database, done) = (Database::empty(), AtomicBool::new(false));
    let load = async {
        let (mut live, mut revoked, mut issued) = (Vec::new(), Vec::new(), Vec::new());
        let mut current: Vec<String> = spent.iter().map(|(pair, _)| pair.refresh.clone()).collect();
        let mut round = 0_usize;
        while !done.load(Ordering::SeqCst) {
            round += 1;
            let place = round % current.len();
            let (status, json) = refresh(&server, &client.credentials, &current[place]).await;
            assert!(status == 200 || status == 503, "{json}");
            if status == 200 {
                current[place] = json["refresh_token"].as_str().unwrap().to_owned();
            }
            let resource = format!("https://api.example/{round}");
            let answer = server.token_answer(&plain, &[("resource", &resource)]).await;
            if answer.status() == 200 {
                let token =
                    answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
                issued.push(token);
            }
            if let Some(token) = issued.pop().filter(|_| round.is_multiple_of(2)) {
                let form = [("token", token.as_str())];
                let answer = server.post("/oauth2/revoke", &plain, &form).send().await.unwrap();
                if answer.status() == 200 { revoked.push(token) } else { issued.push(token) }
            }
        }
        live.append(&mut issued);
        (current, live, revoked, round)
    };
    let copying = async {
        let (root, url) = (home.root().to_owned(), database.url());
        let mut command = tokio::task::spawn_blocking({
            let mut command = home.grantry(&["store", "copy", "--to", &url, "--json"]);
            command.current_dir(root);
            move || command.output().unwrap()
        });
        let output = (&mut command).await.unwrap();
        done.store(true, Ordering::SeqCst);
        output
    };
    let ((current, live, revoked, rounds), output) = tokio::join!(load, copying);
    assert!(output.status.success(), "{}", text(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["rows"]["grants"].as_u64() >= Some(51), "{said}");
    assert!(rounds > 1);

    wait::seconds(1).await;
    // The old store answers nothing, so that nobody can be told what the new one knows better.
    for token in [&kept, live.first().unwrap_or(&kept)] {
        let answer = server.post("/oauth2/introspect", &plain, &[("token", token)]).send().await.unwrap();
        assert_eq!(answer.status(), 503);
    }
    assert_eq!(server.token_answer(&plain, &[]).await.status(), 503);
    server.stop().await;
    let refusal = text(&home.serve().output().unwrap());
    assert!(refusal.contains("was moved to postgres://"), "{refusal}");
    assert!(text(&home.run(&["store", "copy", "--abort"])).contains("active again"));

    let server = on(&home, &database).await;
    assert!(server.is_active(&plain, &kept).await);
    assert_eq!(server.token(&plain, &[]).await, kept);
    for token in &live {
        assert!(server.is_active(&plain, token).await);
    }
    for token in &revoked {
        assert!(!server.is_active(&plain, token).await);
    }
    assert!(!server.is_active(&client.credentials, &ended.access).await);
    assert_eq!(refresh(&server, &client.credentials, &ended.refresh).await.0, 400);
    for token in &current {
        let (status, json) = refresh(&server, &client.credentials, token).await;
        assert_eq!(status, 200, "{json}");
    }
    // What is made on the new store goes on where the old one ended.
    let bearer = server.token(&admin, &[("scope", "grantry:admin")]).await;
    let rule = server.http.post(format!("{}/admin/v1/revocations", server.admin_url)).bearer_auth(bearer);
    assert_eq!(rule.json(&json!({ "client_id": plain.0 })).send().await.unwrap().status(), 201);
    assert!(!server.is_active(&plain, &kept).await);
    server.stop().await;
}

/// The copy stops before it has the last table, until the lock is released.
const HOLD: &str = "
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END';
    CREATE TRIGGER hold BEFORE INSERT ON log_head FOR EACH ROW EXECUTE FUNCTION hold();
    SELECT pg_advisory_lock(1)";
const HELD: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";

#[tokio::test]
async fn what_is_changed_behind_the_copy_comes_along() {
    let patient = "[store]\nbusy_timeout = \"60s\"\n[limits]\nrequest_timeout = \"2m\"\n";
    let home = Home::with_config(patient);
    let server = home.start().await;
    let admin = home.first_client();
    let [plain, gone] = [server.plain_client(&admin).await, server.plain_client(&admin).await];
    let client = Refreshers::register(&home, &server).await;
    let [token, other] = [&plain, &gone].map(|client| server.token(client, &[]));
    let (token, other) = (token.await, other.await);
    let [alice, bob] = [client.grant(&server, "alice").await, client.grant(&server, "bob").await];

    let database = Database::empty();
    migrate(&home, &database, patient);
    let connection = database.connect().await;
    connection.batch_execute(HOLD).await.unwrap();
    let mut command = home.grantry(&["store", "copy", "--to", &database.url()]);
    let mut copy = Process::spawn(&mut command);
    wait::until("all tables but the last are copied", async || {
        let held: i64 = connection.query_one(HELD, &[]).await.unwrap().get(0);
        (held > 0).then_some(())
    })
    .await;
    let (_, pair) = refresh(&server, &client.credentials, &alice.refresh).await;
    let alices = pair["refresh_token"].as_str().unwrap();
    let revoke = async |credentials, token: &str| {
        let answer = server.post("/oauth2/revoke", credentials, &[("token", token)]).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    revoke(&client.credentials, &bob.refresh).await;
    revoke(&plain, &token).await;
    let fresh = server.token(&plain, &[]).await;
    let at = At::Server(&server);
    assert!(at.run(&home, &["clients", "delete", &gone.0]).status.success());
    assert!(at.run(&home, &["keys", "rotate", "token_mac"]).status.success());
    connection.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    assert!(copy.end().await.success(), "{}", copy.err());
    server.stop().await;

    let server = on(&home, &database).await;
    assert!(!server.is_active(&plain, &token).await && server.is_active(&plain, &fresh).await);
    assert_eq!(server.token(&plain, &[]).await, fresh);
    assert_eq!(server.token_answer(&gone, &[]).await.status(), 401);
    assert!(!server.is_active(&plain, &other).await);
    assert!(!server.is_active(&client.credentials, &bob.access).await);
    assert_eq!(refresh(&server, &client.credentials, &bob.refresh).await.0, 400);
    let (status, next) = refresh(&server, &client.credentials, alices).await;
    assert_eq!(status, 200, "{next}");
    let keys = At::Server(&server).json(&home, &["keys", "list"]);
    let macs = keys.as_array().unwrap().iter().filter(|key| key["purpose"] == "token_mac").count();
    assert_eq!(macs, 2);
}

/// Brings the schema of the database up to date, and puts the settings back.
fn migrate(home: &Home, database: &Database, settings: &str) {
    home.configure(&format!("[store]\nurl = \"{}\"\n", database.url()));
    assert!(home.run(&["migrate"]).status.success());
    home.configure(settings);
}

#[tokio::test]
async fn a_copy_that_was_interrupted_is_run_again_or_aborted() {
    let home = Home::new();
    let server = home.start().await;
    let plain = server.plain_client(&home.first_client()).await;
    let token = server.token(&plain, &[]).await;
    let database = Database::empty();

    // As a copy that was killed behind the fence leaves it.
    let fail = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'";
    let connection = database.connect().await;
    migrate(&home, &database, "");
    connection.batch_execute(fail).await.unwrap();
    connection
        .batch_execute("CREATE TRIGGER fail BEFORE INSERT ON log_head FOR EACH ROW EXECUTE FUNCTION fail()")
        .await
        .unwrap();
    assert!(!copy(&home, &database).status.success());
    home.configure(&format!("[store]\nurl = \"{}\"\n", database.url()));
    let refusal = text(&home.serve().output().unwrap());
    assert!(refusal.contains("has begun and not ended"), "{refusal}");
    home.configure("");
    assert!(server.is_active(&plain, &token).await, "servers work on");
    let later = server.token(&plain, &[("resource", "https://api.example/")]).await;

    connection.batch_execute("DROP TRIGGER fail ON log_head").await.unwrap();
    let other = Database::empty();
    assert!(text(&home.run(&["store", "copy", "--abort"])).contains("its servers' again"));
    assert!(text(&copy(&home, &database)).contains("part of another copy"));
    assert!(text(&home.run(&["store", "copy", "--abort"])).contains("its servers' again"));
    assert!(text(&home.run(&["store", "copy", "--abort"])).contains("no copy"));
    assert!(server.token_answer(&plain, &[("resource", "https://a.example/")]).await.status() == 200);
    copied(&home, &other);
    // Asked again, it only says what is so.
    assert!(text(&copy(&home, &other)).contains("\"to\""));
    assert!(text(&copy(&home, &Database::empty())).contains("was moved to postgres://"));
    server.stop().await;
    let server = on(&home, &other).await;
    assert!(server.is_active(&plain, &token).await && server.is_active(&plain, &later).await);

    let used = copy_from_a_new_store(&other);
    assert!(used.contains("it is in use"), "{used}");
}

fn copy_from_a_new_store(to: &Database) -> String {
    let home = Home::new();
    assert!(home.run(&["migrate"]).status.success());
    text(&copy(&home, to))
}

/// What PostgreSQL has besides, and derives or keeps for itself.
const OF_POSTGRES: [&str; 5] = ["audit_head", "partitions", "rules", "schema_version", "turns"];

#[tokio::test]
async fn every_column_of_every_table_is_copied() {
    let home = Home::new();
    assert!(home.run(&["migrate"]).status.success());
    let sqlite = home.database();
    let named = |sql: &str, name: &str| -> BTreeSet<String> {
        let mut statement = sqlite.prepare(sql).unwrap();
        statement.query_map([name], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let tables =
        named("SELECT name FROM sqlite_schema WHERE type = ?1 AND name NOT LIKE 'sqlite_%'", "table");
    assert_eq!(tables, TABLES.iter().map(|table| table.name.to_owned()).collect());

    let database = Database::scratch();
    let connection = database.connect().await;
    let column =
        |rows: Vec<tokio_postgres::Row>| -> BTreeSet<String> { rows.iter().map(|row| row.get(0)).collect() };
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace
                 AND relkind IN ('r', 'p') AND NOT relispartition";
    let mut tables = column(connection.query(sql, &[]).await.unwrap());
    tables.retain(|table| !OF_POSTGRES.contains(&table.as_str()));
    assert_eq!(tables, TABLES.iter().map(|table| table.name.to_owned()).collect());

    for table in TABLES {
        let copied: BTreeSet<String> = table.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(named("SELECT name FROM pragma_table_info(?1)", table.name), copied, "{}", table.name);
        let sql = "SELECT column_name::text FROM information_schema.columns
                   WHERE table_schema = current_schema() AND table_name = $1";
        let mut columns = column(connection.query(sql, &[&table.name]).await.unwrap());
        match table.name {
            // Of the last rule, which the copy derives.
            "log_head" => columns.retain(|column| !column.starts_with("last_rule_")),
            "early_ends" if columns.remove("keep_until") => drop(columns.insert("expires_by".to_owned())),
            _ => {}
        }
        assert_eq!(columns, copied, "{}", table.name);
    }
}
