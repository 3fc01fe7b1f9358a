//! TLS with a certificate that is re-read when its files change.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::counter;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::config::Server;
use crate::failure::Failure;

/// How often the files are looked at. They are small, and comparing what they hold finds every way of replacing them,
/// which their times do not.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What is served, and the files that it comes from.
pub struct Certificate {
    files: Files,
    read: Contents,
    served: Arc<Served>,
}

#[derive(Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

struct Served(ArcSwap<CertifiedKey>);

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Served")
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// `None` when the settings name no certificate.
    pub fn of(server: &Server) -> Result<Option<Self>, Failure> {
        let (Some(cert), Some(key)) = (&server.tls_cert, &server.tls_key) else { return Ok(None) };
        let files = Files { cert: cert.clone(), key: key.clone() };
        let read = files.read().map_err(Failure::new)?;
        let served = Served(ArcSwap::from_pointee(files.parse(&read).map_err(Failure::new)?));
        Ok(Some(Self { files, read, served: Arc::new(served) }))
    }

    pub fn acceptor(&self) -> Result<TlsAcceptor, Failure> {
        let versions = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| Failure::new(format!("TLS cannot be set up: {error}")))?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Served>::clone(&self.served);
        let mut config = versions.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks at the files for ever; run it as a task. What is of no use is not served, and complained about once.
    pub async fn keep_current(mut self) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let files = self.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || files.read()).await else { continue };
            match read {
                // While it is being replaced, a file may be missing for a moment.
                Err(problem) => tracing::debug!(problem, "the certificate cannot be looked at"),
                Ok(read) if read == self.read => {}
                Ok(read) => self.take_over(read),
            }
        }
    }

    fn take_over(&mut self, read: Contents) {
        match self.files.parse(&read) {
            Ok(certified) => {
                self.served.0.store(Arc::new(certified));
                counter!("grantry_tls_reloads_total", "outcome" => "served").increment(1);
                tracing::info!("the certificate has changed; the new one is served from now on");
            }
            Err(problem) => {
                counter!("grantry_tls_reloads_total", "outcome" => "refused").increment(1);
                tracing::error!(
                    problem,
                    "the certificate has changed to one of no use; the old one is still served"
                );
            }
        }
        self.read = read;
    }
}

impl Files {
    fn read(&self) -> Result<Contents, String> {
        let read = |key, path: &PathBuf| {
            std::fs::read(path).map_err(|error| format!("{key}: {} cannot be read: {error}", path.display()))
        };
        let key = Zeroizing::new(read("server.tls_key", &self.key)?);
        Ok(Contents { cert: read("server.tls_cert", &self.cert)?, key })
    }

    fn parse(&self, read: &Contents) -> Result<CertifiedKey, String> {
        let (cert, key) = (self.cert.display(), self.key.display());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&read.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("server.tls_cert: {cert} is not a PEM file: {error}"))?;
        if chain.is_empty() {
            return Err(format!("server.tls_cert: {cert} holds no certificate (PEM, BEGIN CERTIFICATE)"));
        }
        let private = PrivateKeyDer::from_pem_slice(&read.key)
            .map_err(|error| format!("server.tls_key: {key} holds no private key (PEM): {error}"))?;
        CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|error| {
            format!("server.tls_key: the key in {key} cannot be used with the certificate in {cert}: {error}")
        })
    }
}
