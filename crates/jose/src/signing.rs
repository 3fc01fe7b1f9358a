use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Jwk;

/// Signature algorithms by their JOSE names (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// The key's bytes are no private key of the algorithm, or the key could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no usable {} key", .0.as_str())]
pub struct UnusableKey(pub Algorithm);

/// A private key with its public half, both parsed once.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    verifying: ParsedPublicKey,
    jwk: Jwk,
}

enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl SigningKey {
    /// A new key as PKCS #8; RSA keys have 2048 bits.
    pub fn generate_pkcs8(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, UnusableKey> {
        let unusable = |_| UnusableKey(algorithm);
        let document = match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::generate()
                .and_then(|pair| pair.to_pkcs8v1())
                .map_err(unusable)?
                .as_ref()
                .to_vec(),
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1())
                .map_err(unusable)?
                .as_ref()
                .to_vec(),
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(unusable)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(unusable)?;
                der.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(document))
    }

    pub fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, UnusableKey> {
        let unusable = |_| UnusableKey(algorithm);
        let rejected = |_| UnusableKey(algorithm);
        let (pair, verifying, jwk) = match algorithm {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(rejected)?;
                let public = pair.public_key().as_ref();
                let verifying = ParsedPublicKey::new(&ED25519, public).map_err(rejected)?;
                let jwk = Jwk::ed25519(public);
                (Pair::EdDsa(pair), verifying, jwk)
            }
            Algorithm::Es256 => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(rejected)?;
                let public = pair.public_key().as_ref();
                let verifying = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).map_err(rejected)?;
                let jwk = Jwk::p256(public).ok_or(UnusableKey(algorithm))?;
                (Pair::Es256(pair), verifying, jwk)
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(rejected)?;
                let public = pair.public_key();
                let verifying =
                    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public.as_ref()).map_err(unusable)?;
                let jwk = Jwk::rsa(
                    public.modulus().big_endian_without_leading_zero(),
                    public.exponent().big_endian_without_leading_zero(),
                );
                (Pair::Rs256(pair), verifying, jwk)
            }
        };
        Ok(Self { algorithm, pair, verifying, jwk })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's id: the thumbprint of its public half (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.jwk.kid
    }

    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        match &self.pair {
            Pair::Rs256(pair) => Some(pair.public_modulus_len() * 8),
            Pair::EdDsa(_) | Pair::Es256(_) => None,
        }
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, UnusableKey> {
        let rng = SystemRandom::new();
        let unusable = |_| UnusableKey(self.algorithm);
        match &self.pair {
            Pair::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Es256(pair) => Ok(pair.sign(&rng, message).map_err(unusable)?.as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).map_err(unusable)?;
                Ok(signature)
            }
        }
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifying.verify_sig(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_signs_what_it_verifies_and_nothing_else() {
        for algorithm in Algorithm::ALL {
            let pkcs8 = SigningKey::generate_pkcs8(algorithm).unwrap();
            let key = SigningKey::from_pkcs8(algorithm, &pkcs8).unwrap();
            let signature = key.sign(b"message").unwrap();
            assert!(key.verify(b"message", &signature), "{algorithm:?}");
            assert!(!key.verify(b"messagE", &signature), "{algorithm:?}");
            assert_eq!(SigningKey::from_pkcs8(algorithm, &pkcs8).unwrap().kid(), key.kid());
        }
    }

    #[test]
    fn bytes_of_another_algorithm_are_refused() {
        let pkcs8 = SigningKey::generate_pkcs8(Algorithm::EdDsa).unwrap();
        assert!(SigningKey::from_pkcs8(Algorithm::Es256, &pkcs8).is_err());
        assert!(SigningKey::from_pkcs8(Algorithm::Rs256, b"").is_err());
    }
}
