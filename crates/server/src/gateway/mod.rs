//! `grantry gateway`: forward authentication for nginx (`auth_request`), Traefik (ForwardAuth) and Envoy (ext_authz over
//! HTTP). What is checked and what each failure looks like: `docs/gateway.md`.

mod answer;
mod check;
mod health;
mod load;
mod metrics;
mod original;
mod path;
mod rules;
mod serve;
mod settings;
mod site;

use std::path::Path;

use crate::commands::print;
use crate::config::{Environment, Problems};
use crate::failure::Failure;

pub fn run(file: Option<&Path>, only_check: bool) -> Result<(), Failure> {
    let environment = Environment::of(std::env::vars_os()).map_err(Problems)?;
    let loaded = load::load(file, &environment)?;
    if !only_check {
        return serve::serve(loaded);
    }
    let place = loaded.file.as_ref().map_or("the environment".into(), |path| path.display().to_string());
    print::line(format_args!("{place}: the settings can be used"));
    Ok(())
}
