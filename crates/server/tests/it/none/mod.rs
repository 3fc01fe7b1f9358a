//! Tokens that are never stored, as clients, operators and the database see them; on SQLite and on PostgreSQL.

use grantry_jose::from_base64url;
use grantry_store_postgres::testing::Database;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::home::Home;
use crate::settings;
use crate::soak::grants::{Pair, Refreshers, refresh};
use crate::test_server::{Credentials, TestServer};
use crate::wait;

const NONE: &str = "[token_persistence]\nenable = false\n";
const FORMATS: [&str; 2] = ["jwt", "opaque"];

/// Where a server works, and a look at its database.
struct Place {
    home: Home,
    /// Absent with SQLite.
    postgres: Option<Database>,
}

impl Place {
    fn both(config: &str) -> [Self; 2] {
        let database = Database::empty();
        let with_url = format!("[store]\nurl = \"{}\"\n{config}", database.url());
        [
            Self { home: Home::with_config(config), postgres: None },
            Self { home: Home::with_config(&with_url), postgres: Some(database) },
        ]
    }

    /// How many tokens and grants have a row.
    async fn rows(&self) -> (i64, i64) {
        const COUNT: &str = "SELECT (SELECT count(*) FROM tokens), (SELECT count(*) FROM grants)";
        match &self.postgres {
            None => {
                let database = self.home.database();
                database.query_row(COUNT, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
            }
            Some(database) => {
                let row = database.connect().await.query_one(COUNT, &[]).await.unwrap();
                (row.get(0), row.get(1))
            }
        }
    }

    /// As a failover to a standby that lacks the last commits.
    async fn lose_tokens_and_grants(&self) {
        const LOSE: &str = "DELETE FROM slots; DELETE FROM tokens; DELETE FROM grants;";
        match &self.postgres {
            None => Connection::open(self.home.database_path()).unwrap().execute_batch(LOSE).unwrap(),
            Some(database) => database.connect().await.batch_execute(LOSE).await.unwrap(),
        }
        assert_eq!(self.rows().await, (0, 0));
    }

    async fn restart(&self, server: TestServer) -> TestServer {
        server.stop().await;
        self.home.start().await
    }
}

/// For each format a client with tokens of its own, and one whose subjects have refresh tokens.
struct Clients {
    own: Vec<Credentials>,
    users: Vec<Refreshers>,
}

impl Clients {
    async fn register(home: &Home, server: &TestServer) -> Self {
        let mut clients = Self { own: Vec::new(), users: Vec::new() };
        for format in FORMATS {
            let metadata = json!({ "scope": "read write", "access_token_format": format });
            clients.own.push(server.create_client(&home.first_client(), metadata).await);
            let metadata = json!({ "access_token_format": format });
            clients.users.push(Refreshers::register_with(home, server, metadata).await);
        }
        clients
    }

    async fn issue(&self, server: &TestServer, subject: &str) -> Issued {
        let mut issued = Issued { own: Vec::new(), pairs: Vec::new() };
        for client in &self.own {
            issued.own.push(server.token(client, &[]).await);
        }
        for client in &self.users {
            issued.pairs.push(client.grant(server, subject).await);
        }
        issued
    }

    async fn refresh(&self, server: &TestServer, pairs: &[Pair]) -> Vec<Pair> {
        let mut next = Vec::new();
        for (client, pair) in self.users.iter().zip(pairs) {
            next.push(Pair::of(&refresh(server, &client.credentials, &pair.refresh).await));
        }
        next
    }

    async fn assert_own(&self, server: &TestServer, issued: &Issued, active: bool) {
        for (client, token) in self.own.iter().zip(&issued.own) {
            assert_eq!(server.is_active(client, token).await, active);
        }
    }

    async fn assert_pairs(&self, server: &TestServer, pairs: &[Pair], active: bool) {
        for (client, pair) in self.users.iter().zip(pairs) {
            for token in [&pair.access, &pair.refresh] {
                assert_eq!(server.is_active(&client.credentials, token).await, active);
            }
        }
    }

    async fn assert_all(&self, server: &TestServer, issued: &Issued, active: bool) {
        self.assert_own(server, issued, active).await;
        self.assert_pairs(server, &issued.pairs, active).await;
    }

