use std::path::PathBuf;

use clap::Subcommand;

use super::{Access, Output};

pub const EXAMPLES: &str = "\
Examples:
  grantry journal inspect grantry-data/journal            how much waits, how old it is, whether anything is damaged
  grantry journal inspect grantry-data/journal --records  and for whom
  grantry journal drain /mnt/disk-of-node-7/journal       write what a machine that is gone has answered
  grantry journal redrive                                 try again what the store has refused

With token_persistence.pool_size a token is answered once it stands in the journal, and written to the store a moment
later. A server that starts writes what its journal holds by itself; drain is for the journal of one that never will.";

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Say what a journal holds; takes no lock and changes nothing, so a server may run on it
    Inspect {
        /// The directory, token_persistence.journal_dir of its server
        directory: PathBuf,
        /// List the tokens
        #[arg(long)]
        records: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Write all tokens of a journal to the store (store.url), in the name of the server that answered them
    ///
    /// Can be run again at any time: what is written already is left as it is.
    Drain {
        /// The directory, on which no server may be running
        directory: PathBuf,
        /// Go on although the store does not know the server
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Let the running server try again the tokens that the store has refused
    Redrive {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
}
