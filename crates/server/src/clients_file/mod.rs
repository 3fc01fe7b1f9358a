//! `store.clients_file`: clients for a store that forgets them, kept in a file.
//!
//! 1. The start reads the file. One that cannot be understood stops it.
//! 2. The keys that the secrets were hashed with come into the store before it makes any, sealed as they are in the file.
//! 3. Clients that the store does not have come into it. One that this very store had and has no more was deleted.
//! 4. The file is written anew: a secret that a person wrote down is a hash from here on.
//! 5. From then on it is written after each change, before that is answered (`writer.rs`).

mod format;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grantry_grants::{ClientKeeper, Grants, MasterKey};
use grantry_protocol::Seen;
use grantry_store::{KeyChange, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::format::{Content, Entry};
use self::writer::Writer;
use crate::config::Config;
use crate::failure::Failure;
use crate::private_file::{self, directory_of};

/// A larger file is not one of ours: some hundred thousand clients.
const MOST_BYTES: u64 = 256 << 20;

/// The file as this start found it.
pub struct ClientsFile {
    path: PathBuf,
    content: Content,
    /// Of the file beside it that says who writes it; this one is replaced again and again.
    lock: File,
}

impl ClientsFile {
    /// 1.
    pub async fn open(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(path) = config.store.clients_file.clone() else { return Ok(None) };
        let opening = tokio::task::spawn_blocking(move || Self::read(path));
        let opened = opening.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        opened.map(Some)
    }

    fn read(path: PathBuf) -> Result<Self, Failure> {
        drop(private_file::DirectoryLock::of(&directory_of(&path))?);
        let lock = claim(&path)?;
        let content = match private_file::read_at_most(&path, MOST_BYTES)? {
            Some(text) => Content::parse(&path, &text)?,
            None => Content::default(),
        };
        Ok(Self { path, content, lock })
    }

    /// 2. Before the master key is looked for, which then has to be the one that they were sealed with.
    pub async fn bring_keys(&self, store: &dyn Store) -> Result<(), Failure> {
        if self.content.keys.is_empty() || !store.key_list().await?.is_empty() {
            return Ok(());
        }
        let change = KeyChange { from: Vec::new(), to: self.content.keys.clone(), audit: None };
        store.key_replace(change).await?;
        Ok(())
    }

    /// Says which file needs the master key that is missing.
    pub fn explain(&self, failure: Failure) -> Failure {
        match self.content.keys.is_empty() {
            true => failure,
            false => Failure::new(format!(
                "{failure}. The keys came from {} (store.clients_file): the secrets in it were hashed with them",
                self.path.display()
            )),
        }
    }

    pub async fn expect_master(&self, master: &MasterKey, store: &dyn Store) -> Result<(), Failure> {
        if self.content.keys.is_empty() || master.opens(store).await? {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the master key does not fit {0} (store.clients_file): it cannot open the keys that the client secrets in it were \
             hashed with. Set keys.master_key_file (or GRANTRY_MASTER_KEY) to the key that the file was written with. If that \
             is lost, so are the secrets: remove \"client_secret_keys\" from {0}, and from each client \"kept\", and write a \
             new \"client_secret\" for each",
            self.path.display()
        )))
    }

    /// Steps 3 to 5. Answers with grants that keep their clients, and with what writes the file. `changed` says how far the
    /// revocation log has come where a client was last changed.
    pub async fn take_over(
        self,
        grants: Grants,
        store: Arc<dyn Store>,
        changed: watch::Receiver<Seen>,
    ) -> Result<(Grants, JoinHandle<()>), Failure> {
        let Self { path, content, lock } = self;
        let cluster = store.cluster_id().await?.to_string();
        let is_of_this_store = content.store.as_ref() == Some(&cluster);
        import(&path, content.clients, is_of_this_store, &grants).await?;
        let writer = Arc::new(Writer::new(path.clone(), store, cluster, lock));
        let writing = tokio::spawn(Arc::clone(&writer).run(changed));
        if writer.keep().await.is_err() {
            return Err(Failure::new(format!(
                "{} (store.clients_file) cannot be written; the log has the cause",
                path.display()
            )));
        }
        Ok((grants.with_client_keeper(writer), writing))
    }
}

async fn import(
    path: &Path,
    entries: Vec<Entry>,
    is_of_this_store: bool,
    grants: &Grants,
) -> Result<(), Failure> {
    let mut imported = 0_u32;
    for Entry { line, client } in entries {
        // The store has it, or another node has deleted it while this one was down.
        if is_of_this_store && client.past.is_some() {
            continue;
        }
        let id = client.id.clone();
        match grants.client_import(client).await {
            Ok(is_new) => imported += u32::from(is_new),
            Err(error) => {
                return Err(Failure::new(format!(
                    "{0}:{line}: the client \"{id}\" cannot be taken over: {error}. Correct {0} (store.clients_file)",
                    path.display()
                )));
            }
        }
    }
    tracing::info!(imported, file = %path.display(), "clients are kept in a file");
    Ok(())
}

/// Two servers that write one file would take each other's clients out of it.
fn claim(path: &Path) -> Result<File, Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let file = opened.map_err(|error| Failure::of_file(&beside, "opened", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(format!(
            "another server uses {} (store.clients_file); give each server a file of its own",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Failure::of_file(&beside, "locked", &error)),
    }
}
