use async_trait::async_trait;

use crate::{Algorithm, SigningKey};

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key cannot sign this, now or later.
    #[error("no usable {} key", .0.as_str())]
    Unusable(Algorithm),
    /// Whatever holds the key does not answer; it may in a moment. What it said is for the log.
    #[error("the signing key cannot be reached: {0}")]
    Unavailable(String),
}

/// Who signs: a key in this process, or something elsewhere that never lets the key out.
#[async_trait]
pub trait Signer: Send + Sync {
    fn algorithm(&self) -> Algorithm;

    /// The id under which verifiers find the public half.
    fn kid(&self) -> &str;

    /// The signature in the form that a JWS has it in (RFC 7518 §3, RFC 8037 §3.1).
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

#[async_trait]
impl Signer for SigningKey {
    fn algorithm(&self) -> Algorithm {
        self.algorithm()
    }

    fn kid(&self) -> &str {
        self.kid()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.sign(message).map_err(|unusable| SignError::Unusable(unusable.0))
    }
}
