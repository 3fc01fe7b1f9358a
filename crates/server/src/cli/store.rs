use std::path::PathBuf;

use clap::Subcommand;

use super::Output;

pub const EXAMPLES: &str = "\
Examples:
  grantry store backup /backup/grantry-2026-03-01.db
  grantry store restore /backup/grantry-2026-03-01.db
  grantry store copy --to postgres://grantry@db.example/grantry

Backup and restore work on store.url, which must be sqlite:, and while servers run on it. The master key is in no backup: keep a copy of
keys.master_key_file (or of GRANTRY_MASTER_KEY) elsewhere; without it a backup is worth nothing.

What was revoked or spent since a backup was taken, it does not know. So a restore ends everything that was issued before
it: clients fetch new tokens by themselves, people sign in again.";

const COPY: &str = "\
Example: grantry store copy --to postgres://grantry@db.example/grantry

Servers work on while the rows are copied, and what they change is copied again. For the last of it, which takes a moment,
the old store is closed: requests get 503. Then set store.url (or store.url_file) to the new store and start the servers
again; they have the same keys, clients, grants and tokens, and nothing that was revoked comes back. The old store stays
closed.

If it is interrupted, run it again. Before the old store is closed, --abort makes the copy undone at any time.";

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Copy the store to a new file
    Backup {
        /// Must not exist
        file: PathBuf,
    },
    /// Move the store (store.url, sqlite:) to PostgreSQL while servers run on it
    #[command(after_help = COPY)]
    Copy {
        /// An empty database
        #[arg(long, value_name = "URL", required_unless_present_any = ["to_file", "abort"])]
        to: Option<String>,
        /// A file whose first line is the URL, for one with a password in it
        #[arg(long, value_name = "FILE", conflicts_with = "to")]
        to_file: Option<PathBuf>,
        /// Give the store back to its servers, and forget the copy
        #[arg(long, conflicts_with_all = ["to", "to_file"])]
        abort: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Put a backup in the place of the store, and end everything that was issued before
    Restore {
        /// A file that `grantry store backup` has made
        file: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}
