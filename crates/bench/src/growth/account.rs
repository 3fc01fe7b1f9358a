use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use crate::{failure::Failure, raw_sqlite};

/// Rows that a server may add on its own account while it runs, such as a key or an entry in a log: a bound that does
/// not depend on how much it is refreshed.
const OF_ITS_OWN: u64 = 8;

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// By table.
    pub rows: BTreeMap<String, u64>,
    /// Of the database, with what is not checkpointed yet.
    pub bytes: u64,
}

impl Account {
    pub fn take(database: &Path) -> Result<Self, Failure> {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let log = database.with_extension("db-wal");
        Ok(Self { rows: raw_sqlite::count_all(database)?, bytes: length(database) + length(&log) })
    }

    pub fn of(&self, table: &str) -> u64 {
        self.rows.get(table).copied().unwrap_or_default()
    }

    /// Refreshing must have added one row of tokens for each answer, and nothing else.
    ///
    /// # Errors
    /// A sentence for everything that is otherwise.
    pub fn check(&self, before: &Self, answered: u64, grants: u64) -> Result<(), Failure> {
        let mut problems = Vec::new();
        let tokens = self.of("tokens").checked_sub(before.of("tokens"));
        if tokens != Some(answered) {
            let (from, to) = (before.of("tokens"), self.of("tokens"));
            problems.push(format!(
                "{answered} refreshes were answered, but tokens went from {from} to {to} rows"
            ));
        }
        if self.of("grants") != grants {
            problems.push(format!("{grants} grants left {} rows of grants", self.of("grants")));
        }
        for (table, rows) in &self.rows {
            let added = rows.saturating_sub(before.of(table));
            if !matches!(table.as_str(), "tokens" | "grants" | "assertions") && added > OF_ITS_OWN {
                problems.push(format!("{table} has grown by {added} rows, although it is for no refresh"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Failure::new(problems.join("; "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(rows: &[(&str, u64)]) -> Account {
        Account { rows: rows.iter().map(|(table, rows)| ((*table).to_owned(), *rows)).collect(), bytes: 0 }
    }

    #[test]
    fn refreshing_adds_a_row_of_tokens_for_each_answer_and_nothing_else() {
        let before =
            account(&[("tokens", 10), ("grants", 10), ("slots", 10), ("audit", 1), ("assertions", 10)]);
        let check = |after: &[(&str, u64)]| {
            account(after).check(&before, 90, 10).map_err(|failure| failure.to_string())
        };
        let good = [("tokens", 100), ("grants", 10), ("slots", 10), ("audit", 2), ("assertions", 0)];
        assert_eq!(check(&good), Ok(()));
        let but = |table: &'static str, rows: u64| {
            let mut rows_of = good.to_vec();
            rows_of.retain(|(other, _)| *other != table);
            rows_of.push((table, rows));
            check(&rows_of).unwrap_err()
        };
        assert!(but("tokens", 99).contains("from 10 to 99"));
        assert!(but("tokens", 101).contains("from 10 to 101"));
        assert!(but("tokens", 9).contains("from 10 to 9"));
        assert!(but("grants", 11).contains("11 rows of grants"));
        assert!(but("slots", 100).contains("slots has grown by 90 rows"));
        assert!(but("audit", 91).contains("audit"));
        assert!(but("a_new_table", 90).contains("a_new_table"));
    }
}
