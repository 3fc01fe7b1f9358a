use std::io::Read;

use grantry_protocol::Subject;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::admin_api::Http;
use crate::cli::{Output, RevocationTarget, TokenCommand};
use crate::commands::desk::Desk;
use crate::commands::{login, print};
use crate::config::Loaded;
use crate::failure::Failure;
use crate::offline;

/// Far more than any token.
const MAX_TOKEN_LEN: u64 = 65_536;

pub fn run(loaded: &Loaded, command: TokenCommand) -> Result<(), Failure> {
    offline::run(Box::pin(carry_out(loaded, command)))
}

async fn carry_out(loaded: &Loaded, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Get { scope, resource, output, server, login } => {
            let server = login::server(loaded, &server)?;
            let credentials = login::credentials(loaded, &login)?;
            let token = Http::new(&loaded.config.server)?
                .token(&server, &credentials, scope.as_deref(), &resource)
                .await?;
            if output.json {
                print::json(&token.json);
            } else {
                print::line(token.access_token.expose());
            }
        }
        TokenCommand::Inspect { token, output, access } => {
            let token = if token == "-" { from_standard_input()? } else { Zeroizing::new(token) };
            let inspection = Desk::open(loaded, &access).await?.token_inspect(token.trim()).await?;
            show(output, &inspection);
        }
        TokenCommand::List { subject, limit, output, access } => {
            let desk = Desk::open(loaded, &access).await?;
            show_list(output, &subject, &desk.token_list(&subject, limit as usize).await?);
        }
        TokenCommand::Revoke { target, output, access } => {
            let (field, value) = named(target)?;
            let done = Desk::open(loaded, &access).await?.revocation_create(field, value).await?;
            show_end(output, &done);
        }
    }
    Ok(())
}

/// As the admin API names it.
fn named(target: RevocationTarget) -> Result<(&'static str, Value), Failure> {
    let token = match target.token.as_deref() {
        Some("-") => Some(from_standard_input()?.trim().to_owned()),
        given => given.map(str::to_owned),
    };
    let fields = [
        ("token", token),
        ("token_id", target.token_id),
        ("grant_id", target.grant_id),
        ("session_id", target.session_id),
        ("subject", target.subject.map(|subject| subject.as_str().to_owned())),
        ("client_id", target.client.map(|client| client.as_str().to_owned())),
    ];
    let given = fields.into_iter().find_map(|(field, value)| Some((field, value?.into())));
    Ok(given.unwrap_or(("all", target.all.into())))
}

fn show_end(output: Output, done: &Value) {
    match done["position"].as_u64() {
        _ if output.json => print::json(done),
        Some(position) => print::line(format_args!("revoked, at position {position} of the revocation log")),
        None => print::line("had ended before"),
    }
}

fn show_list(output: Output, subject: &Subject, found: &Value) {
    if output.json {
        return print::json(found);
    }
    let rows = |name: &str, columns: [&str; 6]| -> Vec<[String; 6]> {
        let listed = found[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let cell = |item: &Value, column: &str| match &item[column] {
            Value::Null => "-".to_owned(),
            at if column.ends_with("_at") => print::time(at),
            value => print::shown(value),
        };
        listed.iter().map(|item| columns.map(|column| cell(item, column))).collect()
    };
    let grants = rows("grants", ["id", "client_id", "state", "counter", "expires_at", "scope"]);
    let tokens = rows("tokens", ["id", "client_id", "state", "grant_id", "expires_at", "scope"]);
    if grants.is_empty() && tokens.is_empty() {
        return print::line(format_args!("{subject} has nothing"));
    }
    if !grants.is_empty() {
        print::table(["GRANT_ID", "CLIENT_ID", "STATE", "REFRESHED", "EXPIRES", "SCOPE"], &grants);
    }
    if !tokens.is_empty() {
        if !grants.is_empty() {
            print::line("");
        }
        print::table(["TOKEN_ID", "CLIENT_ID", "STATE", "GRANT_ID", "EXPIRES", "SCOPE"], &tokens);
    }
    if found["more"] == true {
        print::line("\nThere are more; --limit shows them.");
    }
}

fn from_standard_input() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(MAX_TOKEN_LEN).read_to_string(&mut text);
    read.map_err(|error| Failure::new(format!("the token cannot be read from standard input: {error}")))?;
    Ok(text)
}

fn show(output: Output, inspection: &Value) {
    if output.json {
        return print::json(inspection);
    }
    print::line(inspection["explanation"].as_str().unwrap_or_default());
    let token = &inspection["token"];
    let row = &token["row"];
    let of_row = |name: &'static str| (name, &row[name]);
    print::fields(
        [("id", &token["id"]), ("format", &token["format"]), ("stored", &token["stored"])].into_iter().chain(
            ["state", "client_id", "subject", "scope", "audience", "issued_at", "expires_at", "inspected_at"]
                .map(of_row),
        ),
    );
}
