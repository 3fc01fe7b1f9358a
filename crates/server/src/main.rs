//! The program `grantry`: the server, and the command line that administers it.

mod activity;
mod addresses;
mod admin_api;
mod ambient;
mod banner;
mod cache;
mod cli;
mod clients_file;
mod commands;
mod config;
mod failure;
mod first_start;
mod gateway;
mod listener;
mod master_key;
mod offline;
mod outbound;
mod persistence;
mod private_file;
mod public_key;
mod replication;
mod serve;
mod settings;
mod stall;
mod telemetry;
mod tls;
mod wire;

use std::process::ExitCode;

use clap::Parser;

/// See `docs/adr/0008-mimalloc.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("grantry: {failure}");
            ExitCode::FAILURE
        }
    }
}
