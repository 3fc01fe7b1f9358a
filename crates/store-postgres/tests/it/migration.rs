use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grantry_protocol::{LogHead, Timestamp, TokenId};
use grantry_store::{NodeId, Nodes, Probe, Revocations, StatusLists};
use grantry_store_postgres::testing::ground::{Connector, Partitions, Statement, migrate_beyond};
use grantry_store_postgres::testing::{Database, Server, ServerOptions};
use grantry_store_postgres::{OpenError, PostgresOptions, PostgresStore, SchemaVersions, StoreTime};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Fixed, link, options};

const NEEDED: usize = 6;

/// What a release to come may do while this one works.
const COMING: &str = "-- oldest code: 1
ALTER TABLE assertions ADD COLUMN note text NOT NULL DEFAULT '';
CREATE TABLE next (id uuid PRIMARY KEY);";

const COMING_INDEX: &str = "-- oldest code: 1
-- without a transaction
DROP INDEX CONCURRENTLY IF EXISTS nodes_by_heartbeat;
CREATE INDEX CONCURRENTLY nodes_by_heartbeat ON nodes (last_heartbeat);
";

/// One after which this release cannot work any more.
const COMING_BREAK: &str = "-- oldest code: 8
ALTER TABLE assertions RENAME TO used_assertions;";

const INSERT: Statement = Statement {
    name: "assertion_insert",
    sql: "INSERT INTO assertions (key, expires_at) VALUES ($1, 1)",
    types: &[Type::BYTEA],
};
const COUNT: Statement =
    Statement { name: "assertions_count", sql: "SELECT count(*) FROM assertions", types: &[] };

async fn versions(database: &Database) -> Result<SchemaVersions, OpenError> {
    PostgresStore::schema_versions(&database.url(), &options()).await
}

async fn open(url: &str) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(url, &options(), StoreTime::Database, Fixed::rng()).await
}

fn schema_connector(database: &Database) -> Connector {
    Connector::for_schema(&database.url(), &options()).unwrap()
}

#[tokio::test]
async fn the_schema_can_be_asked_for_without_touching_the_database() {
    let database = Database::empty();
    let missing = versions(&database).await.unwrap();
    assert_eq!(missing, SchemaVersions { found: 0, needed: NEEDED });
    assert!(missing.is_behind());
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let client = database.connect().await;
    assert_eq!(client.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0);

    open(&database.url()).await.unwrap();
    assert_eq!(versions(&database).await.unwrap(), SchemaVersions { found: NEEDED, needed: NEEDED });
}

#[tokio::test]
async fn nodes_that_start_at_once_take_turns() {
    for _ in 0..10 {
        let database = Database::empty();
        let url = database.url();
        let (one, two, three) = tokio::join!(open(&url), open(&url), open(&url));
        for opened in [one, two, three] {
            opened.map(drop).unwrap();
        }
        // Making the first tables is a race that one wins; adding a column twice would fail.
        let connector = schema_connector(&database);
        let upgrade = || migrate_beyond(&connector, &[COMING]);
        let (one, two, three) = tokio::join!(upgrade(), upgrade(), upgrade());
        one.and(two).and(three).unwrap();
        let heads = "SELECT count(*) FROM log_head";
        assert_eq!(database.connect().await.query_one(heads, &[]).await.unwrap().get::<_, i64>(0), 1);
    }
}

#[tokio::test]
async fn a_node_goes_on_while_the_next_release_changes_the_schema() {
    let database = Database::scratch();
    let (writing, reading) = (link(&database.url()).await, link(&database.url()).await);
    for link in [&writing, &reading] {
        link.prepare_all(&[&INSERT, &COUNT]).await.unwrap();
    }
    let connector = schema_connector(&database);
    let migrated = AtomicBool::new(false);
    let upgrade = async {
        migrate_beyond(&connector, &[COMING, COMING_INDEX]).await.unwrap();
        migrated.store(true, Ordering::Relaxed);
    };
    let work = async {
        let (mut written, mut after) = (0_u32, 0);
        while after < 10 {
            after += u8::from(migrated.load(Ordering::Relaxed));
            writing.execute(&INSERT, &[&written.to_be_bytes().as_slice()]).await.unwrap();
            written += 1;
            let seen: i64 = reading.query_one(&COUNT, &[]).await.unwrap().get(0);
            assert_eq!(seen, i64::from(written));
        }
    };
    tokio::join!(upgrade, work);
    // A node of this release can start, too; `grantry migrate` has nothing to do for it.
    let found = versions(&database).await.unwrap();
    assert_eq!(found, SchemaVersions { found: NEEDED + 2, needed: NEEDED });
    assert!(!found.is_behind());
    open(&database.url()).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_this_release_cannot_work_with_is_refused_and_left_alone() {
    let database = Database::scratch();
    migrate_beyond(&schema_connector(&database), &[COMING, COMING_INDEX, COMING_BREAK]).await.unwrap();
    let refused = open(&database.url()).await.map(drop).unwrap_err();
    assert!(
        matches!(refused, OpenError::NewerSchema { found, known: NEEDED, .. } if found == NEEDED + 3),
        "{refused}"
    );
    assert!(versions(&database).await.is_err());
}

/// As the first release made it.
async fn first_schema(database: &Database) {
    let first = include_str!("../../src/migrations/0001_initial.sql");
    let state = "CREATE TABLE schema_version (one boolean PRIMARY KEY DEFAULT true CHECK (one),
                                              version integer NOT NULL, oldest_code integer NOT NULL);
                 INSERT INTO schema_version (version, oldest_code) VALUES (1, 1);";
    let client = database.connect().await;
    client.batch_execute(first).await.unwrap();
    client.batch_execute(state).await.unwrap();
}

