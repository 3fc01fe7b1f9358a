use clap::Subcommand;

use super::{Access, Output};

pub const EXAMPLES: &str = "\
Examples:
  grantry cluster status           which servers use the store, and how far each has followed the revocation log
  grantry cluster status --json";

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Every server that uses the store: whether it is alive, and whether it knows every revocation
    Status {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
}
