//! What the commands do, one noun a file.

mod admin;
mod clients;
mod cluster;
mod config;
mod desk;
mod journal;
mod journal_drain;
mod journal_inspect;
mod keys;
mod login;
mod migrate;
pub mod print;
mod settings;
mod store;
mod store_copy;
mod subject_tokens;
mod token;

use std::path::Path;

use crate::cli::{Cli, Command};
use crate::config::{Environment, Loaded, Problems, load};
use crate::failure::Failure;
use crate::{gateway, serve};

pub fn run(cli: Cli) -> Result<(), Failure> {
    let file = cli.config.as_deref();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(&settings(file)?),
        Command::Gateway { check } => gateway::run(file, check),
        Command::Clients { command } => clients::run(&settings(file)?, command),
        Command::Cluster { command } => cluster::run(&settings(file)?, command),
        Command::Token { command } => token::run(&settings(file)?, command),
        Command::Keys { command } => keys::run(&settings(file)?, command),
        Command::Config { command } => config::run(file, &command),
        Command::Settings { command } => settings::run(&settings(file)?, command),
        Command::Journal { command } => journal::run(file, command),
        Command::Store { command } => store::run(&settings(file)?, command),
        Command::Migrate => migrate::run(&settings(file)?),
        Command::Admin { command } => admin::run(&settings(file)?, command),
    }
}

fn settings(file: Option<&Path>) -> Result<Loaded, Failure> {
    let environment = Environment::of(std::env::vars_os()).map_err(Problems)?;
    Ok(load(file, environment)?)
}
