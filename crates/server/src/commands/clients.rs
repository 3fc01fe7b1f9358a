use std::path::PathBuf;

use grantry_protocol::GrantType;
use serde_json::{Map, Value, json};
use url::form_urlencoded::byte_serialize;

use crate::cli::{Access, ClientsCommand, JWT_BEARER, Metadata, Named, Output};
use crate::commands::desk::Desk;
use crate::commands::{login, print};
use crate::config::Loaded;
use crate::failure::Failure;
use crate::{offline, public_key};

/// What is shown of a client, in this order.
const FIELDS: [&str; 23] = [
    "client_id",
    "client_secret",
    "client_name",
    "enabled",
    "scope",
    "grant_types",
    "token_endpoint_auth_method",
    "access_token_format",
    "access_token_lifetime",
    "access_token_claims",
    "active_token_policy",
    "slot_binding",
    "refresh_token_rotation",
    "persistence",
    "resources",
    "allowed_resources",
    "jwks",
    "jwks_uri",
    "jwt_bearer_subjects",
    "jwt_bearer_issuer",
    "jwt_bearer_refresh",
    "allowed_cors_origins",
    "status_list",
];

pub fn run(loaded: &Loaded, command: ClientsCommand) -> Result<(), Failure> {
    offline::run(Box::pin(carry_out(loaded, command)))
}

async fn carry_out(loaded: &Loaded, command: ClientsCommand) -> Result<(), Failure> {
    match command {
        ClientsCommand::Create { id, metadata, output, access } => {
            let created = Desk::open(loaded, &access).await?.client_create(id, fields(metadata)?).await?;
            show_new(loaded, &access, output, &created);
        }
        ClientsCommand::List { output, access } => list(&Desk::open(loaded, &access).await?, output).await?,
        ClientsCommand::Show(Named { id, output, access }) => {
            show(output, &Desk::open(loaded, &access).await?.client_get(&id).await?);
        }
        ClientsCommand::Update { id, metadata, unset, output, access } => {
            let mut patch = fields(metadata)?;
            patch.extend(unset.into_iter().map(|name| (name, Value::Null)));
            if patch.is_empty() {
                return Err(Failure::new(
                    "nothing to change; `grantry clients update --help` lists what can be",
                ));
            }
            show(output, &Desk::open(loaded, &access).await?.client_update(&id, patch).await?);
        }
        ClientsCommand::Disable(named) => switch(loaded, &named, false).await?,
        ClientsCommand::Enable(named) => switch(loaded, &named, true).await?,
        ClientsCommand::RotateSecret(Named { id, output, access }) => {
            let rotated = Desk::open(loaded, &access).await?.client_rotate_secret(&id).await?;
            show_new(loaded, &access, output, &rotated);
        }
        ClientsCommand::Delete(Named { id, output, access }) => {
            Desk::open(loaded, &access).await?.client_delete(&id).await?;
            if output.json {
                print::json(&json!({ "client_id": id.as_str(), "deleted": true }));
            } else {
                print::line(format_args!("{id} is deleted, and every token that it held has ended"));
            }
        }
    }
    Ok(())
}

async fn switch(loaded: &Loaded, named: &Named, enabled: bool) -> Result<(), Failure> {
    let patch = Map::from_iter([("enabled".to_owned(), enabled.into())]);
    let client = Desk::open(loaded, &named.access).await?.client_update(&named.id, patch).await?;
    match (named.output.json, enabled) {
        (true, _) => print::json(&client),
        (false, true) => print::line(format_args!("{} is enabled", named.id)),
        (false, false) => {
            print::line(format_args!("{} is disabled, and every token that it held has ended", named.id));
        }
    }
    Ok(())
}

async fn list(desk: &Desk, output: Output) -> Result<(), Failure> {
    let clients = desk.client_list().await?;
    if output.json {
        print::json(&Value::Array(clients));
        return Ok(());
    }
    let cell = |client: &Value, field: &str| match &client[field] {
        Value::Null => String::new(),
        value => print::shown(value),
    };
    let columns = ["client_id", "client_name", "enabled", "access_token_format", "scope"];
    let rows: Vec<[String; 5]> =
        clients.iter().map(|client| columns.map(|column| cell(client, column))).collect();
    print::table(["CLIENT_ID", "NAME", "ENABLED", "FORMAT", "SCOPE"], &rows);
    Ok(())
}

