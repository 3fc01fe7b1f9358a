//! The gateway's own listener with TLS.

use reqwest::{Client, StatusCode};

use super::stage::{Gateway, Issuer, PATIENT};
use crate::home::Home;
use crate::tls::new_certificate;
use crate::wait;

#[tokio::test]
async fn checks_are_asked_over_tls_and_a_new_certificate_is_served_without_a_restart() {
    let issuer = Issuer::start().await;
    let certificates = Home::new();
    let http = new_certificate(&certificates);
    let file = |name| certificates.path(name).display().to_string();
    let tls = format!("{PATIENT}\ntls_cert = \"{}\"\ntls_key = \"{}\"", file("cert.pem"), file("key.pem"));
    let gateway = Gateway::ready(&issuer, &tls).await;
    let token = issuer.token("read", 0).await;
    let ask = async |http: &Client, scheme: &str, path: &str| {
        let url = format!("{scheme}://127.0.0.1:{}/check", gateway.port);
        let request = http.get(url).header("x-original-method", "GET").header("x-original-uri", path);
        request.bearer_auth(&token).send().await
    };

    let answer = ask(&http, "https", "/read").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-grantry-client"], issuer.caller.0.as_str());
    assert_eq!(ask(&http, "https", "/read/admin").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert!(ask(&http, "http", "/read").await.is_err(), "a token does not pass in the clear");

    let renewed = new_certificate(&certificates);
    wait::until("the new certificate is served", async || ask(&renewed, "https", "/read").await.ok()).await;
    assert!(gateway.process.out().contains(&format!("https://127.0.0.1:{}/check", gateway.port)));
}
