use std::sync::Arc;

use grantry_protocol::{
    AccessTokenFormat, ActiveTokenPolicy, AssertionIssuer, AuthMethod, Client, ClientMetadata,
    ClientSecretHash, GrantType, Lifetime, LogHead, LogKind, PersistenceMode, RefreshTokenRotation, ScopeSet,
    SlotBinding, Timestamp,
};

use super::harness::Harness;
use crate::{ClientOutcome, Observed};

fn with_every_field(id: &str) -> Client {
    Client {
        id: id.parse().unwrap(),
        metadata: ClientMetadata {
            client_name: Some("Søren's \"billing\"".into()),
            grant_types: vec![GrantType::ClientCredentials, GrantType::JwtBearer],
            scope: ScopeSet::parse("write read").unwrap(),
            token_endpoint_auth_method: AuthMethod::ClientSecretPost,
            access_token_format: AccessTokenFormat::Jwt,
            persistence: Some(PersistenceMode::Async),
            active_token_policy: Some(ActiveTokenPolicy::Replace),
            slot_binding: SlotBinding::Grant,
            refresh_token_rotation: RefreshTokenRotation::Never,
            access_token_lifetime: Some(Lifetime::from_secs(90)),
            access_token_claims: serde_json::from_str(r#"{"tier":["gold",{"n":1.5}]}"#).unwrap(),
            resources: vec!["https://a.example/".into()],
            allowed_resources: Some(Vec::new()),
            jwks: serde_json::from_str(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#).unwrap(),
            jwks_uri: Some("https://a.example/jwks".into()),
            jwt_bearer_subjects: vec!["user-*".to_owned().try_into().unwrap()],
            jwt_bearer_issuer: Some(AssertionIssuer {
                issuer: "https://idp.example".into(),
                jwks: None,
                jwks_uri: Some("https://idp.example/jwks".into()),
            }),
            jwt_bearer_refresh: true,
            allowed_cors_origins: vec!["https://app.example".into()],
            status_list: true,
            enabled: false,
        },
        secret: Some(ClientSecretHash { key_version: 255, hash: [0xfe; 32] }),
        created_at: Timestamp::from_millis(1_700_000_000_123),
        updated_at: Timestamp::from_millis(1_700_000_000_456),
        version: 1,
    }
}

pub async fn a_client_is_found_as_it_was_written(harness: Harness) {
    let client = with_every_field("a client's id");
    harness.insert(&client).await;
    assert_eq!(harness.found("a client's id").await, Some(client));
}

pub async fn a_public_client_has_no_secret(harness: Harness) {
    let client = Client { secret: None, ..with_every_field("app") };
    harness.insert(&client).await;
    assert_eq!(harness.found("app").await, Some(client));
}

pub async fn an_update_replaces_every_field(harness: Harness) {
    harness.insert(&harness.client("billing")).await;
    let next = Client { version: 2, ..with_every_field("billing") };
    let change = harness.change(&next, LogKind::ClientChanged);
    assert_eq!(harness.store.client_update(change).await, Ok(ClientOutcome::Done));
    assert_eq!(harness.found("billing").await, Some(next));
    assert_eq!(harness.log().await[0].kind, LogKind::ClientChanged);
    assert_eq!(harness.log().await[0].key, b"billing");
}

pub async fn what_is_read_has_seen_the_head_of_the_log(harness: Harness) {
    let find = async |id: &str| harness.store.client_find(&id.parse().unwrap()).await.unwrap();
    assert_eq!(find("billing").await, Observed { seen: LogHead::EMPTY.seen(), value: None });

    let mut client = harness.client("billing");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::ClientChanged).await;
    let token = harness.issued("billing").await;
    harness.revoke(token.id).await;
    let seen = harness.head().await.seen();
    assert_eq!(seen.position.0, 2);
    assert_eq!(find("billing").await, Observed { seen, value: Some(client) });
    assert_eq!(find("nobody").await, Observed { seen, value: None });
}

pub async fn clients_are_listed_by_id_after_a_cursor_and_up_to_a_limit(harness: Harness) {
    for id in ["b", "a", "B", "c", "a b"] {
        harness.insert(&harness.client(id)).await;
    }
    let list = async |after: Option<&str>, limit| {
        let after = after.map(|id| id.parse().unwrap());
        let clients = harness.store.client_list(after.as_ref(), limit).await.unwrap();
        clients.iter().map(|client| client.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, ["B", "a", "a b", "b", "c"]);
    assert_eq!(list(None, 2).await, ["B", "a"]);
    assert_eq!(list(Some("a"), 2).await, ["a b", "b"]);
    assert_eq!(list(Some("aa"), 10).await, ["b", "c"]);
    assert_eq!(list(Some("c"), 10).await, [""; 0]);
}

pub async fn an_id_that_is_taken_is_refused_and_nothing_is_written(harness: Harness) {
    let client = harness.client("billing");
    harness.insert(&client).await;
    let second = with_every_field("billing");
    let outcome = harness.store.client_insert(second, harness.entry("client.create", "billing")).await;
    assert_eq!(outcome, Ok(ClientOutcome::AlreadyExists));
    assert_eq!(harness.found("billing").await, Some(client));
    assert_eq!(harness.audit().await.len(), 1);
}

pub async fn an_update_of_another_version_writes_nothing(harness: Harness) {
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::ClientChanged).await;
    let head = harness.head().await;
    for version in [1, 2, 4] {
        let stale = Client { version, ..with_every_field("billing") };
        let outcome = harness.store.client_update(harness.change(&stale, LogKind::Client)).await;
        assert_eq!(outcome, Ok(ClientOutcome::VersionConflict), "version {version}");
    }
    assert_eq!(harness.found("billing").await, Some(client));
    assert_eq!(harness.head().await, head);
    assert_eq!(harness.audit().await.len(), 2);
}

pub async fn of_two_updates_at_the_same_time_one_is_applied(harness: Harness) {
    let client = harness.client("billing");
    harness.insert(&client).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let next = Client { version: 2, ..client.clone() };
            let (store, change) = (Arc::clone(&harness.store), harness.change(&next, LogKind::ClientChanged));
            tokio::spawn(async move { store.client_update(change).await.unwrap() })
        })
        .collect();
    let mut applied = 0;
    for task in tasks {
        match task.await.unwrap() {
            ClientOutcome::Done => applied += 1,
            other => assert_eq!(other, ClientOutcome::VersionConflict),
        }
    }
    assert_eq!(applied, 1);
    assert_eq!(harness.log().await.len(), 1);
    assert_eq!(harness.audit().await.len(), 2);
}

pub async fn changing_or_deleting_a_client_that_does_not_exist_writes_nothing(harness: Harness) {
    let mut nobody = harness.client("nobody");
    assert_eq!(harness.update(&mut nobody, LogKind::Client).await, ClientOutcome::NotFound);
    assert_eq!(harness.delete("nobody").await, ClientOutcome::NotFound);
    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.audit().await, []);
}

pub async fn a_deleted_client_is_gone_and_its_id_is_free_again(harness: Harness) {
    harness.insert(&harness.client("billing")).await;
    assert_eq!(harness.delete("billing").await, ClientOutcome::Done);
    assert_eq!(harness.found("billing").await, None);
    assert_eq!(harness.store.client_list(None, 10).await, Ok(Vec::new()));
    harness.insert(&with_every_field("billing")).await;
    assert!(harness.found("billing").await.is_some());
}
