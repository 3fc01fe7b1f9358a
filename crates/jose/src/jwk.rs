use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{Algorithm, base64url};

/// A public signing key as it is published (RFC 7517 §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Jwk {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    pub(crate) kid: String,
    alg: Algorithm,
    #[serde(flatten)]
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Material {
    Okp { crv: &'static str, x: String },
    Ec { crv: &'static str, x: String, y: String },
    Rsa { n: String, e: String },
}

impl Jwk {
    pub(crate) fn ed25519(public: &[u8]) -> Self {
        Self::new("OKP", Algorithm::EdDsa, Material::Okp { crv: "Ed25519", x: base64url(public) })
    }

    /// From an uncompressed point (SEC 1 §2.3.3): 0x04, x, y.
    pub(crate) fn p256(public: &[u8]) -> Option<Self> {
        let point = public.strip_prefix(&[4]).filter(|point| point.len() == 64)?;
        let (x, y) = point.split_at(32);
        Some(Self::new(
            "EC",
            Algorithm::Es256,
            Material::Ec { crv: "P-256", x: base64url(x), y: base64url(y) },
        ))
    }

    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::new("RSA", Algorithm::Rs256, Material::Rsa { n: base64url(modulus), e: base64url(exponent) })
    }

    fn new(kty: &'static str, alg: Algorithm, material: Material) -> Self {
        let kid = material.thumbprint(kty);
        Self { kty, usage: "sig", kid, alg, material }
    }
}

impl Material {
    /// RFC 7638 §3: the required members in the order of their names, without white space.
    fn thumbprint(&self, kty: &str) -> String {
        let members = match self {
            Self::Okp { crv, x } => format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}"}}"#),
            Self::Ec { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"{kty}","n":"{n}"}}"#),
        };
        base64url(Sha256::digest(members))
    }
}

/// The keys that a server publishes (RFC 7517 §5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037_appendix_a3() {
        let public = crate::from_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(Jwk::ed25519(&public).kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
