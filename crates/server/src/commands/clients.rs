use serde_json::{Map, Value, json};
use url::form_urlencoded::byte_serialize;

use crate::cli::{Access, ClientsCommand, Metadata, Named, Output};
use crate::commands::desk::Desk;
use crate::commands::{login, print};
use crate::config::Loaded;
use crate::failure::Failure;
use crate::offline;

/// What is shown of a client, in this order.
const FIELDS: [&str; 14] = [
    "client_id",
    "client_secret",
    "client_name",
    "enabled",
    "scope",
    "grant_types",
    "token_endpoint_auth_method",
    "access_token_format",
    "access_token_lifetime",
    "active_token_policy",
    "slot_binding",
    "persistence",
    "resources",
    "allowed_resources",
];

pub fn run(loaded: &Loaded, command: ClientsCommand) -> Result<(), Failure> {
    offline::run(Box::pin(carry_out(loaded, command)))
}

async fn carry_out(loaded: &Loaded, command: ClientsCommand) -> Result<(), Failure> {
    match command {
        ClientsCommand::Create { id, metadata, output, access } => {
            let created = Desk::open(loaded, &access).await?.client_create(id, fields(metadata)).await?;
            show_new(loaded, &access, output, &created);
        }
        ClientsCommand::List { output, access } => list(&Desk::open(loaded, &access).await?, output).await?,
        ClientsCommand::Show(Named { id, output, access }) => {
            show(output, &Desk::open(loaded, &access).await?.client_get(&id).await?);
        }
        ClientsCommand::Update { id, metadata, unset, output, access } => {
            let mut patch = fields(metadata);
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
    print::line(format_args!("  curl -s {proof} -d grant_type=client_credentials {url}/oauth2/token"));
}

/// RFC 6749 section 2.3.1 wants both form-encoded, which is a word to the shell, too.
fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// The flags that were given, under the names of the metadata.
fn fields(metadata: Metadata) -> Map<String, Value> {
    let list = |values: Vec<String>| (!values.is_empty()).then(|| Value::from(values));
    let fields = [
        ("client_name", metadata.name.map(Value::from)),
        ("scope", metadata.scope.map(Value::from)),
        ("grant_types", list(metadata.grant_type)),
        ("token_endpoint_auth_method", metadata.auth_method.map(Value::from)),
        ("access_token_format", metadata.access_token_format.map(Value::from)),
        ("active_token_policy", metadata.active_token_policy.map(Value::from)),
        ("access_token_lifetime", metadata.access_token_lifetime.map(|lifetime| lifetime.to_string().into())),
        ("resources", list(metadata.resource)),
        ("allowed_resources", list(metadata.allowed_resource)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
