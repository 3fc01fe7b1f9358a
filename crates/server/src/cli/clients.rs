use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Subcommand};
use grantry_protocol::{ClientId, GrantType, Lifetime};
use serde_json::{Map, Value};

use super::{Access, Output};

/// Short for urn:ietf:params:oauth:grant-type:jwt-bearer.
pub const JWT_BEARER: &str = "jwt-bearer";

pub const EXAMPLES: &str = "\
Examples:
  grantry clients create --id billing --scope \"read write\" --access-token-format jwt
  grantry clients update billing --access-token-lifetime 30m
  grantry clients update billing --unset access_token_lifetime
  grantry clients list --json
  grantry clients rotate-secret billing --offline

A client that proves who it is with a key of its own (private_key_jwt) and has no secret:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out reports.pem
  openssl pkey -in reports.pem -pubout -out reports.pub
  grantry clients create --id reports --scope read --auth-method private_key_jwt --jwks reports.pub
  grantry clients update reports --unset jwks --jwks-uri https://reports.example/jwks

A client that gets tokens for users whom it vouches for with signed assertions (jwt-bearer), and refresh tokens with them:
  grantry clients create --id mailer --scope \"read send\" --grant-type jwt-bearer --jwks mailer.pub \\
    --jwt-bearer-subject \"*@example.com\" --jwt-bearer-refresh
The same where another party vouches:
  grantry clients create --id mailer --scope send --grant-type jwt-bearer --jwt-bearer-subject \"*\" \\
    --jwt-bearer-issuer https://idp.example --jwt-bearer-issuer-jwks-uri https://idp.example/jwks

The running server is asked, over its admin API, with an administrator's credentials: --client-id and
--client-secret-file, else GRANTRY_CLIENT_ID and GRANTRY_CLIENT_SECRET, else the file first-client beside the store.
With --offline the store itself is used, and no credentials but the master key; the server may run meanwhile.";

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

const UNSETTABLE: [&str; 12] = [
    "client_name",
    "active_token_policy",
    "persistence",
    "access_token_lifetime",
    "access_token_claims",
    "resources",
    "allowed_resources",
    "jwks",
    "jwks_uri",
    "jwt_bearer_subjects",
    "jwt_bearer_issuer",
    "allowed_cors_origins",
];

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
    /// May be given more than once; without it client_credentials
    #[arg(long, value_parser = grant_types())]
    pub grant_type: Vec<String>,
    /// How the client proves who it is
    #[arg(long, value_parser = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"])]
    pub auth_method: Option<String>,
    #[arg(long, value_parser = ["opaque", "jwt"])]
    pub access_token_format: Option<String>,
    /// What it gets that asks again while it has a token
    #[arg(long, value_parser = ["reuse", "replace", "multiple"])]
    pub active_token_policy: Option<String>,
    /// When its access tokens are in the store: before the answer, or after it; without it as the server's settings say
    #[arg(long, value_parser = ["sync", "async", "none"])]
    pub persistence: Option<String>,
    /// As in 30m
    #[arg(long)]
    pub access_token_lifetime: Option<Lifetime>,
    /// Claims that its access tokens say besides, in place of those from before: a JSON object, as in '{"tier":"gold"}'
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub access_token_claims: Option<Map<String, Value>>,
    /// An audience that the client is: it may introspect tokens meant for it; may be given more than once
    #[arg(long)]
    pub resource: Vec<String>,
    /// An audience that the client may ask a token for; may be given more than once, without it any
    #[arg(long)]
    pub allowed_resource: Vec<String>,
    /// A file with the client's public keys: a JWK set, one JWK, or PEM (-----BEGIN PUBLIC KEY-----)
    #[arg(long, value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// Where the client publishes its keys, instead of --jwks; https
    #[arg(long, value_name = "URL", conflicts_with = "jwks")]
    pub jwks_uri: Option<String>,
    /// Whom the client may get tokens for with jwt-bearer, `*` standing for any characters; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub jwt_bearer_subject: Vec<String>,
    /// Who signs the assertions, the `iss` in them; without it the client itself
    #[arg(long, value_name = "ISSUER", requires = "issuer_keys")]
    pub jwt_bearer_issuer: Option<String>,
    /// A file with the public keys of that issuer, as for --jwks
    #[arg(long, value_name = "FILE", group = "issuer_keys", requires = "jwt_bearer_issuer")]
    pub jwt_bearer_issuer_jwks: Option<PathBuf>,
    /// Where that issuer publishes its keys
    #[arg(long, value_name = "URL", group = "issuer_keys", requires = "jwt_bearer_issuer")]
    pub jwt_bearer_issuer_jwks_uri: Option<String>,
    /// Whether jwt-bearer gives a refresh token as well
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub jwt_bearer_refresh: Option<bool>,
    /// What becomes of a refresh token that is used
    #[arg(long, value_parser = ["always", "never"])]
    pub refresh_token_rotation: Option<String>,
    /// Whether all logins of a subject share a token, or each has its own
    #[arg(long, value_parser = ["none", "grant"])]
    pub slot_binding: Option<String>,
    /// An origin whose pages may call the token endpoint, as in https://app.example; may be given more than once
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,
    /// Whether signed lists that anybody can read tell which of its access tokens have been ended; needs the format jwt
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub status_list: Option<bool>,
}

fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

/// The last one also under its short name.
fn grant_types() -> PossibleValuesParser {
    [
        PossibleValue::new(GrantType::ClientCredentials.as_str()),
        PossibleValue::new(GrantType::RefreshToken.as_str()),
        PossibleValue::new(JWT_BEARER).alias(GrantType::JwtBearer.as_str()),
    ]
    .into()
}
