//! Where the master key comes from.
//!
//! 1. `GRANTRY_MASTER_KEY` goes before everything.
//! 2. Else the file `keys.master_key_file`.
//! 3. Else it is made, at the very first start only: a store that has keys cannot be opened with a new one.
//! 4. A change of the master key (`commands/keys.rs`) may have been cut off between sealing the store anew and putting
//!    the new key in the old one's place. If the key of 1. or 2. does not open the store, but the next one does
//!    (`GRANTRY_NEW_MASTER_KEY`, or the file with `.next` behind its name), that one is it, and the file is renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantry_grants::{MasterKey, Masters};
use grantry_protocol::Rng;
use grantry_store::Store;
use zeroize::Zeroizing;

use crate::config::Loaded;
use crate::failure::Failure;
use crate::private_file::{self, DirectoryLock, directory_of};

const VARIABLE: &str = "GRANTRY_MASTER_KEY";
const NEXT_VARIABLE: &str = "GRANTRY_NEW_MASTER_KEY";

/// The key for this store, made if neither has ever been used.
pub async fn load_or_make(loaded: &Loaded, store: &dyn Store, rng: &dyn Rng) -> Result<MasterKey, Failure> {
    // 1. and 2., which is how every start but the first ends.
    if let Some(key) = fitting(loaded, store).await? {
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
    let (key, text) = make(rng);
    private_file::write(path, &text)?;
    Ok(key)
}

/// The key for a store that is there already.
pub async fn load(loaded: &Loaded, store: &dyn Store) -> Result<MasterKey, Failure> {
    fitting(loaded, store).await?.ok_or_else(|| missing(&loaded.config.keys.master_key_file))
}

/// What a running server tries when the store's keys were sealed anew.
pub fn masters(loaded: &Loaded) -> Masters {
    let from_environment: Vec<MasterKey> =
        [VARIABLE, NEXT_VARIABLE].iter().filter_map(|name| parse(loaded.environment.get(name)?)).collect();
    let in_files = loaded.environment.get(VARIABLE).is_none();
    let path = loaded.config.keys.master_key_file.clone();
    Arc::new(move || {
        let mut keys = from_environment.clone();
        if in_files {
            // What cannot be read now is tried again in a moment; the log has that no key fits.
            keys.extend(
                [path.clone(), next_of(&path)].iter().filter_map(|path| from_file(path).ok().flatten()),
            );
        }
        keys
    })
}

/// Where a new master key is to come from.
pub enum Rotation {
    /// The operator replaces the variable.
    Environment(MasterKey),
    File(FileRotation),
}

/// Holds off others that start or change the key meanwhile.
pub struct FileRotation {
    pub key: MasterKey,
    path: PathBuf,
    _lock: DirectoryLock,
}

impl Rotation {
    /// The new key, and for a key in a file that file's `.next` written.
    pub async fn begin(loaded: &Loaded, store: &dyn Store, rng: &dyn Rng) -> Result<Self, Failure> {
        let environment = &loaded.environment;
        if environment.get(VARIABLE).is_some() {
            let text = environment.get(NEXT_VARIABLE).ok_or_else(|| {
                Failure::new(format!(
                    "the master key is in {VARIABLE}, so the new one has to be in {NEXT_VARIABLE}; make it with: \
                     openssl rand -base64 {}",
                    MasterKey::LEN
                ))
            })?;
            return parse(text).map(Self::Environment).ok_or_else(|| Failure::new(unreadable(NEXT_VARIABLE)));
        }
        let path = loaded.config.keys.master_key_file.clone();
        let lock = DirectoryLock::of(&directory_of(&path))?;
        // The only key to the store must not be what `.next` is written over.
        let fits = match from_file(&path)? {
            Some(present) => present.opens(store).await?,
            None => false,
        };
        if !fits {
            return Err(Failure::new(
                "somebody else changed the master key at the same time; run this again",
            ));
        }
        let (key, text) = make(rng);
        private_file::write(&next_of(&path), &text)?;
        Ok(Self::File(FileRotation { key, path, _lock: lock }))
    }

    pub fn key(&self) -> &MasterKey {
        match self {
            Self::Environment(key) => key,
            Self::File(rotation) => &rotation.key,
        }
    }

    /// Puts the new key in the old one's place, once the store is sealed with it. Answers what is left to do.
    pub fn finish(self) -> Result<String, Failure> {
        match self {
            Self::Environment(_) => Ok(format!(
                "the store is sealed with the key of {NEXT_VARIABLE}; now set {VARIABLE} to it for every server and \
                 command. A server that was started without {NEXT_VARIABLE} goes on, but hears of no other change of \
                 keys until it is restarted"
            )),
            Self::File(rotation) => {
                adopt(&rotation.path)?;
                Ok(format!(
                    "the store is sealed with a new master key, in {}; running servers have taken it, unless they read \
                     another copy of the file. Back it up: the old one opens earlier backups of the store only",
                    rotation.path.display()
                ))
            }
        }
    }
}

async fn fitting(loaded: &Loaded, store: &dyn Store) -> Result<Option<MasterKey>, Failure> {
    let environment = &loaded.environment;
    // 1.
    if let Some(text) = environment.get(VARIABLE) {
        let key = parse(text).ok_or_else(|| Failure::new(unreadable(VARIABLE)))?;
        // 4.
        if let Some(next) = environment.get(NEXT_VARIABLE).and_then(parse)
            && !key.opens(store).await?
            && next.opens(store).await?
        {
            tracing::warn!("the store is sealed with {NEXT_VARIABLE}; set {VARIABLE} to it");
            return Ok(Some(next));
        }
        return Ok(Some(key));
    }
    // 2.
    let path = &loaded.config.keys.master_key_file;
    let next = next_of(path);
    let key = from_file(path)?;
    // 4.
    if !next.exists() {
        return Ok(key);
    }
    if let Some(key) = key.as_ref()
        && key.opens(store).await?
    {
        tracing::warn!(
            file = %next.display(),
            "a change of the master key was begun and not finished, or is under way; the key from before is in use. \
             grantry keys rotate-master begins anew"
        );
        return Ok(Some(key.clone()));
    }
    // Whoever is changing it finishes first.
    let _lock = DirectoryLock::of(&directory_of(path))?;
    match from_file(&next)? {
        Some(next) if !store.key_list().await?.is_empty() && next.opens(store).await? => {
            adopt(path)?;
            tracing::warn!(file = %path.display(), "finished a change of the master key that was cut off");
            Ok(Some(next))
        }
        // It was finished meanwhile, or nothing fits.
        _ => from_file(path),
    }
}

/// `.next` takes the place of the file, for good even if the machine stops now.
fn adopt(path: &Path) -> Result<(), Failure> {
    let next = next_of(path);
    let renamed = fs::rename(&next, path).and_then(|()| File::open(directory_of(path))?.sync_all());
    renamed.map_err(|error| {
        Failure::new(format!(
            "{} cannot be renamed to {}: {error}; do so by hand",
            next.display(),
            path.display()
        ))
    })
}

fn next_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".next");
    name.into()
}

fn from_file(path: &Path) -> Result<Option<MasterKey>, Failure> {
    let Some(text) = private_file::read(path)? else { return Ok(None) };
    parse(&text)
        .map(Some)
        .ok_or_else(|| Failure::new(unreadable(&format!("keys.master_key_file {}", path.display()))))
}

fn make(rng: &dyn Rng) -> (MasterKey, Zeroizing<String>) {
    let mut bytes = Zeroizing::new([0; MasterKey::LEN]);
    rng.fill(bytes.as_mut_slice());
    (MasterKey::new(&bytes), Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice()))))
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
