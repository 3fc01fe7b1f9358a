//! Requests that the server itself makes, to URLs that somebody registered with it.
//!
//! 1. Only `https`, and to a host that is written as an address only if that is within [`Reach`].
//! 2. A bounded number at once; waiting counts towards the time that one may take.
//! 3. A name is resolved here, and what is out of reach is left out. The connection goes to an address that was
//!    checked: a name that changes its mind between the two (DNS rebinding) changes nothing.
//! 4. No redirect is followed and no proxy of the environment used; either would decide anew where the request goes.
//! 5. Only a 200 counts, and only a body within its bound.

mod reach;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header;
use grantry_grants::{Fetch, FetchError};
use metrics::{Gauge, counter, gauge};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, Response, StatusCode};
use tokio::sync::Semaphore;
use url::{Host, Url};

use self::reach::Reach;
use crate::config;
use crate::failure::Failure;

/// Requests that are under way at the same time; one more waits.
const MOST_AT_ONCE: usize = 16;
/// A key set of a hundred RSA keys is smaller.
const MOST_BYTES: usize = 64 * 1024;

/// How the names of hosts become addresses.
type LookUp = fn(String) -> Resolving;

pub struct Outbound {
    /// Where there are no root certificates at all there is no client, and this says so.
    client: Result<Client, String>,
    reach: Arc<Reach>,
    timeout: Duration,
    places: Semaphore,
    running: Gauge,
}

impl Outbound {
    /// # Errors
    /// `outbound.ca_file` cannot be used.
    pub fn new(settings: &config::Outbound) -> Result<Self, Failure> {
        Self::with_look_up(settings, system_look_up)
    }

    fn with_look_up(settings: &config::Outbound, look_up: LookUp) -> Result<Self, Failure> {
        let reach = Arc::new(Reach::new(settings.allowed_networks.clone()));
        let roots = settings.ca_file.as_deref().map(read_roots).transpose()?;
        let timeout = settings.timeout.as_duration();
        let client = Client::builder()
            .tls_certs_merge(roots.unwrap_or_default())
            .dns_resolver(CheckedNames { reach: Arc::clone(&reach), look_up })
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(timeout)
            // A connection that is kept would go to an address that the name no longer has.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("grantry/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| deepest(&error));
        match (&client, &settings.ca_file) {
            (Err(problem), Some(path)) => {
                return Err(Failure::new(format!(
                    "outbound.ca_file: {} cannot be used: {problem}",
                    path.display()
                )));
            }
            (Err(problem), None) => tracing::warn!(
                problem,
                "no key set can be fetched; install the system's root certificates or set outbound.ca_file"
            ),
            (Ok(_), _) => {}
        }
        let running = gauge!("grantry_outbound_running_requests");
        Ok(Self { client, reach, timeout, places: Semaphore::new(MOST_AT_ONCE), running })
    }

    async fn get(&self, url: Url) -> Result<Vec<u8>, FetchError> {
        let client = self.client.as_ref().map_err(|problem| FetchError::Failed(problem.clone()))?;
        // 2.
        let _place = self.places.acquire().await.map_err(failed)?;
        self.running.increment(1);
        let _running = Running(&self.running);
        // 3. and 4. are the client's.
        let request = client.get(url).header(header::ACCEPT, "application/jwk-set+json, application/json");
        let response = request.send().await.map_err(|error| without_answer(&error))?;
        // 5.
        if response.status() != StatusCode::OK {
            return Err(FetchError::Failed(format!("the answer is {}, not 200", response.status().as_u16())));
        }
        read_bounded(response).await
    }
}

#[async_trait::async_trait]
impl Fetch for Outbound {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let fetched = match self.check(url) {
            Ok(url) => tokio::time::timeout(self.timeout, self.get(url)).await.unwrap_or_else(|_| {
                Err(FetchError::Failed(format!("no answer within {:?} (outbound.timeout)", self.timeout)))
            }),
            Err(refused) => Err(refused),
        };
        let outcome = match &fetched {
            Ok(_) => "fetched",
            Err(FetchError::Refused(_)) => "refused",
            Err(FetchError::Failed(_)) => "failed",
        };
        counter!("grantry_outbound_requests_total", "outcome" => outcome).increment(1);
        fetched
    }
}

impl Outbound {
    /// 1.
    fn check(&self, url: &str) -> Result<Url, FetchError> {
        let url = Url::parse(url).map_err(|error| FetchError::Refused(error.to_string()))?;
        if url.scheme() != "https" {
            return Err(FetchError::Refused("the URL does not begin with https://".to_owned()));
        }
        // Such a host is never looked up, so nothing else would check it.
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            _ => return Ok(url),
        };
        match self.reach.includes(address) {
            true => Ok(url),
            false => Err(FetchError::Refused(out_of_reach(&address.to_string()))),
        }
    }
}

/// Counts one request less, also where it is given up half-way.
struct Running<'a>(&'a Gauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

fn read_roots(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let refused = |problem: String| {
        Failure::new(format!("outbound.ca_file: {} cannot be read: {problem}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| refused(deepest(&error)))?;
    if roots.is_empty() {
        return Err(refused("it holds no certificate (PEM, BEGIN CERTIFICATE)".to_owned()));
    }
    Ok(roots)
}

async fn read_bounded(mut response: Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| without_answer(&error))? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(FetchError::Failed(format!("the document is larger than {MOST_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Hands the client only what is within reach.
struct CheckedNames {
    reach: Arc<Reach>,
    look_up: LookUp,
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = Arc::clone(&self.reach);
        let name = name.as_str().to_owned();
        let found = (self.look_up)(name.clone());
        Box::pin(async move {
            let found = found.await?;
            let within: Vec<SocketAddr> = found.filter(|address| reach.includes(address.ip())).collect();
            if within.is_empty() {
                return Err(Box::<dyn std::error::Error + Send + Sync>::from(OutOfReach(name)));
            }
            Ok(Box::new(within.into_iter()) as Addrs)
        })
    }
}

/// The port is not ours to say: 0 leaves it to the client.
fn system_look_up(name: String) -> Resolving {
    Box::pin(async move {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
        Ok(Box::new(found.into_iter()) as Addrs)
    })
}

/// A name that leads only where requests must not go.
#[derive(Debug, thiserror::Error)]
#[error("{}", out_of_reach(.0))]
struct OutOfReach(String);

fn out_of_reach(host: &str) -> String {
    format!("{host} is not on the public internet, and its network not in outbound.allowed_networks")
}

/// Refused by us, or failed out there.
fn without_answer(error: &reqwest::Error) -> FetchError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<OutOfReach>() {
            return FetchError::Refused(refused.to_string());
        }
        cause = error.source();
    }
    FetchError::Failed(deepest(error))
}

/// The last cause says what happened, and no URL.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn failed(error: impl std::fmt::Display) -> FetchError {
    FetchError::Failed(error.to_string())
}

/// For work at the terminal, which asks nobody.
pub struct NoRequests;

#[async_trait::async_trait]
impl Fetch for NoRequests {
    async fn fetch(&self, _: &str) -> Result<Vec<u8>, FetchError> {
        Err(FetchError::Refused("work on the store itself makes no requests".to_owned()))
    }
}

#[cfg(test)]
mod tests;
