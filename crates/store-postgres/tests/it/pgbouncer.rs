//! Behind a pooler in transaction mode each transaction may run on another session.

use grantry_protocol::{Timestamp, TokenId};
use grantry_store_postgres::testing::ground::{Begin, Cause, Link, Partitions, Statement, maintain};
use grantry_store_postgres::testing::{Database, PgBouncer, shared_port};
use grantry_store_postgres::{PostgresOptions, PostgresStore, StoreTime};
use tokio_postgres::types::Type;

use super::{link_with, options};

const INSERT: Statement = Statement {
    name: "assertion_insert",
    sql: "INSERT INTO assertions (key, expires_at) VALUES ($1, $2)",
    types: &[Type::BYTEA, Type::INT8],
};
const COUNT: Statement = Statement { name: "count", sql: "SELECT count(*) FROM assertions", types: &[] };
const SETTING: Statement =
    Statement { name: "setting", sql: "SELECT current_setting($1)", types: &[Type::TEXT] };

fn unprepared() -> PostgresOptions {
    PostgresOptions { prepared: false, ..options() }
}

async fn insert(link: &Link, key: &[u8]) -> u64 {
    link.execute(&INSERT, &[&key, &1_i64]).await.unwrap()
}

async fn setting(link: &Link, name: &str) -> String {
    link.query_one(&SETTING, &[&name]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_store_is_opened_migrated_and_partitioned_through_a_pooler() {
    let database = Database::empty();
    let pooler = PgBouncer::start(shared_port(), 2);
    let url = pooler.url(database.name());
    PostgresStore::migrate(&url, &unprepared()).await.unwrap();
    let link = link_with(&url, &unprepared()).await;
    let day = std::time::Duration::from_secs(24 * 3600);
    assert_eq!(maintain(&link, &StoreTime::Database, day).await.unwrap().made, 6);
    let token = (TokenId::lower_bound(Timestamp::from_secs(0)), Timestamp::from_secs(1));
    Partitions::new(day).cover(&link, &[token]).await.unwrap();
    assert_eq!(maintain(&link, &StoreTime::Database, day).await.unwrap().tokens.dropped, 1);
}

/// Two links share one session, transaction by transaction.
#[tokio::test]
async fn links_that_share_a_session_do_not_see_each_other() {
    let database = Database::scratch();
    let pooler = PgBouncer::start(shared_port(), 1);
    let url = pooler.url(database.name());
    let (one, two) = (link_with(&url, &unprepared()).await, link_with(&url, &unprepared()).await);
    for round in 0..20_u8 {
        for (name, link) in [(0, &one), (1, &two)] {
            let key = [round, name];
            let (begun, _, committed) =
                tokio::join!(biased; link.begin(Begin::Write), insert(link, &key), link.commit());
            begun.and(committed).unwrap();
        }
    }
    assert_eq!(two.query_one(&COUNT, &[]).await.unwrap().get::<_, i64>(0), 40);
}

#[tokio::test]
async fn settings_hold_in_transactions_and_stay_in_no_session() {
    let database = Database::scratch();
    let pooler = PgBouncer::start(shared_port(), 1);
    let link = link_with(&pooler.url(database.name()), &unprepared()).await;
    let before = setting(&link, "lock_timeout").await;
    link.begin(Begin::Write).await.unwrap();
    for (name, wanted) in [("lock_timeout", "2s"), ("statement_timeout", "4s"), ("enable_seqscan", "off")] {
        assert_eq!(setting(&link, name).await, wanted, "{name}");
    }
    link.commit().await.unwrap();
    assert_eq!(setting(&link, "lock_timeout").await, before);
    assert_eq!(setting(&link, "application_name").await, "grantry");
}

/// What goes wrong with the wrong setting has a name: a session that is not ours alone.
#[tokio::test]
async fn prepared_statements_behind_a_pooler_are_told_from_an_outage() {
    let database = Database::scratch();
    let pooler = PgBouncer::start(shared_port(), 2);
    let url = pooler.url(database.name());
    let (one, two) = (link_with(&url, &options()).await, link_with(&url, &options()).await);
    one.prepare_all(&[&COUNT]).await.unwrap();
    // Takes the session on which it was prepared.
    two.begin(Begin::Write).await.unwrap();
    insert(&two, b"a").await;
    let error = one.query(&COUNT, &[]).await.unwrap_err();
    assert_eq!(error.cause(), Cause::SessionChanged, "{error}");
    assert!(error.ends_link());
}
