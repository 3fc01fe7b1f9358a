//! Requests that the server itself makes: the key sets of clients.

use std::net::TcpListener;

use reqwest::Response;
use serde_json::{Value, json};

use crate::assertion::{Assertions, CLIENT_ASSERTION};
use crate::home::{Home, text};
use crate::key_server::KeyServer;
use crate::test_server::TestServer;
use crate::wait;

const OPEN: &str =
    "[outbound]\nca_file = \"ca.pem\"\nallowed_networks = [\"127.0.0.0/8\"]\ntimeout = \"1s\"\n";

/// Registers a client whose keys are at a URL, and gives its id.
async fn client_with_keys_at(home: &Home, server: &TestServer, url: &str) -> String {
    let metadata = json!({
        "scope": "read",
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks_uri": url,
    });
    let client = server.register(&home.first_client(), metadata).await;
    client["client_id"].as_str().unwrap().to_owned()
}

async fn ask(server: &TestServer, client: &str, keys: &Assertions) -> Response {
    let assertion = keys.sign(client, client);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion.as_str()),
    ];
    server.http.post(format!("{}/oauth2/token", server.url)).form(&form).send().await.unwrap()
}

#[tokio::test]
async fn keys_are_fetched_once_from_where_the_client_publishes_them() {
    let home = Home::with_config(OPEN);
    let keys = Assertions::new();
    let published = KeyServer::start(&home, &keys.jwks());
    let server = home.start().await;
    let client = client_with_keys_at(&home, &server, &published.url("/keys")).await;
    assert_eq!(published.connections(), 0, "nothing is fetched before it is needed");
    for _ in 0..2 {
        let answer = ask(&server, &client, &keys).await;
        let (status, json) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{json}");
    }
    assert_eq!(published.connections(), 1, "a copy is kept");
    let head = published.requests()[0].to_lowercase();
    assert!(head.starts_with("get /keys http/1.1\r\n"), "{head}");
    assert!(head.contains(concat!("user-agent: grantry/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
    assert_eq!(server.metric("grantry_outbound_requests_total", "outcome=\"fetched\"").await, 1.0);

    // A name is checked as its addresses are.
    let by_name = published.url("/keys").replace("127.0.0.1", "localhost");
    let client = client_with_keys_at(&home, &server, &by_name).await;
    assert_eq!(ask(&server, &client, &keys).await.status(), 200);
}

#[tokio::test]
async fn without_leave_no_connection_goes_into_the_servers_own_network() {
    let home = Home::with_config("[outbound]\nca_file = \"ca.pem\"\n");
    let keys = Assertions::new();
    let published = KeyServer::start(&home, &keys.jwks());
    let server = home.start().await;
    let url = published.url("/keys");
    for url in [url.clone(), url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "2130706433")] {
        let client = client_with_keys_at(&home, &server, &url).await;
        let answer = ask(&server, &client, &keys).await;
        assert_eq!(answer.status(), 401, "{url}");
        let json: Value = answer.json().await.unwrap();
        assert_eq!(json["error"], "invalid_client");
        let description = json["error_description"].as_str().unwrap();
        assert!(!description.contains("127.0.0.1") && !description.contains("localhost"), "{description}");
    }
    assert_eq!(published.connections(), 0);
    assert!(server.process.err().contains("outbound.allowed_networks"), "the log names the way out");
}

#[tokio::test]
async fn what_is_no_document_from_that_very_url_is_an_outage() {
    let home = Home::with_config(OPEN);
    let keys = Assertions::new();
    let published = KeyServer::start(&home, &keys.jwks());
    let server = home.start().await;
    for path in ["/elsewhere", "/large", "/slow", "/missing", "/no-json"] {
        let client = client_with_keys_at(&home, &server, &published.url(path)).await;
        let answer = ask(&server, &client, &keys).await;
        assert_eq!(answer.status(), 503, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], "temporarily_unavailable", "{path}");
    }
    let asked = published.requests();
    assert!(
        asked.iter().all(|head| !head.starts_with("GET /keys ")),
        "a redirect is not followed: {asked:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_an_outage() {
    let home = Home::with_config("[outbound]\nallowed_networks = [\"127.0.0.0/8\"]\n");
    let keys = Assertions::new();
    let published = KeyServer::start(&home, &keys.jwks());
    let server = home.start().await;
    let client = client_with_keys_at(&home, &server, &published.url("/keys")).await;
    assert_eq!(ask(&server, &client, &keys).await.status(), 503);
    assert!(published.requests().is_empty(), "nothing is said to a stranger");
}

#[tokio::test]
async fn keys_that_cannot_be_had_now_are_fetched_when_they_can() {
    let home = Home::with_config(OPEN);
    let keys = Assertions::new();
    // The certificate has to be there at the start; the port is given up again.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let certified = KeyServer::start(&home, &keys.jwks());
    let server = home.start().await;
    let client = client_with_keys_at(&home, &server, &format!("https://{address}/keys")).await;
    let answer = ask(&server, &client, &keys).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    certified.listen_at(address);
    wait::until("the keys are fetched", async || {
        (ask(&server, &client, &keys).await.status() == 200).then_some(())
    })
    .await;
}

/// Takes half a minute, nearly all of it waiting: an unknown key is no reason to fetch more often.
#[tokio::test]
async fn a_new_key_at_the_url_is_picked_up() {
    let many = "[limits]\nfailed_attempts_per_client = 1000000\nfailed_attempts_per_address = 1000000\n";
    let home = Home::with_config(&format!("{OPEN}{many}"));
    let (old, new) = (Assertions::new(), Assertions::new());
    let published = KeyServer::start(&home, &old.jwks());
    let server = home.start().await;
    let client = client_with_keys_at(&home, &server, &published.url("/keys")).await;
    assert_eq!(ask(&server, &client, &old).await.status(), 200);
    published.publish(&new.jwks());
    assert_eq!(ask(&server, &client, &new).await.status(), 401);
    wait::until("the new key is taken", async || {
        let status = ask(&server, &client, &new).await.status();
        assert!(status == 200 || status == 401, "{status}");
        (status == 200).then_some(())
    })
    .await;
    assert_eq!(published.connections(), 2, "one fetch for all that asked meanwhile");
    assert_eq!(ask(&server, &client, &old).await.status(), 401, "the old key is gone");
}

#[test]
fn a_ca_file_that_is_of_no_use_is_refused_at_the_start() {
    let home = Home::with_config(OPEN);
    let said = text(&home.serve().output().unwrap());
    assert!(said.contains("outbound.ca_file: ca.pem cannot be read"), "{said}");
    std::fs::write(home.path("ca.pem"), "nothing").unwrap();
    let said = text(&home.serve().output().unwrap());
    assert!(said.contains("outbound.ca_file: ca.pem") && said.contains("no certificate"), "{said}");
}
