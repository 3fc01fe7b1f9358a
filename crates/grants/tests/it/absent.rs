//! Ending what has no row: a token or grant that is not stored, by its id, and one whose row is lost, by its id or its text.

use grantry_grants::{Actor, RevocationOutcome, RevocationTarget, TokenSettings};
use grantry_protocol::{GrantId, LogEntry, LogKind, PersistenceMode, Position, Timestamp, TokenId};
use grantry_store::{Grants, Revocations, Tokens};
use serde_json::json;

use crate::world::{Pair, World, code, public, secret_of, settings};

const FORMATS: [&str; 2] = ["opaque", "jwt"];
const RETENTION: u64 = 86_400;
const GRANT_LIFETIME: u64 = 36_000;

async fn world_of(mode: PersistenceMode) -> World {
    let world = World::with(TokenSettings { persistence: mode, ..settings() }).await;
    for format in FORMATS {
        world.client(format, json!({ "access_token_format": format })).await;
    }
    world
}

/// A store that has lost every token and grant, and what its clients hold of them.
async fn after_a_failover() -> (World, World) {
    (world_of(PersistenceMode::Sync).await, world_of(PersistenceMode::Sync).await)
}

async fn revoke(world: &World, target: RevocationTarget) -> RevocationOutcome {
    world.grants.revocation_create(target, &Actor::host()).await.unwrap()
}

fn grant_of(world: &World, pair: &Pair) -> GrantId {
    match world.grants.revocation_target(pair.refresh()).unwrap() {
        RevocationTarget::Grant(id) => id,
        RevocationTarget::UnstoredGrant(grant) => grant.id,
        other => panic!("{other:?}"),
    }
}

async fn log(world: &World) -> Vec<LogEntry> {
    world.store.revocation_list(Position(0), 100).await.unwrap()
}

/// An id that was made so many seconds before `world`'s now, or after it.
fn id_at(world: &World, seconds: i64) -> [u8; 16] {
    let mut id = *TokenId::lower_bound(Timestamp::from_secs(world.now().as_secs() + seconds)).as_bytes();
    (id[6], id[8]) = (0x70, 0x80);
    id
}

#[tokio::test]
async fn a_token_that_is_not_stored_ends_by_its_id() {
    let world = world_of(PersistenceMode::None).await;
    for format in FORMATS {
        let (pair, other) = (world.pair(format, "alice").await, world.pair(format, "alice").await);
        let id = world.id_of(format, &pair.access).await;
        let outcome = revoke(&world, RevocationTarget::Token(id)).await;
        assert!(matches!(outcome, RevocationOutcome::Revoked(_)), "{outcome:?}");
        assert!(!world.is_active(format, &pair.access).await);
        assert!(
            world.is_active(format, &other.access).await && world.is_active(format, pair.refresh()).await
        );
        assert_eq!(revoke(&world, RevocationTarget::Token(id)).await, RevocationOutcome::AlreadyOver);
        let entry = log(&world).await.pop().unwrap();
        assert_eq!((entry.kind, &entry.key[..]), (LogKind::Token, &id.as_bytes()[..]));
        // Whatever its own lifetime, no token lives longer.
        assert_eq!(entry.keep_until.as_secs(), world.now().as_secs() + RETENTION as i64);
    }
    assert_eq!((world.store.token_count().await, log(&world).await.len()), (Ok(0), 2));
    assert_eq!(world.audit("revocation.create").await.len(), 2);
}

#[tokio::test]
async fn a_grant_that_is_not_stored_ends_by_its_id_with_all_its_tokens() {
    let world = world_of(PersistenceMode::None).await;
    for format in FORMATS {
        let (pair, other) = (world.pair(format, "alice").await, world.pair(format, "alice").await);
        let outcome = revoke(&world, RevocationTarget::Grant(grant_of(&world, &pair))).await;
        assert!(matches!(outcome, RevocationOutcome::Revoked(_)), "{outcome:?}");
        assert!(
            !world.is_active(format, &pair.access).await && !world.is_active(format, pair.refresh()).await
        );
        assert_eq!(code(world.refresh(format, pair.refresh()).await), "invalid_grant");
        assert!(world.is_active(format, &other.access).await);
        assert!(world.refresh(format, other.refresh()).await.is_ok());
    }
    let kept = world.now().as_secs() + (GRANT_LIFETIME + RETENTION) as i64;
    assert!(
        log(&world)
            .await
            .iter()
            .all(|entry| entry.kind == LogKind::Grant && entry.keep_until.as_secs() >= kept)
    );
    assert_eq!(world.audit("revocation.create").await.len(), 2);
}

#[tokio::test]
async fn a_token_whose_row_is_lost_ends_by_its_id_or_by_its_text() {
    let (before, world) = after_a_failover().await;
    for format in FORMATS {
        let (one, two) = (before.pair(format, "alice").await, before.pair(format, "bob").await);
        let (by_id, by_text) =
            (before.id_of(format, &one.access).await, before.id_of(format, &two.access).await);
        assert!(matches!(
            revoke(&world, RevocationTarget::Token(by_id)).await,
            RevocationOutcome::Revoked(_)
        ));
        // Whose an opaque one is stood in the row: whoever holds it may end it, and once is enough. A JWT says it.
        for caller in FORMATS {
            let answer =
                world.grants.revoke(&secret_of(caller), &two.access, world.requests.next()).await.map(drop);
            match (format, caller) {
                ("jwt", "opaque") => {
                    assert_eq!(code(answer), "unauthorized_client");
                    assert_eq!(log(&world).await.len(), 3, "it has only ended the one by its id");
                }
                _ => answer.unwrap(),
            }
        }
        let ended: Vec<_> = log(&world).await.into_iter().rev().take(2).collect();
        for (entry, id) in ended.iter().zip([by_text, by_id]) {
            assert_eq!((entry.kind, &entry.key[..]), (LogKind::Token, &id.as_bytes()[..]));
        }
    }
    assert_eq!(log(&world).await.len(), 4);
}

