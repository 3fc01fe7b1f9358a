//! A store that is being filled from another one; docs/adr/0013. Until that is done, a table of its own tells servers
//! to keep away.

use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{LogKind, Timestamp, TokenId};
use grantry_store::transfer::{Cell, Cells, ColumnKind, TABLES, TransferTable, TransferTarget};
use grantry_store::{Result, StoreError};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::PostgresStore;
use crate::errors::{Cause, Error};
use crate::link::{Begin, Link};
use crate::statement::Statement;

/// For what looks at every row.
const LONG: Duration = Duration::from_secs(24 * 3600);

static STATEMENTS: LazyLock<Vec<Statements>> = LazyLock::new(|| TABLES.iter().map(Statements::of).collect());

/// Of one table.
struct Statements {
    put: Statement,
    remove: Statement,
    count: Statement,
}

impl PostgresStore {
    /// Whether a transfer to this store has begun and not ended.
    pub async fn is_being_filled(&self) -> Result<bool> {
        Ok(marker(&*self.write.borrow().await?).await?.is_some())
    }
}

#[async_trait]
impl TransferTarget for PostgresStore {
    async fn begin(&self, id: &str) -> Result<()> {
        let borrowed = self.write.borrow_for(LONG).await?;
        let link: &Link = &borrowed;
        match marker(link).await? {
            Some(present) if present == id => {}
            Some(_) => {
                return Err(StoreError::Rejected(
                    "it holds part of another copy that was begun; give the copy an empty database".into(),
                ));
            }
            None => expect_unused(link).await?,
        }
        link.begin(Begin::Write).await?;
        let mut sql = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
                       CREATE TABLE IF NOT EXISTS transfer (id text NOT NULL);
                       DELETE FROM transfer;
                       DROP INDEX IF EXISTS grants_by_slot;"
            .to_owned();
        for table in TABLES.iter().filter(|table| table.name != "log_head") {
            let _ = write!(sql, "TRUNCATE {};", table.name);
        }
        link.batch(&sql).await?;
        link.execute(&MARK, &[&id]).await?;
        Ok(link.commit().await?)
    }

    async fn put(&self, table: usize, rows: Vec<Cells>) -> Result<()> {
        let borrowed = self.write.borrow().await?;
        let link: &Link = &borrowed;
        match TABLES[table].name {
            "tokens" => self.partitions.cover(link, &lives(table, &rows)?).await?,
            "revocation_log" => self.partitions.cover_log(link, &keep_untils(table, &rows)?).await?,
            _ => {}
        }
        let columns = columns(TABLES[table].columns, &rows)?;
        let params: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| column.as_ref() as _).collect();
        link.execute(&STATEMENTS[table].put, &params).await?;
        Ok(())
    }

    async fn remove(&self, table: usize, keys: Vec<Cells>) -> Result<()> {
        let borrowed = self.write.borrow().await?;
        let columns = columns(&TABLES[table].columns[..TABLES[table].key], &keys)?;
        let params: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| column.as_ref() as _).collect();
        borrowed.execute(&STATEMENTS[table].remove, &params).await?;
        Ok(())
    }

    async fn count(&self, table: usize) -> Result<u64> {
        let borrowed = self.write.borrow_for(LONG).await?;
        let link: &Link = &borrowed;
        link.begin(Begin::Write).await?;
        link.batch("SET LOCAL statement_timeout = 0").await?;
        let row = link.query_one(&STATEMENTS[table].count, &[]).await?;
        link.rollback().await?;
        Ok(crate::columns::unsigned(&row, 0)?)
    }

    async fn finish(&self) -> Result<()> {
        let borrowed = self.write.borrow_for(LONG).await?;
        let link: &Link = &borrowed;
        if marker(link).await?.is_none() {
            // It was finished, and the answer was lost.
            return Ok(());
        }
        link.begin(Begin::Write).await?;
        link.batch(&finishing()).await?;
        Ok(link.commit().await?)
    }
}

