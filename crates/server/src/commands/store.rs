//! `grantry store backup` and `grantry store restore`.
//!
//! A restore
//! 1. looks whether the present master key opens the backup, and the store that is there: keys that were made since the
//!    backup come along, so it has to open both. Nothing is touched before;
//! 2. says what it means, and asks;
//! 3. replaces the store.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grantry_protocol::{Clock, Timestamp};
use grantry_store::Store;
use indicatif::{HumanBytes, ProgressBar};

use crate::ambient::{SystemClock, clock};
use crate::cli::StoreCommand;
use crate::commands::{print, store_copy};
use crate::config::Loaded;
use crate::failure::Failure;
use crate::wire::{self, Copied};
use crate::{master_key, offline};

const MEANING: &str = "\
A restore ends everything that was issued before it, by this store and by the backup, since what was revoked or spent in
between would come back otherwise. Clients fetch new tokens by themselves; people sign in again.
Clients and their secrets are as they were when the backup was taken: rotate the secrets that were changed since, and
disable again who was disabled since. Keys that were revoked since stay revoked if the store is still there; without
it, revoke them again.";

pub fn run(loaded: &Loaded, command: StoreCommand) -> Result<(), Failure> {
    offline::run(Box::pin(async move {
        match command {
            StoreCommand::Backup { file } => backup(loaded, file).await,
            StoreCommand::Copy { to, to_file, abort: false, yes: _, output } => {
                store_copy::copy(loaded, &store_copy::target(to, to_file)?, output).await
            }
            StoreCommand::Copy { yes, .. } => store_copy::abort(loaded, yes).await,
            StoreCommand::Restore { file, yes } => restore(loaded, file, yes).await,
        }
    }))
}

async fn backup(loaded: &Loaded, file: PathBuf) -> Result<(), Failure> {
    let store = wire::store_file(&loaded.config)?;
    let began = SystemClock.now();
    let bar = print::bar("copying", 0);
    let copied = wire::backup(store.clone(), file.clone(), report_to(&bar)).await;
    bar.finish_and_clear();
    let said = describe(&store, &file, copied?, began);
    print::line(said);
    let key = match loaded.environment.get("GRANTRY_MASTER_KEY").is_some() {
        true => "GRANTRY_MASTER_KEY".to_owned(),
        false => format!("{} (keys.master_key_file)", loaded.config.keys.master_key_file.display()),
    };
    print::line(format_args!(
        "The master key is not in it. Keep a copy of {key} elsewhere: without it the backup is worth nothing."
    ));
    Ok(())
}

async fn restore(loaded: &Loaded, file: PathBuf, yes: bool) -> Result<(), Failure> {
    let config = &loaded.config;
    let store = wire::store_path(config)?;
    // 1.
    let copy = wire::open_copy(&file, &store, clock()).await?;
    let fits = fitting(loaded, copy.store()).await?;
    drop(copy);
    if !fits {
        return Err(Failure::new(format!(
            "the present master key does not open {}. Nothing was changed. If the master key was replaced since the \
             backup was taken, stop the servers, move the store {} aside, and give the key of that time \
             (keys.master_key_file or GRANTRY_MASTER_KEY)",
            file.display(),
            store.display()
        )));
    }
    if store.exists() {
        let present = wire::open(config, clock()).await?;
        if !fitting(loaded, present.as_ref()).await? {
            return Err(Failure::new(format!(
                "the master key opens the backup, but not the store {} that is there. Nothing was changed. If that \
                 store is of no use any more, stop the servers and move it aside",
                store.display()
            )));
        }
    }
    // 2.
    print::line(MEANING);
    if !yes && !is_wanted(&store, &file)? {
        return Err(Failure::new("nothing was restored"));
    }
    // 3.
    let began = SystemClock.now();
    let keep_until =
        began + config.token_settings(config.server.issuer_at(config.server.listen)).rule_memory();
    let bar = print::bar("restoring", 0);
    let copied = wire::restore(file.clone(), store.clone(), keep_until, clock(), report_to(&bar)).await;
    bar.finish_and_clear();
    let said = describe(&file, &store, copied?, began);
    print::line(said);
    let head = wire::open(config, clock()).await?.revocation_head().await?;
    print::line(format_args!(
        "The store is at epoch {} now: nothing from an earlier one is active any more. Servers that run have it already.",
        head.epoch.0
    ));
    Ok(())
}

/// Whether a master key of this host opens all keys of the store.
async fn fitting(loaded: &Loaded, store: &dyn Store) -> Result<bool, Failure> {
    let keys = master_key::masters(loaded)();
    if keys.is_empty() {
        // Says what is missing, or why it cannot be read.
        return master_key::load(loaded, store).await.map(|_| false);
    }
    for key in keys {
        if key.opens(store).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_wanted(store: &Path, file: &Path) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new("nothing was restored: there is nobody to ask; give --yes if you mean it"));
    }
    eprint!("Replace {} by {}? Type yes: ", store.display(), file.display());
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::new(format!("no answer can be read: {error}")))?;
    Ok(answer.trim() == "yes")
}

fn report_to(bar: &ProgressBar) -> impl FnMut(Copied) + Send + 'static {
    let bar = bar.clone();
    move |copied| {
        bar.set_length(copied.pages_total);
        bar.set_position(copied.pages_done);
    }
}

fn describe(from: &Path, to: &Path, pages: u64, began: Timestamp) -> String {
    let bytes = std::fs::metadata(to).map_or(0, |metadata| metadata.len());
    let took = SystemClock.now().since(began).max(Duration::from_millis(1));
    format!(
        "{} was copied to {}: {pages} pages, {}, in {:.1} s",
        from.display(),
        to.display(),
        HumanBytes(bytes),
        took.as_secs_f64()
    )
}
