use std::cell::Cell;
use std::thread;
use std::time::Duration;

use metrics::Gauge;
use rusqlite::Connection;

/// How often to look whether the readers are gone, in all 50 ms. Reads are short; only another program's takes longer.
const LOOKS: i32 = 250;
/// SQLite's own steps grow to 25 ms, and under sustained reading so few looks find a reader each time.
const BETWEEN_LOOKS: Duration = Duration::from_micros(200);

thread_local! {
    /// Pages in the log after the last commit of this thread.
    static PAGES: Cell<u32> = const { Cell::new(0) };
}

/// Folds the write-ahead log into the file, in place of SQLite's automatic checkpoint.
///
/// That one never waits, and starts the log anew only in a moment without a reader in it. Under sustained reading there
/// is none: the log grows for as long as the load lasts, and every commit pays for another attempt.
pub struct WalBound {
    limit: u32,
    /// At how many pages to act next.
    threshold: u32,
    pages: Gauge,
}

impl WalBound {
    /// For the connection that writes.
    pub fn new(connection: &Connection, limit: u32, pages: Gauge) -> Self {
        connection.wal_hook(Some(|_, pages| {
            PAGES.set(pages.unsigned_abs());
            Ok(())
        }));
        Self { limit, threshold: limit, pages }
    }

    /// To be called after a commit, outside of a transaction.
    pub fn keep(&mut self, connection: &Connection) {
        let pages = PAGES.get();
        self.pages.set(f64::from(pages));
        if pages < self.threshold {
            return;
        }
        // What fails here has not failed the commit. Whoever stays in the log for long is not waited for each time.
        let done = start_anew(connection).unwrap_or(false);
        self.threshold = if done { self.limit } else { pages.saturating_add(self.limit / 2) };
    }
}

/// Waits for the readers of the log, folds in all of it and lets the next commit write from its beginning, over blocks
/// that the file system has allotted already. `false` if the readers stayed too long.
fn start_anew(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_handler(Some(|looks| {
        thread::sleep(BETWEEN_LOOKS);
        looks < LOOKS
    }))?;
    let busy: rusqlite::Result<bool> =
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0));
    connection.busy_handler(None)?;
    Ok(!busy?)
}
