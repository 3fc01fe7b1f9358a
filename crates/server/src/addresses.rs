//! Where the command line finds the server that it administers.

use std::net::SocketAddr;

use crate::config::{Server, reachable};
use crate::failure::Failure;

/// How to reach one listener from this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a slash at the end.
    pub url: String,
    /// Where to connect, when the URL's host is only there because the certificate names it.
    pub connect_to: Option<SocketAddr>,
}

impl Endpoint {
    /// One that was given on the command line.
    pub fn given(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), connect_to: None }
    }

    /// The one of the settings.
    ///
    /// # Errors
    /// The settings leave the port to chance.
    pub fn of_listener(server: &Server, listen: SocketAddr, flag: &str) -> Result<Self, Failure> {
        if listen.port() == 0 {
            return Err(Failure::new(format!(
                "the settings let the server choose its port, so it is not known here; give {flag} with the address \
                 that the server printed at its start"
            )));
        }
        let connect_to = server.tls_cert.is_some().then(|| reachable(listen));
        Ok(Self { url: server.local_url(listen), connect_to })
    }

    pub fn host(&self) -> Option<String> {
        url::Url::parse(&self.url).ok()?.host_str().map(str::to_owned)
    }
}
