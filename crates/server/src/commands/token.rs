use std::io::Read;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::admin_api::Http;
use crate::cli::{Output, TokenCommand};
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
    }
    Ok(())
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
