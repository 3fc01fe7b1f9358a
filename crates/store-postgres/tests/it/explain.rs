//! How PostgreSQL carries out our statements: by index alone, and in one partition for each id, whether tables are empty
//! and unknown to the planner or large.

use std::time::Duration;

use grantry_protocol::{Timestamp, TokenId};
use grantry_store_postgres::statements::{OCCASIONAL, PREPARED};
use grantry_store_postgres::testing::Database;
use grantry_store_postgres::testing::ground::{Partitions, Statement};
use serde_json::Value;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::link;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const PARTITIONS: u32 = 30;

/// In the middle of the times that there are partitions for.
fn middle() -> Timestamp {
    START + HOUR * (PARTITIONS / 2)
}

async fn partitioned() -> (Database, Client) {
    let database = Database::scratch();
    let link = link(&database.url()).await;
    let partitions = Partitions::new(HOUR * 24);
    for hour in 0..PARTITIONS {
        let at = START + HOUR * hour;
        partitions.cover(&link, &[(TokenId::lower_bound(at), at + HOUR)]).await.unwrap();
        partitions.cover_log(&link, &[at + HOUR * 24 * hour]).await.unwrap();
    }
    let client = database.connect().await;
    let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off;";
    client.batch_execute(settings).await.unwrap();
    (database, client)
}

/// Each parameter as SQL: arrays have two elements, ids lie in one partition and belong to no row.
fn argument(of: &Type, statement: &Statement, number: usize) -> String {
    let (first, second) = (TokenId::lower_bound(middle()), TokenId::lower_bound(middle() + HOUR / 60));
    let time = middle().as_millis();
    match *of {
        Type::UUID_ARRAY => format!("ARRAY['{first}', '{second}']::uuid[]"),
        Type::BYTEA_ARRAY => r"ARRAY['\x01', '\x02']::bytea[]".into(),
        Type::TEXT_ARRAY => "ARRAY['a', 'b']".into(),
        Type::INT2_ARRAY => "ARRAY[1, 2]::smallint[]".into(),
        Type::INT8_ARRAY => format!("ARRAY[{time}, {time}]::bigint[]"),
        Type::BOOL_ARRAY => "ARRAY[false, false]".into(),
        Type::UUID => format!("'{first}'"),
        Type::BYTEA => r"'\x01'".into(),
        Type::TEXT => "'administrators'".into(),
        Type::INT2 => "1".into(),
        // Limits are what stands last, or before the last.
        Type::INT8 if statement.sql.contains(&format!("LIMIT ${number}")) => "100".into(),
        Type::INT8 => time.to_string(),
        Type::BOOL => "true".into(),
        ref other => panic!("{other} has no sample value"),
    }
}

async fn plan(client: &Client, statement: &Statement) -> Value {
    let types: Vec<_> = statement
        .types
        .iter()
        .map(|of| of.name().replace('_', "") + if of.name().starts_with('_') { "[]" } else { "" })
        .collect();
    let arguments: Vec<_> =
        statement.types.iter().zip(1..).map(|(of, number)| argument(of, statement, number)).collect();
    let listed = |of: &[String]| if of.is_empty() { String::new() } else { format!("({})", of.join(", ")) };
    let sql = format!(
        "BEGIN; PREPARE explained{} AS {}; EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE explained{};
         ROLLBACK; DEALLOCATE explained",
        listed(&types),
        statement.sql,
        listed(&arguments),
    );
    let messages =
        client.simple_query(&sql).await.unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
    let text: String = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    serde_json::from_str(&text).unwrap()
}

/// What a plan does to tables.
#[derive(Default)]
struct Access {
    sequential: Vec<String>,
    /// Partitions that were looked into.
    partitions: Vec<String>,
    /// The most rows that any step has given.
    rows: f64,
}

impl Access {
    fn of(plan: &Value) -> Self {
        let mut access = Self::default();
        access.add(plan);
        access
    }

