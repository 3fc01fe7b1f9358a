use clap::{Args, Subcommand};
use grantry_protocol::{ClientId, Subject};

use super::{Access, Login, Output, ServerUrl};

pub const EXAMPLES: &str = "\
Examples:
  curl -H \"Authorization: Bearer $(grantry token get --scope grantry:admin)\" http://127.0.0.1:8081/admin/v1/clients
  grantry token get --client-id billing --client-secret-file billing.secret --resource https://api.example/ --json
  grantry token inspect gta_...
  echo gta_... | grantry token inspect - --offline --json
  grantry tokens list --subject alice@example.com
  grantry tokens revoke --subject alice@example.com         everything that alice has, on every client
  grantry tokens revoke --grant-id 0199...                  one login: its refresh token and its access tokens
  echo gtr_... | grantry tokens revoke --token -";

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print an access token (client credentials), and nothing else
    Get {
        /// Without it everything that the client is registered for
        #[arg(long)]
        scope: Option<String>,
        /// Whom the token is for (RFC 8707); may be given more than once
        #[arg(long)]
        resource: Vec<String>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        server: ServerUrl,
        #[command(flatten)]
        login: Login,
    },
    /// Say what a token is, where it lives and why it is not active
    Inspect {
        /// The token; `-` reads it from standard input, where no list of processes shows it
        #[arg(value_name = "TOKEN", default_value = "-")]
        token: String,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// The grants (refresh tokens) and access tokens of a subject, newest first
    List {
        /// A user, or a client that got tokens for itself
        #[arg(long)]
        subject: Subject,
        /// The most of each that are listed
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// End tokens at once, on every server
    Revoke {
        #[command(flatten)]
        target: RevocationTarget,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
}

/// What is to end; exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct RevocationTarget {
    /// An access token alone, or a refresh token with all that came of it; `-` reads it from standard input
    #[arg(long)]
    pub token: Option<String>,
    /// An access token by its id, the `jti`
    #[arg(long, value_name = "UUID")]
    pub token_id: Option<String>,
    /// A grant: its refresh token and the access tokens that came of it
    #[arg(long, value_name = "UUID")]
    pub grant_id: Option<String>,
    /// Everything of one session
    #[arg(long, value_name = "UUID")]
    pub session_id: Option<String>,
    /// Everything that a subject has, on every client
    #[arg(long)]
    pub subject: Option<Subject>,
    /// Everything that a client has, for every subject
    #[arg(long, value_name = "ID")]
    pub client: Option<ClientId>,
    /// Everything
    #[arg(long)]
    pub all: bool,
}
