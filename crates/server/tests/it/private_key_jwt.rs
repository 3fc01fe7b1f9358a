//! A client that proves who it is with a key of its own, administered with the command line and openssl.

use std::fs;
use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::StatusCode;
use serde_json::Value;

use crate::assertion::{Assertions, CLIENT_ASSERTION};
use crate::at::At;
use crate::home::{Home, text};
use crate::test_server::TestServer;

/// A key pair as `NAME.pem` and `NAME.pub`, made by openssl with these options.
fn new_key(home: &Home, name: &str, options: &[&str]) {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(home.root()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    let (pair, public) = (format!("{name}.pem"), format!("{name}.pub"));
    openssl(&[&["genpkey", "-out", &pair], options].concat());
    openssl(&["pkey", "-in", &pair, "-pubout", "-out", &public]);
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const ED25519: &[&str] = &["-algorithm", "ED25519"];

/// Signed with the key of a file.
fn assertion(home: &Home, name: &str, algorithm: Algorithm, client: &str) -> String {
    let pem = fs::read(home.path(&format!("{name}.pem"))).unwrap();
    let key = match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_pem(&pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem),
        _ => EncodingKey::from_rsa_pem(&pem),
    };
    encode(&Header::new(algorithm), &Assertions::claims(client, client), &key.unwrap()).unwrap()
}

async fn present(server: &TestServer, assertion: &str) -> (StatusCode, Value) {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion),
    ];
    let answer = server.http.post(format!("{}/oauth2/token", server.url)).form(&form).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_client_lives_with_keys_instead_of_a_secret() {
    let home = Home::strict();
    let server = home.start().await;
    for at in [At::Server(&server), At::Store] {
        new_key(&home, "reports", P256);
        let create = ["clients", "create", "--id", "reports", "--scope", "read"];
        let created = at.json(
            &home,
            &[&create[..], &["--auth-method", "private_key_jwt", "--jwks", "reports.pub"]].concat(),
        );
        assert_eq!(created["client_secret"], Value::Null, "there is none");
        assert_eq!(created["jwks"]["keys"][0]["crv"], "P-256");

        let first = assertion(&home, "reports", Algorithm::ES256, "reports");
        let (status, answer) = present(&server, &first).await;
        assert_eq!(status, 200, "{answer}");
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(at.json(&home, &["token", "inspect", token])["active"], true);
        let (status, answer) = present(&server, &first).await;
        assert_eq!(
            (status.as_u16(), &answer["error"]),
            (401, &"invalid_client".into()),
            "an assertion is used once"
        );

        for (name, options, algorithm) in
            [("rsa", RSA, Algorithm::RS256), ("ed25519", ED25519, Algorithm::EdDSA)]
        {
            new_key(&home, name, options);
            at.json(&home, &["clients", "update", "reports", "--jwks", &format!("{name}.pub")]);
            let (status, answer) = present(&server, &assertion(&home, name, algorithm, "reports")).await;
            assert_eq!(status, 200, "{name}: {answer}");
            assert_eq!(answer["access_token"], *token, "new keys end no token");
        }
        let old = assertion(&home, "reports", Algorithm::ES256, "reports");
        assert_eq!(present(&server, &old).await.0, 401, "a key that was replaced is of no use");

        at.json(&home, &["clients", "disable", "reports"]);
        let now = || assertion(&home, "rsa", Algorithm::RS256, "reports");
        at.json(&home, &["clients", "update", "reports", "--jwks", "rsa.pub"]);
        assert_eq!(present(&server, &now()).await.0, 401);
        at.json(&home, &["clients", "enable", "reports"]);
        assert_eq!(present(&server, &now()).await.0, 200);
        at.json(&home, &["clients", "delete", "reports"]);
        assert_eq!(present(&server, &now()).await.0, 401);
    }
}

#[tokio::test]
async fn keys_that_are_of_no_use_are_refused_with_a_sentence() {
    let home = Home::new();
    let server = home.start().await;
    new_key(&home, "key", P256);
    for at in [At::Server(&server), At::Store] {
        let create = ["clients", "create", "--auth-method", "private_key_jwt"];
        let refusal = |more: &[&str]| at.refusal(&home, &[&create[..], more].concat());
        assert!(refusal(&[]).contains("set jwks, or jwks_uri"));
        assert!(refusal(&["--jwks", "nowhere"]).contains("nowhere cannot be read"));
        assert!(refusal(&["--jwks", "key.pem"]).contains("openssl pkey"));
        assert!(refusal(&["--jwks-uri", "http://a.example/jwks"]).contains("must be an https URL"));
    }
    let both = ["clients", "create", "--jwks", "key.pub", "--jwks-uri", "https://a.example/"];
    assert_eq!(home.run(&both).status.code(), Some(2));
    let no_keys = ["clients", "create", "--jwt-bearer-issuer", "https://idp.example"];
    assert_eq!(home.run(&no_keys).status.code(), Some(2));
}

#[tokio::test]
async fn every_new_field_has_its_flag() {
    let home = Home::new();
    let server = home.start().await;
    new_key(&home, "idp", ED25519);
    let created = At::Server(&server).json(
        &home,
        &[
            "clients",
            "create",
            "--grant-type",
            "jwt-bearer",
            "--grant-type",
            "refresh_token",
            "--jwt-bearer-subject",
            "*@example.com",
            "--jwt-bearer-subject",
            "bob",
            "--jwt-bearer-issuer",
            "https://idp.example",
            "--jwt-bearer-issuer-jwks",
            "idp.pub",
            "--jwt-bearer-refresh",
            "--refresh-token-rotation",
            "never",
            "--slot-binding",
            "grant",
            "--cors-origin",
            "https://app.example",
        ],
    );
    assert_eq!(created["grant_types"][0], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(created["grant_types"][1], "refresh_token");
    assert_eq!(created["jwt_bearer_subjects"][0], "*@example.com");
    assert_eq!(created["jwt_bearer_subjects"][1], "bob");
    assert_eq!(created["jwt_bearer_issuer"]["issuer"], "https://idp.example");
    assert_eq!(created["jwt_bearer_issuer"]["jwks"]["keys"][0]["kty"], "OKP");
    assert_eq!(created["jwt_bearer_refresh"], true);
    assert_eq!(created["refresh_token_rotation"], "never");
    assert_eq!(created["slot_binding"], "grant");
    assert_eq!(created["allowed_cors_origins"][0], "https://app.example");
    let id = created["client_id"].as_str().unwrap();
    let update = ["clients", "update", id, "--jwt-bearer-refresh=false", "--unset", "allowed_cors_origins"];
    let updated = At::Store.json(&home, &update);
    assert_eq!(updated["jwt_bearer_refresh"], false);
    assert_eq!(updated["allowed_cors_origins"], Value::Null);
}
