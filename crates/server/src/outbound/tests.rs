use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::*;

fn settings(allowed: &[&str]) -> config::Outbound {
    config::Outbound {
        allowed_networks: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        ..config::Outbound::default()
    }
}

/// A name server that leads inside as well as outside, as one under an attacker's control would.
fn inside_and_outside(_: String) -> Resolving {
    let found = ["10.0.0.1:0", "[::1]:0", "1.1.1.1:0", "[::ffff:127.0.0.1]:0"];
    let found: Vec<SocketAddr> = found.iter().map(|address| address.parse().unwrap()).collect();
    Box::pin(async { Ok(Box::new(found.into_iter()) as Addrs) })
}

fn only_inside(_: String) -> Resolving {
    let found: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
    Box::pin(async { Ok(Box::new(found.into_iter()) as Addrs) })
}

async fn resolved(look_up: LookUp, allowed: &[&str]) -> Result<Vec<String>, String> {
    let reach = Arc::new(Reach::new(settings(allowed).allowed_networks));
    let name: Name = "keys.example".parse().unwrap();
    let found = CheckedNames { reach, look_up }.resolve(name).await;
    found
        .map(|found| found.map(|address| address.ip().to_string()).collect())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_connection_is_only_offered_the_addresses_within_reach() {
    assert_eq!(resolved(inside_and_outside, &[]).await.unwrap(), ["1.1.1.1"]);
    assert_eq!(resolved(inside_and_outside, &["10.0.0.0/8"]).await.unwrap(), ["10.0.0.1", "1.1.1.1"]);
    let refused = resolved(only_inside, &[]).await.unwrap_err();
    assert!(refused.contains("outbound.allowed_networks"), "{refused}");
}

#[tokio::test]
async fn a_name_that_leads_inside_only_is_refused_and_not_called_an_outage() {
    let outbound = Outbound::with_look_up(&settings(&[]), only_inside).unwrap();
    let refused = outbound.fetch("https://keys.example/jwks").await.unwrap_err();
    assert!(matches!(&refused, FetchError::Refused(_)), "{refused}");
}

#[tokio::test]
async fn a_host_that_is_an_address_is_checked_however_it_is_written() {
    let outbound = Outbound::new(&settings(&[])).unwrap();
    for url in [
        "https://127.0.0.1/jwks",
        "https://127.1/jwks",
        "https://2130706433/jwks",
        "https://0x7f.0.0.1/jwks",
        "https://0177.0.0.1/jwks",
        "https://[::1]:8443/jwks",
        "https://[::ffff:169.254.169.254]/latest/meta-data",
        "https://[64:ff9b::a00:1]/jwks",
        "http://1.1.1.1/jwks",
        "file:///etc/passwd",
        "no URL",
    ] {
        let refused = outbound.fetch(url).await.unwrap_err();
        assert!(matches!(&refused, FetchError::Refused(_)), "{url}: {refused}");
    }
}

#[test]
fn a_file_of_roots_that_is_of_no_use_is_an_error_that_names_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for content in [None, Some(""), Some("no PEM"), Some(nonsense)] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let settings = config::Outbound { ca_file: Some(path.clone()), ..config::Outbound::default() };
        let refused =
            Outbound::new(&settings).err().unwrap_or_else(|| panic!("{content:?} was taken")).to_string();
        assert!(refused.starts_with("outbound.ca_file: "), "{refused}");
    }
}
