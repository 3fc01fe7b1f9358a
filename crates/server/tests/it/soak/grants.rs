//! A client whose subjects have refresh tokens, and what the database says of their grants.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::assertion::{Assertions, JWT_BEARER};
use crate::home::{Home, ISSUER};
use crate::test_server::{Credentials, TestServer};

pub struct Refreshers {
    pub credentials: Credentials,
    assertions: Assertions,
}

/// What a client holds for one grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub access: String,
    pub refresh: String,
}

impl Pair {
    pub fn of((status, json): &(u16, Value)) -> Self {
        assert_eq!(*status, 200, "{json}");
        let text =
            |field: &str| json[field].as_str().unwrap_or_else(|| panic!("no {field}: {json}")).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

impl Refreshers {
    pub async fn register(home: &Home, server: &TestServer) -> Self {
        Self::register_with(home, server, json!({})).await
    }

    /// With some metadata besides.
    pub async fn register_with(home: &Home, server: &TestServer, more: Value) -> Self {
        Self::register_at(ISSUER, home, server, more).await
    }

    /// At a server with another issuer.
    pub async fn register_at(issuer: &str, home: &Home, server: &TestServer, more: Value) -> Self {
        let assertions = Assertions::for_issuer(issuer);
        let mut metadata = json!({
            "grant_types": [JWT_BEARER, "refresh_token"],
            "scope": "read write",
            "jwks": assertions.jwks(),
            "jwt_bearer_subjects": ["*"],
            "jwt_bearer_refresh": true,
        });
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let credentials = server.create_client(&home.first_client(), metadata).await;
        Self { credentials, assertions }
    }

    /// What a grant of the subject is asked for with.
    pub fn assertion(&self, subject: &str) -> String {
        self.assertions.sign(&self.credentials.0, subject)
    }

    /// A grant of the subject's own.
    pub async fn grant(&self, server: &TestServer, subject: &str) -> Pair {
        let assertion = self.assertion(subject);
        let form = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
        let answer = server.post("/oauth2/token", &self.credentials, &form).send().await.unwrap();
        Pair::of(&(answer.status().as_u16(), answer.json().await.unwrap()))
    }
}

/// Status and body of the answer.
pub async fn refresh(server: &TestServer, credentials: &Credentials, token: &str) -> (u16, Value) {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let answer = server.post("/oauth2/token", credentials, &form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    pub subject: String,
    pub counter: u32,
    pub ended: bool,
}

/// In the order of their subjects.
pub fn grant_rows(database: &Connection) -> Vec<GrantRow> {
    let mut statement = database
        .prepare("SELECT subject, counter, ended_at IS NOT NULL FROM grants ORDER BY subject")
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok(GrantRow { subject: row.get(0)?, counter: row.get(1)?, ended: row.get(2)? })
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}