#[tokio::test]
async fn a_grant_whose_row_is_lost_ends_by_its_id_or_by_its_refresh_token() {
    let (before, world) = after_a_failover().await;
    let (one, two) = (before.pair("jwt", "alice").await, before.pair("jwt", "bob").await);
    let grants = [grant_of(&before, &one), grant_of(&before, &two)];
    assert!(matches!(
        revoke(&world, RevocationTarget::Grant(grants[0])).await,
        RevocationOutcome::Revoked(_)
    ));
    world.grants.revoke(&secret_of("jwt"), two.refresh(), world.requests.next()).await.unwrap();
    let ended: Vec<_> = log(&world).await.into_iter().map(|entry| (entry.kind, entry.key)).collect();
    assert_eq!(ended, grants.map(|id| (LogKind::Grant, id.as_bytes().to_vec())));
    assert_eq!(world.audit("revocation.create").await[0].actor, "host");
    assert_eq!(world.audit("grant.revoke_absent").await[0].actor, "jwt");
}

#[tokio::test]
async fn a_grant_whose_row_is_lost_ends_once_however_often_that_is_asked_for() {
    let (before, world) = after_a_failover().await;
    let pair = before.pair("jwt", "alice").await;
    let id = grant_of(&before, &pair);
    world.client("app", json!({ "token_endpoint_auth_method": "none" })).await;
    // It ends all that was there before, and says nothing of grants that were opened after it.
    revoke(&world, RevocationTarget::All).await;
    for credentials in [public("app"), public("app"), secret_of("jwt"), secret_of("opaque")] {
        world.grants.revoke(&credentials, pair.refresh(), world.requests.next()).await.unwrap();
    }
    assert_eq!(revoke(&world, RevocationTarget::Grant(id)).await, RevocationOutcome::AlreadyOver);
    let kinds: Vec<_> = log(&world).await.into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [LogKind::All, LogKind::Grant]);
    assert_eq!(world.audit("revocation.create").await.len(), 1, "that of the rule about all");
    let [row] = &world.audit("grant.revoke_absent").await[..] else { panic!("there is one") };
    assert_eq!((row.actor.as_str(), row.target.as_str()), ("public client", id.to_string().as_str()));
    assert_eq!(row.detail, json!({ "client_id": "app" }));
    assert!(row.request_id.is_some());
}

#[tokio::test]
async fn a_grant_that_gets_its_row_after_it_was_ended_by_its_id_stays_ended() {
    let (before, world) = after_a_failover().await;
    let pair = before.pair("jwt", "alice").await;
    let grant = before.store.grant_find(grant_of(&before, &pair)).await.unwrap().unwrap().grant;
    revoke(&world, RevocationTarget::Grant(grant.id)).await;
    let judged = world.store.grant_judge_unstored(grant).await.unwrap();
    assert!(judged.ended_by_rule);
}

#[tokio::test]
async fn an_id_that_nothing_valid_can_have_is_unknown_and_writes_nothing() {
    let world = world_of(PersistenceMode::Sync).await;
    let mut version_4 = id_at(&world, 0);
    version_4[6] = 0x40;
    let mut other_variant = id_at(&world, 0);
    other_variant[8] = 0xc0;
    let nonsense = [[0; 16], [0xff; 16], version_4, other_variant, id_at(&world, 61)];
    let (retention, grant_life) = (RETENTION as i64, (GRANT_LIFETIME + RETENTION + 3_600) as i64);
    for id in nonsense.into_iter().chain([id_at(&world, -retention)]) {
        let target = RevocationTarget::Token(TokenId::from_bytes(id));
        assert_eq!(revoke(&world, target).await, RevocationOutcome::Unknown, "{id:02x?}");
    }
    for id in nonsense.into_iter().chain([id_at(&world, -grant_life)]) {
        let target = RevocationTarget::Grant(GrantId::from_bytes(id));
        assert_eq!(revoke(&world, target).await, RevocationOutcome::Unknown, "{id:02x?}");
    }
    assert!(log(&world).await.is_empty());
    assert!(world.audit("revocation.create").await.is_empty());
    // On the other side of each bound it may be somebody's.
    for seconds in [60, 1 - retention] {
        let target = RevocationTarget::Token(TokenId::from_bytes(id_at(&world, seconds)));
        assert!(matches!(revoke(&world, target).await, RevocationOutcome::Revoked(_)), "{seconds}");
    }
    for seconds in [60, 1 - grant_life] {
        let target = RevocationTarget::Grant(GrantId::from_bytes(id_at(&world, seconds)));
        assert!(matches!(revoke(&world, target).await, RevocationOutcome::Revoked(_)), "{seconds}");
    }
}

#[tokio::test]
async fn what_can_only_have_expired_is_revoked_by_its_text_without_an_entry() {
    let (before, world) = after_a_failover().await;
    let pair = before.pair("opaque", "alice").await;
    world.wait(RETENTION);
    world.grants.revoke(&secret_of("opaque"), &pair.access, world.requests.next()).await.unwrap();
    assert!(log(&world).await.is_empty());
    world.wait(GRANT_LIFETIME + 3_600);
    world.grants.revoke(&secret_of("opaque"), pair.refresh(), world.requests.next()).await.unwrap();
    assert!(log(&world).await.is_empty());
}
