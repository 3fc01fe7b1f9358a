//! Where the master key comes from.
//!
//! 1. `GRANTRY_MASTER_KEY` goes before everything.
//! 2. Else the file `keys.master_key_file`.
//! 3. Else it is made, at the very first start only: a store that has keys cannot be opened with a new one.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantry_grants::MasterKey;
use grantry_protocol::Rng;
use grantry_store::Store;
use zeroize::Zeroizing;

use crate::config::Loaded;
use crate::failure::Failure;
use crate::private_file::{self, DirectoryLock, directory_of};

const VARIABLE: &str = "GRANTRY_MASTER_KEY";

/// The key for this store, made if neither has ever been used.
pub async fn load_or_make(loaded: &Loaded, store: &dyn Store, rng: &dyn Rng) -> Result<MasterKey, Failure> {
    // 1. and 2., which is how every start but the first ends.
    if let Some(key) = existing(loaded)? {
        return Ok(key);
    }
    // 3. Another process may be just as far.
    let path = &loaded.config.keys.master_key_file;
    let _lock = DirectoryLock::of(&directory_of(path))?;
    if let Some(key) = from_file(path)? {
        return Ok(key);
    }
    if !store.key_list().await?.is_empty() {
        return Err(missing(path));
    }
    let mut bytes = Zeroizing::new([0; MasterKey::LEN]);
    rng.fill(bytes.as_mut_slice());
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice())));
    private_file::write(path, &text)?;
    Ok(MasterKey::new(&bytes))
}

/// The key for a store that is there already.
pub fn load(loaded: &Loaded) -> Result<MasterKey, Failure> {
    existing(loaded)?.ok_or_else(|| missing(&loaded.config.keys.master_key_file))
}

fn existing(loaded: &Loaded) -> Result<Option<MasterKey>, Failure> {
    match loaded.environment.get(VARIABLE) {
        Some(text) => parse(text).map(Some).ok_or_else(|| Failure::new(unreadable(VARIABLE))),
        None => from_file(&loaded.config.keys.master_key_file),
    }
}

fn from_file(path: &Path) -> Result<Option<MasterKey>, Failure> {
    let Some(text) = private_file::read(path)? else { return Ok(None) };
    parse(&text)
        .map(Some)
        .ok_or_else(|| Failure::new(unreadable(&format!("keys.master_key_file {}", path.display()))))
}

fn parse(text: &str) -> Option<MasterKey> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    let bytes: &[u8; MasterKey::LEN] = bytes.as_slice().try_into().ok()?;
    Some(MasterKey::new(bytes))
}

fn unreadable(place: &str) -> String {
    format!(
        "{place} does not hold the base64 of {} bytes; restore it from a backup, or make a new one for a new store \
         with: openssl rand -base64 {}",
        MasterKey::LEN,
        MasterKey::LEN
    )
}

fn missing(path: &Path) -> Failure {
    Failure::new(format!(
        "the store has keys, but the master key that opens them is missing: there is no file {} \
         (keys.master_key_file), and {VARIABLE} is not set. Restore the file from a backup or set the variable; \
         without it, the store's tokens and clients cannot be used",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_base64_of_32_bytes_is_a_master_key() {
        assert!(parse(&format!(" {}\n", STANDARD.encode([7; 32]))).is_some());
        for wrong in ["", "x", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
