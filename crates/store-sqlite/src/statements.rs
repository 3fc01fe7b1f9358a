//! Looks at every hot statement through the eyes of SQLite's planner.

use rusqlite::Connection;

use crate::scratch::Scratch;
use crate::{
    SqliteOptions, assertions, audit, clients, early_ends, grants, nodes, retention, revocations, rules,
    settings, status_lists, tokens,
};

/// Indexes that a hot statement enters at one end and leaves after the first entry or two.
const FIRST_ENTRY_ONLY: [&str; 2] = ["COVERING INDEX administrators", "INDEX rules_by_position"];

fn hot() -> impl Iterator<Item = &'static str> {
    [
        &tokens::HOT[..],
        &grants::HOT,
        &assertions::HOT,
        &early_ends::HOT,
        &clients::HOT,
        &revocations::HOT,
        &audit::HOT,
        &nodes::HOT,
        &retention::HOT,
        &rules::HOT,
        &settings::HOT,
        &status_lists::HOT,
    ]
    .concat()
    .into_iter()
}

/// The steps of the plan.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    for parameter in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(parameter, 1).unwrap();
    }
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get(3).unwrap());
    }
    steps
}

#[test]
fn no_hot_statement_walks_through_a_table() {
    let scratch = Scratch::new(SqliteOptions::default());
    let connection = Connection::open(&scratch.path).unwrap();

    for sql in hot() {
        for step in plan(&connection, sql) {
            let walks = step.contains("SCAN") && !FIRST_ENTRY_ONLY.iter().any(|index| step.ends_with(index));
            assert!(!walks && !step.contains("TEMP B-TREE"), "{step}\n{sql}");
        }
    }
    let rules =
        plan(&connection, rules::HOT[0]).iter().filter(|step| step.contains("INDEX rules_by_key")).count();
    assert_eq!(rules, 1, "a rule is found through its index");
}
