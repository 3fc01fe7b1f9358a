//! What the types cannot tell: values out of bounds, and settings that contradict one another. Every sentence names the
//! key and the fix.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use grantry_protocol::Lifetime;
use url::{Host, Url};

use super::load::Origin;
use super::{Config, Environment, Problem};

type Origins = BTreeMap<String, Origin>;

/// hyper refuses a smaller read buffer.
const LEAST_HEADER_BYTES: usize = 8192;
const LEAST_BODY_BYTES: usize = 1024;
/// Bounds that nobody needs to pass and that keep sums and allocations harmless.
const MOST_BYTES: usize = 64 * 1024 * 1024;
const MOST_AT_ONCE: usize = 1_000_000;

/// A new signing key waits for as long before its first use.
const LEAST_JWKS_MAX_AGE: Lifetime = Lifetime::from_secs(1);
const MOST_JWKS_MAX_AGE: Lifetime = Lifetime::from_secs(24 * 3600);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// All contradictions; none means that the settings can be used.
pub fn check(config: &Config, origins: &Origins, environment: &Environment) -> Vec<Problem> {
    let mut check = Check { config, origins, problems: Vec::new() };
    check.issuer();
    check.listeners();
    check.tls();
    check.proxies();
    check.store();
    check.keys();
    check.token_persistence();
    check.tokens();
    check.cache();
    check.data_space();
    check.limits();
    check.outbound();
    check.log();
    check.bootstrap(environment);
    check.problems
}

/// What is wrong, as it is found. `[store]` and `[token_persistence]` are checked in `check_store.rs`, `[cache]` in
/// `check_cache.rs`, `[data_space]` in `check_data_space.rs`.
pub struct Check<'a> {
    pub config: &'a Config,
    pub origins: &'a Origins,
    problems: Vec<Problem>,
}