const MARKER_EXISTS: Statement = Statement {
    name: "transfer_exists",
    sql: "SELECT FROM pg_tables WHERE tablename = 'transfer' AND schemaname = current_schema()",
    types: &[],
};
const MARKER: Statement = Statement { name: "transfer_select", sql: "SELECT id FROM transfer", types: &[] };
const MARK: Statement =
    Statement { name: "transfer_insert", sql: "INSERT INTO transfer (id) VALUES ($1)", types: &[Type::TEXT] };

/// The transfer that fills this store.
async fn marker(link: &Link) -> crate::errors::Result<Option<String>> {
    if link.query_opt(&MARKER_EXISTS, &[]).await?.is_none() {
        return Ok(None);
    }
    link.query_opt(&MARKER, &[]).await?.map(|row| crate::columns::get(&row, 0)).transpose()
}

/// A server that has ever run on it has made keys.
const USED: Statement = Statement {
    name: "transfer_used",
    sql:
        "SELECT FROM log_head WHERE position > 0 OR EXISTS (SELECT FROM keys) OR EXISTS (SELECT FROM clients)
              OR EXISTS (SELECT FROM tokens) OR EXISTS (SELECT FROM grants)",
    types: &[],
};

async fn expect_unused(link: &Link) -> Result<()> {
    match link.query_opt(&USED, &[]).await? {
        None => Ok(()),
        Some(_) => Err(StoreError::Rejected(
            "it is in use: it has keys, clients or tokens; give the copy an empty database".into(),
        )),
    }
}

/// What the source derives otherwise: the index that cannot hold while rows come in any order, the last rule about each
/// name, the number of the last audit row.
fn finishing() -> String {
    let rules: Vec<String> = LogKind::ALL_KINDS
        .into_iter()
        .filter(|kind| kind.is_rule())
        .map(|kind| kind.code().to_string())
        .collect();
    format!(
        "SET LOCAL statement_timeout = 0;
         SET LOCAL lock_timeout = 0;
         CREATE UNIQUE INDEX grants_by_slot ON grants (slot) WHERE is_last_of_slot;
         DELETE FROM rules;
         INSERT INTO rules (kind, key, epoch, position, keep_until, logged_at)
             SELECT DISTINCT ON (kind, key) kind, key, epoch, position,
                    max(keep_until) OVER (PARTITION BY kind, key), logged_at
             FROM revocation_log WHERE kind IN ({})
             ORDER BY kind, key, epoch DESC, position DESC;
         UPDATE log_head SET (last_rule_epoch, last_rule_position) =
             (SELECT epoch, position FROM rules ORDER BY epoch DESC, position DESC LIMIT 1);
         UPDATE audit_head SET number = (SELECT coalesce(max(number), 0) FROM audit);
         DROP TABLE transfer;",
        rules.join(", ")
    )
}

impl Statements {
    /// Made once for as long as the program runs, so that they may live as long.
    fn of(table: &TransferTable) -> Self {
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| here(table, name)).collect();
        let keys = &names[..table.key];
        let types: Vec<Type> = table.columns.iter().map(|(_, kind)| array(*kind)).collect();
        let arrays = |count: usize| {
            let marks: Vec<String> = (1..=count).map(|number| format!("${number}")).collect();
            marks.join(", ")
        };
        let conflict = match table.name {
            // A partitioned table's primary key has what it is partitioned by.
            "revocation_log" => "position, keep_until".to_owned(),
            _ => keys.join(", "),
        };
        let updates: Vec<String> =
            names[table.key..].iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
        let action = match updates.is_empty() {
            true => "NOTHING".to_owned(),
            false => format!("UPDATE SET {}", updates.join(", ")),
        };
        let put = format!(
            "INSERT INTO {} ({}) SELECT * FROM unnest({}) ON CONFLICT ({conflict}) DO {action}",
            table.name,
            names.join(", "),
            arrays(names.len())
        );
        let matches: Vec<String> = keys.iter().map(|key| format!("t.{key} = k.{key}")).collect();
        let remove = format!(
            "DELETE FROM {} t USING unnest({}) AS k({}) WHERE {}",
            table.name,
            arrays(table.key),
            keys.join(", "),
            matches.join(" AND ")
        );
        let statement = |name, sql: String, types: &[Type]| Statement {
            name,
            sql: Box::leak(sql.into_boxed_str()),
            types: Box::leak(types.to_vec().into_boxed_slice()),
        };
        Self {
            put: statement("transfer_put", put, &types),
            remove: statement("transfer_remove", remove, &types[..table.key]),
            count: statement("transfer_count", format!("SELECT count(*) FROM {}", table.name), &[]),
        }
    }
}