fn show(output: Output, client: &Value) {
    if output.json {
        return print::json(client);
    }
    print::fields(FIELDS.iter().map(|name| (*name, &client[*name])));
}

/// With the secret, which nobody will be shown again, and how to use it.
fn show_new(loaded: &Loaded, access: &Access, output: Output, client: &Value) {
    show(output, client);
    let Some(secret) = client["client_secret"].as_str().filter(|_| !output.json) else { return };
    print::line("\nThe secret is shown this one time. Try:\n");
    let url =
        login::server(loaded, &access.server).map_or_else(|_| "http://HOST".to_owned(), |server| server.url);
    let text = |field: &str| client[field].as_str().unwrap_or_default();
    let (id, secret) = (encoded(text("client_id")), encoded(secret));
    let proof = match text("token_endpoint_auth_method") {
        "client_secret_post" => format!("-d client_id={id} -d client_secret={secret}"),
        _ => format!("-u {id}:{secret}"),
    };
    let may = |grant_type: GrantType| {
        client["grant_types"]
            .as_array()
            .is_some_and(|types| types.iter().any(|may| may == grant_type.as_str()))
    };
    let form = match may(GrantType::JwtBearer) && !may(GrantType::ClientCredentials) {
        true => format!("-d grant_type={} -d assertion=JWT", GrantType::JwtBearer.as_str()),
        false => "-d grant_type=client_credentials".to_owned(),
    };
    print::line(format_args!("  curl -s {proof} {form} {url}/oauth2/token"));
}

/// RFC 6749 section 2.3.1 wants both form-encoded, which is a word to the shell, too.
fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// The flags that were given, under the names of the metadata.
fn fields(metadata: Metadata) -> Result<Map<String, Value>, Failure> {
    let list = |values: Vec<String>| (!values.is_empty()).then(|| Value::from(values));
    let key_set = |path: Option<PathBuf>| path.as_deref().map(public_key::read_set).transpose();
    let issuer = match metadata.jwt_bearer_issuer {
        Some(issuer) => {
            let keys = [
                ("jwks", key_set(metadata.jwt_bearer_issuer_jwks)?),
                ("jwks_uri", metadata.jwt_bearer_issuer_jwks_uri.map(Value::from)),
            ];
            Some(given([("issuer", Some(issuer.into()))].into_iter().chain(keys)).into())
        }
        None => None,
    };
    Ok(given([
        ("client_name", metadata.name.map(Value::from)),
        ("scope", metadata.scope.map(Value::from)),
        ("grant_types", list(metadata.grant_type.into_iter().map(full_name).collect())),
        ("token_endpoint_auth_method", metadata.auth_method.map(Value::from)),
        ("access_token_format", metadata.access_token_format.map(Value::from)),
        ("active_token_policy", metadata.active_token_policy.map(Value::from)),
        ("persistence", metadata.persistence.map(Value::from)),
        ("access_token_lifetime", metadata.access_token_lifetime.map(|lifetime| lifetime.to_string().into())),
        ("access_token_claims", metadata.access_token_claims.map(Value::from)),
        ("resources", list(metadata.resource)),
        ("allowed_resources", list(metadata.allowed_resource)),
        ("jwks", key_set(metadata.jwks)?),
        ("jwks_uri", metadata.jwks_uri.map(Value::from)),
        ("jwt_bearer_subjects", list(metadata.jwt_bearer_subject)),
        ("jwt_bearer_issuer", issuer),
        ("jwt_bearer_refresh", metadata.jwt_bearer_refresh.map(Value::from)),
        ("refresh_token_rotation", metadata.refresh_token_rotation.map(Value::from)),
        ("slot_binding", metadata.slot_binding.map(Value::from)),
        ("allowed_cors_origins", list(metadata.cors_origin)),
        ("status_list", metadata.status_list.map(Value::from)),
    ]))
}

fn given<'a>(fields: impl IntoIterator<Item = (&'a str, Option<Value>)>) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn full_name(grant_type: String) -> String {
    if grant_type == JWT_BEARER { GrantType::JwtBearer.as_str().to_owned() } else { grant_type }
}