    fn add(&mut self, node: &Value) {
        match node {
            Value::Array(nodes) => nodes.iter().for_each(|node| self.add(node)),
            Value::Object(fields) => {
                let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
                let (kind, relation) = (text("Node Type"), text("Relation Name"));
                if kind == "Seq Scan" {
                    self.sequential.push(relation.to_owned());
                }
                let was_executed =
                    fields.get("Actual Loops").and_then(Value::as_f64).is_some_and(|loops| loops > 0.0);
                let rows = fields.get("Actual Rows").and_then(Value::as_f64).unwrap_or_default();
                self.rows = self.rows.max(rows);
                let is_partition = relation.starts_with("tokens_") || relation.starts_with("revocation_log_");
                if is_partition
                    && was_executed
                    && kind.contains("Scan")
                    && !self.partitions.iter().any(|known| known == relation)
                {
                    self.partitions.push(relation.to_owned());
                }
                fields
                    .values()
                    .filter(|value| value.is_array() || value.is_object())
                    .for_each(|node| self.add(node));
            }
            _ => {}
        }
    }
}

/// Tables that have one row, or a few.
const SMALL: [&str; 6] = ["log_head", "audit_head", "status_head", "keys", "nodes", "turns"];
/// Full counts, for operators and for the rotation of keys.
const WALKS: [&str; 4] = ["tokens_count", "tokens_last_expiry", "grants_count", "grants_last_expiry"];
/// In the order of a key, from one partition to the next until there is enough; of the log, merged from all.
const IN_ORDER: [&str; 5] = ["tokens_list", "tokens_newest", "last_among", "oldest_select", "entries_select"];

/// By the partial index of each partition, which holds nothing but what has a place in a status list.
const BY_STATUS: [&str; 2] = ["status_list_ended", "status_lists_in_use"];

async fn assert_by_index(client: &Client, situation: &str) {
    let mut pruned = 0;
    for statement in PREPARED.iter().chain(OCCASIONAL).filter(|statement| !WALKS.contains(&statement.name)) {
        let plan = plan(client, statement).await;
        let mut access = Access::of(&plan);
        access.sequential.retain(|table| !SMALL.contains(&table.as_str()));
        let name = statement.name;
        assert_eq!(access.sequential, [""; 0], "{situation}: {name} walks through tables\n{plan:#}");
        let looked_into = access.partitions;
        pruned += usize::from(looked_into.len() == 1);
        assert!(
            looked_into.len() <= 1 || IN_ORDER.contains(&name) || BY_STATUS.contains(&name),
            "{situation}: {name} looks into {looked_into:?}\n{plan:#}"
        );
    }
    assert!(pruned >= 8, "{situation}: partitions are seen in the plans");
    for name in BY_STATUS {
        assert_by_status(client, name, situation).await;
    }
}

async fn assert_by_status(client: &Client, name: &str, situation: &str) {
    let statement = OCCASIONAL.iter().find(|statement| statement.name == name).unwrap();
    let plan = plan(client, statement).await;
    let mut indexes = Vec::new();
    indexes_of_rows(&plan, &mut indexes);
    assert!(indexes.len() > PARTITIONS as usize, "{situation}: {name}\n{plan:#}");
    let strange: Vec<_> = indexes.iter().filter(|index| !index.contains("status")).collect();
    assert!(strange.is_empty(), "{situation}: {name} goes by {strange:?}\n{plan:#}");
}

/// The indexes through which tokens and grants are found.
fn indexes_of_rows(node: &Value, found: &mut Vec<String>) {
    match node {
        Value::Array(nodes) => nodes.iter().for_each(|node| indexes_of_rows(node, found)),
        Value::Object(fields) => {
            let index = fields.get("Index Name").and_then(Value::as_str);
            found.extend(
                index
                    .filter(|index| index.starts_with("tokens") || index.starts_with("grants"))
                    .map(str::to_owned),
            );
            fields.values().for_each(|node| indexes_of_rows(node, found));
        }
        _ => {}
    }
}

