//! Keys and what is done with them: signatures (RFC 7515), key sets (RFC 7517), MACs and sealing. Everything runs on
//! aws-lc-rs, with each key parsed once, but for MACs and what is hashed in parts: `hmac` and `sha2` start from a state that
//! is copied on the stack, where aws-lc-rs allocates one. Key generation draws from aws-lc's own generator, which cannot be
//! replaced.

mod assertion;
mod json_text;
mod jwk;
mod jws;
mod mac;
mod pem;
mod presented;
mod public_keys;
mod seal;
mod signer;
mod signing;
mod verifying;

pub use assertion::{unverified_claims, verify_assertion};
pub use json_text::JsonText;
pub use jwk::{Jwk, JwkSet};
pub use jws::{InvalidJws, sign_compact, verify_compact};
pub use mac::MacKey;
pub use pem::InvalidPem;
pub use presented::PresentedJws;
pub use public_keys::{InvalidKeySet, PublicKeySet};
pub use seal::{NonceMisuseResistantKey, SealingKey, Unsealed};
pub use signer::{SignError, Signer};
pub use signing::{Algorithm, SigningKey, UnusableKey};
pub use verifying::{Expected, verify_published};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Strict: no padding, no other alphabet, no stray bits, so that one value has one spelling.
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    std::array::from_fn(|at| digest.as_ref()[at])
}

/// Compares in a time that depends on the lengths only.
pub fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}
