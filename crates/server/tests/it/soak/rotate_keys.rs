use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::grants::{Pair, Refreshers, refresh};
use crate::home::{Home, ISSUER};
use crate::test_server::{Credentials, TestServer};
use crate::wait;

/// Seconds; what a verifier may keep the published keys for.
const MAX_AGE: u64 = 1;
/// From a rotation until the new key signs: the maximum age and what nodes may lag behind.
const UNTIL_USED: u64 = MAX_AGE + 3;
/// Each token is looked at again when it has lived for most of its life.
const AGAIN_AFTER: Duration = Duration::from_secs(6);
const CONFIG: &str = "
[keys]
jwks_max_age = \"1s\"
[tokens]
access_token_lifetime = \"10s\"
reuse_minimum_life = \"1s\"
retention_time = \"12s\"
";

/// Two servers, what was issued by them, and how often it was checked.
struct Stage {
    servers: [TestServer; 2],
    jwt: Credentials,
    opaque: Credentials,
    over: AtomicBool,
    checks: AtomicU64,
    kids: Mutex<Vec<String>>,
}

/// A resource server that knows nothing of us and keeps the published keys for exactly as long as it may.
struct Verifier {
    keys: Option<(JwkSet, Instant)>,
}

pub async fn run(rounds: u32) {
    let home = Home::with_config(CONFIG);
    let first = home.start().await;
    let second = home.start().await;
    let administrator = home.first_client();
    let refreshers = Refreshers::register(&home, &first).await;
    let pair = refreshers.grant(&first, "alice").await;
    let with = |format: &str| json!({ "access_token_format": format, "active_token_policy": "multiple" });
    let jwt = first.create_client(&administrator, with("jwt")).await;
    let opaque = first.create_client(&administrator, with("opaque")).await;
    let stage = Arc::new(Stage {
        servers: [first, second],
        jwt,
        opaque,
        over: AtomicBool::new(false),
        checks: AtomicU64::new(0),
        kids: Mutex::default(),
    });

    let mut work = tokio::task::JoinSet::new();
    work.spawn(issue_jwts(Arc::clone(&stage), 0));
    work.spawn(issue_jwts(Arc::clone(&stage), 1));
    work.spawn(issue_opaque(Arc::clone(&stage)));
    work.spawn(refresh_again_and_again(Arc::clone(&stage), refreshers.credentials.clone(), pair));
    for round in 0..rounds {
        rotate(&stage, &administrator, round).await;
        wait::seconds(UNTIL_USED).await;
        let (checks, kids) = (stage.checks.load(Ordering::SeqCst), stage.kids.lock().unwrap().len());
        eprintln!("rotate-keys: round {} of {rounds}: {checks} checks, {kids} signing keys seen", round + 1);
    }
    stage.over.store(true, Ordering::SeqCst);
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    let kids = stage.kids.lock().unwrap().len();
    assert!(kids > rounds as usize, "only {kids} keys signed in {rounds} rotations");
    check_revocation(&stage, &administrator).await;
    for server in Arc::try_unwrap(stage).ok().expect("nobody uses the servers any more").servers {
        server.stop().await;
    }
}

/// At one process; the other learns of it from the store.
async fn rotate(stage: &Stage, administrator: &Credentials, round: u32) {
    let server = &stage.servers[round as usize % 2];
    for purpose in ["signing", "token_mac"] {
        let (status, json) =
            admin(server, administrator, "/admin/v1/keys", &json!({ "purpose": purpose })).await;
        assert_eq!(status, 201, "{json}");
    }
}

