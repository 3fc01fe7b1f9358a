use grantry_persistence::PersistenceError;
use grantry_protocol::OAuthError;
use grantry_store::StoreError;

/// Why a flow gave no answer of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The request is at fault.
    #[error(transparent)]
    Refused(#[from] OAuthError),
    /// Not now: the store, or what signs, cannot be reached, is full, or is too busy. The same request may succeed in a moment.
    #[error("temporarily unavailable: {0}")]
    Unavailable(String),
    /// A fault of ours, or data that cannot be understood. What it was is for the log.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<StoreError> for GrantError {
    fn from(error: StoreError) -> Self {
        if error.is_outage() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Internal(error.to_string())
        }
    }
}

impl From<PersistenceError> for GrantError {
    fn from(error: PersistenceError) -> Self {
        match error {
            PersistenceError::Store(error) => error.into(),
            PersistenceError::SlotContended { .. } | PersistenceError::OtherGrant => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<grantry_jose::SignError> for GrantError {
    fn from(error: grantry_jose::SignError) -> Self {
        match error {
            grantry_jose::SignError::Unavailable(_) => Self::Unavailable(error.to_string()),
            grantry_jose::SignError::Unusable(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<grantry_jose::UnusableKey> for GrantError {
    fn from(error: grantry_jose::UnusableKey) -> Self {
        Self::Internal(error.to_string())
    }
}
