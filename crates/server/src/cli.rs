//! The command line as a person types it. What a command does stands in `commands/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use grantry_protocol::{ClientId, Lifetime};

const EXAMPLES: &str = "\
Examples:
  grantry                                       start the server with ./grantry.toml, or with the defaults
  grantry --config /etc/grantry.toml serve      the same with that file
  grantry config check                          say what is wrong with the settings, without starting anything
  grantry clients create --name Billing --scope \"read write\"
  grantry token get --scope grantry:admin       an access token, for curl
  grantry token inspect TOKEN                   why a token does (not) work

Every setting can come from the environment: GRANTRY_SERVER__LISTEN=127.0.0.1:9000 grantry";

const CLIENTS_EXAMPLES: &str = "\
Examples:
  grantry clients create --id billing --scope \"read write\" --access-token-format jwt
  grantry clients update billing --access-token-lifetime 30m
  grantry clients update billing --unset access_token_lifetime
  grantry clients list --json
  grantry clients rotate-secret billing --offline

The running server is asked, over its admin API, with an administrator's credentials: --client-id and
--client-secret-file, else GRANTRY_CLIENT_ID and GRANTRY_CLIENT_SECRET, else the file first-client beside the store.
With --offline the store itself is used, and no credentials but the master key; the server may run meanwhile.";

const TOKEN_EXAMPLES: &str = "\
Examples:
  curl -H \"Authorization: Bearer $(grantry token get --scope grantry:admin)\" http://127.0.0.1:8081/admin/v1/clients
  grantry token get --client-id billing --client-secret-file billing.secret --resource https://api.example/ --json
  grantry token inspect gta_...
  echo gta_... | grantry token inspect - --offline --json";

/// An OAuth 2.0 authorization server.
#[derive(Debug, Parser)]
#[command(name = "grantry", version, after_help = EXAMPLES)]
pub struct Cli {
    /// The settings; else the file that GRANTRY_CONFIG names, else ./grantry.toml if it is there, else the defaults
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the program runs")]
pub enum Command {
    /// Run the server; what happens without a command
    Serve,
    /// Register clients and change them
    #[command(after_help = CLIENTS_EXAMPLES)]
    Clients {
        #[command(subcommand)]
        command: ClientsCommand,
    },
    /// Get an access token, or find out what is the matter with one
    #[command(after_help = TOKEN_EXAMPLES)]
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// The settings: check them, show them, explain them
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Bring the store's schema up to date; `serve` does so as well
    Migrate,
    /// Get access to the admin API back
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Register a client; its id and secret are printed this one time
    Create {
        /// The client's id; without it one is made
        #[arg(long)]
        id: Option<ClientId>,
        #[command(flatten)]
        metadata: Metadata,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// All clients
    List {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// Everything about one client but its secret
    Show(Named),
    /// Change what is given and leave the rest
    Update {
        id: ClientId,
        #[command(flatten)]
        metadata: Metadata,
        /// Put a field back to the server's default
        #[arg(long, value_name = "FIELD", value_parser = UNSETTABLE)]
        unset: Vec<String>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// Refuse the client, and end every token that it holds
    Disable(Named),
    /// Take a disabled client back
    Enable(Named),
    /// Give the client a new secret; the old one ends at once, tokens stay
    RotateSecret(Named),
    /// Remove the client, and end every token that it holds
    Delete(Named),
}

const UNSETTABLE: [&str; 5] =
    ["client_name", "active_token_policy", "access_token_lifetime", "resources", "allowed_resources"];

#[derive(Debug, Args)]
pub struct Named {
    pub id: ClientId,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

/// Client metadata, under names that are short for its own.
#[derive(Debug, Args)]
pub struct Metadata {
    /// For people
    #[arg(long)]
    pub name: Option<String>,
    /// Scope values that the client may ask for, separated by spaces
    #[arg(long)]
    pub scope: Option<String>,
    /// May be given more than once
    #[arg(long, value_parser = ["client_credentials"])]
    pub grant_type: Vec<String>,
    /// How the client proves who it is
    #[arg(long, value_parser = ["client_secret_basic", "client_secret_post", "none"])]
    pub auth_method: Option<String>,
    #[arg(long, value_parser = ["opaque", "jwt"])]
    pub access_token_format: Option<String>,
    /// What it gets that asks again while it has a token
    #[arg(long, value_parser = ["reuse", "replace", "multiple"])]
    pub active_token_policy: Option<String>,
    /// As in 30m
    #[arg(long)]
    pub access_token_lifetime: Option<Lifetime>,
    /// An audience that the client is: it may introspect tokens meant for it; may be given more than once
    #[arg(long)]
    pub resource: Vec<String>,
    /// An audience that the client may ask a token for; may be given more than once, without it any
    #[arg(long)]
    pub allowed_resource: Vec<String>,
}

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
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say all that is wrong with the settings; nothing is opened or started
    Check,
    /// Print the settings that are in force, and where each comes from
    Show,
    /// Print the reference of all settings, in Markdown
    Reference,
}

#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Make an administrative client, or give one a new secret, on the store itself
    Recover {
        /// The client; made if it does not exist
        #[arg(long, default_value = "admin")]
        client_id: ClientId,
        /// Where id and secret are written (id:secret, readable by you alone); without it first-client beside the store
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// How to get at clients and tokens.
#[derive(Debug, Args)]
pub struct Access {
    /// Work on the store itself instead of asking the server
    #[arg(long, conflicts_with_all = ["admin_url", "server_url", "client_id", "client_secret_file"])]
    pub offline: bool,
    /// The admin listener; without it the one of the settings
    #[arg(long, value_name = "URL")]
    pub admin_url: Option<String>,
    #[command(flatten)]
    pub server: ServerUrl,
    #[command(flatten)]
    pub login: Login,
}

#[derive(Debug, Args)]
pub struct ServerUrl {
    /// The public listener, where tokens are got; without it the one of the settings
    #[arg(long, value_name = "URL")]
    pub server_url: Option<String>,
}

/// Whose credentials to use.
#[derive(Debug, Args)]
pub struct Login {
    /// Needs --client-secret-file or GRANTRY_CLIENT_SECRET
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// A file with the secret of that client
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub client_secret_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        super::Cli::command().debug_assert();
    }
}
