//! A file as the first release wrote it.

use std::path::Path;

use grantry_protocol::{
    AccessToken, AccessTokenFormat, Audience, Authority, Ending, Epoch, LogKind, Position, ScopeSet, Seen,
    SlotKey, SubjectKind, Timestamp, TokenId,
};
use grantry_store::conformance::{Harness, open, rotate};
use grantry_store::{ClusterId, KeyPurpose, KeyRecord, RotationOutcome, StoredToken, WriteOutcome};
use grantry_store_sqlite::{SchemaVersions, SqliteStore};
use rusqlite::Connection;

use super::scratch::Scratch;

/// A client, two tokens of which one was revoked, a rule about a client, a key, a node.
pub fn write_first_schema(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(include_str!("../../src/migrations/0001_initial.sql")).unwrap();
    connection
        .execute_batch(
            r#"
            PRAGMA user_version = 1;
            PRAGMA journal_mode = wal;
            INSERT INTO tokens VALUES
                (x'00000000000000000000000000000001', x'0000000000000000000000000000000000000000000000000000000000000007', 'billing', 'billing', 1, 'read', '["x"]', 1,
                 1800000000000, 1800003600000, 1, 0, NULL),
                (x'00000000000000000000000000000002', x'0000000000000000000000000000000000000000000000000000000000000008', 'shop', 'somebody', 2, '', '[]', 2,
                 1800000000000, 1800003600000, 1, 1, 2);
            INSERT INTO slots VALUES (x'0000000000000000000000000000000000000000000000000000000000000007', x'00000000000000000000000000000001', 1800003600000);
            INSERT INTO clients VALUES ('billing', '{"grant_types": ["client_credentials"]}', NULL, NULL, 1, 2, 3, 0);
            INSERT INTO revocation_log VALUES (1, 1, 3, CAST('gone' AS BLOB), 1800003600000, 1800000000000);
            UPDATE log_head SET position = 1;
            INSERT INTO audit (at, actor, action, target, detail) VALUES (1, 'host', 'client.create', 'x', 'null');
            INSERT INTO keys VALUES ('signing', 1, x'0102', 1700000000001), ('token_mac', 1, x'03', 1700000000002);
            INSERT INTO nodes VALUES (zeroblob(16), 1700000000000);"#,
        )
        .unwrap();
}

fn id(last: u8) -> TokenId {
    let mut bytes = [0; TokenId::LEN];
    bytes[15] = last;
    TokenId::from_bytes(bytes)
}

fn first_token() -> StoredToken {
    let mut slot = [0; SlotKey::LEN];
    slot[31] = 7;
    let token = AccessToken {
        id: id(1),
        slot: SlotKey::from_bytes(slot),
        client_id: "billing".parse().unwrap(),
        subject: "billing".parse().unwrap(),
        subject_kind: SubjectKind::Client,
        scope: ScopeSet::parse("read").unwrap(),
        audience: Audience::new(vec!["x".into()]),
        format: AccessTokenFormat::Opaque,
        issued_at: Timestamp::from_secs(1_800_000_000),
        expires_at: Timestamp::from_secs(1_800_003_600),
        authority: Authority {
            seen: Seen { epoch: Epoch(1), position: Position(0) },
            grant: None,
            session: None,
        },
        deferred_by: None,
        status_index: None,
    };
    StoredToken { token, ended: None, ended_by_rule: false, holds_slot: true }
}

pub async fn assert_all_is_there(harness: &Harness) {
    assert_eq!(harness.stored(id(1)).await.token, first_token().token);
    assert_eq!(harness.stored(id(2)).await.ended, Some(Ending::Revoked));
    let client = harness.found("billing").await.unwrap();
    assert_eq!((client.version, client.metadata.persistence), (3, None), "it follows the server's setting");
    let log = harness.log().await;
    assert_eq!((log[0].kind, log[0].key.as_slice()), (LogKind::Client, &b"gone"[..]));
    let key = |purpose, millis, sealed: &[u8]| KeyRecord {
        purpose,
        version: 1,
        sealed: sealed.to_vec(),
        created_at: Timestamp::from_millis(millis),
        active_from: Timestamp::from_millis(millis),
        needed_until: None,
        revoked_at: None,
    };
    let keys = [
        key(KeyPurpose::Signing, 1_700_000_000_001, &[1, 2]),
        key(KeyPurpose::TokenMac, 1_700_000_000_002, &[3]),
    ];
    assert!(harness.store.key_list().await.unwrap() == keys);
}

#[tokio::test]
async fn a_store_of_the_first_release_is_opened_with_all_that_is_in_it() {
    let scratch = Scratch::new();
    write_first_schema(&scratch.path);
    let path = scratch.path.clone();
    let versions = SqliteStore::schema_versions(&path).unwrap();
    assert_eq!(versions, SchemaVersions { found: 1, needed: 6 });

    let harness = scratch.harness();
    assert_all_is_there(&harness).await;
    assert_eq!(harness.stored(id(1)).await, first_token());
    assert_eq!(harness.store.node_list().await.unwrap().len(), 1);
    assert_eq!(SqliteStore::schema_versions(&path).unwrap().found, 6);
    assert_eq!(harness.store.settings_find().await.unwrap().value, None);
    assert_ne!(harness.store.cluster_id().await.unwrap(), ClusterId([0; 16]));
}

#[tokio::test]
async fn a_store_of_the_first_release_works_with_rules_and_grants() {
    let scratch = Scratch::new();
    write_first_schema(&scratch.path);
    let harness = scratch.harness();
    let mut late = harness.token("gone");
    late.authority = first_token().token.authority;
    assert_eq!(harness.issue(&late).await, WriteOutcome::Issued);
    assert!(harness.stored(late.id).await.ended_by_rule, "a rule from before the migration");

    let opening = harness.opened("app").await;
    let batch = vec![open(&opening), rotate(&harness.rotation(&opening, 0))];
    let refreshed = WriteOutcome::Rotated(RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(harness.store.token_write(batch).await, Ok(vec![WriteOutcome::Opened, refreshed]));
    harness.revoke_grant(opening.grant.id).await;
    assert!(harness.stored(opening.token.id).await.ended_by_rule);
}
