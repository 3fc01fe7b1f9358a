//! Whose credentials a command uses, and the token that it gets with them.
//!
//! 1. The flags; the secret of `--client-id` comes from `--client-secret-file` or from the environment.
//! 2. `GRANTRY_CLIENT_ID` and `GRANTRY_CLIENT_SECRET` (or its `_FILE`).
//! 3. The file `first-client` beside the store.

use grantry_protocol::Secret;

use crate::cli::{Login, ServerUrl};
use crate::config::Loaded;
use crate::failure::Failure;
use crate::first_start::{self, secret_from_environment, secret_from_file};
use crate::{addresses::Endpoint, admin_api::Basic};

const SECRET: &str = "GRANTRY_CLIENT_SECRET";

pub fn credentials(loaded: &Loaded, login: &Login) -> Result<Basic, Failure> {
    let environment = &loaded.environment;
    // 1.
    if let Some(client_id) = &login.client_id {
        let secret = match &login.client_secret_file {
            Some(path) => Some(secret_from_file(path)?),
            None => secret_from_environment(environment, SECRET)?,
        };
        let missing = || {
            Failure::new(format!("--client-id needs its secret: give --client-secret-file, or set {SECRET}"))
        };
        return Ok(basic(client_id, secret.ok_or_else(missing)?, "--client-id"));
    }
    // 2.
    if let Some(client_id) = environment.get("GRANTRY_CLIENT_ID") {
        let missing =
            || Failure::new(format!("GRANTRY_CLIENT_ID needs its secret: set {SECRET} or {SECRET}_FILE"));
        let secret = secret_from_environment(environment, SECRET)?.ok_or_else(missing)?;
        return Ok(basic(client_id, secret, "GRANTRY_CLIENT_ID"));
    }
    // 3.
    let path = first_start::file(&loaded.config);
    let found = first_start::read(&path)?.ok_or_else(|| {
        Failure::new(format!(
            "whose credentials? Give --client-id and --client-secret-file, or set GRANTRY_CLIENT_ID and {SECRET}; \
             there is no file {} here. If all are lost: grantry admin recover",
            path.display()
        ))
    })?;
    Ok(basic(found.id.as_str(), found.secret, &path.display().to_string()))
}

fn basic(client_id: &str, secret: Secret, source: &str) -> Basic {
    Basic { client_id: client_id.to_owned(), secret, source: source.to_owned() }
}

pub fn server(loaded: &Loaded, url: &ServerUrl) -> Result<Endpoint, Failure> {
    let server = &loaded.config.server;
    match &url.server_url {
        Some(url) => Ok(Endpoint::given(url)),
        None => Endpoint::of_listener(server, server.listen, "--server-url"),
    }
}