    async fn assert_not_refreshed(&self, server: &TestServer, pairs: &[Pair]) {
        for (client, pair) in self.users.iter().zip(pairs) {
            let (status, json) = refresh(server, &client.credentials, &pair.refresh).await;
            assert_eq!((status, &json["error"]), (400, &json!("invalid_grant")));
        }
    }
}

/// A token for each of the clients, in their order.
struct Issued {
    own: Vec<String>,
    pairs: Vec<Pair>,
}

fn claims(jwt: &str) -> Value {
    let claims = from_base64url(jwt.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// By an administrator.
async fn end(home: &Home, server: &TestServer, target: Value) {
    let bearer = server.token(&home.first_client(), &[("scope", "grantry:admin")]).await;
    let url = format!("{}/admin/v1/revocations", server.admin_url);
    let answer = server.http.post(url).bearer_auth(bearer).json(&target).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{target}");
}

#[tokio::test]
async fn nothing_of_a_token_is_written_and_the_start_says_so() {
    let long = format!("{NONE}[tokens]\naccess_token_lifetime = \"25h\"\nretention_time = \"48h\"\n");
    for place in Place::both(&long) {
        let server = place.home.start().await;
        let said = server.process.out();
        assert!(said.contains("tokens    none: not stored; they say everything themselves"), "{said}");
        assert!(said.contains("tokens.access_token_lifetime is 1day 1h"), "{said}");
        assert!(server.process.err().contains("tokens.access_token_lifetime is 1day 1h"));

        let clients = Clients::register(&place.home, &server).await;
        let issued = clients.issue(&server, "alice").await;
        clients.assert_all(&server, &issued, true).await;
        for (client, token) in clients.own.iter().zip(&issued.own) {
            let known = server.introspect(client, token).await;
            assert_eq!(
                (&known["client_id"], &known["scope"]),
                (&json!(client.0), &json!("read write")),
                "{known}"
            );
            assert_eq!(known["exp"].as_i64().unwrap() - known["iat"].as_i64().unwrap(), 25 * 3600);
        }
        assert!(server.metric("grantry_tokens_issued_total", "mode=\"none\"").await >= 4.0);
        assert_eq!(place.rows().await, (0, 0));

        let server = place.restart(server).await;
        clients.assert_all(&server, &issued, true).await;
        clients.refresh(&server, &issued.pairs).await;
        assert_eq!(place.rows().await, (0, 2), "a grant has its row from its first rotation on");
        server.stop().await;
    }
}

#[tokio::test]
async fn each_way_to_end_a_token_works_without_its_row_and_outlives_a_restart() {
    for place in Place::both(NONE) {
        let mut server = place.home.start().await;
        let clients = Clients::register(&place.home, &server).await;
        let lasting = clients.issue(&server, "alice").await;
        let [by_client, by_text, by_id] = [
            clients.issue(&server, "alice").await,
            clients.issue(&server, "alice").await,
            clients.issue(&server, "alice").await,
        ];
        let by_subject = clients.issue(&server, "bob").await;

        let by_their_client = clients.own.iter().zip(&by_client.own);
        let of_users = clients.users.iter().map(|client| &client.credentials);
        let refresh_tokens = of_users.zip(by_client.pairs.iter().map(|pair| &pair.refresh));
        for (client, token) in by_their_client.chain(refresh_tokens) {
            let answer = server.post("/oauth2/revoke", client, &[("token", token)]).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        for token in by_text.own.iter().chain(by_text.pairs.iter().map(|pair| &pair.access)) {
            end(&place.home, &server, json!({ "token": token })).await;
        }
        for (client, token) in clients.own.iter().zip(&by_id.own) {
            let id = &server.introspect(client, token).await["jti"];
            end(&place.home, &server, json!({ "token_id": id })).await;
        }
        let grant = &claims(&by_id.pairs[0].access)["grantry_grant"];
        end(&place.home, &server, json!({ "grant_id": grant })).await;
        end(&place.home, &server, json!({ "subject": "bob" })).await;

        for is_restarted in [false, true] {
            if is_restarted {
                server = place.restart(server).await;
            }
            clients.assert_all(&server, &lasting, true).await;
            clients.assert_all(&server, &by_client, false).await;
            clients.assert_not_refreshed(&server, &by_client.pairs).await;
            clients.assert_own(&server, &by_text, false).await;
            clients.assert_own(&server, &by_id, false).await;
            clients.assert_pairs(&server, &by_id.pairs[..1], false).await;
            clients.assert_not_refreshed(&server, &by_id.pairs[..1]).await;
            for (client, pair) in clients.users.iter().zip(&by_text.pairs) {
                assert!(!server.is_active(&client.credentials, &pair.access).await);
                assert!(server.is_active(&client.credentials, &pair.refresh).await, "it ends alone");
            }
            clients.assert_pairs(&server, &by_subject.pairs, false).await;
            clients.assert_not_refreshed(&server, &by_subject.pairs).await;
        }
        assert_eq!(place.rows().await, (0, 0));
        server.stop().await;
    }
}

#[tokio::test]
async fn what_a_failover_has_lost_ends_by_its_id_or_its_text_and_its_copies_with_it() {
    for place in Place::both("") {
        let server = place.home.start().await;
        let clients = Clients::register(&place.home, &server).await;
        let lasting = clients.issue(&server, "alice").await;
        let lost = clients.issue(&server, "bob").await;
        let mut ids = Vec::new();
        for issued in [&lasting, &lost] {
            for (client, pair) in clients.users.iter().zip(&issued.pairs) {
                ids.push(server.introspect(&client.credentials, &pair.access).await["jti"].clone());
            }
        }
        place.lose_tokens_and_grants().await;
        // The node has copies of what it was asked about.
        for issued in [&lasting, &lost] {
            for (client, pair) in clients.users.iter().zip(&issued.pairs) {
                assert!(server.is_active(&client.credentials, &pair.access).await);
            }
        }
        let [by_id, by_text] = [&clients.users[0].credentials, &clients.users[1].credentials];
        end(&place.home, &server, json!({ "token_id": ids[2] })).await;
        let form = [("token", lost.pairs[1].access.as_str())];
        assert_eq!(server.post("/oauth2/revoke", by_text, &form).send().await.unwrap().status(), 200);
        for (client, pair) in [by_id, by_text].into_iter().zip(&lost.pairs) {
            assert!(!server.is_active(client, &pair.access).await);
        }
        assert!(server.is_active(by_id, &lasting.pairs[0].access).await);
        let form = [("token", lasting.pairs[0].refresh.as_str())];
        assert_eq!(server.post("/oauth2/revoke", by_id, &form).send().await.unwrap().status(), 200);
        assert!(!server.is_active(by_id, &lasting.pairs[0].access).await, "it ends with its grant");
        assert!(server.is_active(by_text, &lasting.pairs[1].access).await);
        server.stop().await;
    }
}

#[tokio::test]
async fn an_id_that_nobody_can_hold_is_404_and_writes_nothing() {
    for place in Place::both(NONE) {
        let server = place.home.start().await;
        let bearer = server.token(&place.home.first_client(), &[("scope", "grantry:admin")]).await;
        let url = format!("{}/admin/v1/revocations", server.admin_url);
        // Of another version, from long ago, and from the year 10889.
        for id in [
            "5b2bd5a8-7a1c-4f0e-9d0a-2f8a1c3f4e55",
            "01800000-0000-7000-8000-000000000000",
            "ffffffff-ffff-7fff-bfff-ffffffffffff",
        ] {
            for target in [json!({ "token_id": id }), json!({ "grant_id": id })] {
                let request = server.http.post(&url).bearer_auth(&bearer).json(&target);
                assert_eq!(request.send().await.unwrap().status(), 404, "{target}");
            }
        }
        let log = server.http.get(&url).bearer_auth(&bearer).send().await.unwrap();
        assert_eq!(log.json::<Value>().await.unwrap()["position"], 0);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_refresh_token_is_spent_once_and_its_reuse_ends_the_grant_whatever_was_restarted() {
    for place in Place::both(&format!("{NONE}[tokens]\nrefresh_grace = \"1s\"\n")) {
        let server = place.home.start().await;
        let clients = Clients::register(&place.home, &server).await;
        let first = clients.issue(&server, "alice").await.pairs;
        let second = clients.refresh(&server, &first).await;
        let server = place.restart(server).await;
        let third = clients.refresh(&server, &second).await;
        clients.assert_pairs(&server, &third, true).await;
        // The grace of the second refresh token.
        wait::seconds(2).await;
        let server = place.restart(server).await;
        clients.assert_not_refreshed(&server, &second).await;
        clients.assert_pairs(&server, &third, false).await;
        clients.assert_not_refreshed(&server, &third).await;
        assert_eq!(server.metric("grantry_refreshes_total", "outcome=\"reused\"").await, 2.0);
        let server = place.restart(server).await;
        clients.assert_pairs(&server, &third, false).await;
        clients.assert_not_refreshed(&server, &first).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn tokens_outlive_a_switch_of_the_mode_both_ways() {
    for place in Place::both("") {
        let mut server = place.home.start().await;
        let admin = place.home.first_client();
        let clients = Clients::register(&place.home, &server).await;
        let mut all: Vec<Issued> = Vec::new();
        for enable in [true, false, true, false] {
            settings::change(&server, &admin, json!({ "token_persistence": { "enable": enable } })).await;
            let before = place.rows().await;
            for issued in &mut all {
                issued.pairs = clients.refresh(&server, &issued.pairs).await;
            }
            all.push(clients.issue(&server, &format!("subject-{}", all.len())).await);
            let after = place.rows().await;
            assert_eq!(after.0 > before.0, enable, "{before:?}, then {after:?}");
            if !enable {
                server = place.restart(server).await;
                // What is in force, whatever the file says.
                assert!(server.process.out().contains("tokens    none: "), "{}", server.process.out());
            }
            for issued in &all {
                clients.assert_all(&server, issued, true).await;
            }
        }
        end(&place.home, &server, json!({ "client_id": clients.own[0].0 })).await;
        for (at, issued) in all.iter().enumerate() {
            assert!(!server.is_active(&clients.own[0], &issued.own[0]).await);
            assert!(server.is_active(&clients.own[1], &issued.own[1]).await);
            end(&place.home, &server, json!({ "subject": format!("subject-{at}") })).await;
            clients.assert_pairs(&server, &issued.pairs, false).await;
            clients.assert_not_refreshed(&server, &issued.pairs).await;
        }
        server.stop().await;
    }
}
