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

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(server: &Server) -> (String, Option<String>) {
        let endpoint = Endpoint::of_listener(server, server.admin_listen, "--admin-url").unwrap();
        (endpoint.url, endpoint.connect_to.map(|address| address.to_string()))
    }

    #[test]
    fn a_plain_listener_is_reached_by_its_address() {
        let mut server = Server { issuer: Some("https://auth.example".to_owned()), ..Server::default() };
        assert_eq!(endpoint(&server), ("http://127.0.0.1:8081".to_owned(), None));
        server.admin_listen = "0.0.0.0:9000".parse().unwrap();
        assert_eq!(endpoint(&server).0, "http://127.0.0.1:9000");
        server.admin_listen = "[::]:9000".parse().unwrap();
        assert_eq!(endpoint(&server).0, "http://[::1]:9000");
    }

    #[test]
    fn with_tls_the_host_is_the_one_that_the_certificate_names() {
        let mut server = Server { tls_cert: Some("cert.pem".into()), ..Server::default() };
        assert_eq!(endpoint(&server).0, "https://127.0.0.1:8081");
        server.issuer = Some("https://auth.example".to_owned());
        let connect_to = Some("127.0.0.1:8081".to_owned());
        assert_eq!(endpoint(&server), ("https://auth.example:8081".to_owned(), connect_to));
    }

    #[test]
    fn a_port_that_was_left_to_chance_is_asked_for() {
        let server = Server { admin_listen: "127.0.0.1:0".parse().unwrap(), ..Server::default() };
        let refusal = Endpoint::of_listener(&server, server.admin_listen, "--admin-url").unwrap_err();
        assert!(refusal.to_string().contains("--admin-url"), "{refusal}");
    }
}
