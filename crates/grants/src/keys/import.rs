//! A signing key that was made elsewhere takes over, exactly as a new one would: see `rotate.rs`.

use grantry_jose::{Algorithm, SigningKey};
use grantry_protocol::Secret;

use super::rotate::NewKey;
use super::snapshot::{Line, signing_plain};
use super::{KeyAdminError, KeyInfo};
use crate::{Actor, Grants};

impl Grants {
    /// `pem` is PKCS #8. It becomes the key of its own algorithm; whether that is the one that signs, the setting
    /// `keys.signing_algorithm` says.
    pub async fn key_import(
        &self,
        pem: &Secret,
        expected: Option<Algorithm>,
        actor: &Actor,
    ) -> Result<KeyInfo, KeyAdminError> {
        let (key, pkcs8) = SigningKey::from_pem(pem.expose(), expected)?;
        let new = NewKey {
            line: Line::Signing(key.algorithm()),
            plain: signing_plain(key.algorithm(), &pkcs8),
            kid: Some(key.kid().to_owned()),
            action: "key.import",
        };
        self.key_take_over(new, actor).await
    }
}