#[tokio::test]
async fn statements_go_by_index_while_the_planner_knows_nothing() {
    let (_database, client) = partitioned().await;
    assert_by_index(&client, "empty").await;
}

#[tokio::test]
async fn statements_go_by_index_in_large_tables() {
    let (_database, client) = partitioned().await;
    let start = START.as_millis();
    let fill = format!(
        "INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at, expires_at,
                             seen_epoch, seen_position)
         SELECT (lpad(to_hex({start} + n * 1000), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
                sha256(int8send(n)), 'app', 'user ' || n % 1000, 2, 'read', '[]', 1, {start}, {start} + n * 1000, 1, 0
         FROM generate_series(1::bigint, 100000) AS n;
         UPDATE tokens SET status_index = issued_at % 1000 + 70000 WHERE get_byte(slot, 0) = 0;
         INSERT INTO slots (slot, holder, expires_at) SELECT slot, id, expires_at FROM tokens;
         INSERT INTO grants (id, slot, is_last_of_slot, client_id, subject, subject_kind, scope, audience, seen_epoch,
                             seen_position, created_at, expires_at, idle_expires_at, counter, rotated_at, access_token)
         SELECT id, slot, true, client_id, subject, 2, scope, audience, 1, 0, 0, expires_at, expires_at, 0, 0, id
         FROM tokens LIMIT 50000;
         INSERT INTO rules SELECT 4, int8send(n), 1, n, {start}, {start} FROM generate_series(1::bigint, 20000) AS n;
         INSERT INTO revocation_log SELECT n, 1, 1, int8send(n), {start} + n, {start}
         FROM generate_series(1::bigint, 20000) AS n;
         INSERT INTO early_ends SELECT id, expires_at FROM tokens LIMIT 20000;
         INSERT INTO assertions SELECT slot, expires_at FROM tokens LIMIT 20000;
         INSERT INTO clients SELECT n::text, '{{}}', NULL, NULL, 0, 0, 1, false FROM generate_series(1, 20000) AS n;
         INSERT INTO client_origins SELECT 'https://' || client_id, client_id FROM clients;
         INSERT INTO audit SELECT n, 0, '', '', '', '', NULL FROM generate_series(1::bigint, 20000) AS n;
         UPDATE audit_head SET number = 20000;
         UPDATE log_head SET position = 20000, last_rule_epoch = 1, last_rule_position = 20000;
         ANALYZE"
    );
    client.batch_execute(&fill).await.unwrap();
    assert_by_index(&client, "large").await;
    assert_newest_first(&client).await;
}

/// The newest partition first, and none once there is enough: nothing is sorted but what was found, if that.
async fn assert_newest_first(client: &Client) {
    let newest = OCCASIONAL.iter().find(|statement| statement.name == "tokens_newest").unwrap();
    let plan = plan(client, newest).await;
    let access = Access::of(&plan);
    assert_eq!(access.partitions.len(), 1, "{plan:#}");
    assert!(access.rows <= 101.0, "{plan:#}");
    let text = plan.to_string();
    assert!(!text.contains("Merge Append") && !text.contains("\"Sort\""), "{plan:#}");
}

/// Whoever changes a statement sees what it becomes, and that it has changed.
#[test]
fn the_statements() {
    let mut statements: Vec<_> = PREPARED.iter().chain(OCCASIONAL).collect();
    statements.sort_unstable_by_key(|statement| statement.name);
    assert!(statements.is_sorted_by(|left, right| left.name < right.name), "names are unique");
    let listed: Vec<_> = statements
        .iter()
        .map(|statement| {
            let lines = statement.sql.lines().map(str::trim).filter(|line| !line.is_empty());
            let types: Vec<_> = statement.types.iter().map(Type::name).collect();
            format!(
                "-- {} ({})\n{}\n",
                statement.name,
                types.join(", "),
                lines.collect::<Vec<_>>().join("\n")
            )
        })
        .collect();
    insta::assert_snapshot!("statements", listed.join("\n"));
}
