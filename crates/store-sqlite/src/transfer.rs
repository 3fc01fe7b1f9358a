//! A store that is being left while servers run on it; docs/adr/0013.
//!
//! Triggers note the key of every row that is changed, whichever process changes it, in the transaction that does. Other
//! triggers are the fence: they refuse every change. At the very end three tables get another name, so that nothing can
//! be read either.

use std::fmt::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use grantry_store::transfer::{Cell, Cells, Change, TABLES, TransferSource, TransferState, TransferTable};
use grantry_store::{Outage, Result, StoreError};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{
    Connection, OptionalExtension, Row, ToSql, Transaction, TransactionBehavior, params_from_iter,
};

use crate::SqliteStore;
use crate::backup::PATIENCE;
use crate::errors::{classify, unreadable};
use crate::open::{connect, open_turnstile, open_writing, prepare_file};
use crate::open_error::OpenError;
use crate::options::SqliteOptions;
use crate::patience::Patience;
use crate::schema::failed;
use crate::turnstile::Turnstile;

/// What the fence says; the error's classification knows it by this.
const FENCED: &str = "this store is being moved";
/// Without these nothing that matters can be answered.
const CLOSED: [&str; 3] = ["tokens", "grants", "clients"];
const ASIDE: &str = "moved_";
/// The longest primary key has so many columns.
const KEY_COLUMNS: usize = 2;
const EVENTS: [(&str, &str); 3] = [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")];

/// What an error means that the fence, or the closing behind it, has made.
pub fn of_transfer(message: &str) -> Option<StoreError> {
    let is_closed = || {
        CLOSED.iter().any(|table| message.contains(&format!("no such table: {table}")))
            || CLOSED.iter().any(|table| message.contains(&format!("no such table: main.{table}")))
    };
    match () {
        () if message.contains(FENCED) => Some(StoreError::unavailable(Outage::ReadOnly, FENCED)),
        () if is_closed() => {
            Some(StoreError::unavailable(Outage::Closed, "this store was moved to another one"))
        }
        () => None,
    }
}

/// A connection beside those of the servers. Its calls block.
pub struct SqliteTransfer {
    connection: Mutex<Connection>,
    turnstile: Turnstile,
}

impl SqliteStore {
    pub fn transfer(path: &Path) -> std::result::Result<SqliteTransfer, OpenError> {
        let path = prepare_file(path)?;
        let turnstile = open_turnstile(&path)?;
        let options = SqliteOptions { busy_timeout: PATIENCE, ..SqliteOptions::default() };
        let connection = open_writing(&path, &turnstile, &options)?;
        connection.busy_timeout(PATIENCE).map_err(|error| failed(error, &path))?;
        Ok(SqliteTransfer { connection: Mutex::new(connection), turnstile })
    }

    /// Whether the store at `path`, which exists, is being moved or was moved. Blocks.
    pub fn transfer_state(path: &Path) -> std::result::Result<Option<TransferState>, OpenError> {
        connect(path, &SqliteOptions::default())
            .and_then(|connection| state_select(&connection))
            .map_err(|error| failed(error, path))
    }
}

impl SqliteTransfer {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.connection()).map_err(classify)
    }

    fn write(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<()> {
        let _passage = self.turnstile.enter(&mut Patience::lasting(PATIENCE))?;
        let mut connection = self.connection();
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        begun.and_then(|transaction| work(&transaction).and_then(|()| transaction.commit())).map_err(classify)
    }
}

#[async_trait]
impl TransferSource for SqliteTransfer {
    async fn state(&self) -> Result<Option<TransferState>> {
        self.read(state_select)
    }

    async fn begin(&self, id: &str) -> Result<()> {
        self.write(|transaction| {
            lift(transaction)?;
            transaction.execute_batch(
                "CREATE TABLE transfer (id TEXT NOT NULL, phase TEXT NOT NULL, target TEXT);
                 CREATE TABLE transfer_changes (number INTEGER PRIMARY KEY AUTOINCREMENT, place, key_0, key_1);",
            )?;
            transaction.execute("INSERT INTO transfer (id, phase) VALUES (?1, 'copying')", [id])?;
            transaction.execute_batch(&noting())
        })
    }

    async fn page(&self, table: usize, after: Option<Cells>, limit: usize) -> Result<Vec<Cells>> {
        let table = &TABLES[table];
        let keys = key_names(table).join(", ");
        let beyond = match &after {
            Some(after) => format!("WHERE ({keys}) > ({})", marks(after.len())),
            None => String::new(),
        };
        let sql = format!(
            "SELECT {} FROM {} {beyond} ORDER BY {keys} LIMIT {limit}",
            column_names(table).join(", "),
            table.name
        );
        self.read(|connection| rows_select(connection, &sql, after.unwrap_or_default()))
    }

    async fn changes(&self, after: i64, limit: usize) -> Result<Vec<Change>> {
        if after > 0 {
            self.write(|transaction| {
                transaction.execute("DELETE FROM transfer_changes WHERE number <= ?1", [after]).map(drop)
            })?;
        }
        self.read(|connection| {
            let sql = "SELECT number, place, key_0, key_1 FROM transfer_changes WHERE number > ?1 ORDER BY number LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_map([after, i64::try_from(limit).unwrap_or(i64::MAX)], change_of)?;
            found.collect()
        })
    }

