use std::path::Path;

use base64::Engine as _;
use clap::ValueEnum;
use form_urlencoded::byte_serialize;
use http::HeaderValue;

use crate::{failure::Failure, form::Form};

/// Where the secret is looked for when no file is named; not a flag, because every user of a machine sees flags.
const SECRET_VARIABLE: &str = "GRANTRY_BENCH_CLIENT_SECRET";

/// How the client proves who it is (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// `client_secret_basic`: the Authorization header
    Basic,
    /// `client_secret_post`: in the form
    Post,
}

#[derive(Clone)]
pub struct Credentials {
    pub client_id: String,
    pub secret: String,
    pub auth: Auth,
}

impl Credentials {
    /// # Errors
    /// Neither the file nor the environment holds a secret.
    pub fn read(client_id: &str, file: Option<&Path>, auth: Auth) -> Result<Self, Failure> {
        let secret = match file {
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Failure::new(format!("--client-secret-file {} cannot be read: {error}", path.display()))
            })?,
            None => std::env::var(SECRET_VARIABLE).map_err(|_| {
                Failure::new(format!(
                    "the client's secret is missing: set {SECRET_VARIABLE} or give --client-secret-file"
                ))
            })?,
        };
        let secret = secret.trim_end_matches(['\r', '\n']).to_owned();
        if secret.is_empty() {
            return Err(Failure::new(format!(
                "the client's secret is empty: see {SECRET_VARIABLE} or --client-secret-file"
            )));
        }
        Ok(Self { client_id: client_id.to_owned(), secret, auth })
    }

    /// RFC 6749 §2.3.1 wants both parts form-encoded before they are joined.
    pub fn header(&self) -> Option<HeaderValue> {
        if self.auth == Auth::Post {
            return None;
        }
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encoded(&self.client_id), encoded(&self.secret));
        let mut value = HeaderValue::from_str(&format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(pair)
        ))
        .ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub fn add_to(&self, form: &mut Form) {
        if self.auth == Auth::Post {
            form.push("client_id", &self.client_id);
            form.push("client_secret", &self.secret);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_form_encoded_before_they_are_joined() {
        let credentials = Credentials { client_id: "a:b".into(), secret: "c d".into(), auth: Auth::Basic };
        assert_eq!(credentials.header().unwrap(), "Basic YSUzQWI6Yytk");
    }
}
