use clap::Subcommand;

use super::{Access, Output};

pub const EXAMPLES: &str = "\
Examples:
  grantry settings show
  grantry settings set tokens.access_token_lifetime=10m
  grantry settings set cache.tokens.capacity=500000 cache.clients.capacity=20000
  grantry settings set token_persistence.enable=false
  grantry settings reset tokens.access_token_lifetime

A change is in force on every node at once, for what is made from then on, and stays across restarts. A key that is reset
is what each node's configuration file says again. What is not listed here needs a restart: set it in grantry.toml.";

#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// What can be changed while servers run: what is in force, and where it comes from
    Show {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// Change settings on every node
    Set {
        /// As in tokens.access_token_lifetime=10m
        #[arg(required = true, value_name = "KEY=VALUE")]
        changes: Vec<String>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// Give settings back to the nodes' configuration files
    Reset {
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
}
