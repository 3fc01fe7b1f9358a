use grantry_jose::{InvalidPem, UnusableKey};
use grantry_store::StoreError;

use crate::{GrantError, NotKept};

/// Why the keys of a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    #[error(
        "the master key does not fit this store: it cannot open the key \"{purpose} {version}\". \
         Set keys.master_key_file (or GRANTRY_MASTER_KEY) to the key that the store was created with, or that it was \
         last sealed with by: grantry keys rotate-master"
    )]
    WrongMasterKey { purpose: &'static str, version: u8 },
    #[error("the store has no {0} key; it was not written by this version of Grantry or is damaged")]
    Missing(&'static str),
    #[error("the key \"{purpose} {version}\" in the store is damaged")]
    Damaged { purpose: &'static str, version: u8 },
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KeyRingError> for GrantError {
    fn from(error: KeyRingError) -> Self {
        match error {
            KeyRingError::Store(error) => error.into(),
            error => Self::Internal(error.to_string()),
        }
    }
}

/// Why the keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyAdminError {
    #[error("there is no such key")]
    NotFound,
    #[error("the key is revoked already")]
    RevokedAlready,
    #[error("this key is here already, or was; a key that was taken out must not come back")]
    AlreadyExists,
    #[error(
        "every client whose secret was hashed with this key would be locked out until it is given a new one; to go on, \
         confirm it: --yes on the command line, \"confirm\": true in a request"
    )]
    NotConfirmed,
    #[error(
        "the numbers of {0} keys are used up: 255 were made, and none is ever used again. The last few are kept for \
         revocations"
    )]
    NoVersionLeft(&'static str),
    #[error("somebody else changed the keys at the same time, again and again; look at them and try again")]
    Conflict,
    #[error(transparent)]
    NotKept(#[from] NotKept),
    #[error("{problem}")]
    Invalid { field: &'static str, problem: String },
    #[error(transparent)]
    Failed(#[from] GrantError),
}

impl From<KeyRingError> for KeyAdminError {
    fn from(error: KeyRingError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<StoreError> for KeyAdminError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<UnusableKey> for KeyAdminError {
    fn from(error: UnusableKey) -> Self {
        Self::Failed(error.into())
    }
}

impl From<InvalidPem> for KeyAdminError {
    fn from(error: InvalidPem) -> Self {
        Self::Invalid { field: "private_key_pem", problem: error.to_string() }
    }
}
