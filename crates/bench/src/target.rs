use std::net::{SocketAddr, ToSocketAddrs};

use http::Uri;

use crate::failure::Failure;

/// Where requests go: resolved once, so that no name look-up is measured.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// `host:port`, for the `Host` header.
    pub authority: String,
    pub path: String,
}

impl Target {
    /// # Errors
    /// `flag` names where the URL came from. The URL must be plain `http:`, and loopback unless `allow_remote`.
    pub fn parse(flag: &str, url: &str, allow_remote: bool) -> Result<Self, Failure> {
        let uri: Uri =
            url.parse().map_err(|error| Failure::new(format!("{flag} {url:?} is not a URL: {error}")))?;
        require_plain_http(flag, &uri)?;
        let (host, authority) = authority_of(flag, &uri)?;
        let address = resolve(flag, host, uri.port_u16().unwrap_or(80))?;
        if !allow_remote && !address.ip().is_loopback() {
            return Err(Failure::new(format!(
                "{flag} names {address}, which is not this machine; give --allow-remote if that server is yours to load"
            )));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { address, authority, path })
    }

    pub fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

fn require_plain_http(flag: &str, uri: &Uri) -> Result<(), Failure> {
    match uri.scheme_str() {
        Some("http") => Ok(()),
        Some("https") => Err(Failure::new(format!(
            "{flag} is https, and this generator speaks plain http only, so that it does not spend the server's cores \
             on its own cryptography; measure the server's plain listener on loopback"
        ))),
        _ => Err(Failure::new(format!(
            "{flag} must begin with http://, as in http://127.0.0.1:8080/oauth2/token"
        ))),
    }
}

fn authority_of<'a>(flag: &str, uri: &'a Uri) -> Result<(&'a str, String), Failure> {
    let authority = uri.authority().ok_or_else(|| Failure::new(format!("{flag} names no host")))?;
    if authority.as_str().contains('@') {
        return Err(Failure::new(format!(
            "{flag} holds a password; give --client-id and --client-secret-file"
        )));
    }
    Ok((authority.host(), authority.to_string()))
}

/// Loopback addresses come first, so that `localhost` is one whatever else it resolves to.
fn resolve(flag: &str, host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = (bare, port)
        .to_socket_addrs()
        .map_err(|error| Failure::new(format!("{flag}: the host {host:?} is not found: {error}")))?;
    found
        .min_by_key(|address| (!address.ip().is_loopback(), address.is_ipv6()))
        .ok_or_else(|| Failure::new(format!("{flag}: the host {host:?} has no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_accepted() {
        let target = Target::parse("--token-url", "http://127.0.0.1:8080/oauth2/token", false).unwrap();
        assert_eq!(target.to_string(), "http://127.0.0.1:8080/oauth2/token");
        assert_eq!(Target::parse("--token-url", "http://[::1]", false).unwrap().address.port(), 80);
    }

    #[test]
    fn a_remote_target_needs_the_flag() {
        let error = Target::parse("--token-url", "http://192.0.2.1/token", false).unwrap_err().to_string();
        assert!(error.contains("--allow-remote"), "{error}");
        assert!(Target::parse("--token-url", "http://192.0.2.1/token", true).is_ok());
    }

    #[test]
    fn https_says_why_not() {
        let error = Target::parse("--token-url", "https://127.0.0.1/token", false).unwrap_err().to_string();
        assert!(error.contains("plain http only"), "{error}");
    }

    #[test]
    fn a_password_in_the_url_is_refused() {
        assert!(Target::parse("--token-url", "http://me:secret@127.0.0.1/token", false).is_err());
    }
}
