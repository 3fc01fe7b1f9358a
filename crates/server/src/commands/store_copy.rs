//! `grantry store copy`: moves a store while servers run on it; docs/adr/0013.
//!
//! 1. Note every change of the source from now on, and take the target.
//! 2. Copy all tables, page by page.
//! 3. Copy what was changed meanwhile, again and again, until little is left.
//! 4. Fence the source: no server can change anything any more. Copy the rest.
//! 5. Compare.
//! 6. Close the source, so that no server goes on answering from it, then give the target to its servers. In this order
//!    there is never a moment at which both can be used.
//!
//! An interrupted copy begins anew, its source working on meanwhile; from 6. on it only finishes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use grantry_protocol::Clock;
use grantry_store::transfer::{Cells, TABLES, TransferState};
use indicatif::{HumanCount, ProgressBar};
use serde_json::{Map, Value, json};

use crate::ambient::{SystemClock, rng};
use crate::cli::Output;
use crate::commands::print;
use crate::config::{Loaded, StoreUrl};
use crate::failure::Failure;
use crate::first_start::secret_from_file;
use crate::wire::{self, Transfer};

/// Rows that are copied at once. Less than that may be left to be copied behind the fence, which takes well under a
/// second.
const PAGE: usize = 1000;
/// A source that changes faster than it is copied is fenced all the same in the end.
const MOST_ROUNDS: usize = 1000;

pub fn target(to: Option<String>, to_file: Option<PathBuf>) -> Result<StoreUrl, Failure> {
    let url = match (to, to_file) {
        (Some(url), _) => StoreUrl::new(url),
        (None, Some(path)) => StoreUrl::new(secret_from_file(&path)?.expose().trim()),
        (None, None) => return Err(Failure::new("--to must name the store to copy to")),
    };
    match url.problem() {
        Some(problem) => Err(Failure::new(format!("--to: {problem}"))),
        None => Ok(url),
    }
}

pub async fn copy(loaded: &Loaded, to: &StoreUrl, output: Output) -> Result<(), Failure> {
    let transfer = wire::transfer(&loaded.config, to).await?;
    let Transfer { source, target } = &transfer;
    let began = SystemClock.now();
    if let Some(TransferState::Moved { target: moved_to, .. }) = source.state().await? {
        if moved_to != to.to_string() {
            return Err(Failure::new(format!("the store was moved to {moved_to} already")));
        }
        // 6., the second half of it.
        target.finish().await?;
        return say(output, loaded, to, &Map::new());
    }
    // 1.
    let id = match source.state().await? {
        Some(state) => state.id().to_owned(),
        None => fresh_id(),
    };
    source.begin(&id).await?;
    target.begin(&id).await?;
    // 2.
    let mut total = 0;
    for table in 0..TABLES.len() {
        total += source.count(table).await?;
    }
    let bar = print::bar("copying", total);
    for table in 0..TABLES.len() {
        copy_table(&transfer, table, &bar).await?;
    }
    // 3.
    let mut after = 0;
    for _ in 0..MOST_ROUNDS {
        if copy_changes(&transfer, &mut after).await? < PAGE {
            break;
        }
    }
    // 4.
    source.fence().await?;
    let fenced = SystemClock.now();
    while copy_changes(&transfer, &mut after).await? > 0 {}
    // 5.
    let counts = compare(&transfer).await?;
    bar.finish_and_clear();
    // 6.
    source.close(&to.to_string()).await?;
    target.finish().await?;
    let now = SystemClock.now();
    tracing::info!(took = ?now.since(began), fenced_for = ?now.since(fenced), "the store was moved");
    say(output, loaded, to, &counts)
}

/// Names this transfer at both ends.
fn fresh_id() -> String {
    let mut bytes = [0; 16];
    rng().fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

async fn copy_table(transfer: &Transfer, table: usize, bar: &ProgressBar) -> Result<(), Failure> {
    let mut after: Option<Cells> = None;
    loop {
        let rows = transfer.source.page(table, after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last[..TABLES[table].key].to_vec());
        bar.inc(rows.len() as u64);
        transfer.target.put(table, rows).await?;
    }
}

/// One page of them; answers how many there were. A row is copied as it is now, or removed if it is gone.
async fn copy_changes(transfer: &Transfer, after: &mut i64) -> Result<usize, Failure> {
    let changes = transfer.source.changes(*after, PAGE).await?;
    let count = changes.len();
    let mut changed: BTreeMap<usize, BTreeSet<Cells>> = BTreeMap::new();
    for change in changes {
        *after = change.number;
        changed.entry(change.table).or_default().insert(change.key);
    }
    for (table, keys) in changed {
        let rows = transfer.source.rows(table, keys.iter().cloned().collect()).await?;
        let present: BTreeSet<&[_]> = rows.iter().map(|row| &row[..TABLES[table].key]).collect();
        let gone: Vec<Cells> = keys.into_iter().filter(|key| !present.contains(key.as_slice())).collect();
        if !gone.is_empty() {
            transfer.target.remove(table, gone).await?;
        }
        if !rows.is_empty() {
            transfer.target.put(table, rows).await?;
        }
    }
    Ok(count)
}

/// How many rows each table has, at both ends.
async fn compare(transfer: &Transfer) -> Result<Map<String, Value>, Failure> {
    let mut counts = Map::new();
    for (place, table) in TABLES.iter().enumerate() {
        let (from, to) = (transfer.source.count(place).await?, transfer.target.count(place).await?);
        if from != to {
            return Err(Failure::new(format!(
                "{} has {from} rows in the old store and {to} in the new one, so the copy is not whole. The old store is \
                 fenced still: run this again, or give it back to its servers (--abort)",
                table.name
            )));
        }
        counts.insert(table.name.to_owned(), from.into());
    }
    Ok(counts)
}

fn say(output: Output, loaded: &Loaded, to: &StoreUrl, counts: &Map<String, Value>) -> Result<(), Failure> {
    let from = &loaded.config.store.url;
    if output.json {
        print::json(&json!({ "from": from, "to": to, "rows": counts }));
        return Ok(());
    }
    let count = |name: &str| HumanCount(counts.get(name).and_then(Value::as_u64).unwrap_or_default());
    if !counts.is_empty() {
        print::line(format_args!(
            "copied and compared: {} clients, {} grants, {} tokens, {} entries of the revocation log",
            count("clients"),
            count("grants"),
            count("tokens"),
            count("revocation_log"),
        ));
    }
    print::line(format_args!(
        "{from} is closed. Set store.url to {to} (with its password, if it has one) and start the servers again."
    ));
    Ok(())
}

pub async fn abort(loaded: &Loaded, yes: bool) -> Result<(), Failure> {
    let source = wire::transfer_source(&loaded.config)?;
    match source.state().await? {
        None => return Err(Failure::new("no copy of the store is under way")),
        Some(TransferState::Moved { target, .. }) if !yes => {
            return Err(Failure::new(format!(
                "the store was moved to {target}, and what was issued and revoked there since is not known here: tokens \
                 that were revoked would be active again. If no server has ever run on the new store, give --yes"
            )));
        }
        Some(_) => source.abort().await?,
    }
    print::line("the store is its servers' again; empty the other database before you copy to it once more");
    Ok(())
}
