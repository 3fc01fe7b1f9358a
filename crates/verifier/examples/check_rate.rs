//! How fast one thread checks JWTs, as a ratio to the bare verification of the same signatures by the same code: tokens
//! that are seen for the first time by a verifier that has been at work for long, so that each displaces another that was
//! kept, and tokens that are kept. An issuer in this process answers on a socket.
//!
//! `cargo run --release -p grantry-verifier --example check_rate -- [TOKENS [LIVE_ENDS]]`

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use axum::extract::Query;
use axum::routing::{get, post};
use axum::{Json, Router};
use grantry_jose::{Algorithm, SigningKey, base64url};
use grantry_protocol::{Epoch, LogKind, Position, Seen};
use grantry_revocation::{FeedEntry, FeedKey, FeedPage, FeedPageKind};
use grantry_verifier::{ClientCredentials, Refusal, Revocations, Secret, Settings, Timestamp, Verifier};
use serde_json::{Value, json};

const AUDIENCE: &str = "https://api.example";
/// Tokens in a row.
const CHUNK: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let tokens = arguments.next().transpose()?.unwrap_or(20_000);
    let ends = arguments.next().transpose()?.unwrap_or(100_000);
    for algorithm in Algorithm::ALL {
        let key = SigningKey::from_pkcs8(algorithm, &SigningKey::generate_pkcs8(algorithm)?)?;
        let issuer = serve(json!({ "keys": [key.jwk()] }), ends).await?;
        let credentials = ClientCredentials { client_id: "a".to_owned(), client_secret: Secret::new("a") };
        let mut settings = Settings::new(&issuer, AUDIENCE, Revocations::Followed(credentials));
        settings.token_capacity = tokens as usize;
        let verifier = Verifier::start(settings)?;
        while !verifier.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let texts = (0..2 * tokens).map(|n| sign(&key, &issuer, n)).collect::<Result<Vec<_>, _>>()?;
        let (others, texts) = texts.split_at(tokens as usize);
        let signed: Vec<_> = texts.iter().map(|text| split(text)).collect();
        check_all(&verifier, others).await?;
        let (mut bare_took, mut took) = (0.0_f64, 0.0_f64);
        // In turns, since the machine's own speed moves.
        for (signed, texts) in signed.chunks(CHUNK).zip(texts.chunks(CHUNK)) {
            let begun = now();
            bare(&key, signed);
            bare_took += begun.elapsed().as_secs_f64();
            took += check_all(&verifier, texts).await?;
        }
        let few = &texts[texts.len() - CHUNK.min(texts.len())..];
        check_all(&verifier, few).await?;
        let kept = check_all(&verifier, few).await? / few.len() as f64;
        report(algorithm, f64::from(tokens) / bare_took, f64::from(tokens) / took, 1.0 / kept);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this measures")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn report(algorithm: Algorithm, bare: f64, new: f64, kept: f64) {
    let (name, ratio) = (algorithm.as_str(), new / bare);
    println!("{name}: bare {bare:.0}/s, first sight {new:.0}/s ({ratio:.2}), kept {kept:.0}/s");
}

/// How many seconds it takes.
async fn check_all(verifier: &Verifier, texts: &[String]) -> Result<f64, Refusal> {
    let begun = now();
    for text in texts {
        verifier.check(text).await?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// What is signed, and the signature.
fn split(text: &str) -> (&[u8], Vec<u8>) {
    let (signed, signature) = text.rsplit_once('.').expect("a JWT has dots");
    (signed.as_bytes(), grantry_jose::from_base64url(signature).expect("it was just made"))
}

fn bare(key: &SigningKey, signed: &[(&[u8], Vec<u8>)]) {
    for (text, signature) in signed {
        assert!(key.verify(text, signature));
    }
}

fn sign(key: &SigningKey, issuer: &str, number: u32) -> Result<String, Box<dyn Error>> {
    let header = json!({"alg": key.algorithm().as_str(), "typ": "at+jwt", "kid": key.kid()});
    let claims = json!({
        "iss": issuer, "sub": format!("subscriber-{number}"), "aud": AUDIENCE, "client_id": "app-of-the-operator",
        "scope": "openid profile", "iat": 1_700_000_000, "exp": 4_000_000_000_u64,
        "jti": format!("01890a5d-ac96-774b-bcce-{number:012x}"), "grantry_stored": "none", "grantry_seen": [1, 0],
        "grantry_slot": base64url([7; 32]), "grantry_grant": "01890a5d-ac96-774b-bcce-b302099a8058",
        "sid": "01890a5d-ac96-774b-bcce-b302099a8059",
    });
    let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", base64url(signature)))
}

async fn serve(jwks: Value, ends: u32) -> Result<String, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let metadata = json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "token_endpoint": format!("{issuer}/token"),
    });
    let login = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 3600});
    let snapshot = Json(page(FeedPageKind::Snapshot, ends));
    let nothing = Json(page(FeedPageKind::Entries, 0));
    let feed = move |Query(query): Query<HashMap<String, String>>| async move {
        if query.contains_key("wait") {
            std::future::pending::<()>().await;
        }
        if query.contains_key("after") { nothing } else { snapshot }
    };
    let app = Router::new()
        .route("/.well-known/oauth-authorization-server", get(|| async { Json(metadata) }))
        .route("/jwks", get(|| async { Json(jwks) }))
        .route("/token", post(|| async { Json(login) }))
        .route("/oauth2/revocations", get(feed));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(issuer)
}

/// Ends of others: half of them tokens, half of them grants.
fn page(kind: FeedPageKind, ends: u32) -> FeedPage {
    let head = Seen { epoch: Epoch(1), position: Position(u64::from(ends)) };
    let entry = |number: u32| {
        let mut key = [0xff; FeedKey::LEN];
        key[FeedKey::LEN - 4..].copy_from_slice(&number.to_be_bytes());
        FeedEntry {
            at: Seen { position: Position(u64::from(number)), ..head },
            kind: if number.is_multiple_of(2) { LogKind::Token } else { LogKind::Grant },
            key: FeedKey::from_bytes(key),
            keep_until: Timestamp::from_secs(4_000_000_000),
        }
    };
    FeedPage {
        kind,
        head,
        age: Duration::ZERO,
        max_staleness: Duration::from_secs(1),
        now: Timestamp::from_secs(1_700_000_000),
        entries: (1..=ends).map(entry).collect(),
    }
}