impl Check<'_> {
    pub fn refuse(&mut self, key: &str, problem: impl std::fmt::Display) {
        let place = self.origins.get(key).map(Origin::to_string);
        self.problems.push(Problem { place, sentence: format!("{key}: {problem}") });
    }

    fn issuer(&mut self) {
        let server = &self.config.server;
        let Some(issuer) = &server.issuer else {
            if !server.listen.ip().is_loopback() {
                self.refuse(
                    "server.issuer",
                    "must be set when server.listen is not a loopback address: the URL under which clients reach \
                     this server, such as \"https://auth.example\"",
                );
            }
            return;
        };
        if let Err(problem) = check_issuer(issuer) {
            self.refuse("server.issuer", problem);
        }
    }

    fn listeners(&mut self) {
        let server = &self.config.server;
        let encrypted = server.tls_cert.is_some() || server.behind_tls_proxy;
        for (key, address) in [("server.listen", server.listen), ("server.admin_listen", server.admin_listen)]
        {
            if !address.ip().is_loopback() && !encrypted {
                self.refuse(
                    key,
                    format!(
                        "{address} is reachable from other machines, and tokens and secrets would cross the network \
                         in the clear. One of three: set server.tls_cert and server.tls_key; set \
                         server.behind_tls_proxy = true if a proxy in front ends TLS; or listen on a loopback \
                         address such as 127.0.0.1:{}",
                        address.port()
                    ),
                );
            }
        }
        if overlap(server.listen, server.admin_listen) {
            self.refuse(
                "server.admin_listen",
                format!(
                    "{} and server.listen ({}) are the same; give the admin API a port of its own",
                    server.admin_listen, server.listen
                ),
            );
        }
    }

    fn tls(&mut self) {
        let server = &self.config.server;
        match (&server.tls_cert, &server.tls_key) {
            (Some(_), None) => {
                self.refuse("server.tls_cert", "needs its private key; set server.tls_key, or remove both");
            }
            (None, Some(_)) => {
                self.refuse("server.tls_key", "needs its certificate; set server.tls_cert, or remove both");
            }
            (Some(cert), Some(key)) => {
                self.not_empty("server.tls_cert", cert);
                self.not_empty("server.tls_key", key);
                if server.issuer.as_ref().is_some_and(|issuer| issuer.starts_with("http://")) {
                    self.refuse(
                        "server.issuer",
                        "begins with http://, but with server.tls_cert the listeners speak TLS only; write https://",
                    );
                }
            }
            (None, None) => {}
        }
    }

    fn proxies(&mut self) {
        let server = &self.config.server;
        if !server.trusted_proxies.is_empty() && !server.behind_tls_proxy {
            self.refuse(
                "server.trusted_proxies",
                "only means something behind a proxy; set server.behind_tls_proxy = true, or remove it",
            );
        }
    }

    fn keys(&mut self) {
        let keys = &self.config.keys;
        self.not_empty("keys.master_key_file", &keys.master_key_file);
        if keys.jwks_max_age < LEAST_JWKS_MAX_AGE || keys.jwks_max_age > MOST_JWKS_MAX_AGE {
            self.refuse(
                "keys.jwks_max_age",
                format!(
                    "{} is out of bounds; choose something from {LEAST_JWKS_MAX_AGE} to {MOST_JWKS_MAX_AGE}",
                    keys.jwks_max_age
                ),
            );
        }
    }

    fn tokens(&mut self) {
        // The issuer has been checked for itself; any will do here.
        let settings = self.config.token_settings("http://127.0.0.1".to_owned());
        if let Err(error) = settings.validate() {
            self.refuse(error.key, error.problem);
        }
        let audience = self.config.tokens.default_audience.as_deref();
        let written =
            |name: &String| !name.is_empty() && name.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if audience.is_some_and(|names| names.is_empty() || !names.iter().all(written)) {
            self.refuse(
                "tokens.default_audience",
                "must have at least one name, each of printable ASCII characters without spaces; remove it to have \
                 the issuer as audience",
            );
        }
    }

    fn limits(&mut self) {
        let limits = &self.config.limits;
        self.within("limits.max_body_bytes", limits.max_body_bytes, LEAST_BODY_BYTES, MOST_BYTES);
        self.within("limits.max_header_bytes", limits.max_header_bytes, LEAST_HEADER_BYTES, MOST_BYTES);
        self.within("limits.max_concurrent_requests", limits.max_concurrent_requests, 1, MOST_AT_ONCE);
        self.within("limits.max_connections", limits.max_connections, 1, MOST_AT_ONCE);
        for (key, count) in [
            ("limits.failed_attempts_per_client", limits.failed_attempts_per_client),
            ("limits.failed_attempts_per_address", limits.failed_attempts_per_address),
        ] {
            self.within(key, count as usize, 1, MOST_AT_ONCE);
        }
        for (key, span) in [
            ("limits.header_timeout", limits.header_timeout),
            ("limits.body_timeout", limits.body_timeout),
            ("limits.request_timeout", limits.request_timeout),
            ("limits.failed_attempts_window", limits.failed_attempts_window),
            ("store.busy_timeout", self.config.store.busy_timeout),
        ] {
            if span.as_duration() < Duration::from_millis(1) {
                self.refuse(key, "must be longer than nothing; write for example \"10s\"");
            }
        }
        let (body, request) = (limits.body_timeout, limits.request_timeout);
        if body > request {
            self.refuse(
                "limits.body_timeout",
                format!(
                    "{body} is longer than limits.request_timeout ({request}), so it would never come to bear: shorten \
                     the one or lengthen the other"
                ),
            );
        }
    }

    fn outbound(&mut self) {
        let outbound = &self.config.outbound;
        if let Some(path) = &outbound.ca_file {
            self.not_empty("outbound.ca_file", path);
        }
        let (timeout, request) = (outbound.timeout, self.config.limits.request_timeout);
        if timeout.as_duration() < Duration::from_millis(1) {
            self.refuse("outbound.timeout", "must be longer than nothing; write for example \"5s\"");
        }
        if timeout >= request {
            self.refuse(
                "outbound.timeout",
                format!(
                    "{timeout} is not less than limits.request_timeout ({request}), so the request that waits for the \
                     answer would be given up first: shorten the one or lengthen the other"
                ),
            );
        }
    }

    fn log(&mut self) {
        if !is_log_filter(&self.config.log.level) {
            self.refuse(
                "log.level",
                format!(
                    "must be one of {}, or several as in \"info,grantry_persistence=debug\"",
                    LEVELS.join(", ")
                ),
            );
        }
    }

    fn bootstrap(&mut self, environment: &Environment) {
        let id = environment.get("GRANTRY_BOOTSTRAP_CLIENT_ID");
        let secret = environment.get("GRANTRY_BOOTSTRAP_CLIENT_SECRET");
        let file = environment.get("GRANTRY_BOOTSTRAP_CLIENT_SECRET_FILE");
        let sentence = match (id, secret, file) {
            (_, Some(_), Some(_)) => {
                "set GRANTRY_BOOTSTRAP_CLIENT_SECRET or GRANTRY_BOOTSTRAP_CLIENT_SECRET_FILE, not both"
            }
            (Some(_), None, None) => {
                "GRANTRY_BOOTSTRAP_CLIENT_ID needs GRANTRY_BOOTSTRAP_CLIENT_SECRET (or ..._SECRET_FILE); set it, or unset both"
            }
            (None, Some(_), _) | (None, _, Some(_)) => {
                "the secret of the first client needs its id: set GRANTRY_BOOTSTRAP_CLIENT_ID, or unset both"
            }
            _ => return,
        };
        self.problems.push(Problem::new(sentence));
    }

    pub fn within(&mut self, key: &str, value: usize, least: usize, most: usize) {
        if value < least || value > most {
            self.refuse(key, format!("{value} is out of bounds; choose something from {least} to {most}"));
        }
    }

    pub fn not_empty(&mut self, key: &str, path: &Path) {
        if path.as_os_str().is_empty() {
            self.refuse(key, "names no file");
        }
    }
}

pub fn check_issuer(issuer: &str) -> Result<(), String> {
    let shape = "must be a URL such as \"https://auth.example\"";
    let url = Url::parse(issuer).map_err(|error| format!("{shape} ({error})"))?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(format!("{shape}; this one has no host")),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => {
            return Err("must begin with https://, because its host is not a loopback address (RFC 8414 section 2); if a \
                        proxy in front ends TLS, write the https:// URL that clients use"
                .to_owned());
        }
        _ => return Err(format!("{shape}; this one is neither https nor http")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment (RFC 8414 section 2); remove it".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password; remove it".to_owned());
    }
    if issuer.ends_with('/') {
        return Err(
            "must not end with a slash, because clients compare it letter by letter; remove it".to_owned()
        );
    }
    Ok(())
}

/// Whether two listeners would want the same port.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// The filter's own parser takes a misspelt level for the name of a module, and would silently log nothing.
pub fn is_log_filter(text: &str) -> bool {
    !text.is_empty()
        && text.split(',').all(|directive| {
            let (module, level) = match directive.split_once('=') {
                Some((module, level)) => (Some(module), level),
                None => (None, directive),
            };
            let is_module = |name: &str| {
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
            };
            LEVELS.contains(&level) && module.is_none_or(is_module)
        })
}
