use std::fs;
use std::process::Command;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client};
use serde_json::Value;

use crate::home::{Home, text};
use crate::process::Process;
use crate::test_server::TestServer;
use crate::wait;

const CONFIG: &str = "[server]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";

/// Puts a new certificate for 127.0.0.1 in place and gives a client that trusts nothing else.
pub fn new_certificate(home: &Home) -> Client {
    trusting(&write_certificate(home))
}

/// The certificate as PEM.
fn write_certificate(home: &Home) -> String {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(home.path("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::write(home.path("cert.pem"), cert.pem()).unwrap();
    cert.pem()
}

/// A client that has never met the server: one that has may resume its session without looking at a certificate.
fn trusting(pem: &str) -> Client {
    let trusted = Certificate::from_pem(pem.as_bytes()).unwrap();
    // Without a pool, so that every request is a connection.
    Client::builder().tls_certs_only([trusted]).pool_max_idle_per_host(0).build().unwrap()
}

async fn start(home: &Home, http: Client) -> TestServer {
    let mut command = home.serve();
    command.env_remove("GRANTRY_SERVER__ISSUER");
    TestServer::ready_for(Process::spawn(&mut command), http).await
}

#[tokio::test]
async fn both_listeners_speak_tls_and_the_command_line_trusts_our_own_certificate() {
    let home = Home::with_config(CONFIG);
    let server = start(&home, new_certificate(&home)).await;
    assert!(server.url.starts_with("https://") && server.admin_url.starts_with("https://"));
    server.token(&home.first_client(), &[]).await;
    let out = server.process.out();
    let line = out.lines().find(|line| line.trim_start().starts_with("curl")).unwrap();
    let pasted = Command::new("bash").arg("-c").arg(line).current_dir(home.root()).output().unwrap();
    assert!(text(&pasted).contains("access_token"), "{line}: {}", text(&pasted));

    let listed = home.run(&[
        "clients",
        "list",
        "--json",
        "--admin-url",
        &server.admin_url,
        "--server-url",
        &server.url,
    ]);
    let listed: Value =
        serde_json::from_slice(&listed.stdout).unwrap_or_else(|_| panic!("{}", text(&listed)));
    assert_eq!(listed[0]["client_id"], "admin");
    // Plain HTTP on a TLS port is refused without an answer.
    assert!(server.http.get(server.url.replace("https", "http")).send().await.is_err());
}

#[tokio::test]
async fn http_2_is_spoken_with_tls_and_without() {
    let curl = |home: &Home, args: &[&str]| {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"])
            .args(args)
            .current_dir(home.root())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let home = Home::with_config(CONFIG);
    let server = start(&home, new_certificate(&home)).await;
    let url = format!("{}/oauth2/jwks", server.url);
    assert_eq!(curl(&home, &["--http2", "--cacert", "cert.pem", &url]), "2 200");
    assert_eq!(curl(&home, &["--http1.1", "--cacert", "cert.pem", &url]), "1.1 200");
    let home = Home::new();
    let server = home.start().await;
    assert_eq!(curl(&home, &["--http2-prior-knowledge", &format!("{}/oauth2/jwks", server.url)]), "2 200");
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let home = Home::with_config(CONFIG);
    let old = write_certificate(&home);
    let server = start(&home, trusting(&old)).await;
    let url = format!("{}/healthz", server.url);
    let served = async |pem: &String| trusting(pem).get(&url).send().await.is_ok();
    assert!(served(&old).await);

    let new = write_certificate(&home);
    wait::until("the new certificate is served", async || served(&new).await.then_some(())).await;
    assert!(!served(&old).await, "the old one is served no more");

    fs::write(home.path("cert.pem"), "-----BEGIN NONSENSE-----\n").unwrap();
    wait::until("the broken certificate is complained about", async || {
        server.process.err().contains("the old one is still served").then_some(())
    })
    .await;
    assert!(served(&new).await);

    let mended = write_certificate(&home);
    wait::until("the mended certificate is served", async || served(&mended).await.then_some(())).await;
}

#[test]
fn a_key_that_does_not_belong_to_the_certificate_is_refused_at_the_start() {
    let home = Home::with_config(CONFIG);
    new_certificate(&home);
    let key = fs::read(home.path("key.pem")).unwrap();
    new_certificate(&home);
    fs::write(home.path("key.pem"), key).unwrap();
    let said = text(&home.serve().env_remove("GRANTRY_SERVER__ISSUER").output().unwrap());
    assert!(said.contains("server.tls_key: the key in key.pem cannot be used"), "{said}");

    fs::remove_file(home.path("cert.pem")).unwrap();
    let said = text(&home.serve().env_remove("GRANTRY_SERVER__ISSUER").output().unwrap());
    assert!(said.contains("server.tls_cert: cert.pem cannot be read"), "{said}");
}
