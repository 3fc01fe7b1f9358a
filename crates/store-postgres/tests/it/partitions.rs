use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{Clock, ManualClock, Timestamp, TokenId};
use grantry_store_postgres::StoreTime;
use grantry_store_postgres::testing::Database;
use grantry_store_postgres::testing::ground::{Link, Maintained, Partitions, Removed, Statement, maintain};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::link;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A database with a clock of its own, partitions one hour wide, and nothing in it.
struct Scene {
    database: Database,
    clock: Arc<ManualClock>,
    link: Link,
    partitions: Partitions,
}

const TOKEN_INSERT: Statement = Statement {
    name: "token_insert",
    sql: "INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at, expires_at,
                              seen_epoch, seen_position)
          VALUES ($1, '', 'app', 'app', 1, '', '[]', 1, 0, $2, 0, 0)",
    types: &[Type::UUID, Type::INT8],
};

const ENTRY_INSERT: Statement = Statement {
    name: "entry_insert",
    sql: "INSERT INTO revocation_log (position, epoch, kind, key, keep_until, logged_at) VALUES ($1, 1, 1, '', $2, 0)",
    types: &[Type::INT8, Type::INT8],
};

impl Scene {
    async fn new() -> Self {
        let database = Database::scratch();
        let link = link(&database.url()).await;
        let clock = Arc::new(ManualClock::at(START));
        Self { database, clock, link, partitions: Partitions::new(DAY) }
    }

    fn time(&self) -> StoreTime {
        StoreTime::Clock(self.clock.clone())
    }

    async fn maintain(&self) -> Maintained {
        maintain(&self.link, &self.time(), DAY).await.unwrap()
    }

    async fn cover(&self, id: TokenId, expires_at: Timestamp) {
        self.partitions.cover(&self.link, &[(id, expires_at)]).await.unwrap();
    }

    /// As a writer does it: covered, then inserted.
    async fn issue(&self, at: Timestamp, expires_at: Timestamp) -> TokenId {
        let id = TokenId::lower_bound(at);
        self.cover(id, expires_at).await;
        insert(&self.link, id, expires_at).await.unwrap();
        id
    }

