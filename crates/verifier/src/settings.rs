//! What a verifier is told, and the check of it.

use std::time::Duration;

use grantry_jose::Algorithm;
use grantry_protocol::Secret;
use grantry_revocation::Freshness;
use url::{Host, Url};

use crate::ResourceMetadata;

const MOST_LEEWAY: Duration = Duration::from_secs(60);
const JWKS_REFRESH: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const MOST_JWKS_KEEP: Duration = Duration::from_secs(24 * 3600);
/// Tokens that are kept; each takes about 1.5 KiB.
const MOST_KEPT: usize = 10_000_000;

/// See [`Settings::new`] for what is used unless it is changed.
#[derive(Clone)]
pub struct Settings {
    /// As it stands in tokens, letter by letter.
    pub issuer: String,
    /// Names of this resource server. A token has to be for one of them.
    pub audiences: Vec<String>,
    /// What tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and verifier may be apart where `exp`, `nbf` and `iat` are judged; at most a minute.
    pub leeway: Duration,
    /// The bound of what is promised: 100 ms to 60 s.
    pub max_staleness: Duration,
    pub revocations: Revocations,
    /// What opaque tokens are asked about with; without it they are refused.
    pub introspection: Option<Introspection>,
    /// In place of what the issuer's metadata says.
    pub endpoints: Endpoints,
    /// How often the issuer's keys are fetched: 1 s to an hour. A key that the issuer has taken back is trusted for as long.
    pub jwks_refresh: Duration,
    /// How long keys are good that cannot be fetched again; not less than `jwks_refresh`, at most a day.
    pub jwks_keep: Duration,
    /// Verified tokens that are kept, so that they need not be verified again; 0 keeps none.
    pub token_capacity: usize,
    /// How this resource server describes itself; refusals lead there.
    pub resource: Option<ResourceMetadata>,
    /// Certificates, as PEM, of authorities that are trusted besides the system's.
    pub extra_roots: Option<Vec<u8>>,
    /// Whether `http://` will do where the host is not this one. Whoever can change what is on such a way can let anybody in.
    pub plain_http: bool,
}

/// Whether revoked tokens are refused before they expire.
#[derive(Clone)]
pub enum Revocations {
    /// The issuer's feed is followed, and while it cannot be, nothing is let in. The client needs the scope
    /// `grantry:revocations`.
    Followed(ClientCredentials),
    /// A JWT is good until it expires, whatever happens.
    Off,
}

/// How the issuer is asked about opaque tokens (RFC 7662).
#[derive(Clone)]
pub struct Introspection {
    pub credentials: ClientCredentials,
    /// Answers that are kept, for less than `max_staleness`; 0 keeps none.
    pub capacity: usize,
    /// How long an answer is waited for; 100 ms to 60 s.
    pub timeout: Duration,
}

impl Introspection {
    pub const fn new(credentials: ClientCredentials) -> Self {
        Self { credentials, capacity: 10_000, timeout: Duration::from_secs(5) }
    }
}

/// How this resource server shows who it is; sent as HTTP Basic (RFC 6749 §2.3.1).
#[derive(Clone)]
pub struct ClientCredentials {
    pub client_id: String,
    pub client_secret: Secret,
}

/// Where the issuer answers. What is absent is taken from its metadata (RFC 8414).
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    pub jwks: Option<String>,
    pub token: Option<String>,
    pub introspection: Option<String>,
    pub revocations: Option<String>,
}

/// Why a verifier cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("{key}: {problem}")]
    Setting { key: &'static str, problem: String },
    #[error("no requests can be made: {0}")]
    Client(String),
}

