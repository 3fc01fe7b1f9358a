use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Grant, GrantId, GrantState, Lifetime,
    LogHead, Rule, ScopeSet, Seen, Slot, SlotKey, SubjectKind,
};

use super::{Harness, LIFETIME};
use crate::{
    Opening, RevokeOutcome, Rotation, RotationOutcome, RuleAppend, StoredGrant, TokenWrite, WriteOutcome,
};

/// How long a grant of the suite lives at most.
pub const GRANT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long it lives if nobody refreshes.
pub const IDLE: Duration = Duration::from_secs(14 * 24 * 3600);

/// How long after a rotation the refresh token before it may come back.
pub const GRACE: Duration = Duration::from_secs(30);

impl Harness {
    /// A grant of the client for a user of its own and the scope "read", which has seen nothing of the log, with a token in a
    /// slot of its own.
    pub fn opening(&self, client: &str) -> Opening {
        let id = self.ids.grant(self.now(), &self.rng);
        self.opening_with(id, None, slot_of(client, "read", Some(id)))
    }

    /// The same for slot binding `none`: grant and token are found by what they are for.
    pub fn shared_opening(&self, client: &str) -> Opening {
        let slot = slot_of(client, "read", None);
        self.opening_with(self.ids.grant(self.now(), &self.rng), Some(slot.key()), slot)
    }

    fn opening_with(&self, id: GrantId, slot: Option<SlotKey>, token_slot: Slot) -> Opening {
        let mut grant = Grant {
            id,
            slot,
            client_id: token_slot.client_id.clone(),
            subject: token_slot.subject.clone(),
            subject_kind: token_slot.subject_kind,
            scope: token_slot.scope.clone(),
            audience: token_slot.audience.clone(),
            session: None,
            seen: LogHead::EMPTY.seen(),
            created_at: self.now(),
            expires_at: self.now() + GRANT_LIFETIME,
            idle_expires_at: self.now() + IDLE,
            counter: 0,
            rotated_at: self.now(),
            access_token: self.ids.token(self.now(), &self.rng),
            status_index: None,
        };
        let token = self.token_of(&grant, token_slot);
        grant.access_token = token.id;
        Opening { grant, token, is_stored: true, policy: ActiveTokenPolicy::Reuse }
    }

    /// A further token of the grant.
    fn token_of(&self, grant: &Grant, slot: Slot) -> AccessToken {
        let id = self.ids.token(self.now(), &self.rng);
        let lifetime = Lifetime::from_secs(LIFETIME.as_secs());
        AccessToken::issue(id, slot, grant.authority(), self.now(), lifetime)
    }

    /// Another token of the grant in the slot of its first.
    pub fn next_token(&self, opening: &Opening) -> AccessToken {
        AccessToken {
            id: self.ids.token(self.now(), &self.rng),
            issued_at: self.now().truncated_to_secs(),
            expires_at: self.now().truncated_to_secs() + LIFETIME,
            ..opening.token.clone()
        }
    }

    /// A grant that has been opened with its first token.
    pub async fn opened(&self, client: &str) -> Opening {
        let opening = self.opening(client);
        assert_eq!(self.write(open(&opening)).await, WriteOutcome::Opened);
        opening
    }

    pub async fn shared_opened(&self, client: &str) -> Opening {
        let opening = self.shared_opening(client);
        assert_eq!(self.write(open(&opening)).await, WriteOutcome::Opened);
        opening
    }

    /// The use of the refresh token with this counter, with a new access token.
    pub fn rotation(&self, opening: &Opening, presented: u32) -> Rotation {
        Rotation {
            grant: opening.grant.id,
            origin: None,
            presented,
            advance: true,
            grace: GRACE,
            idle: IDLE,
            token: self.next_token(opening),
            is_stored: true,
            policy: ActiveTokenPolicy::Reuse,
            token_life: LIFETIME,
            keep_until: self.now() + LIFETIME,
            reuse_audit: self.entry("grant.reuse", &opening.grant.id.to_string()),
        }
    }

    pub async fn rotate(&self, rotation: &Rotation) -> RotationOutcome {
        match self.write(rotate(rotation)).await {
            WriteOutcome::Rotated(outcome) => outcome,
            other => panic!("a rotation was answered with {other:?}"),
        }
    }

    /// The same for one that has to succeed; answers the new access token.
    pub async fn rotated(&self, opening: &Opening, presented: u32) -> AccessToken {
        let rotation = self.rotation(opening, presented);
        let expected = RotationOutcome::Refreshed { counter: presented + 1 };
        assert_eq!(self.rotate(&rotation).await, expected);
        rotation.token
    }

    pub async fn revoke_grant(&self, id: GrantId) -> RevokeOutcome {
        let audit = Some(Arc::new(self.entry("grant.revoke", &id.to_string())));
        let keep_until = self.now() + LIFETIME;
        match self.write(TokenWrite::RevokeGrant { id, origin: None, keep_until, audit }).await {
            WriteOutcome::Revoked(outcome) => outcome,
            other => panic!("a revocation was answered with {other:?}"),
        }
    }

    pub async fn stored_grant(&self, id: GrantId) -> StoredGrant {
        self.store.grant_find(id).await.unwrap().expect("the grant has a row")
    }

    pub async fn grant_state(&self, id: GrantId) -> GrantState {
        self.stored_grant(id).await.state(self.now())
    }

    /// The grant that the slot of slot binding `none` names.
    pub async fn slots_grant(&self, opening: &Opening) -> Option<GrantId> {
        let slot = opening.grant.slot.expect("a shared opening");
        self.store.grant_find_by_slot(slot).await.unwrap().map(|stored| stored.grant.id)
    }

    /// Makes a rule; answers what has seen it.
    pub async fn append(&self, rule: Rule) -> Seen {
        let audit = self.entry("revocation.create", "for the test");
        let append = RuleAppend { rule, keep_until: self.now() + LIFETIME, audit };
        self.store.revocation_append(append).await.unwrap()
    }
}

fn slot_of(client: &str, scope: &str, grant: Option<GrantId>) -> Slot {
    let scope = ScopeSet::parse(scope).unwrap();
    let slot =
        Slot::of_client(client.parse().unwrap(), scope, Audience::default(), AccessTokenFormat::Opaque);
    let subject = format!("user of {client}").parse().unwrap();
    Slot { subject, subject_kind: SubjectKind::User, grant, ..slot }
}

pub fn open(opening: &Opening) -> TokenWrite {
    TokenWrite::Open(Arc::new(opening.clone()))
}

pub fn rotate(rotation: &Rotation) -> TokenWrite {
    TokenWrite::Rotate(Arc::new(rotation.clone()))
}
