//! A small authorization server that rotates refresh tokens and takes none twice.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::server::{Reply, Request, Server};

pub const AUDIENCE: &str = "https://issuer.example";

#[derive(Default)]
pub struct State {
    /// The newest refresh token of each grant, and whose it is.
    pub newest: HashMap<String, String>,
    /// The refresh tokens that were presented, in order.
    pub presented: Vec<String>,
    /// The assertions that were taken: their claims.
    pub assertions: Vec<Value>,
    /// Which kinds of request there were, in order, and about what.
    pub asked: Vec<(String, String)>,
    /// Ended by revocation.
    pub revoked: HashSet<String>,
    /// Access tokens by the resource that they were asked for.
    held: HashMap<String, String>,
    issued: u64,
}

pub struct Issuer {
    pub server: Server,
    pub state: Arc<Mutex<State>>,
}

impl Issuer {
    /// With these refresh tokens; `jwks` verifies assertions. `hinder` may answer instead.
    pub fn start(
        tokens: &[&str],
        jwks: Value,
        hinder: impl Fn(&HashMap<String, String>) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let newest = tokens.iter().map(|token| ((*token).to_owned(), "given".to_owned())).collect();
        let state = Arc::new(Mutex::new(State { newest, ..State::default() }));
        let shared = state.clone();
        let server = Server::start(move |request| {
            let form: HashMap<String, String> =
                form_urlencoded::parse(request.body.as_bytes()).into_owned().collect();
            let mut state = shared.lock().unwrap();
            if let Some(token) = form.get("refresh_token") {
                state.presented.push(token.clone());
            }
            hinder(&form).unwrap_or_else(|| state.answer(request, &form, &jwks))
        });
        Self { server, state }
    }
}

impl State {
    fn answer(&mut self, request: &Request, form: &HashMap<String, String>, jwks: &Value) -> Reply {
        match (request.path.as_str(), form.get("grant_type").map(String::as_str)) {
            ("/.well-known/oauth-authorization-server", _) => {
                Reply::new(200, &json!({"issuer": AUDIENCE}).to_string())
            }
            ("/oauth2/introspect", _) => {
                self.asked.push(("introspect".into(), form["token"].clone()));
                let active = !self.revoked.contains(&form["token"]);
                Reply::new(200, &json!({"active": active}).to_string())
            }
            ("/oauth2/revoke", _) => {
                self.asked.push(("revoke".into(), form["token"].clone()));
                self.held.retain(|_, token| *token != form["token"]);
                self.revoked.insert(form["token"].clone());
                Reply::new(200, "")
            }
            (_, Some("refresh_token")) => {
                self.asked.push(("refresh".into(), form["refresh_token"].clone()));
                match self.newest.remove(&form["refresh_token"]) {
                    Some(subject) => self.pair(subject),
                    None => Reply::new(400, r#"{"error":"invalid_grant"}"#),
                }
            }
            (_, Some("client_credentials")) => self.token(form.get("resource").map_or("", String::as_str)),
            _ => self.assertion(form, jwks),
        }
    }

    fn pair(&mut self, subject: String) -> Reply {
        self.issued += 1;
        let refresh_token = format!("r-{subject}-{}", self.issued);
        self.newest.insert(refresh_token.clone(), subject);
        let access_token = format!("a{}", self.issued);
        Reply::new(200, &json!({"access_token": access_token, "refresh_token": refresh_token}).to_string())
    }

    /// The same for the same resource, until it is revoked.
    fn token(&mut self, resource: &str) -> Reply {
        self.asked.push(("token".into(), resource.to_owned()));
        self.issued += 1;
        let token = self.held.entry(resource.to_owned()).or_insert_with(|| format!("c{}", self.issued));
        Reply::new(200, &json!({"access_token": token}).to_string())
    }

    fn assertion(&mut self, form: &HashMap<String, String>, jwks: &Value) -> Reply {
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let key = &jwks["keys"][0];
        let (signed, signature) = form["assertion"].rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let header: Value = serde_json::from_slice(&decode(header)).unwrap();
        assert_eq!((&header["alg"], &header["kid"]), (&json!("EdDSA"), &key["kid"]));
        let public = UnparsedPublicKey::new(&ED25519, decode(key["x"].as_str().unwrap()));
        public.verify(signed.as_bytes(), &decode(signature)).unwrap();
        let claims: Value = serde_json::from_slice(&decode(claims)).unwrap();
        let subject = claims["sub"].as_str().unwrap().to_owned();
        self.assertions.push(claims);
        self.pair(subject)
    }
}