#[tokio::test]
async fn a_node_of_the_first_release_goes_on_beside_one_of_this() {
    let database = Database::empty();
    first_schema(&database).await;
    let old = link(&database.url()).await;
    let beat = Statement {
        name: "first_nodes_beat",
        sql: "INSERT INTO nodes (id, last_heartbeat) VALUES ('\\x01010101010101010101010101010101', 7)
              ON CONFLICT (id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat
              RETURNING id, number, last_heartbeat, drained_below",
        types: &[],
    };
    let beat: &'static Statement = Box::leak(Box::new(beat));
    old.prepare_all(&[beat]).await.unwrap();
    old.query_one(beat, &[]).await.unwrap();

    let new = open(&database.url()).await.unwrap();
    assert_eq!(versions(&database).await.unwrap(), SchemaVersions { found: NEEDED, needed: NEEDED });
    assert_eq!(new.node_list().await.unwrap()[0].applied, None);
    let applied = LogHead::EMPTY.seen();
    new.revocation_probe(Probe { node: NodeId([1; 16]), applied, limit: 1 }).await.unwrap();
    old.query_one(beat, &[]).await.unwrap();
    let node = new.node_list().await.unwrap()[0];
    assert_eq!((node.last_heartbeat.as_millis(), node.applied), (7, Some(applied)));
}

const HOUR: Duration = Duration::from_secs(3600);
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// As the release before status lists made it, with partitions of tokens.
async fn schema_before_status_lists(database: &Database) -> Vec<TokenId> {
    first_schema(database).await;
    let client = database.connect().await;
    let applied = include_str!("../../src/migrations/0002_applied.sql");
    let settings = include_str!("../../src/migrations/0003_settings.sql");
    for migration in [applied, settings, "UPDATE schema_version SET version = 3"] {
        client.batch_execute(migration).await.unwrap();
    }
    let ids: Vec<TokenId> = (0..4).map(|hour| TokenId::lower_bound(START + HOUR * hour)).collect();
    let link = link(&database.url()).await;
    for id in &ids {
        Partitions::new(HOUR * 24).cover(&link, &[(*id, START + HOUR * 24)]).await.unwrap();
    }
    ids
}

const TOKEN_INSERT: Statement = Statement {
    name: "first_token_insert",
    sql: "INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at, expires_at,
                              seen_epoch, seen_position)
          VALUES ($1, '', 'app', 'app', 1, '', '[]', 1, 0, 0, 1, 0)",
    types: &[Type::UUID],
};