    async fn rows(&self, table: usize, keys: Vec<Cells>) -> Result<Vec<Cells>> {
        let table = &TABLES[table];
        let one = format!("({})", marks(table.key));
        let sql = format!(
            "SELECT {} FROM {} WHERE ({}) IN (VALUES {})",
            column_names(table).join(", "),
            table.name,
            key_names(table).join(", "),
            vec![one; keys.len()].join(", ")
        );
        self.read(|connection| rows_select(connection, &sql, keys.into_iter().flatten().collect()))
    }

    async fn fence(&self) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("UPDATE transfer SET phase = 'fenced'", [])?;
            transaction.execute_batch(&fencing())
        })
    }

    async fn close(&self, target: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("UPDATE transfer SET phase = 'moved', target = ?1", [target])?;
            for table in CLOSED {
                transaction.execute_batch(&format!("ALTER TABLE {table} RENAME TO {ASIDE}{table}"))?;
            }
            Ok(())
        })
    }

    async fn abort(&self) -> Result<()> {
        self.write(lift)
    }

    async fn count(&self, table: usize) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", TABLES[table].name);
        self.read(|connection| connection.query_row(&sql, [], |row| row.get(0)))
    }
}

fn state_select(connection: &Connection) -> rusqlite::Result<Option<TransferState>> {
    if !connection.table_exists(None, "transfer")? {
        return Ok(None);
    }
    let found = connection.query_row("SELECT id, phase, target FROM transfer", [], |row| {
        let (id, phase): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(match phase.as_str() {
            "copying" => TransferState::Copying { id },
            "fenced" => TransferState::Fenced { id },
            "moved" => TransferState::Moved { id, target: row.get(2)? },
            _ => return Err(unreadable(1, "a phase of a transfer that is not known")),
        })
    });
    found.optional()
}

/// Everything that a transfer has put into the store.
fn lift(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for table in CLOSED {
        if transaction.table_exists(None, format!("{ASIDE}{table}").as_str())? {
            transaction.execute_batch(&format!("ALTER TABLE {ASIDE}{table} RENAME TO {table}"))?;
        }
    }
    let mut sql = String::new();
    for table in TABLES {
        for (event, _) in EVENTS {
            for kind in ["note", "fence"] {
                let _ = writeln!(sql, "DROP TRIGGER IF EXISTS transfer_{kind}_{}_{event};", table.name);
            }
        }
    }
    sql.push_str("DROP TABLE IF EXISTS transfer; DROP TABLE IF EXISTS transfer_changes;");
    transaction.execute_batch(&sql)
}

fn noting() -> String {
    let mut sql = String::new();
    for (place, table) in TABLES.iter().enumerate() {
        for (event, row) in EVENTS {
            let mut keys: Vec<String> = key_names(table).iter().map(|key| format!("{row}.{key}")).collect();
            keys.resize(KEY_COLUMNS, "NULL".to_owned());
            let _ = writeln!(
                sql,
                "CREATE TRIGGER transfer_note_{0}_{event} AFTER {event} ON {0} BEGIN
                     INSERT INTO transfer_changes (place, key_0, key_1) VALUES ({place}, {1});
                 END;",
                table.name,
                keys.join(", ")
            );
        }
    }
    sql
}

fn fencing() -> String {
    let mut sql = String::new();
    for table in TABLES {
        for (event, _) in EVENTS {
            let _ = writeln!(
                sql,
                "CREATE TRIGGER transfer_fence_{0}_{event} BEFORE {event} ON {0} BEGIN
                     SELECT RAISE(ABORT, '{FENCED}');
                 END;",
                table.name
            );
        }
    }
    sql
}

fn column_names(table: &TransferTable) -> Vec<&'static str> {
    table.columns.iter().map(|(name, _)| *name).collect()
}

fn key_names(table: &TransferTable) -> Vec<&'static str> {
    let mut names = column_names(table);
    names.truncate(table.key);
    names
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn rows_select(connection: &Connection, sql: &str, values: Cells) -> rusqlite::Result<Vec<Cells>> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let values = params_from_iter(values.into_iter().map(value_of));
    let rows = statement.query_map(values, |row| (0..columns).map(|column| cell(row, column)).collect())?;
    rows.collect()
}

fn change_of(row: &Row<'_>) -> rusqlite::Result<Change> {
    let place: usize = row.get(1)?;
    let table = TABLES.get(place).ok_or_else(|| unreadable(1, "a table that is not known"))?;
    let key = (2..2 + table.key).map(|column| cell(row, column)).collect::<rusqlite::Result<_>>()?;
    Ok(Change { number: row.get(0)?, table: place, key })
}

fn cell(row: &Row<'_>, column: usize) -> rusqlite::Result<Cell> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(integer) => Cell::Integer(integer),
        ValueRef::Text(text) => {
            Cell::Text(String::from_utf8(text.to_vec()).map_err(|error| unreadable(column, error))?)
        }
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(unreadable(column, "a number with a fraction")),
    })
}

fn value_of(cell: Cell) -> impl ToSql {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(integer) => Value::Integer(integer),
        Cell::Text(text) => Value::Text(text),
        Cell::Bytes(bytes) => Value::Blob(bytes),
    }
}
