//! Flows in mode async, on two nodes of one deployment whose paths to the store fail one by one.

use std::sync::Arc;

use grantry_grants::{Actor, Credentials, GrantError, RevocationOutcome, RevocationTarget, TokenSettings};
use grantry_protocol::{ManualClock, PersistenceMode, Wanted};
use grantry_store::{Fault, FaultyStore, MemoryStore, Outage, Store, StoreError, Tokens};
use serde_json::{Value, json};

use crate::world::{START, World, secret_of, settings, wanted};

/// More often than a test waits for.
const FOR_EVER: usize = 10_000;

struct Nodes {
    here: World,
    there: World,
}

fn asynchronous() -> TokenSettings {
    TokenSettings { persistence: PersistenceMode::Async, has_queue: true, pool_size: 2, ..settings() }
}

impl Nodes {
    async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let shared: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let path = || Arc::new(FaultyStore::new(Arc::clone(&shared)));
        let nodes = Self {
            here: World::node(path(), clock.clone(), asynchronous(), 1).await,
            there: World::node(path(), clock.clone(), asynchronous(), 2).await,
        };
        nodes.here.client("app", plain(json!({}))).await;
        nodes.here.client("other", json!({})).await;
        nodes
    }

    /// What this node answers from now on is not written.
    fn hold_back(&self) {
        let outage = || Some(Fault::Before(StoreError::unavailable(Outage::Io, "injected")));
        self.here.store.fail_writes((0..FOR_EVER).map(|_| outage()));
    }
}

/// Client credentials alone.
fn plain(mut fields: Value) -> Value {
    fields["grant_types"] = json!(["client_credentials"]);
    fields["jwt_bearer_refresh"] = json!(false);
    fields["jwt_bearer_subjects"] = json!([]);
    fields
}

async fn token(world: &World) -> String {
    let answer = world.grants.client_credentials(&secret_of("app"), Wanted::default()).await.unwrap();
    answer.access_token.expose().to_owned()
}

async fn introspect(world: &World, token: &str) -> Result<bool, GrantError> {
    let answer = world.grants.introspect(&secret_of("app"), token).await?;
    Ok(!matches!(answer, grantry_grants::Introspection::Inactive))
}

fn is_unavailable<T>(answer: &Result<T, GrantError>) -> bool {
    matches!(answer, Err(GrantError::Unavailable(_)))
}

