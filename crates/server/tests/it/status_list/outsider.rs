//! A resource server that knows nothing of us but the published keys and what a token says: the `identity-kit` and
//! `jsonwebtoken` crates, and the draft's rules for how long a list may be kept.

use std::collections::HashMap;
use std::time::Duration;

use grantry_jose::from_base64url;
use identity_kit::status_list::{Status, StatusListRef, StatusListToken, StatusMechanism, StatusType};
use identity_kit::vc::validation::TimeOptions;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use reqwest::Response;
use serde_json::Value;
use tokio::time::Instant;

use crate::home::ISSUER;
use crate::test_server::TestServer;

/// Keeps each list for as long as it says that it may be kept.
#[derive(Default)]
pub struct Outsider {
    kept: HashMap<String, (Instant, StatusListToken)>,
}

impl Outsider {
    /// What the token's list says of it: nothing where the token names none.
    pub async fn status(&mut self, server: &TestServer, token: &str) -> Option<StatusType> {
        let place = place(token)?;
        let is_kept = self.kept.get(&place.uri).is_some_and(|(until, _)| Instant::now() < *until);
        if !is_kept {
            let asked = Instant::now();
            let answer = get(server, &place.uri).await;
            assert_eq!(answer.status(), 200, "{}", place.uri);
            assert_eq!(answer.headers()["content-type"], StatusListToken::MEDIA_TYPE);
            let list = verified(server, &answer.text().await.unwrap()).await;
            let ttl = Duration::from_secs(list.ttl.expect("a ttl"));
            self.kept.insert(place.uri.clone(), (asked + ttl, list));
        }
        let (_, list) = &self.kept[&place.uri];
        Some(list.status_of(&place, TimeOptions::default()).unwrap())
    }

    pub async fn assert_status(&mut self, server: &TestServer, tokens: &[&str], status: StatusType) {
        for token in tokens {
            assert_eq!(self.status(server, token).await, Some(status), "{:?}", place(token));
        }
    }
}

/// Where the token says that its status is.
pub fn place(token: &str) -> Option<StatusListRef> {
    let claims = from_base64url(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let status: Status = serde_json::from_value(claims.get("status")?.clone()).unwrap();
    status.mechanisms().find_map(|mechanism| match mechanism {
        StatusMechanism::StatusList(place) => Some(place.clone()),
        _ => None,
    })
}

/// The server is known as something else than where it listens.
pub async fn get(server: &TestServer, uri: &str) -> Response {
    let path = uri.strip_prefix(ISSUER).unwrap_or(uri);
    let request = server.http.get(format!("{}{path}", server.url));
    request.header("accept", StatusListToken::MEDIA_TYPE).send().await.unwrap()
}

/// As an access token would be: by the key that its header names, of those that are published.
async fn verified(server: &TestServer, jwt: &str) -> StatusListToken {
    let keys = server.http.get(format!("{}/oauth2/jwks", server.url)).send().await.unwrap();
    let keys: JwkSet = keys.json().await.unwrap();
    let header = decode_header(jwt).unwrap();
    let key = keys.find(header.kid.as_deref().expect("a kid")).expect("a published key");
    let mut rules = Validation::new(header.alg);
    rules.set_issuer(&[ISSUER]);
    rules.leeway = 0;
    decode::<Value>(jwt, &DecodingKey::from_jwk(key).unwrap(), &rules).unwrap();
    StatusListToken::decode(&jwt.parse().unwrap()).unwrap().1
}