#[tokio::test]
async fn every_partition_gets_the_index_of_status_lists_while_a_node_of_before_issues() {
    let database = Database::empty();
    let ids = schema_before_status_lists(&database).await;
    let client = database.connect().await;
    let first: String = client.query_one("SELECT min(name) FROM partitions", &[]).await.unwrap().get(0);
    // An attempt that ended between two of its statements has left this.
    client.batch_execute(&format!("CREATE INDEX {first}_by_status ON {first} (expires_at)")).await.unwrap();
    let old = link(&database.url()).await;
    old.prepare_all(&[&TOKEN_INSERT]).await.unwrap();

    let migrated = AtomicBool::new(false);
    let upgrade = async {
        let store = open(&database.url()).await.unwrap();
        migrated.store(true, Ordering::Relaxed);
        store
    };
    let issue = async {
        let (mut written, mut after) = (0_u32, 0);
        while after < 10 {
            after += u8::from(migrated.load(Ordering::Relaxed));
            let mut id = *ids[written as usize % ids.len()].as_bytes();
            id[12..].copy_from_slice(&(written + 1).to_be_bytes());
            old.execute(&TOKEN_INSERT, &[&Uuid::from_bytes(id)]).await.unwrap();
            written += 1;
        }
        i64::from(written)
    };
    let (store, issued) = tokio::join!(upgrade, issue);
    let count =
        client.query_one("SELECT count(*) FROM tokens WHERE status_index IS NULL", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), issued);

    // One more partition, as this release makes it.
    let link = link(&database.url()).await;
    let next = TokenId::lower_bound(START + HOUR * 4);
    Partitions::new(HOUR * 24).cover(&link, &[(next, START + HOUR * 24)]).await.unwrap();
    let indexes = "SELECT c.relname::text, i.indisvalid, pg_get_expr(i.indpred, i.indrelid),
                          pg_get_indexdef(i.indexrelid, 1, false)
                   FROM pg_inherits h JOIN pg_index i ON i.indexrelid = h.inhrelid JOIN pg_class c ON c.oid = i.indrelid
                   WHERE h.inhparent = 'tokens_by_status'::regclass";
    let rows = client.query(indexes, &[]).await.unwrap();
    assert_eq!(rows.len(), ids.len() + 1);
    for row in rows {
        assert!(row.get::<_, bool>(1), "{}", row.get::<_, String>(0));
        assert_eq!(row.get::<_, String>(2), "(status_index IS NOT NULL)");
        assert_eq!(row.get::<_, String>(3), "status_index");
    }
    let whole = "SELECT bool_and(indisvalid) FROM pg_index
                 WHERE indexrelid IN ('tokens_by_status'::regclass, 'grants_by_status'::regclass)";
    assert!(client.query_one(whole, &[]).await.unwrap().get::<_, bool>(0));
    assert_eq!(store.status_index_reserve(3).await, Ok(0..3));
    assert_eq!(store.status_lists_in_use().await, Ok(0..1));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_the_next_start_tries_again() {
    let database = Database::scratch();
    let broken = "-- oldest code: 1\nCREATE TABLE next (id uuid PRIMARY KEY); SELECT 1 / 0;";
    let failed = migrate_beyond(&schema_connector(&database), &[broken]).await.unwrap_err();
    assert!(matches!(failed, OpenError::Migration { migration, .. } if migration == NEEDED + 1), "{failed}");
    assert_eq!(versions(&database).await.unwrap().found, NEEDED);
    migrate_beyond(&schema_connector(&database), &[COMING]).await.unwrap();
    assert_eq!(versions(&database).await.unwrap().found, NEEDED + 1);
}

/// The second has nothing to wait for but the first, and what it waits for is not in anybody's way.
#[tokio::test]
async fn a_migration_waits_for_a_lock_in_steps() {
    let database = Database::scratch();
    let client = database.connect().await;
    client.batch_execute("BEGIN; INSERT INTO assertions VALUES ('a', 1)").await.unwrap();
    let brief = PostgresOptions { lock_timeout: Duration::from_millis(50), ..options() };
    let connector = Connector::for_schema(&database.url(), &brief).unwrap();
    let upgrade = migrate_beyond(&connector, &[COMING]);
    let release = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'assertions'::regclass";
        let mut times = 0;
        while times < 2 {
            let other = database.connect().await;
            times += other.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0);
            // wait: the migration to have met the lock twice
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        client.batch_execute("COMMIT").await.unwrap();
    };
    let (upgraded, ()) = tokio::join!(upgrade, release);
    upgraded.unwrap();
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let database = Database::empty();
    database.connect().await.batch_execute("CREATE TABLE bookmarks (url text)").await.unwrap();
    let refused = open(&database.url()).await.map(drop).unwrap_err();
    assert!(matches!(&refused, OpenError::AnotherProgram { table, .. } if table == "bookmarks"), "{refused}");
    assert!(!refused.to_string().contains("postgres://"));
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named_without_the_password() {
    let port = {
        let mut server = Server::start(&ServerOptions::default());
        server.stop();
        server.port()
    };
    let refused =
        open(&format!("postgres://me:hunter2@127.0.0.1:{port}/tokens")).await.map(drop).unwrap_err();
    let text = refused.to_string();
    assert!(text.starts_with(&format!("PostgreSQL at 127.0.0.1:{port}/tokens cannot be reached")), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn options_out_of_bounds_are_named_with_their_bounds() {
    let none = PostgresOptions { write_links: 0, ..options() };
    let refused =
        PostgresStore::open("postgres://localhost/x", &none, StoreTime::Database, Fixed::rng()).await;
    assert_eq!(refused.map(drop).unwrap_err().to_string(), "write_links is 0; it must be from 1 to 8");
}
