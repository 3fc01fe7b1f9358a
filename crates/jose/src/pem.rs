use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use crate::{Algorithm, SigningKey};

/// Bits of an RSA key that signs: less is not safe (RFC 7518 §3.3), more makes each token slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Why a private key in PEM cannot be used. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPem {
    #[error(
        "it is not PEM: text between -----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY----- (RFC 7468)"
    )]
    NotPem,
    #[error("it has more than one section; keep the one with the private key")]
    SeveralSections,
    #[error(
        "it is not PKCS#8, which begins with -----BEGIN PRIVATE KEY-----; convert it: openssl pkcs8 -topk8 -nocrypt"
    )]
    OtherForm,
    #[error("it is encrypted; decrypt it first: openssl pkcs8 -in FILE -out DECRYPTED")]
    Encrypted,
    #[error("its key is not one that can sign here: Ed25519, P-256, or RSA of 2048 to 4096 bits")]
    OtherKey,
    #[error("its RSA key does not have 2048 to 4096 bits")]
    RsaSize,
    #[error("its key is not one for {}", .0.as_str())]
    OtherAlgorithm(Algorithm),
}

impl SigningKey {
    /// A private key that was made elsewhere, as PKCS #8 in PEM (RFC 5958, RFC 7468 §10), and its PKCS #8 bytes. What
    /// algorithm it is for, the key itself says; `expected` may insist.
    pub fn from_pem(
        text: &str,
        expected: Option<Algorithm>,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), InvalidPem> {
        let pkcs8 = private_key(text)?;
        let mut candidates = Algorithm::ALL.into_iter();
        let key = candidates.find_map(|algorithm| Self::from_pkcs8(algorithm, &pkcs8).ok());
        let key = key.ok_or(InvalidPem::OtherKey)?;
        if key.rsa_bits().is_some_and(|bits| !RSA_BITS.contains(&bits)) {
            return Err(InvalidPem::RsaSize);
        }
        match expected {
            Some(expected) if expected != key.algorithm() => Err(InvalidPem::OtherAlgorithm(expected)),
            _ => Ok((key, pkcs8)),
        }
    }
}

fn private_key(text: &str) -> Result<Zeroizing<Vec<u8>>, InvalidPem> {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err(InvalidPem::Encrypted);
    }
    let mut found = None;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, bytes) = section.map_err(|_| InvalidPem::NotPem)?;
        let bytes = Zeroizing::new(bytes);
        if found.replace((kind, bytes)).is_some() {
            return Err(InvalidPem::SeveralSections);
        }
    }
    match found {
        Some((SectionKind::PrivateKey, bytes)) => Ok(bytes),
        Some(_) => Err(InvalidPem::OtherForm),
        None if text.contains("-----BEGIN ") => Err(InvalidPem::OtherForm),
        None => Err(InvalidPem::NotPem),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    pub(crate) fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    fn refusal(text: &str) -> InvalidPem {
        SigningKey::from_pem(text, None).err().unwrap()
    }

    #[test]
    fn the_key_itself_says_what_algorithm_it_is_for() {
        for algorithm in Algorithm::ALL {
            let pkcs8 = SigningKey::generate_pkcs8(algorithm).unwrap();
            let text = format!("a word before\n{}", pem("PRIVATE KEY", &pkcs8));
            for expected in [None, Some(algorithm)] {
                let (key, bytes) = SigningKey::from_pem(&text, expected).unwrap();
                assert_eq!(key.algorithm(), algorithm);
                assert_eq!(*bytes, *pkcs8);
            }
            for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                let refused = SigningKey::from_pem(&text, Some(other)).err();
                assert_eq!(refused, Some(InvalidPem::OtherAlgorithm(other)));
            }
        }
    }

    #[test]
    fn keys_that_cannot_sign_here_are_refused() {
        let text = |der| pem("PRIVATE KEY", der);
        assert_eq!(refusal(&text(include_bytes!("testdata/rsa1024.pk8"))), InvalidPem::OtherKey);
        assert_eq!(refusal(&text(include_bytes!("testdata/rsa5120.pk8"))), InvalidPem::RsaSize);
        assert_eq!(refusal(&text(include_bytes!("testdata/p384.pk8"))), InvalidPem::OtherKey);
        assert_eq!(refusal(&text(b"nothing")), InvalidPem::OtherKey);
    }

    #[test]
    fn other_forms_are_refused_with_what_to_do() {
        let pkcs8 = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let good = pem("PRIVATE KEY", &pkcs8);
        assert_eq!(refusal(""), InvalidPem::NotPem);
        assert_eq!(refusal("secret"), InvalidPem::NotPem);
        assert_eq!(refusal(&good[..good.len() - 30]), InvalidPem::NotPem);
        assert_eq!(refusal(&good.replace("\n-----END", "*\n-----END")), InvalidPem::NotPem);
        assert_eq!(refusal(&format!("{good}{good}")), InvalidPem::SeveralSections);
        for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PUBLIC KEY", "OPENSSH PRIVATE KEY"] {
            assert_eq!(refusal(&pem(label, &pkcs8)), InvalidPem::OtherForm, "{label}");
        }
        assert_eq!(refusal(&pem("ENCRYPTED PRIVATE KEY", &pkcs8)), InvalidPem::Encrypted);
    }
}
