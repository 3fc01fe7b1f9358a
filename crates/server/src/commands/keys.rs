//! `grantry keys`. All but the master key goes through the desk.
//!
//! The master key is changed at the host, where it is:
//!
//! 1. Write the new key beside the old one (`.next`), or take it from the environment.
//! 2. Seal every key in the store with it, in one transaction.
//! 3. Put it in the old one's place. Who comes between 2. and 3. finds out by itself: `master_key.rs`.

use std::path::Path;

use grantry_grants::{Actor, KeyName};
use grantry_protocol::Secret;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::ambient::clock;
use crate::ambient::rng;
use crate::cli::{Access, KeysCommand, Output};
use crate::commands::desk::Desk;
use crate::commands::print;
use crate::config::Loaded;
use crate::failure::Failure;
use crate::master_key::Rotation;
use crate::{offline, wire};

/// Far more than any private key.
const MAX_PEM: u64 = 65_536;

pub fn run(loaded: &Loaded, command: KeysCommand) -> Result<(), Failure> {
    offline::run(Box::pin(carry_out(loaded, command)))
}

async fn carry_out(loaded: &Loaded, command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::List { output, access } => list(loaded, output, &access).await,
        KeysCommand::Rotate { purpose, algorithm, output, access } => {
            let mut fields = Map::from_iter([("purpose".to_owned(), purpose.into())]);
            fields.extend(algorithm.map(|algorithm| ("algorithm".to_owned(), algorithm.into())));
            show_new(output, &Desk::open(loaded, &access).await?.key_create(fields).await?);
            Ok(())
        }
        KeysCommand::Import { file, algorithm, output, access } => {
            let pem = read_pem(&file)?;
            let mut fields = Map::from_iter([
                ("purpose".to_owned(), "signing".into()),
                ("private_key_pem".to_owned(), pem.expose().into()),
            ]);
            fields.extend(algorithm.map(|algorithm| ("algorithm".to_owned(), algorithm.into())));
            show_new(output, &Desk::open(loaded, &access).await?.key_create(fields).await?);
            Ok(())
        }
        KeysCommand::Revoke { key, yes, output, access } => revoke(loaded, &key, yes, output, &access).await,
        KeysCommand::RotateMaster { output } => rotate_master(loaded, output).await,
    }
}

async fn list(loaded: &Loaded, output: Output, access: &Access) -> Result<(), Failure> {
    let keys = Desk::open(loaded, access).await?.key_list().await?;
    if output.json {
        print::json(&Value::Array(keys));
        return Ok(());
    }
    let rows: Vec<[String; 6]> = keys
        .iter()
        .map(|key| {
            let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
            let until = if key["revoked_at"].is_null() { "needed_until" } else { "revoked_at" };
            [
                name(key),
                text("algorithm"),
                text("state"),
                print::time(&key["active_from"]),
                print::time(&key[until]),
                text("kid"),
            ]
        })
        .collect();
    print::table(["KEY", "ALGORITHM", "STATE", "ACTIVE_FROM", "UNTIL", "KID"], &rows);
    Ok(())
}

fn show_new(output: Output, key: &Value) {
    if output.json {
        return print::json(key);
    }
    let (name, from) = (name(key), print::time(&key["active_from"]));
    match key["kid"].as_str() {
        Some(kid) => print::line(format_args!(
            "{name} ({}, kid {kid}) is published now and signs from {from} on",
            key["algorithm"].as_str().unwrap_or_default()
        )),
        None => print::line(format_args!("{name} is made and is used from {from} on")),
    }
    print::line(
        "The key before it is honoured for as long as anything that it made can live: grantry keys list",
    );
}

async fn revoke(
    loaded: &Loaded,
    name: &KeyName,
    confirmed: bool,
    output: Output,
    access: &Access,
) -> Result<(), Failure> {
    let revoked = Desk::open(loaded, access).await?.key_revoke(name, confirmed).await?;
    if output.json {
        print::json(&revoked);
        return Ok(());
    }
    print::line(format_args!("{} is revoked", self::name(&revoked)));
    print::line(match revoked["purpose"].as_str() {
        Some("signing") => {
            "No JWT that it signed is honoured here any more, and it is published no more. Who verifies by themselves \
             may have kept it, for as long as keys.jwks_max_age."
        }
        Some("client_secret") => {
            "Clients whose secret was hashed with it are refused until they are given a new one: grantry clients \
             rotate-secret. If that locked you out: grantry admin recover"
        }
        _ => "No opaque access token and no refresh token that was made with it is honoured any more.",
    });
    Ok(())
}

async fn rotate_master(loaded: &Loaded, output: Output) -> Result<(), Failure> {
    let grants = offline::grants(loaded).await?;
    // 1.
    let store = wire::open(&loaded.config, clock()).await?;
    let rotation = Rotation::begin(loaded, store.as_ref(), rng().as_ref()).await?;
    // 2.
    grants.key_reseal(rotation.key(), &Actor::host()).await?;
    // 3.
    let said = rotation.finish()?;
    if output.json {
        print::json(&json!({ "rotated": true, "note": said }));
    } else {
        print::line(said);
    }
    Ok(())
}

fn read_pem(path: &Path) -> Result<Secret, Failure> {
    use std::io::Read;
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_PEM).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_PEM).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::of_file(path, "read", &error))?;
    Ok(Secret::new(text.as_str()))
}

fn name(key: &Value) -> String {
    format!("{}/{}", key["purpose"].as_str().unwrap_or_default(), key["version"])
}