async fn revoke(world: &World, credentials: &Credentials, token: &str) -> Result<(), GrantError> {
    world.grants.revoke(credentials, token, world.requests.next()).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_at_its_node_from_the_moment_of_the_answer() {
    let nodes = Nodes::start().await;
    nodes.hold_back();
    let given = token(&nodes.here).await;
    assert_eq!(introspect(&nodes.here, &given).await, Ok(true));
    assert_eq!(token(&nodes.here).await, given, "the slot's token, again");
    assert_eq!(nodes.here.store.token_count().await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn another_node_does_not_guess_while_the_row_is_on_its_way() {
    let nodes = Nodes::start().await;
    nodes.hold_back();
    let given = token(&nodes.here).await;
    assert!(is_unavailable(&introspect(&nodes.there, &given).await));
    let forged = format!("{}x", &given[..given.len() - 1]);
    assert_eq!(introspect(&nodes.there, &forged).await, Ok(false), "nobody waits for a forged one");
}

#[tokio::test(start_paused = true)]
async fn another_node_finds_it_once_it_is_written() {
    let nodes = Nodes::start().await;
    let given = token(&nodes.here).await;
    assert_eq!(introspect(&nodes.there, &given).await, Ok(true));
    assert_eq!(token(&nodes.there).await, given, "the same bytes, made by another node");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_revoked_while_it_is_queued_here() {
    let nodes = Nodes::start().await;
    let outage = StoreError::unavailable(Outage::Io, "injected");
    // The settlement fails, the revocation does not.
    nodes.here.store.fail_writes([Some(Fault::Before(outage))]);
    let given = token(&nodes.here).await;
    assert_eq!(nodes.here.store.token_count().await, Ok(0));
    revoke(&nodes.here, &secret_of("app"), &given).await.unwrap();
    assert_eq!(introspect(&nodes.here, &given).await, Ok(false));
    assert_ne!(token(&nodes.here).await, given, "its slot is free");
    // The row comes in as revoked, whenever that is.
    while nodes.here.store.token_count().await != Ok(2) {
        // wait: the writer tries again on its own, in virtual time.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for world in [&nodes.here, &nodes.there] {
        assert_eq!(introspect(world, &given).await, Ok(false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_revoked_by_a_node_that_has_never_seen_it() {
    let nodes = Nodes::start().await;
    nodes.hold_back();
    let given = token(&nodes.here).await;
    revoke(&nodes.there, &secret_of("app"), &given).await.unwrap();
    assert_eq!(introspect(&nodes.there, &given).await, Ok(false), "it is known to be over");
    assert_eq!(introspect(&nodes.here, &given).await, Ok(false), "where it is queued, too");
}

#[tokio::test(start_paused = true)]
async fn an_administrator_revokes_by_the_text_what_no_row_is_there_for() {
    let nodes = Nodes::start().await;
    nodes.hold_back();
    let given = token(&nodes.here).await;
    let target = nodes.there.grants.revocation_target(&given).unwrap();
    assert!(matches!(target, RevocationTarget::Deferred { .. }));
    let actor = Actor::host();
    let outcome = nodes.there.grants.revocation_create(target.clone(), &actor).await.unwrap();
    assert!(matches!(outcome, RevocationOutcome::Revoked(_)));
    assert_eq!(nodes.there.audit("revocation.create").await.len(), 1);
    let again = nodes.there.grants.revocation_create(target, &actor).await;
    assert_eq!(again, Ok(RevocationOutcome::AlreadyOver));
    assert_eq!(introspect(&nodes.here, &given).await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn another_clients_token_is_not_revoked_where_its_owner_is_known() {
    let nodes = Nodes::start().await;
    nodes.hold_back();
    let given = token(&nodes.here).await;
    let refused = revoke(&nodes.here, &secret_of("other"), &given).await;
    assert!(matches!(refused, Err(GrantError::Refused(_))));
    assert_eq!(introspect(&nodes.here, &given).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_collide_leave_the_later_token_active() {
    let nodes = Nodes::start().await;
    nodes.hold_back();
    let first = token(&nodes.here).await;
    nodes.here.wait(1);
    let second = token(&nodes.there).await;
    assert_ne!(first, second);
    assert_eq!(introspect(&nodes.here, &first).await, Ok(false), "known before it is written");
    assert_eq!(introspect(&nodes.here, &second).await, Ok(true));
    assert_eq!(token(&nodes.here).await, second, "the queued one has lost its slot");
}

#[tokio::test(start_paused = true)]
async fn a_client_may_override_the_mode_in_either_direction() {
    let nodes = Nodes::start().await;
    nodes.here.update("app", |metadata| metadata.persistence = Some(PersistenceMode::Sync)).await;
    nodes.hold_back();
    let answer = nodes.here.grants.client_credentials(&secret_of("app"), Wanted::default()).await;
    assert!(is_unavailable(&answer), "it is committed first");

    let by_default = TokenSettings { persistence: PersistenceMode::Sync, pool_size: 0, ..asynchronous() };
    let world = World::with(by_default).await;
    world.client("app", plain(json!({ "persistence": "async" }))).await;
    world.store.fail_writes([Some(Fault::Before(StoreError::unavailable(Outage::Io, "injected")))]);
    let given = token(&world).await;
    assert_eq!(introspect(&world, &given).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn a_jwt_says_in_a_signed_claim_that_its_row_comes_later() {
    let nodes = Nodes::start().await;
    nodes.here.client("jwt", plain(json!({ "access_token_format": "jwt" }))).await;
    let credentials = secret_of("jwt");
    let answer = nodes.here.grants.client_credentials(&credentials, wanted("read", &[])).await.unwrap();
    let text = answer.access_token.expose().to_owned();
    let claims = text.split('.').nth(1).and_then(grantry_jose::from_base64url).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert!(claims["grantry_stored"]["queue"].is_u64(), "{claims}");
    let seen = nodes.there.grants.introspect(&credentials, &text).await.unwrap();
    assert!(!matches!(seen, grantry_grants::Introspection::Inactive));
}

#[tokio::test(start_paused = true)]
async fn an_inspection_says_which_mode_holds_the_token() {
    let nodes = Nodes::start().await;
    let place = |inspection: grantry_grants::Inspection| inspection.token.unwrap().stored;
    nodes.hold_back();
    let queued = token(&nodes.here).await;
    let here = place(nodes.here.grants.inspect(&queued).await.unwrap());
    assert!(here.starts_with("the queue of this node"), "{here}");
    let there = nodes.there.grants.inspect(&queued).await.unwrap();
    assert!(there.explanation.contains("is not known"), "{}", there.explanation);
    assert!(place(there).starts_with("no row in the store yet"));

    let written = token(&nodes.there).await;
    while nodes.there.store.token_count().await != Ok(1) {
        // wait: the writer tries again on its own, in virtual time.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let drained = place(nodes.here.grants.inspect(&written).await.unwrap());
    assert!(drained.contains("before it was written, in mode async"), "{drained}");
}