impl Settings {
    /// Revocations are followed with a bound of 1 s; 5 s of leeway; every algorithm that Grantry signs with; keys fetched
    /// every 5 minutes and kept for an hour; 20,000 verified tokens kept; opaque tokens refused.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, revocations: Revocations) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: vec![audience.into()],
            algorithms: Algorithm::ALL.to_vec(),
            leeway: Duration::from_secs(5),
            max_staleness: Duration::from_secs(1),
            revocations,
            introspection: None,
            endpoints: Endpoints::default(),
            jwks_refresh: Duration::from_secs(300),
            jwks_keep: Duration::from_secs(3600),
            token_capacity: 20_000,
            resource: None,
            extra_roots: None,
            plain_http: false,
        }
    }

    pub(crate) fn freshness(&self) -> Result<Freshness, StartError> {
        Freshness::new(self.max_staleness).map_err(|error| refused("max_staleness", error.to_string()))
    }

    /// # Errors
    /// The first setting that is wrong, with what it has to be.
    pub fn check(&self) -> Result<(), StartError> {
        let issuer = self.check_url("issuer", &self.issuer)?;
        if issuer.query().is_some() || issuer.fragment().is_some() {
            return Err(refused("issuer", "must not have a query or a fragment (RFC 8414 section 2)"));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(refused(
                "audience",
                "must name this resource server; an empty name would match nobody",
            ));
        }
        if self.algorithms.is_empty() {
            return Err(refused("algorithms", "must name at least one of EdDSA, ES256 and RS256"));
        }
        if self.leeway > MOST_LEEWAY {
            return Err(refused("leeway", format!("must be at most {MOST_LEEWAY:?}, not {:?}", self.leeway)));
        }
        self.freshness()?;
        if !JWKS_REFRESH.contains(&self.jwks_refresh) {
            let problem = format!(
                "must be {:?} to {:?}, not {:?}",
                JWKS_REFRESH.start(),
                JWKS_REFRESH.end(),
                self.jwks_refresh
            );
            return Err(refused("jwks_refresh", problem));
        }
        if self.jwks_keep < self.jwks_refresh || self.jwks_keep > MOST_JWKS_KEEP {
            let problem = format!("must be jwks_refresh to {MOST_JWKS_KEEP:?}, not {:?}", self.jwks_keep);
            return Err(refused("jwks_keep", problem));
        }
        self.check_capacity("token_capacity", self.token_capacity)?;
        if let Revocations::Followed(credentials) = &self.revocations {
            check_credentials("revocations", credentials)?;
        }
        if let Some(introspection) = &self.introspection {
            check_credentials("introspection", &introspection.credentials)?;
            self.check_capacity("introspection.capacity", introspection.capacity)?;
            if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&introspection.timeout) {
                return Err(refused("introspection.timeout", "must be 100 ms to 60 s"));
            }
        }
        let Endpoints { jwks, token, introspection, revocations } = &self.endpoints;
        for (key, url) in [
            ("endpoints.jwks", jwks),
            ("endpoints.token", token),
            ("endpoints.introspection", introspection),
            ("endpoints.revocations", revocations),
        ] {
            if let Some(url) = url {
                self.check_url(key, url)?;
            }
        }
        Ok(())
    }

    fn check_capacity(&self, key: &'static str, capacity: usize) -> Result<(), StartError> {
        match capacity <= MOST_KEPT {
            true => Ok(()),
            false => Err(refused(key, format!("must be at most {MOST_KEPT}, not {capacity}"))),
        }
    }

    /// # Errors
    /// What is no URL that keys or secrets may be sent over.
    pub(crate) fn check_url(&self, key: &'static str, text: &str) -> Result<Url, StartError> {
        let url = Url::parse(text).map_err(|error| refused(key, format!("must be a URL ({error})")))?;
        let is_here = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => return Err(refused(key, "must be a URL with a host")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(key, "must not hold a user or a password; remove it"));
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_here || self.plain_http => Ok(url),
            "http" => Err(refused(key, "must begin with https://, because its host is not this one")),
            _ => Err(refused(key, "must begin with https://")),
        }
    }
}

fn check_credentials(key: &'static str, credentials: &ClientCredentials) -> Result<(), StartError> {
    match credentials.client_id.is_empty() || credentials.client_secret.expose().is_empty() {
        true => Err(refused(key, "must have a client id and a client secret")),
        false => Ok(()),
    }
}

fn refused(key: &'static str, problem: impl Into<String>) -> StartError {
    StartError::Setting { key, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut Settings)) -> Result<(), StartError> {
        let client_secret = Secret::new("secret");
        let credentials = ClientCredentials { client_id: "api".to_owned(), client_secret };
        let mut settings =
            Settings::new("https://auth.example", "https://api.example", Revocations::Followed(credentials));
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn a_setting_that_cannot_be_is_refused_by_its_name() {
        assert_eq!(settings(|_| ()), Ok(()));
        type Change = fn(&mut Settings);
        let table: [(&str, Change); 13] = [
            ("issuer", |s| s.issuer = "auth.example".to_owned()),
            ("issuer", |s| s.issuer = "http://auth.example".to_owned()),
            ("issuer", |s| s.issuer = "https://auth.example?a".to_owned()),
            ("audience", |s| s.audiences.clear()),
            ("audience", |s| s.audiences.push(String::new())),
            ("algorithms", |s| s.algorithms.clear()),
            ("leeway", |s| s.leeway = Duration::from_secs(61)),
            ("max_staleness", |s| s.max_staleness = Duration::from_millis(99)),
            ("jwks_refresh", |s| s.jwks_refresh = Duration::ZERO),
            ("jwks_keep", |s| s.jwks_keep = Duration::from_secs(299)),
            ("token_capacity", |s| s.token_capacity = usize::MAX),
            ("endpoints.jwks", |s| s.endpoints.jwks = Some("http://auth.example/jwks".to_owned())),
            ("revocations", |s| {
                let client_secret = Secret::new("");
                s.revocations =
                    Revocations::Followed(ClientCredentials { client_id: "a".into(), client_secret });
            }),
        ];
        for (expected, change) in table {
            match settings(change) {
                Err(StartError::Setting { key, .. }) => assert_eq!(key, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_or_by_name() {
        for issuer in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost"] {
            assert_eq!(settings(|s| s.issuer = issuer.to_owned()), Ok(()), "{issuer}");
        }
        let named = settings(|s| (s.issuer, s.plain_http) = ("http://grantry:8080".to_owned(), true));
        assert_eq!(named, Ok(()));
    }
}
