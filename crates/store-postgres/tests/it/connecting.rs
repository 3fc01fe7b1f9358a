use std::sync::Arc;
use std::time::Duration;

use grantry_store::{Outage, StoreError};
use grantry_store_postgres::PostgresOptions;
use grantry_store_postgres::testing::ground::{
    Begin, Cause, Connector, Error, GivenUp, Link, Pool, PoolMetrics, Statement,
};
use grantry_store_postgres::testing::{Database, Server, ServerOptions};
use tokio::time::Instant;
use tokio_postgres::types::Type;

use super::{Fixed, link, link_with, options};

const ASSERTION_INSERT: Statement = Statement {
    name: "assertion_insert",
    sql: "INSERT INTO assertions (key, expires_at) VALUES ($1, $2)",
    types: &[Type::BYTEA, Type::INT8],
};
const ASSERTIONS_COUNT: Statement =
    Statement { name: "assertions_count", sql: "SELECT count(*) FROM assertions", types: &[] };
const SLEEP: Statement =
    Statement { name: "sleep", sql: "SELECT pg_sleep($1)::text", types: &[Type::FLOAT8] };
const BACKEND: Statement = Statement { name: "backend", sql: "SELECT pg_backend_pid()", types: &[] };

async fn insert(link: &Link, key: &[u8]) -> Result<u64, Error> {
    link.execute(&ASSERTION_INSERT, &[&key, &1_i64]).await
}

async fn count(link: &Link) -> i64 {
    link.query_one(&ASSERTIONS_COUNT, &[]).await.unwrap().get(0)
}

async fn backend(link: &Link) -> i32 {
    link.query_one(&BACKEND, &[]).await.unwrap().get(0)
}

fn pool(url: &str, size: usize, options: &PostgresOptions) -> Pool {
    let connector = Arc::new(Connector::new(url, options, &[]).unwrap());
    Pool::new(
        connector,
        size,
        options.busy_timeout,
        Fixed::rng(),
        PoolMetrics::new("write"),
        GivenUp::Nothing,
    )
}

/// For servers that do not answer.
fn impatient() -> PostgresOptions {
    let half = Duration::from_millis(500);
    PostgresOptions { busy_timeout: half, statement_timeout: half, lock_timeout: half, ..options() }
}

