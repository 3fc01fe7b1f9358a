//! Requests to the issuer. No redirect is followed and no proxy of the environment used: either would decide anew whom keys
//! and answers come from. Every answer is bounded, in size and in time.

use std::time::Duration;

use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode};
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::{ClientCredentials, Settings, StartError};

/// Documents about the issuer, its keys, and answers about one token.
pub const MOST_BYTES: usize = 256 * 1024;
/// For answers that nobody waits for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer that can be used; for the log.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no connection, or it broke: {0}")]
    Io(String),
    #[error("no answer within {0:?}")]
    Time(Duration),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer has more than {0} bytes")]
    Size(usize),
    #[error("the answer cannot be understood: {0}")]
    Answer(String),
}

pub fn client(settings: &Settings) -> Result<Client, StartError> {
    let unusable = |error: reqwest::Error| StartError::Client(deepest(&error));
    let roots = match &settings.extra_roots {
        Some(pem) => Certificate::from_pem_bundle(pem).map_err(|error| StartError::Setting {
            key: "extra_roots",
            problem: format!("must be certificates as PEM ({})", deepest(&error)),
        })?,
        None => Vec::new(),
    };
    Client::builder()
        .tls_certs_merge(roots)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .user_agent(concat!("grantry-verifier/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(unusable)
}

/// The body of a 200.
pub async fn send(request: RequestBuilder, patience: Duration) -> Result<Vec<u8>, Failure> {
    let answer = async {
        let response = request.send().await.map_err(|error| Failure::Io(deepest(&error)))?;
        body(response, MOST_BYTES, patience).await
    };
    timeout(patience, answer).await.unwrap_or(Err(Failure::Time(patience)))
}

/// The body of a 200 of any length up to `most`, as long as each part of it comes within `patience`.
pub async fn body(mut response: Response, most: usize, patience: Duration) -> Result<Vec<u8>, Failure> {
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status()));
    }
    let mut body = Vec::new();
    loop {
        let chunk = timeout(patience, response.chunk()).await.map_err(|_| Failure::Time(patience))?;
        let Some(chunk) = chunk.map_err(|error| Failure::Io(deepest(&error)))? else { return Ok(body) };
        if body.len() + chunk.len() > most {
            return Err(Failure::Size(most));
        }
        body.extend_from_slice(&chunk);
    }
}

/// A form with the client's credentials in the header, each part encoded first (RFC 6749 §2.3.1).
pub fn post(
    client: &Client,
    to: &Url,
    credentials: &ClientCredentials,
    form: &[(&str, &str)],
) -> RequestBuilder {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    client
        .post(to.clone())
        .basic_auth(encoded(&credentials.client_id), Some(encoded(credentials.client_secret.expose())))
        .form(form)
}

/// What is at the bottom of it says what is wrong; what is around it names a URL, and that may hold a position or worse.
pub fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
