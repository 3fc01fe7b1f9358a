//! Refresh tokens that a store which has lost commits would meet: made with the right keys, by a node on another store.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{AccessToken, ActiveTokenPolicy, Grant, GrantId, Seen, Slot, SlotBinding, Wanted};
use grantry_store::{AuditEntry, ClientOutcome, Clients, Grants, Opening, TokenWrite, Tokens, WriteOutcome};

use crate::world::{World, settings};

/// The refresh token with this counter, of a grant that the client has in the world's store.
pub async fn refresh_token(world: &World, client: &str, grant: GrantId, counter: u32) -> String {
    let own = world.store.grant_find(grant).await.unwrap().unwrap().grant;
    let token = world.store.token_find(own.access_token).await.unwrap().unwrap().token;
    let mut row = world.store.client_find(&client.parse().unwrap()).await.unwrap().value.unwrap();
    row.metadata.slot_binding = SlotBinding::None;

    let elsewhere = World::with(settings()).await;
    elsewhere.clock.set(world.now());
    let audit = AuditEntry {
        at: world.now(),
        actor: "test".to_owned(),
        action: "client.create",
        target: client.to_owned(),
        detail: serde_json::Value::Null,
        request_id: None,
    };
    assert_eq!(elsewhere.store.client_insert(row, audit).await, Ok(ClientOutcome::Done));
    let slot = Slot {
        client_id: own.client_id.clone(),
        subject: own.subject.clone(),
        subject_kind: own.subject_kind,
        scope: own.scope.clone(),
        audience: own.audience.clone(),
        confirmation: None,
        actor: None,
        format: token.format,
        requested_claims: None,
        grant: None,
    };
    let expires_at = world.now() + Duration::from_secs(3600);
    let subject = own.subject.clone();
    let grant = Grant {
        slot: Some(slot.key()),
        seen: Seen::NOTHING,
        counter,
        expires_at,
        idle_expires_at: expires_at,
        ..own
    };
    let token = AccessToken { slot: slot.key(), authority: grant.authority(), ..token };
    let opening = Arc::new(Opening { grant, token, is_stored: true, policy: ActiveTokenPolicy::Multiple });
    let opened = elsewhere.store.token_write(vec![TokenWrite::Open(opening)]).await;
    assert_eq!(opened, Ok(vec![WriteOutcome::Opened]));
    // The grant is found by its slot, and its good refresh token handed out.
    let assertion = elsewhere.signer.sign(&elsewhere.claims(client, subject.as_str()));
    let pair = elsewhere.bearer(client, &assertion, Wanted::default()).await.unwrap();
    pair.refresh().to_owned()
}
