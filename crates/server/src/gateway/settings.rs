//! The gateway's own settings, read and checked as those of the server are. The doc comments are the reference in
//! `docs/gateway.md`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use grantry_protocol::Lifetime;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::original::Proxy;
use crate::config::{Limits, Log, Password, Server};

/// All keys are below `[gateway]`, so that `GRANTRY_GATEWAY__` is what their variables begin with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GatewayConfig {
    /// Whose tokens are taken, and from whom the gateway is asked.
    pub gateway: Gateway,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gateway {
    /// The `issuer` of the authorization server, letter by letter. Must be set.
    #[schemars(extend("example" = "https://auth.example"))]
    pub issuer: Option<String>,
    /// Names of the resource: a token needs one of them in its `aud`. At least one.
    #[schemars(extend("example" = ["https://api.example"]))]
    pub audience: Vec<String>,
    /// The URL by which clients know what is behind the proxy, one of `audience`. With it the gateway answers, to anybody that
    /// the proxy lets through, at `/.well-known/oauth-protected-resource` with the path of this URL behind it (RFC 9728), and
    /// names that address to whoever is refused, as `resource_metadata`.
    #[schemars(extend("example" = "https://api.example"))]
    pub resource: Option<String>,
    /// Which proxy asks, and so where it says what the original request is: `nginx` in `X-Original-Method` and
    /// `X-Original-URI`, `traefik` in `X-Forwarded-Method` and `X-Forwarded-Uri`, `envoy` in the method and the path of the
    /// check itself. Must be set; what the other two would say does not count.
    #[schemars(with = "Option<Proxy>", extend("example" = "nginx"))]
    pub proxy: Option<Proxy>,
    /// Networks in CIDR notation that the proxies connect from. Anybody else is answered 403.
    #[schemars(with = "Vec<String>", extend("example" = ["10.0.0.0/8"]))]
    pub trusted_proxies: Vec<IpNet>,
    /// Address and port where the proxies ask. Port 0 takes a free one. Beyond loopback it needs `tls_cert` and `tls_key`, or
    /// `private_network`, because tokens pass through it.
    pub listen: SocketAddr,
    /// Address and port of `/healthz`, `/readyz` and `/metrics`. Neither tokens nor secrets pass through it.
    pub admin_listen: SocketAddr,
    /// PEM file with the certificate for `listen` and its intermediates. Re-read when it changes.
    #[schemars(extend("example" = "gateway.pem"))]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of `tls_cert`. Re-read with it.
    #[schemars(extend("example" = "gateway.key"))]
    pub tls_key: Option<PathBuf>,
    /// Nobody else is on the network between the proxies, the gateway and the issuer, so plain HTTP beyond loopback is
    /// allowed, for `listen` and for `endpoints`. The issuer itself is known by its `https` URL in any case.
    pub private_network: bool,
    /// What holds for a path that no rule fits: `deny` answers 403, `authenticated` wants a token with any scope.
    pub default: Unmatched,
    /// How long after a revocation was acknowledged a request may still pass; the age of what the server knows and the way
    /// from it are counted in. A gateway that cannot be sure of it answers 503. 100ms to 60s.
    pub max_staleness: Lifetime,
    /// `follow` the revocation feed of the issuer. `off`: a JWT is good until it expires, revoked or not.
    pub revocations: Revocations,
    /// The client that reads the revocation feed; it needs the scope `grantry:revocations`.
    pub feed: Login,
    /// The client that opaque tokens are introspected with; it needs the scope `grantry:introspect`, or a `resources` that
    /// names the audience. Without it opaque tokens are answered 401.
    pub introspection: Login,
    /// Where the issuer answers, if not where its metadata says.
    pub endpoints: IssuerEndpoints,
    /// PEM file with root certificates that are trusted besides those of the system, for requests to the issuer. Read at the
    /// start.
    #[schemars(extend("example" = "/etc/ssl/private-ca.pem"))]
    pub ca_file: Option<PathBuf>,
    /// Verified tokens that are kept, so that a signature is verified once; each is judged anew whenever it is shown. 0 to
    /// 1000000.
    pub token_capacity: usize,
    /// What requests need, by path. A rule has `prefix` or `exact`; `scopes` (all of them are needed), or `public = true`;
    /// and `methods` if it is for these only. The most specific path counts: `exact` before `prefix`, a longer one before a
    /// shorter one. At most 1000 rules.
    #[schemars(extend("example" = [{ "prefix": "/orders", "methods": ["GET"], "scopes": ["orders:read"] }]))]
    pub paths: Vec<PathRule>,
    /// Bounds on what one caller, or all of them together, can make the gateway do.
    pub limits: GatewayLimits,
    /// What is written to standard error.
    pub log: Log,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: Vec::new(),
            resource: None,
            proxy: None,
            trusted_proxies: ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse().ok()).collect(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8091)),
            tls_cert: None,
            tls_key: None,
            private_network: false,
            default: Unmatched::Deny,
            max_staleness: Lifetime::from_secs(1),
            revocations: Revocations::Follow,
            feed: Login::default(),
            introspection: Login::default(),
            endpoints: IssuerEndpoints::default(),
            ca_file: None,
            token_capacity: 20_000,
            paths: Vec::new(),
            limits: GatewayLimits::default(),
            log: Log::default(),
        }
    }
}