/// What the column is called here.
fn here(table: &TransferTable, name: &'static str) -> &'static str {
    match (table.name, name) {
        ("early_ends", "expires_by") => "keep_until",
        _ => name,
    }
}

fn array(kind: ColumnKind) -> Type {
    match kind {
        ColumnKind::Integer => Type::INT8_ARRAY,
        ColumnKind::Small => Type::INT2_ARRAY,
        ColumnKind::Flag => Type::BOOL_ARRAY,
        ColumnKind::Text => Type::TEXT_ARRAY,
        ColumnKind::Bytes => Type::BYTEA_ARRAY,
        ColumnKind::Uuid => Type::UUID_ARRAY,
    }
}

type Column = Box<dyn ToSql + Sync + Send>;

/// Rows turned into columns.
fn columns(kinds: &[(&'static str, ColumnKind)], rows: &[Cells]) -> Result<Vec<Column>> {
    let column = |place: usize, kind: ColumnKind| -> Result<Column> {
        let cells = rows.iter().map(move |row| &row[place]);
        Ok(match kind {
            ColumnKind::Integer => Box::new(collected(cells, integer)?),
            ColumnKind::Small => Box::new(collected(cells, |cell| i16::try_from(integer(cell)?).ok())?),
            ColumnKind::Flag => Box::new(collected(cells, |cell| Some(integer(cell)? != 0))?),
            ColumnKind::Text => Box::new(collected(cells, |cell| match cell {
                Cell::Text(text) => Some(text.clone()),
                _ => None,
            })?),
            ColumnKind::Bytes => Box::new(collected(cells, |cell| bytes(cell).map(<[u8]>::to_vec))?),
            ColumnKind::Uuid => Box::new(collected(cells, |cell| Uuid::from_slice(bytes(cell)?).ok())?),
        })
    };
    kinds.iter().enumerate().map(|(place, (_, kind))| column(place, *kind)).collect()
}

/// An empty cell stays empty.
fn collected<'a, T>(
    cells: impl Iterator<Item = &'a Cell>,
    read: impl Fn(&Cell) -> Option<T>,
) -> Result<Vec<Option<T>>> {
    cells
        .map(|cell| match cell {
            Cell::Null => Ok(None),
            cell => read(cell).map(Some).ok_or_else(unlike),
        })
        .collect()
}

fn integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Integer(integer) => Some(*integer),
        _ => None,
    }
}

fn bytes(cell: &Cell) -> Option<&[u8]> {
    match cell {
        Cell::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn unlike() -> StoreError {
    Error::new(Cause::Corrupt, "the other store has a value of another type").into()
}

fn place_of(table: usize, column: &str) -> Result<usize> {
    let place = TABLES[table].columns.iter().position(|(name, _)| *name == column);
    place.ok_or_else(|| Error::new(Cause::Corrupt, format!("there is no column {column}")).into())
}

fn times(table: usize, column: &str, rows: &[Cells]) -> Result<Vec<Timestamp>> {
    let place = place_of(table, column)?;
    rows.iter().map(|row| integer(&row[place]).map(Timestamp::from_millis).ok_or_else(unlike)).collect()
}

fn keep_untils(table: usize, rows: &[Cells]) -> Result<Vec<Timestamp>> {
    times(table, "keep_until", rows)
}

fn lives(table: usize, rows: &[Cells]) -> Result<Vec<(TokenId, Timestamp)>> {
    let ids = rows.iter().map(|row| {
        let id: Option<[u8; 16]> = bytes(&row[0]).and_then(|id| id.try_into().ok());
        id.map(TokenId::from_bytes).ok_or_else(unlike)
    });
    let ids = ids.collect::<Result<Vec<_>>>()?;
    Ok(ids.into_iter().zip(times(table, "expires_at", rows)?).collect())
}
