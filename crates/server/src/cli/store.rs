use std::path::PathBuf;

use clap::Subcommand;

pub const EXAMPLES: &str = "\
Examples:
  grantry store backup /backup/grantry-2026-03-01.db
  grantry store restore /backup/grantry-2026-03-01.db

Both work on store.url, which must be sqlite:, and while servers run on it. The master key is in no backup: keep a copy of
keys.master_key_file (or of GRANTRY_MASTER_KEY) elsewhere; without it a backup is worth nothing.

What was revoked or spent since a backup was taken, it does not know. So a restore ends everything that was issued before
it: clients fetch new tokens by themselves, people sign in again.";

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Copy the store to a new file
    Backup {
        /// Must not exist
        file: PathBuf,
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
