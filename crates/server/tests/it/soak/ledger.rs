//! What the database itself says, whatever the servers answer.

use rusqlite::Connection;

/// Slots and the tokens in them.
#[derive(Debug, PartialEq, Eq)]
pub struct Ledger {
    pub slots: i64,
    /// Rows of tokens, whatever their state.
    pub tokens: i64,
    /// Tokens that hold their slot and have not ended.
    pub active: i64,
    /// Slots with another number of ACTIVE tokens than one.
    pub wrong: i64,
    /// Whether SQLite finds its file in order.
    pub sound: bool,
}

impl Ledger {
    pub fn of(database: &Connection) -> Self {
        let number = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let held = "FROM tokens JOIN slots ON slots.slot = tokens.slot AND slots.holder = tokens.id";
        let integrity: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        Self {
            slots: number("SELECT count(*) FROM slots"),
            tokens: number("SELECT count(*) FROM tokens"),
            active: number(&format!("SELECT count(*) {held} WHERE tokens.ended IS NULL")),
            wrong: number(
                "SELECT count(*) FROM (SELECT slots.slot FROM slots LEFT JOIN tokens ON tokens.slot = slots.slot \
                 AND tokens.id = slots.holder AND tokens.ended IS NULL GROUP BY slots.slot HAVING count(tokens.id) <> 1)",
            ),
            sound: integrity == "ok",
        }
    }
}
