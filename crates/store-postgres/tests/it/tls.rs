use std::path::PathBuf;

use grantry_store_postgres::testing::ground::{Connector, Error, Link, Statement};
use grantry_store_postgres::testing::{Server, ServerOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{PATIENCE, options};

/// An authority, and a server with a certificate of it for `localhost`.
struct Scene {
    server: Server,
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Scene {
    fn new() -> Self {
        let (authority, key) = (authority("an authority"), KeyPair::generate().unwrap());
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap().pem();
        let options = ServerOptions {
            tls: Some((certificate, key.serialize_pem())),
            access: Some("hostssl all all 127.0.0.1/32 trust\n".into()),
            ..ServerOptions::default()
        };
        Self { server: Server::start(&options), authority, directory: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn url(&self, host: &str, query: &str) -> String {
        format!("postgres://grantry@{host}:{}/postgres?{query}", self.server.port())
    }

    fn trusting(&self, mode: &str) -> String {
        format!("sslmode={mode}&sslrootcert={}", self.file("root.pem", &self.authority.pem()).display())
    }
}

async fn connect(url: &str) -> Result<Link, Error> {
    let connector = Connector::new(url, &options(), &[]).unwrap();
    connector.connect(Instant::now() + PATIENCE, PATIENCE).await
}

#[tokio::test]
async fn a_server_of_the_authority_and_of_the_name_is_taken_and_the_connection_encrypted() {
    let scene = Scene::new();
    let encrypted: &Statement = &Statement {
        name: "encrypted",
        sql: "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        types: &[],
    };
    for mode in ["verify-full", "verify-ca", "require"] {
        let link = connect(&scene.url("localhost", &scene.trusting(mode))).await.unwrap();
        assert!(link.query_one(encrypted, &[]).await.unwrap().get::<_, bool>(0), "{mode}");
    }
}

#[tokio::test]
async fn a_server_of_another_authority_or_name_is_refused() {
    let scene = Scene::new();
    let other = scene.file("other.pem", &authority("another").pem());
    let query = format!("sslmode=verify-full&sslrootcert={}", other.display());
    let unknown = connect(&scene.url("localhost", &query)).await.map(drop).unwrap_err();
    assert!(unknown.to_string().contains("invalid peer certificate"), "{unknown}");
    // `require` asks for the name, too, unlike libpq's.
    let misnamed = connect(&scene.url("127.0.0.1", &scene.trusting("require"))).await.map(drop).unwrap_err();
    assert!(misnamed.to_string().contains("not valid for name"), "{misnamed}");
    let untrusted = connect(&scene.url("localhost", "sslmode=require")).await.map(drop).unwrap_err();
    assert!(untrusted.to_string().contains("invalid peer certificate"), "{untrusted}");
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_refused_where_encryption_is_wanted() {
    let scene = Scene::new();
    let plain = Server::start(&ServerOptions::default());
    let url = format!("postgres://grantry@localhost:{}/postgres?{}", plain.port(), scene.trusting("require"));
    let refused = connect(&url).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("server does not support TLS"), "{refused}");
    let unencrypted = connect(&scene.url("localhost", "sslmode=disable")).await.map(drop).unwrap_err();
    assert!(unencrypted.to_string().contains("pg_hba.conf"), "{unencrypted}");
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let scene = Scene::new();
    let root = scene.authority.pem();
    let directory = scene.directory.path().display().to_string();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "grantry");
    scene.file("client.pem", &params.signed_by(&key, &scene.authority).unwrap().pem());
    scene.file("client.key", &key.serialize_pem());
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = server.signed_by(&server_key, &scene.authority).unwrap().pem();
    let strict = Server::start(&ServerOptions {
        tls: Some((certificate, server_key.serialize_pem())),
        client_authority: Some(root),
        access: Some("hostssl all all 127.0.0.1/32 cert\n".into()),
        ..ServerOptions::default()
    });
    let url =
        format!("postgres://grantry@localhost:{}/postgres?{}", strict.port(), scene.trusting("verify-full"));
    connect(&url).await.map(drop).unwrap_err();
    connect(&format!("{url}&sslcert={directory}/client.pem&sslkey={directory}/client.key")).await.unwrap();
}

#[tokio::test]
async fn what_the_url_asks_of_tls_and_cannot_be_is_named() {
    let refused = |query: &str| {
        let url = format!("postgres://me:hunter2@db.example.org/x?{query}");
        let text = Connector::new(&url, &options(), &[]).map(drop).unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
        text
    };
    assert!(refused("sslmode=prefer").contains("neither verify-full"));
    assert!(refused("sslcert=/a").contains("only one of sslcert and sslkey"));
    assert!(refused("sslrootcert=/nowhere/root.pem").starts_with("/nowhere/root.pem (named by sslrootcert"));
    assert!(refused("sslmode=disable&nonsense=1").contains("nonsense"));
}

#[tokio::test]
async fn a_connection_within_the_machine_is_not_encrypted_unless_asked() {
    let scene = Scene::new();
    let refused = connect(&scene.url("127.0.0.1", "")).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("no encryption"), "{refused}");
}