    async fn count(&self, sql: &str) -> i64 {
        count(&self.database.connect().await, sql).await
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn insert(
    link: &Link,
    id: TokenId,
    expires_at: Timestamp,
) -> Result<u64, grantry_store_postgres::testing::ground::Error> {
    let id = Uuid::from_bytes(*id.as_bytes());
    link.execute(&TOKEN_INSERT, &[&id, &expires_at.as_millis()]).await
}

const TABLES: &str = "SELECT count(*) FROM pg_class WHERE relname LIKE 'tokens\\_%' AND relkind = 'r'";
const ATTACHED: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'tokens'::regclass";
const RECORDS: &str = "SELECT count(*) FROM partitions WHERE parent = 'tokens'";
const TOKENS: &str = "SELECT count(*) FROM tokens";

fn dropped(tokens: u64) -> Removed {
    Removed { dropped: tokens, waiting: 0 }
}

#[tokio::test]
async fn partitions_are_made_ahead_once() {
    let scene = Scene::new().await;
    assert_eq!(scene.maintain().await, Maintained { made: 6, ..Maintained::default() });
    assert_eq!(scene.maintain().await, Maintained::default());
    scene.clock.advance(HOUR);
    assert_eq!(scene.maintain().await.made, 1);
    // Whoever starts now finds them.
    for ahead in 0..3 {
        let at = scene.clock.now() + HOUR * ahead;
        insert(&scene.link, TokenId::lower_bound(at), at).await.unwrap();
    }
}

#[tokio::test]
async fn by_the_clock_of_the_database_they_are_made_too() {
    let scene = Scene::new().await;
    let maintained = maintain(&scene.link, &StoreTime::Database, DAY).await.unwrap();
    assert_eq!(maintained.made, 6);
    let present = "SELECT count(*) FROM partitions WHERE from_time <= extract(epoch FROM now()) * 1000
                   AND until_time > extract(epoch FROM now()) * 1000";
    assert_eq!(scene.count(present).await, 2);
}

#[tokio::test]
async fn nodes_that_make_the_same_at_once_agree() {
    let scene = Scene::new().await;
    let other = link(&scene.database.url()).await;
    let time = scene.time();
    let (one, two) = tokio::join!(maintain(&scene.link, &time, DAY), maintain(&other, &time, DAY));
    assert_eq!(one.unwrap().made + two.unwrap().made, 6);
    assert_eq!(scene.count(ATTACHED).await, 3);
}

#[tokio::test]
async fn a_row_without_a_partition_is_told_from_other_errors() {
    let scene = Scene::new().await;
    let refused = insert(&scene.link, TokenId::lower_bound(START), START).await.unwrap_err();
    assert!(refused.needs_partition(), "{refused}");
}

#[tokio::test]
async fn what_has_no_partition_gets_one_wherever_it_lies() {
    let scene = Scene::new().await;
    let week = DAY * 7;
    for at in [START, START.saturating_sub(week), START + week, START + HOUR, Timestamp::from_millis(0)] {
        scene.issue(at, at + HOUR).await;
    }
    assert_eq!(scene.count(TOKENS).await, 5);
    assert_eq!(scene.count(RECORDS).await, 5);
    let last = TokenId::from_bytes([0xff; 16]);
    scene.cover(last, START).await;
    insert(&scene.link, last, START).await.unwrap();
}

#[tokio::test]
async fn a_partition_on_demand_fits_between_its_neighbours() {
    let scene = Scene::new().await;
    let week = Partitions::new(DAY * 7);
    let id = TokenId::lower_bound(START);
    // Six hours wide, with this one in the middle.
    scene.issue(START, START + HOUR).await;
    for at in [START + HOUR, START.saturating_sub(HOUR)] {
        week.cover(&scene.link, &[(TokenId::lower_bound(at), at)]).await.unwrap();
    }
    assert_eq!(scene.count(RECORDS).await, 3);
    insert(&scene.link, id, START).await.unwrap_err();
    scene.issue(START + HOUR, START).await;
}

#[tokio::test]
async fn what_is_known_is_covered_without_asking() {
    let scene = Scene::new().await;
    scene.issue(START, START + HOUR).await;
    scene.database.connect().await.batch_execute("ALTER TABLE partitions RENAME TO hidden").await.unwrap();
    scene.issue(START + Duration::from_secs(1), START + DAY).await;
    let later = [(TokenId::lower_bound(START + HOUR), START + HOUR)];
    assert!(scene.partitions.cover(&scene.link, &later).await.is_err(), "this one it has to ask for");
}

#[tokio::test]
async fn a_token_that_lives_longer_raises_the_record_before_it_is_inserted() {
    let scene = Scene::new().await;
    let id = scene.issue(START, START + HOUR).await;
    let far = START + DAY * 30;
    scene.cover(id, far).await;
    let recorded = scene.count("SELECT expires_until FROM partitions WHERE parent = 'tokens'").await;
    assert!(recorded > far.as_millis());
    scene.clock.set(START + DAY * 29);
    assert_eq!(scene.maintain().await.tokens, dropped(0));
    assert_eq!(scene.count(TOKENS).await, 1);
    scene.clock.set(START + DAY * 31);
    assert_eq!(scene.maintain().await.tokens, dropped(4), "with those made ahead");
    assert_eq!(scene.count(TOKENS).await, 0);
}

#[tokio::test]
async fn a_partition_is_dropped_when_its_time_is_over_and_no_sooner() {
    let scene = Scene::new().await;
    scene.issue(START, START + HOUR).await;
    scene.partitions.cover_log(&scene.link, &[START]).await.unwrap();
    scene.link.execute(&ENTRY_INSERT, &[&1_i64, &START.as_millis()]).await.unwrap();
    // The hour of START ends with it, since START is a whole hour.
    scene.clock.set(START + HOUR + DAY);
    assert_eq!(scene.maintain().await.tokens, dropped(0));
    scene.clock.advance(Duration::from_secs(61));
    assert_eq!(scene.maintain().await.tokens, dropped(1));
    assert_eq!(scene.count(TOKENS).await, 0);
    assert_eq!(scene.count("SELECT count(*) FROM revocation_log").await, 1);
    scene.clock.set(START + DAY * 3);
    let maintained = scene.maintain().await;
    assert_eq!((maintained.tokens, maintained.log), (dropped(3), dropped(2)), "with those made ahead");
    assert_eq!(scene.count("SELECT count(*) FROM revocation_log").await, 0);
    assert_eq!(scene.count(TABLES).await, scene.count(RECORDS).await);
}

#[tokio::test]
async fn a_shorter_retention_time_drops_no_live_token() {
    let scene = Scene::new().await;
    scene.issue(START, START + DAY * 9).await;
    scene.clock.set(START + DAY * 8);
    let maintained = maintain(&scene.link, &scene.time(), HOUR).await.unwrap();
    assert_eq!((maintained.tokens, scene.count(TOKENS).await), (dropped(0), 1));
}

#[tokio::test]
async fn a_writer_whose_partition_was_dropped_forgets_and_makes_another() {
    let scene = Scene::new().await;
    let id = scene.issue(START, START + HOUR).await;
    scene.clock.set(START + DAY * 2);
    assert_eq!(scene.maintain().await.tokens, dropped(1));
    // A late replay of an expired token.
    let late = TokenId::lower_bound(START + Duration::from_secs(1));
    scene.cover(late, START + HOUR).await;
    assert!(insert(&scene.link, late, START + HOUR).await.unwrap_err().needs_partition());
    scene.partitions.forget();
    scene.cover(late, START + HOUR).await;
    insert(&scene.link, late, START + HOUR).await.unwrap();
    insert(&scene.link, id, START + HOUR).await.unwrap();
}

#[tokio::test]
async fn nothing_gets_into_a_partition_that_is_being_dropped() {
    let scene = Scene::new().await;
    let id = scene.issue(START, START + HOUR).await;
    scene.database.connect().await.batch_execute("UPDATE partitions SET dropping = true").await.unwrap();
    let (known, far) = (Partitions::new(DAY), START + DAY * 30);
    for partitions in [&known, &scene.partitions] {
        let refused = partitions.cover(&scene.link, &[(id, far)]).await.unwrap_err();
        assert!(refused.is_outage(), "{refused}");
    }
}

/// A reader of before is in the way: the sweep gives up, writers go on, and the next sweep finishes.
#[tokio::test]
async fn a_long_transaction_delays_dropping_and_nothing_else() {
    let scene = Scene::new().await;
    scene.issue(START, START + HOUR).await;
    let mut reader = scene.database.connect().await;
    let snapshot = reader.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let snapshot = snapshot.start().await.unwrap();
    let read = "SELECT count(*) FROM tokens";
    assert_eq!(snapshot.query_one(read, &[]).await.unwrap().get::<_, i64>(0), 1);

    scene.clock.set(START + DAY * 2);
    let writer = async {
        let link = link(&scene.database.url()).await;
        let mut slowest = Duration::ZERO;
        for step in 0..200 {
            let (began, at) = (tokio::time::Instant::now(), scene.clock.now() + Duration::from_millis(step));
            let id = TokenId::lower_bound(at);
            scene.partitions.cover(&link, &[(id, at)]).await.unwrap();
            insert(&link, id, at).await.unwrap();
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let (maintained, slowest) = tokio::join!(scene.maintain(), writer);
    assert_eq!(maintained.tokens, Removed { dropped: 0, waiting: 1 });
    assert!(slowest < Duration::from_millis(500), "a writer waited for {slowest:?}");

    // It stays so as long as the reader does; new partitions can be made meanwhile.
    scene.clock.advance(HOUR);
    let again = maintain(&link(&scene.database.url()).await, &scene.time(), DAY).await.unwrap();
    assert_eq!((again.made, again.tokens.waiting), (1, 1));
    assert_eq!(snapshot.query_one(read, &[]).await.unwrap().get::<_, i64>(0), 1, "its snapshot is whole");
    snapshot.commit().await.unwrap();
    let at_last = maintain(&link(&scene.database.url()).await, &scene.time(), DAY).await.unwrap();
    assert_eq!(at_last.tokens, dropped(1));
    assert_eq!(scene.count(TABLES).await, scene.count(RECORDS).await);
    assert_eq!(scene.count(TOKENS).await, 200);
}

/// The stages that a node which was killed may have left behind.
#[tokio::test]
async fn dropping_goes_on_where_it_was_left() {
    let marked = "UPDATE partitions SET dropping = true WHERE from_time = 1800000000000";
    let detached = "ALTER TABLE tokens DETACH PARTITION tokens_1800000000000";
    let gone = "DROP TABLE tokens_1800000000000";
    for left in [&[marked][..], &[marked, detached], &[marked, detached, gone]] {
        let scene = Scene::new().await;
        scene.issue(START, START + HOUR).await;
        let client = scene.database.connect().await;
        for step in left {
            client.batch_execute(step).await.unwrap();
        }
        assert_eq!(scene.maintain().await.tokens, dropped(1), "{left:?}");
        assert_eq!((scene.count(RECORDS).await, scene.count(TABLES).await), (2, 2), "{left:?}");
    }
}

#[tokio::test]
async fn nodes_that_drop_the_same_at_once_drop_it_once() {
    for _ in 0..10 {
        let scene = Scene::new().await;
        for hour in 0..4 {
            scene.issue(START + HOUR * hour, START + HOUR).await;
        }
        scene.clock.set(START + DAY * 2);
        scene.maintain_from_many().await;
        assert_eq!(
            (scene.count(RECORDS).await, scene.count(ATTACHED).await, scene.count(TABLES).await),
            (3, 3, 3)
        );
    }
}

impl Scene {
    /// Until nothing waits any more.
    async fn maintain_from_many(&self) {
        let other = link(&self.database.url()).await;
        let time = self.time();
        for _ in 0..10 {
            let (one, two) = tokio::join!(maintain(&self.link, &time, DAY), maintain(&other, &time, DAY));
            if one.unwrap().tokens.waiting + two.unwrap().tokens.waiting == 0 {
                return;
            }
        }
        panic!("they keep waiting for each other");
    }
}
