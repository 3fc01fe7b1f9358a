//! Assertions by which a client gets tokens for its subjects (RFC 7523 §2.1), signed here as the client would.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{clock, credentials::Credentials, failure::Failure, form::Form, report};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// In seconds. Each assertion is sent at once; servers refuse those that live for long.
const LIFETIME: u64 = 60;
const PEM_LABEL: &str = "PRIVATE KEY";
/// Characters in a line (RFC 7468 §3).
const PEM_LINE: usize = 64;

#[derive(Args)]
pub struct AssertionKeyArgs {
    /// Where to write the private key; the file must not exist yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Makes a key; prints its public half as the client registers it.
pub fn make(args: &AssertionKeyArgs) -> Result<ExitCode, Failure> {
    let key = AssertionKey::generate()?;
    let path = &args.out;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(key.pem()?.as_bytes()));
    written.map_err(|error| Failure::new(format!("--out {} cannot be written: {error}", path.display())))?;
    report::print(&format!("{:#}\n", key.jwks()))?;
    Ok(ExitCode::SUCCESS)
}

/// An Ed25519 key of the client (EdDSA, RFC 8037).
pub struct AssertionKey {
    pair: Ed25519KeyPair,
    kid: String,
}

impl AssertionKey {
    pub fn generate() -> Result<Self, Failure> {
        let pair = Ed25519KeyPair::generate();
        Ok(Self::new(pair.map_err(|_| Failure::new("no key can be generated on this machine"))?))
    }

    /// `kid` is the name under which the server knows the key, its thumbprint if `None`.
    ///
    /// # Errors
    /// The file holds no Ed25519 key in PKCS#8, as PEM.
    pub fn read(path: &Path, kid: Option<&str>) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(format!("--assertion-key {} cannot be read: {error}", path.display()))
        })?;
        let pair = der_of(&text).and_then(|der| Ed25519KeyPair::from_pkcs8(&der).ok());
        let pair = pair.ok_or_else(|| {
            Failure::new(format!(
                "--assertion-key {} is no Ed25519 key in PKCS#8, as PEM; `grantry-bench assertion-key --out FILE` makes \
                 one, and so does `openssl genpkey -algorithm ed25519`",
                path.display()
            ))
        })?;
        let key = Self::new(pair);
        Ok(Self { kid: kid.map_or(key.kid, str::to_owned), ..key })
    }

    /// Its `kid` is the thumbprint (RFC 7638 §3).
    fn new(pair: Ed25519KeyPair) -> Self {
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(pair.public_key()));
        let kid = base64url(Sha256::digest(canonical));
        Self { pair, kid }
    }

    fn pem(&self) -> std::io::Result<String> {
        let der = self.pair.to_pkcs8v1().map_err(|_| std::io::Error::other("the key cannot be exported"))?;
        let text = general_purpose::STANDARD.encode(der.as_ref());
        let mut pem = format!("-----BEGIN {PEM_LABEL}-----\n");
        for line in text.as_bytes().chunks(PEM_LINE) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        Ok(pem + &format!("-----END {PEM_LABEL}-----\n"))
    }

    /// The public key as a set of one (RFC 7517 §5).
    pub fn jwks(&self) -> Value {
        let x = base64url(self.pair.public_key());
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA"}
        ]})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.kid, "typ": "JWT"});
        let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let signature = base64url(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// What the client's assertions have in common.
pub struct Assertions {
    pub key: Arc<AssertionKey>,
    /// The server's issuer, for which they are made.
    pub audience: String,
    pub scope: Option<String>,
}

impl Assertions {
    /// A token request for `user-{subject}`, good for one use.
    ///
    /// # Errors
    /// The machine has no random numbers.
    pub fn request(&self, subject: u64, credentials: &Credentials) -> Result<Bytes, Failure> {
        let mut unique = [0; 16];
        aws_lc_rs::rand::fill(&mut unique).map_err(|_| Failure::new("the machine has no random numbers"))?;
        let now = clock::since_epoch().as_secs();
        let assertion = self.key.sign(&json!({
            "iss": credentials.client_id,
            "sub": format!("user-{subject}"),
            "aud": self.audience,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": base64url(unique),
        }));
        let mut form = Form::new();
        form.push("grant_type", GRANT_TYPE);
        form.push("assertion", &assertion);
        if let Some(scope) = &self.scope {
            form.push("scope", scope);
        }
        credentials.add_to(&mut form);
        Ok(form.render(0))
    }
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Whatever stands around the block is not looked at (RFC 7468 §2).
fn der_of(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {PEM_LABEL}-----"))?;
    let (text, _) = rest.split_once(&format!("-----END {PEM_LABEL}-----"))?;
    general_purpose::STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;
    use crate::credentials::Auth;

    /// RFC 8037 appendix A.1 to A.3.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";

    fn key(kid: Option<&str>) -> AssertionKey {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), PEM).unwrap();
        AssertionKey::read(file.path(), kid).unwrap()
    }

    #[test]
    fn a_key_is_named_by_its_thumbprint_unless_told_otherwise() {
        let jwk = &key(None).jwks()["keys"][0];
        assert_eq!(jwk["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(jwk["kid"], "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key(Some("mine")).jwks()["keys"][0]["kid"], "mine");
    }

    #[test]
    fn a_key_is_written_as_it_is_read() {
        assert_eq!(key(None).pem().unwrap(), PEM);
        let error = AssertionKey::read(Path::new("/dev/null"), None).err().unwrap().to_string();
        assert!(error.contains("genpkey"), "{error}");
    }

    #[test]
    fn an_assertion_is_signed_for_one_subject_and_one_use() {
        let assertions = Assertions { key: key(None).into(), audience: "http://issuer".into(), scope: None };
        let credentials = Credentials { client_id: "bench".into(), secret: "s".into(), auth: Auth::Post };
        let parts = |_| {
            let body = assertions.request(7, &credentials).unwrap();
            let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
            assert_eq!(form["grant_type"], GRANT_TYPE);
            assert_eq!(form["client_id"], "bench");
            let (signed, signature) = form["assertion"].rsplit_once('.').unwrap();
            let decode = |part: &str| general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
            let public = UnparsedPublicKey::new(&ED25519, assertions.key.pair.public_key());
            public.verify(signed.as_bytes(), &decode(signature)).unwrap();
            serde_json::from_slice::<Value>(&decode(signed.split_once('.').unwrap().1)).unwrap()
        };
        let [one, other] = [0, 1].map(parts);
        assert_eq!(
            (&one["iss"], &one["sub"], &one["aud"]),
            (&"bench".into(), &"user-7".into(), &"http://issuer".into())
        );
        let lifetime = one["exp"].as_u64().unwrap() - one["iat"].as_u64().unwrap();
        assert!((1..=300).contains(&lifetime), "{lifetime}");
        assert_ne!(one["jti"], other["jti"]);
    }
}
