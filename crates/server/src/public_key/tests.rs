use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantry_jose::{Algorithm, SigningKey};

use super::*;

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Public key and the JWK that the rest of Grantry makes of it.
fn pair(algorithm: Algorithm) -> (Vec<u8>, Value) {
    let pkcs8 = SigningKey::generate_pkcs8(algorithm).unwrap();
    let x509: PublicKeyX509Der<'_> = match algorithm {
        Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap().public_key().as_der().unwrap(),
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).unwrap();
            pair.public_key().as_der().unwrap()
        }
        Algorithm::Rs256 => RsaKeyPair::from_pkcs8(&pkcs8).unwrap().public_key().as_der().unwrap(),
    };
    let key = SigningKey::from_pkcs8(algorithm, &pkcs8).unwrap();
    (x509.as_ref().to_vec(), serde_json::to_value(key.jwk()).unwrap())
}

#[test]
fn pem_becomes_the_jwk_that_it_is_with_its_thumbprint_as_kid() {
    let mut several = (String::new(), Vec::new());
    for algorithm in Algorithm::ALL {
        let (der, jwk) = pair(algorithm);
        let text = pem("PUBLIC KEY", &der);
        assert_eq!(set_of(&text).unwrap(), json!({ "keys": [jwk] }), "{}", algorithm.as_str());
        several.0.push_str(&text);
        several.1.push(jwk);
    }
    assert_eq!(set_of(&several.0).unwrap(), json!({ "keys": several.1 }));
    let rsa = RsaKeyPair::generate(KeySize::Rsa4096).unwrap();
    let der: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
    let set = set_of(&pem("PUBLIC KEY", der.as_ref())).unwrap();
    assert_eq!(set["keys"][0]["n"].as_str().unwrap().len(), 683, "512 bytes, and no zero in front");
}

#[test]
fn a_set_is_taken_as_it_is_and_a_key_becomes_a_set() {
    let (_, jwk) = pair(Algorithm::EdDsa);
    let set = json!({ "keys": [jwk] });
    assert_eq!(set_of(&set.to_string()).unwrap(), set);
    assert_eq!(set_of(&jwk.to_string()).unwrap(), set);
}

#[test]
fn what_is_no_public_key_is_refused_with_what_to_do() {
    let (der, _) = pair(Algorithm::Es256);
    let cut = pem("PUBLIC KEY", &der[..der.len() - 1]);
    let (rsa, _) = pair(Algorithm::Rs256);
    let cut_rsa = pem("PUBLIC KEY", &rsa[..rsa.len() - 8]);
    for (text, hint) in [
        ("", "neither a JWK set"),
        ("{}", "neither a JWK set"),
        ("[1]", "neither a JWK set"),
        (&pem("PRIVATE KEY", &der), "-pubout"),
        (&pem("CERTIFICATE", &der), "openssl x509"),
        (&cut, "neither Ed25519"),
        (&cut_rsa, "neither Ed25519"),
        ("-----BEGIN PUBLIC KEY-----\n*\n-----END PUBLIC KEY-----\n", "is not PEM"),
    ] {
        let refused = set_of(text).unwrap_err();
        assert!(refused.contains(hint), "{text}: {refused}");
    }
}