impl Gateway {
    /// The certificate as the server's listeners know it.
    pub fn tls(&self) -> Server {
        Server { tls_cert: self.tls_cert.clone(), tls_key: self.tls_key.clone(), ..Server::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Unmatched {
    Deny,
    Authenticated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Revocations {
    Follow,
    Off,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// Its id.
    #[schemars(extend("example" = "gateway"))]
    pub client_id: Option<String>,
    /// Its secret.
    #[schemars(with = "Option<String>", extend("example" = "..."))]
    pub client_secret: Option<Password>,
    /// A file whose first line is the secret, instead of `client_secret`.
    #[schemars(extend("example" = "/run/secrets/gateway"))]
    pub client_secret_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct IssuerEndpoints {
    /// URL of its keys.
    #[schemars(extend("example" = "http://grantry:8080/oauth2/jwks"))]
    pub jwks: Option<String>,
    /// URL where tokens are got for the feed.
    #[schemars(extend("example" = "http://grantry:8080/oauth2/token"))]
    pub token: Option<String>,
    /// URL of the revocation feed.
    #[schemars(extend("example" = "http://grantry:8080/oauth2/revocations"))]
    pub revocations: Option<String>,
    /// URL where opaque tokens are asked about.
    #[schemars(extend("example" = "http://grantry:8080/oauth2/introspect"))]
    pub introspection: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PathRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    pub methods: Vec<String>,
    pub scopes: Vec<String>,
    pub public: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayLimits {
    /// The largest request head, in bytes; a larger one is answered 431. At least 8192; more than the proxy lets through.
    pub max_header_bytes: usize,
    /// How long a proxy may take for the TLS handshake, and for the head of a request. An idle connection is closed after as
    /// long, so the proxy's own time for idle connections must be shorter.
    pub header_timeout: Lifetime,
    /// How long a check may take altogether, before it is answered 503.
    pub request_timeout: Lifetime,
    /// Checks that are worked on at the same time; one more is answered 503.
    pub max_concurrent_requests: usize,
    /// Open connections, for each of the two listeners; one more waits to be accepted.
    pub max_connections: usize,
    /// How long checks that are under way at SIGTERM may take to finish.
    pub shutdown_grace: Lifetime,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            max_header_bytes: 65_536,
            header_timeout: Lifetime::from_secs(120),
            request_timeout: Lifetime::from_secs(5),
            max_concurrent_requests: 4096,
            max_connections: 10_000,
            shutdown_grace: Lifetime::from_secs(10),
        }
    }
}

impl GatewayLimits {
    /// As the listeners know them.
    pub fn of_listener(&self) -> Limits {
        Limits {
            max_header_bytes: self.max_header_bytes,
            header_timeout: self.header_timeout,
            body_timeout: self.request_timeout,
            request_timeout: self.request_timeout,
            max_concurrent_requests: self.max_concurrent_requests,
            max_connections: self.max_connections,
            shutdown_grace: self.shutdown_grace,
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GatewayConfig;
    use crate::config::{sections_of, table};

    #[test]
    fn the_tables_in_the_documentation_are_those_that_are_made() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/gateway.md");
        let written = std::fs::read_to_string(path).unwrap();
        let made: String = sections_of::<GatewayConfig>().iter().map(table).collect();
        assert!(written.ends_with(&made), "docs/gateway.md must end with these tables:\n{made}");
    }
}