/// What blocks, beside the tasks of the links: they notice that a connection has ended.
async fn apart(mut server: Server, work: impl FnOnce(&mut Server) + Send + 'static) -> Server {
    let work = move || {
        work(&mut server);
        server
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn outage(error: &StoreError) -> Outage {
    match error {
        StoreError::Unavailable { outage, .. } => *outage,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_transaction_is_one_round_trip() {
    let database = Database::scratch();
    let link = link(&database.url()).await;
    link.prepare_all(&[&ASSERTION_INSERT, &ASSERTIONS_COUNT]).await.unwrap();
    let (begun, inserted, counted, committed) = tokio::join!(biased;
        link.begin(Begin::Write), insert(&link, b"a"), count(&link), link.commit());
    assert_eq!((begun, inserted, counted, committed), (Ok(()), Ok(1), 1, Ok(())));
    assert!(link.is_idle());
}

#[tokio::test]
async fn statements_that_were_not_prepared_keep_their_place() {
    let database = Database::scratch();
    let link = link(&database.url()).await;
    link.prepare_all(&[&ASSERTIONS_COUNT]).await.unwrap();
    let (_, _, before, _, after, _) = tokio::join!(biased; link.begin(Begin::Write), insert(&link, b"a"), count(&link),
        insert(&link, b"b"), count(&link), link.commit());
    assert_eq!((before, after), (1, 2));
}

#[tokio::test]
async fn a_commit_after_a_failure_is_no_success() {
    let database = Database::scratch();
    let link = link(&database.url()).await;
    insert(&link, b"a").await.unwrap();
    let (_, first, conflict, aftermath, committed) = tokio::join!(biased; link.begin(Begin::Write), insert(&link, b"b"),
        insert(&link, b"a"), insert(&link, b"c"), link.commit());
    assert_eq!(first, Ok(1));
    assert!(conflict.as_ref().unwrap_err().is_conflict(), "{conflict:?}");
    assert!(aftermath.unwrap_err().is_aftermath());
    assert!(committed.unwrap_err().is_aftermath());
    assert!(!link.is_idle(), "its transaction is open still");
    link.rollback().await.unwrap();
    assert!(link.is_idle());
    assert_eq!(count(&link).await, 1);
}

/// PostgreSQL has committed, but a standby that was to have it may lack it.
#[tokio::test]
async fn a_commit_that_did_not_wait_for_its_standby_is_not_acknowledged() {
    // From the start: a reload takes effect some time after it was asked for.
    let standby = ("synchronous_standby_names", "nobody".into());
    let server = Server::start(&ServerOptions { settings: vec![standby], ..ServerOptions::default() });
    let (url, patient) = (server.url("postgres"), options());
    let (writing, admin) = (link_with(&url, &patient).await, link_with(&url, &patient).await);
    admin.batch("SET synchronous_commit = local").await.unwrap();
    admin.batch("CREATE TABLE assertions (key bytea, expires_at bigint)").await.unwrap();
    let id = backend(&writing).await;
    let (_, _, committed, ()) = tokio::join!(biased;
        writing.begin(Begin::Write), insert(&writing, b"a"), writing.commit(), cancel_sync_wait(&admin, id));
    assert!(committed.unwrap_err().is_outcome_unknown());
    assert_eq!(count(&admin).await, 1);
}

async fn cancel_sync_wait(admin: &Link, backend: i32) {
    let waits: &Statement = &Statement {
        name: "waits",
        sql: "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'",
        types: &[Type::INT4],
    };
    while admin.query(waits, &[&backend]).await.unwrap().is_empty() {
        // wait: the commit to wait for its standby
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn errors_do_not_show_what_was_sent() {
    let database = Database::scratch();
    let link = link(&database.url()).await;
    let key = b"secret-value".as_slice();
    insert(&link, key).await.unwrap();
    let conflict = insert(&link, key).await.unwrap_err();
    assert_eq!(conflict.to_string(), "PostgreSQL refuses a value (23505, assertions, assertions_pkey)");
    let cast = Statement { name: "cast", sql: "SELECT $1::text::bigint", types: &[Type::TEXT] };
    let refused = link.query(&cast, &[&"secret-value"]).await.unwrap_err();
    assert_eq!(
        (refused.cause(), refused.to_string().contains("secret")),
        (Cause::Rejected, false),
        "{refused}"
    );
}

#[tokio::test]
async fn a_lock_and_a_statement_are_waited_for_in_bounds() {
    let database = Database::scratch();
    let short = Duration::from_millis(50);
    let brief = PostgresOptions { statement_timeout: short * 4, lock_timeout: short, ..options() };
    let (holding, waiting) = (link(&database.url()).await, link_with(&database.url(), &brief).await);
    holding.begin(Begin::Write).await.unwrap();
    insert(&holding, b"a").await.unwrap();
    for error in
        [insert(&waiting, b"a").await.unwrap_err(), waiting.query(&SLEEP, &[&60.0]).await.unwrap_err()]
    {
        assert_eq!(error.cause(), Cause::Busy, "{error}");
    }
    assert!(waiting.is_idle(), "it can be used again");
}

#[tokio::test]
async fn of_two_transactions_in_a_deadlock_one_may_be_tried_again() {
    let database = Database::scratch();
    let (one, two) = (link(&database.url()).await, link(&database.url()).await);
    for (link, key) in [(&one, b"a"), (&two, b"b")] {
        link.begin(Begin::Write).await.unwrap();
        insert(link, key).await.unwrap();
    }
    let (first, second) = tokio::join!(insert(&one, b"b"), async {
        let second = insert(&two, b"a").await;
        two.rollback().await.unwrap();
        second
    });
    let failed = [first, second].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(!failed.is_empty() && failed.iter().all(Error::is_retriable), "{failed:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up_and_the_link_with_it() {
    let database = Database::scratch();
    let mut link = link(&database.url()).await;
    link.allow(Duration::from_millis(50));
    let error = link.query(&SLEEP, &[&60.0]).await.unwrap_err();
    assert!(error.is_outcome_unknown() && !link.is_idle(), "{error}");
}

#[tokio::test]
async fn a_link_is_used_again_and_not_when_something_is_unfinished_on_it() {
    let database = Database::scratch();
    let pool = pool(&database.url(), 2, &options());
    let borrowed = pool.borrow().await.unwrap();
    let first = backend(&borrowed).await;
    drop(borrowed);
    let borrowed = pool.borrow().await.unwrap();
    assert_eq!(backend(&borrowed).await, first);
    borrowed.begin(Begin::Write).await.unwrap();
    insert(&borrowed, b"a").await.unwrap();
    drop(borrowed);
    let borrowed = pool.borrow().await.unwrap();
    let second = backend(&borrowed).await;
    assert_ne!(second, first, "a transaction was open");
    assert_eq!(count(&borrowed).await, 0);
    let given_up = tokio::time::timeout(Duration::from_millis(20), borrowed.query(&SLEEP, &[&60.0])).await;
    assert!(given_up.is_err());
    drop(borrowed);
    assert_ne!(backend(&pool.borrow().await.unwrap()).await, second, "an answer was on its way");
}

#[tokio::test]
async fn a_link_that_the_server_ended_is_replaced() {
    let database = Database::scratch();
    let pool = pool(&database.url(), 1, &options());
    let borrowed = pool.borrow().await.unwrap();
    let ended = backend(&borrowed).await;
    let client = database.connect().await;
    client.execute("SELECT pg_terminate_backend($1)", &[&ended]).await.unwrap();
    let error = borrowed.query(&SLEEP, &[&1.0]).await.unwrap_err();
    assert_eq!(error.cause(), Cause::Lost, "{error}");
    drop(borrowed);
    assert_ne!(backend(&pool.borrow().await.unwrap()).await, ended);
}

#[tokio::test]
async fn no_more_links_than_the_pool_has_and_the_wait_for_one_ends() {
    let database = Database::scratch();
    let pool = pool(&database.url(), 2, &impatient());
    let _both = (pool.borrow().await.unwrap(), pool.borrow().await.unwrap());
    let refused = pool.borrow().await.map(drop).unwrap_err();
    assert_eq!(outage(&refused), Outage::Overloaded, "{refused}");
}

#[tokio::test]
async fn without_a_server_a_call_ends_in_time_and_says_why() {
    let server = Server::start(&ServerOptions::default());
    let pool = pool(&server.url("postgres"), 2, &impatient());
    drop(pool.borrow().await.unwrap());
    let server = apart(server, Server::stop).await;
    let began = Instant::now();
    let refused = pool.borrow().await.map(drop).unwrap_err();
    assert!(outage(&refused) == Outage::Io && began.elapsed() < Duration::from_secs(1), "{refused}");
    assert!(refused.to_string().contains("refused"), "{refused}");
    // The server is back within the patience of a call that came before.
    let patient = pool.borrow_for(Duration::from_secs(20));
    let (link, _server) = tokio::join!(patient, apart(server, Server::resume_from_stop));
    assert!(backend(&link.unwrap()).await > 0);
}

/// As when the network swallows packets: nothing is refused, nothing answers.
#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time() {
    let server = Server::start(&ServerOptions::default());
    let pool = pool(&server.url("postgres"), 2, &impatient());
    let (one, two) = (pool.borrow().await.unwrap(), pool.borrow().await.unwrap());
    drop(two);
    server.freeze();
    let began = Instant::now();
    let error = one.query(&BACKEND, &[]).await.unwrap_err();
    assert_eq!(error.cause(), Cause::NoAnswer, "{error}");
    drop(one);
    let refused = pool.borrow().await.map(drop).unwrap_err();
    assert!(refused.is_outage() && began.elapsed() < Duration::from_secs(2), "{refused}");
    server.thaw();
    let link = pool.borrow_for(Duration::from_secs(20)).await.unwrap();
    assert!(backend(&link).await > 0);
}

#[tokio::test]
async fn a_server_that_was_killed_is_found_again() {
    let server = Server::start(&ServerOptions::default());
    let pool = pool(&server.url("postgres"), 2, &options());
    let link = pool.borrow().await.unwrap();
    link.batch("CREATE TABLE assertions (key bytea, expires_at bigint)").await.unwrap();
    insert(&link, b"a").await.unwrap();
    let restart = |server: &mut Server| {
        server.crash();
        server.resume_from_stop();
    };
    let (asked, _server) = tokio::join!(link.query(&SLEEP, &[&60.0]), apart(server, restart));
    assert!(asked.unwrap_err().is_outcome_unknown());
    drop(link);
    assert_eq!(count(&pool.borrow().await.unwrap()).await, 1);
}

#[tokio::test]
async fn after_a_failover_the_new_primary_is_found() {
    let primary = Server::start(&ServerOptions::default());
    let database = link(&primary.url("postgres")).await;
    database.batch("CREATE TABLE assertions (key bytea, expires_at bigint)").await.unwrap();
    let standby = Server::standby(&primary);
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), primary.port());
    let pool = pool(&format!("postgres://grantry@{hosts}/postgres"), 2, &options());
    insert(&pool.borrow().await.unwrap(), b"a").await.unwrap();
    assert_eq!(count(&database).await, 1, "it went past the standby, which is named first");
    // The standby has all of it once the primary has shut down in order.
    let _primary = apart(primary, Server::stop).await;
    let _standby = apart(standby, |standby| standby.promote()).await;
    let link = pool.borrow().await.unwrap();
    insert(&link, b"b").await.unwrap();
    assert_eq!(count(&link).await, 2);
}

/// A primary that was demoted and still answers.
#[tokio::test]
async fn a_write_that_is_refused_as_read_only_ends_every_link_of_the_pool() {
    let server = Server::start(&ServerOptions::default());
    let pool = pool(&server.url("postgres"), 2, &impatient());
    let (one, two) = (pool.borrow().await.unwrap(), pool.borrow().await.unwrap());
    one.batch("CREATE TABLE assertions (key bytea, expires_at bigint)").await.unwrap();
    drop(two);
    let admin = link(&server.url("postgres")).await;
    admin.batch("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    admin.batch("SELECT pg_reload_conf()").await.unwrap();
    let refused = loop {
        // wait: the server to have read its settings
        tokio::time::sleep(Duration::from_millis(5)).await;
        if let Err(error) = insert(&one, b"a").await {
            break error;
        }
    };
    assert_eq!(outage(&refused.clone().into()), Outage::ReadOnly, "{refused}");
    drop(one);
    let refused = pool.borrow().await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("database does not allow writes"), "{refused}");
    let admin = link_any(&server).await;
    admin.batch_execute("ALTER SYSTEM RESET default_transaction_read_only").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let link = pool.borrow_for(Duration::from_secs(20)).await.unwrap();
    insert(&link, b"b").await.unwrap();
}

/// Ours do not connect to a server that takes no writes.
async fn link_any(server: &Server) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    client
}

#[tokio::test]
async fn a_server_without_room_for_another_connection_is_overloaded() {
    let few = [("max_connections", "4".into()), ("superuser_reserved_connections", "0".into())];
    let replication = ("max_wal_senders", "0".to_owned());
    let settings = few.into_iter().chain([replication]).collect();
    let server = Server::start(&ServerOptions { settings, ..ServerOptions::default() });
    let pool = pool(&server.url("postgres"), 5, &impatient());
    let mut links = Vec::new();
    for _ in 0..4 {
        links.push(pool.borrow().await.unwrap());
    }
    let refused = pool.borrow().await.map(drop).unwrap_err();
    assert_eq!(outage(&refused), Outage::Overloaded, "{refused}");
}

/// Whatever the server's defaults are.
#[tokio::test]
async fn a_session_has_the_settings_that_our_statements_want() {
    let database = Database::scratch();
    let spoiled = format!(
        "ALTER DATABASE {name} SET plan_cache_mode = 'force_custom_plan'; ALTER DATABASE {name} SET jit = on;
         ALTER DATABASE {name} SET default_transaction_isolation = 'serializable';
         ALTER DATABASE {name} SET statement_timeout = 1",
        name = database.name()
    );
    database.connect().await.batch_execute(&spoiled).await.unwrap();
    let link = link(&database.url()).await;
    let setting = Statement { name: "setting", sql: "SELECT current_setting($1)", types: &[Type::TEXT] };
    link.begin(Begin::Write).await.unwrap();
    let wanted = [
        ("plan_cache_mode", "force_generic_plan"),
        ("jit", "off"),
        ("enable_seqscan", "off"),
        ("statement_timeout", "4s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("application_name", "grantry"),
        ("transaction_isolation", "read committed"),
    ];
    for (name, wanted) in wanted {
        let found: String = link.query_one(&setting, &[&name]).await.unwrap().get(0);
        assert_eq!(found, wanted, "{name}");
    }
    link.commit().await.unwrap();
    link.begin(Begin::Snapshot).await.unwrap();
    let refused = insert(&link, b"a").await.unwrap_err();
    assert_eq!(refused.cause(), Cause::ReadOnly);
}
