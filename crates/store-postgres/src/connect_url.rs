//! What a `postgres://` URL says. The driver reads most of it; what concerns TLS is ours.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::open_error::OpenError;

pub struct Target {
    pub config: Config,
    pub tls: TlsWanted,
    /// Hosts, ports and database, for messages.
    pub server: String,
}

/// What `sslmode` and its relatives ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsWanted {
    None,
    Verified { roots: Option<PathBuf>, certificate: Option<(PathBuf, PathBuf)> },
}

/// Parameters that the driver does not get.
#[derive(Default)]
struct OfTls {
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
}

pub fn parse(url: &str) -> Result<Target, OpenError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(OpenError::Url("must begin with postgres://".into()));
    }
    let (rest, of_tls) = split(url)?;
    // Its errors do not show the URL, which may have a password in it.
    let config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        OpenError::Url(format!("cannot be read: {source}"))
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(OpenError::Url("names no host".into()));
    }
    let tls = wanted(of_tls, &config)?;
    Ok(Target { server: shown(&config), tls, config })
}

fn split(url: &str) -> Result<(String, OfTls), OpenError> {
    let mut of_tls = OfTls::default();
    let Some((address, query)) = url.split_once('?') else { return Ok((url.to_owned(), of_tls)) };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let Some((name, value)) = form_urlencoded::parse(pair.as_bytes()).next() else { continue };
        match name.as_ref() {
            "sslmode" => of_tls.sslmode = Some(value.into_owned()),
            "sslrootcert" => of_tls.sslrootcert = Some(PathBuf::from(value.into_owned())),
            "sslcert" => of_tls.sslcert = Some(PathBuf::from(value.into_owned())),
            "sslkey" => of_tls.sslkey = Some(PathBuf::from(value.into_owned())),
            _ => kept.push(pair),
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    Ok((format!("{address}{separator}{}", kept.join("&")), of_tls))
}

/// Without `sslmode` the connection is encrypted and the server verified, unless it never leaves the machine.
fn wanted(of_tls: OfTls, config: &Config) -> Result<TlsWanted, OpenError> {
    let certificate = match (of_tls.sslcert, of_tls.sslkey) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(OpenError::Url("has only one of sslcert and sslkey; name both".into())),
    };
    let verified = TlsWanted::Verified { roots: of_tls.sslrootcert, certificate };
    match of_tls.sslmode.as_deref() {
        Some("disable") => Ok(TlsWanted::None),
        Some("require" | "verify-ca" | "verify-full") => Ok(verified),
        Some(_) => Err(OpenError::Url(
            "has an sslmode that is neither verify-full (encrypted, and the server's name and certificate verified; \
             require and verify-ca mean the same here) nor disable (not encrypted)"
                .into(),
        )),
        None if config.get_hosts().iter().all(is_this_machine) => Ok(TlsWanted::None),
        None => Ok(verified),
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    }
}

fn shown(config: &Config) -> String {
    let hosts: Vec<_> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let ports = config.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Unix(path) => format!("{}:{port}", path.display()),
                Host::Tcp(name) => format!("{name}:{port}"),
            }
        })
        .collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    format!("{}/{database}", hosts.join(","))
}