async fn admin(server: &TestServer, administrator: &Credentials, path: &str, body: &Value) -> (u16, Value) {
    let bearer = server.token(administrator, &[("scope", "grantry:admin")]).await;
    let request = server.http.post(format!("{}{path}", server.admin_url)).bearer_auth(bearer).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Issued at one process; verified by the library, asked for at the other, and both again when they are old.
async fn issue_jwts(stage: Arc<Stage>, at: usize) {
    let (issuing, other) = (&stage.servers[at], &stage.servers[1 - at]);
    let mut verifier = Verifier { keys: None };
    let mut known: std::collections::VecDeque<(String, Instant)> = std::collections::VecDeque::new();
    while !stage.over.load(Ordering::SeqCst) {
        let token = issuing.token(&stage.jwt, &[]).await;
        stage.check(&mut verifier, other, &token).await;
        assert!(!other.is_active(&stage.jwt, &forged(&token)).await, "a forged token was accepted");
        known.push_back((token, Instant::now()));
        while known.front().is_some_and(|(_, since)| since.elapsed() > AGAIN_AFTER) {
            let (token, _) = known.pop_front().unwrap();
            stage.check(&mut verifier, issuing, &token).await;
        }
    }
}

async fn issue_opaque(stage: Arc<Stage>) {
    let [issuing, other] = &stage.servers;
    let mut known: std::collections::VecDeque<(String, Instant)> = std::collections::VecDeque::new();
    while !stage.over.load(Ordering::SeqCst) {
        let token = issuing.token(&stage.opaque, &[]).await;
        assert!(other.is_active(&stage.opaque, &token).await, "a new token was refused");
        known.push_back((token, Instant::now()));
        while known.front().is_some_and(|(_, since)| since.elapsed() > AGAIN_AFTER) {
            let (token, _) = known.pop_front().unwrap();
            assert!(other.is_active(&stage.opaque, &token).await, "a token of an older key was refused");
            stage.checks.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn refresh_again_and_again(stage: Arc<Stage>, credentials: Credentials, mut pair: Pair) {
    let mut turn = 0;
    while !stage.over.load(Ordering::SeqCst) {
        pair = Pair::of(&refresh(&stage.servers[turn % 2], &credentials, &pair.refresh).await);
        turn += 1;
        stage.checks.fetch_add(1, Ordering::SeqCst);
    }
}

/// From the answer on nothing that the revoked keys made is accepted, at the other process within a second; what other
/// keys made goes on, and a token that is made anew is good.
async fn check_revocation(stage: &Stage, administrator: &Credentials) {
    let [first, second] = &stage.servers;
    let mut verifier = Verifier { keys: None };
    let (jwt, opaque) = (first.token(&stage.jwt, &[]).await, first.token(&stage.opaque, &[]).await);
    stage.check(&mut verifier, second, &jwt).await;
    let kid = decode_header(&jwt).unwrap().kid.unwrap();
    let bearer = first.token(administrator, &[("scope", "grantry:admin")]).await;
    let listed =
        first.http.get(format!("{}/admin/v1/keys", first.admin_url)).bearer_auth(bearer).send().await;
    let listed: Value = listed.unwrap().json().await.unwrap();
    let keys = listed["keys"].as_array().unwrap();
    let signing = keys.iter().find(|key| key["kid"] == kid.as_str()).expect("the key is listed");
    let signing = signing["version"].as_u64().unwrap();
    let (status, json) =
        admin(first, administrator, &format!("/admin/v1/keys/signing/{signing}/revoke"), &json!({})).await;
    assert_eq!(status, 200, "{json}");
    assert!(
        !first.is_active(&stage.jwt, &jwt).await,
        "the revoked key's token is active where it was revoked"
    );
    wait::seconds(1).await;
    assert!(
        !second.is_active(&stage.jwt, &jwt).await,
        "the revoked key's token is active at the other process"
    );
    assert!(second.is_active(&stage.opaque, &opaque).await, "a token that another key made was refused");
    for server in &stage.servers {
        let published: JwkSet = published(server).await;
        assert!(published.find(&kid).is_none(), "a revoked key is published");
        let anew = server.token(&stage.jwt, &[]).await;
        Verifier { keys: None }.verify(server, &anew).await;
        assert!(first.is_active(&stage.jwt, &anew).await && second.is_active(&stage.jwt, &anew).await);
    }
}

impl Stage {
    async fn check(&self, verifier: &mut Verifier, server: &TestServer, token: &str) {
        let kid = verifier.verify(server, token).await;
        assert!(server.is_active(&self.jwt, token).await, "a token that verifies was refused");
        self.checks.fetch_add(1, Ordering::SeqCst);
        let mut kids = self.kids.lock().unwrap();
        if !kids.contains(&kid) {
            kids.push(kid);
        }
    }
}

impl Verifier {
    /// Gives the id of the key that signed it.
    async fn verify(&mut self, server: &TestServer, token: &str) -> String {
        let is_fresh = |keys: &(JwkSet, Instant)| keys.1.elapsed() < Duration::from_secs(MAX_AGE);
        if !self.keys.as_ref().is_some_and(is_fresh) {
            let asked = Instant::now();
            self.keys = Some((published(server).await, asked));
        }
        let header = decode_header(token).unwrap();
        let kid = header.kid.expect("a kid");
        let keys = &self.keys.as_ref().unwrap().0;
        let key = keys
            .find(&kid)
            .unwrap_or_else(|| panic!("a key signs that was not published long enough before"));
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[ISSUER]);
        validation.validate_aud = false;
        validation.leeway = 0;
        decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).expect("it verifies");
        kid
    }
}

async fn published(server: &TestServer) -> JwkSet {
    server.http.get(format!("{}/oauth2/jwks", server.url)).send().await.unwrap().json().await.unwrap()
}

fn forged(token: &str) -> String {
    let (head, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    format!("{head}.{flipped}{}", &signature[1..])
}
