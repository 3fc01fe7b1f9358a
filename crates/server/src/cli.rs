//! The command line as a person types it. What a command does stands in `commands/`.

mod clients;
mod cluster;
mod journal;
mod settings;
mod store;
mod tokens;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use grantry_grants::KeyName;
use grantry_protocol::ClientId;

pub use self::clients::{ClientsCommand, JWT_BEARER, Metadata, Named};
pub use self::cluster::ClusterCommand;
pub use self::journal::JournalCommand;
pub use self::settings::SettingsCommand;
pub use self::store::StoreCommand;
pub use self::tokens::{RevocationTarget, TokenCommand};

const EXAMPLES: &str = "\
Examples:
  grantry                                       start the server with ./grantry.toml, or with the defaults
  grantry --config /etc/grantry.toml serve      the same with that file
  grantry config check                          say what is wrong with the settings, without starting anything
  grantry clients create --name Billing --scope \"read write\"
  grantry token get --scope grantry:admin       an access token, for curl
  grantry token inspect TOKEN                   why a token does (not) work
  grantry tokens list --subject alice           what alice has, and `grantry tokens revoke` to end it
  grantry cluster status                        which servers use the store, and whether each knows every revocation
  grantry settings set tokens.access_token_lifetime=10m
                                                on every node, while they run
  grantry journal drain DIR                     write what a dead machine's journal holds
  grantry store backup /backup/grantry.db       a copy of the store, while servers run

Every setting can come from the environment: GRANTRY_SERVER__LISTEN=127.0.0.1:9000 grantry";

const KEYS_EXAMPLES: &str = "\
Examples:
  grantry keys list
  grantry keys rotate                           a new signing key: published now, used once everybody can have it
  grantry keys rotate token_mac                 a new key for opaque tokens and refresh tokens
  grantry keys import signing.pem               a signing key that was made elsewhere
  grantry keys revoke signing/3                 emergency: nothing that it signed is honoured from now on
  grantry keys rotate-master                    seal the store's keys with a new master key

Tokens outlive a rotation: the key before is honoured until the last of them has expired. They do not outlive a
revocation. Revoking a client_secret key disables every client whose secret was hashed with it, and needs --yes.";

const GATEWAY_EXAMPLES: &str = "\
Examples:
  grantry --config gateway.toml gateway
  grantry --config gateway.toml gateway --check

It has settings of its own: --config, else ./gateway.toml if it is there; GRANTRY_GATEWAY__LISTEN=127.0.0.1:9090 goes before
the file. docs/gateway.md explains them, and deploy/gateway has examples for each proxy.";

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
    /// Check tokens for nginx, Traefik or Envoy, which ask before they let a request through; needs no store
    #[command(after_help = GATEWAY_EXAMPLES)]
    Gateway {
        /// Say all that is wrong with the settings, without starting anything
        #[arg(long)]
        check: bool,
    },
    /// Register clients and change them
    #[command(after_help = clients::EXAMPLES)]
    Clients {
        #[command(subcommand)]
        command: ClientsCommand,
    },
    /// Get an access token, find out what is the matter with one, list and end what a subject has
    #[command(visible_alias = "tokens", after_help = tokens::EXAMPLES)]
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// The keys that tokens and client secrets are made with
    #[command(after_help = KEYS_EXAMPLES)]
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// The configuration file: check it, show what holds, explain it
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// What is changed on every node while servers run, such as the lifetime of tokens
    #[command(after_help = settings::EXAMPLES)]
    Settings {
        #[command(subcommand)]
        command: SettingsCommand,
    },
    /// Bring the store's schema up to date; `serve` does so as well
    Migrate,
    /// Copy the store while servers run on it, and put a copy back
    #[command(after_help = store::EXAMPLES)]
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Tokens that were answered and may not be in the store yet: look at them, write them
    #[command(after_help = journal::EXAMPLES)]
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
    },
    /// The servers that use the store
    #[command(after_help = cluster::EXAMPLES)]
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Get access to the admin API back
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// All keys: what each is good for now, from when on it makes things and until when those are honoured
    List {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// Let a new key take over, without ending any token
    Rotate {
        /// What the key is for
        #[arg(default_value = "signing", value_parser = ["signing", "token_mac", "client_secret"])]
        purpose: String,
        /// Of a signing key; without it keys.signing_algorithm
        #[arg(long, value_parser = ALGORITHMS)]
        algorithm: Option<String>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// Let a signing key that was made elsewhere take over
    Import {
        /// PKCS#8 in PEM (-----BEGIN PRIVATE KEY-----): Ed25519, P-256, or RSA of 2048 to 4096 bits; `-` reads it from
        /// standard input
        file: PathBuf,
        /// Refuse a key for anything else
        #[arg(long, value_parser = ALGORITHMS)]
        algorithm: Option<String>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// Emergency: honour nothing any more that the key has ever made
    #[command(after_help = "\
Example: grantry keys revoke signing/3

A signing key leaves the published keys, and JWTs that it signed are not active. With a token_mac key the opaque access
tokens and the refresh tokens of its version go. With a client_secret key every client whose secret was hashed with it is
refused until it is given a new secret; `grantry admin recover` helps who locked themselves out. If the key was the one
in use, a new one takes its place at once.")]
    Revoke {
        /// As `grantry keys list` shows it, such as signing/3; or the kid of a signing key
        // Base64url may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        key: KeyName,
        /// Go on although clients will be locked out; needed for client_secret keys
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        access: Access,
    },
    /// Seal all keys in the store with a new master key; tokens stay, and servers may run meanwhile
    #[command(after_help = "\
Example: grantry keys rotate-master

Works on the store and on keys.master_key_file, at the host that has them. Running servers read the file again by
themselves. If the key is in GRANTRY_MASTER_KEY, put the new one (openssl rand -base64 32) in GRANTRY_NEW_MASTER_KEY:
first for every server, with a restart, then for this command; then make it GRANTRY_MASTER_KEY everywhere.")]
    RotateMaster {
        #[command(flatten)]
        output: Output,
    },
}

const ALGORITHMS: [&str; 3] = ["EdDSA", "ES256", "RS256"];

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
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command, KeysCommand};

    #[test]
    fn a_kid_that_begins_with_a_hyphen_is_no_flag_and_flags_stay_flags() {
        for kid in ["-PB5qlLDE8llQaGY_z4qfNwfRtm9-aeRMDfpG1-YwDQ", "--B5", "-h-", "signing/3"] {
            for order in [[kid, "--yes"], ["--yes", kid]] {
                let cli = Cli::try_parse_from(["grantry", "keys", "revoke"].into_iter().chain(order));
                let Some(Command::Keys { command: KeysCommand::Revoke { key, yes, .. } }) =
                    cli.unwrap().command
                else {
                    panic!("{order:?} is another command");
                };
                assert_eq!((key.to_string().as_str(), yes), (kid, true));
            }
        }
    }

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        super::Cli::command().debug_assert();
    }
}
