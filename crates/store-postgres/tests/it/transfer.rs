//! A store that is filled by a copy goes on where the other one was.

use grantry_protocol::{StatusIndex, Timestamp, TokenId};
use grantry_store::transfer::{Cell, Cells, TABLES, TransferTarget};
use grantry_store::{StatusLists, Tokens};
use grantry_store_postgres::testing::Database;
use grantry_store_postgres::{PostgresStore, StoreTime};

use super::{Fixed, options};

const NOW: i64 = 1_800_000_000_000;

/// The place of the table, and a row that has these cells and no others.
fn row(name: &str, cells: &[(&str, Cell)]) -> (usize, Cells) {
    let place = TABLES.iter().position(|table| table.name == name).unwrap();
    let cell = |column: &str| {
        cells.iter().find(|(name, _)| *name == column).map_or(Cell::Null, |(_, cell)| cell.clone())
    };
    (place, TABLES[place].columns.iter().map(|(column, _)| cell(column)).collect())
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// What tokens and grants have in common.
fn holder(status_index: i64) -> Vec<(&'static str, Cell)> {
    vec![
        ("id", Cell::Bytes(TokenId::lower_bound(Timestamp::from_millis(NOW)).as_bytes().to_vec())),
        ("client_id", text("app")),
        ("subject", text("app")),
        ("subject_kind", Cell::Integer(1)),
        ("scope", text("read")),
        ("audience", text("[]")),
        ("expires_at", Cell::Integer(NOW + 60_000)),
        ("seen_epoch", Cell::Integer(1)),
        ("seen_position", Cell::Integer(0)),
        ("status_index", Cell::Integer(status_index)),
    ]
}

#[tokio::test]
async fn places_in_status_lists_are_copied_with_their_rows_and_none_is_given_out_again() {
    let database = Database::scratch();
    let store =
        PostgresStore::open(&database.url(), &options(), StoreTime::Database, Fixed::rng()).await.unwrap();
    store.begin("one").await.unwrap();
    let token = [
        ("slot", Cell::Bytes(vec![7; 32])),
        ("format", Cell::Integer(2)),
        ("issued_at", Cell::Integer(NOW)),
        ("ended", Cell::Integer(2)),
    ];
    let grant = [
        ("is_last_of_slot", Cell::Integer(0)),
        ("created_at", Cell::Integer(NOW)),
        ("idle_expires_at", Cell::Integer(NOW + 60_000)),
        ("counter", Cell::Integer(0)),
        ("rotated_at", Cell::Integer(NOW)),
        ("access_token", Cell::Bytes(vec![8; 16])),
        ("ended_at", Cell::Integer(NOW)),
    ];
    for (place, row) in [
        row("grants", &[holder(140_000), grant.to_vec()].concat()),
        row("tokens", &[holder(140_007), token.to_vec()].concat()),
        row(
            "status_head",
            &[
                ("one", Cell::Integer(1)),
                ("next_index", Cell::Integer(200_000)),
                ("first_index", Cell::Integer(131_072)),
            ],
        ),
    ] {
        store.put(place, vec![row]).await.unwrap();
    }
    store.finish().await.unwrap();

    let id = TokenId::lower_bound(Timestamp::from_millis(NOW));
    let copied = store.token_find(id).await.unwrap().unwrap();
    assert_eq!(copied.token.status_index, Some(StatusIndex(140_007)));
    assert_eq!(store.status_list_ended(2).await, Ok(vec![StatusIndex(140_000), StatusIndex(140_007)]));
    assert_eq!(store.status_lists_in_use().await, Ok(2..4));
    assert_eq!(store.status_index_reserve(5).await, Ok(200_000..200_005));
}
