//! The jwt-bearer grant (RFC 7523 §2.1): somebody else vouches, by a signature, for the user that a token is to speak
//! for.
//!
//! 1. Authenticate the client, capturing `seen`; it may use this grant. A public client names itself: the assertion is
//!    what proves.
//! 2. The assertion is signed by a key of the issuer that the client is registered for, or of the client itself.
//! 3. It was made by that issuer, for this server and for now (`assertions.rs`).
//! 4. Its subject is one that the client may speak for.
//! 5. Scope and audience as for client credentials.
//! 6. Last, since it is written down: the assertion was not used before.
//! 7. Without refresh tokens, and with slot binding `none`: the slot's token as for client credentials. With binding
//!    `grant` a token in a slot of its own, of which nothing but that token is ever kept.
//! 8. With refresh tokens and binding `none` the grant is found by its slot, so that the same subject gets the same
//!    pair: the live grant with its token, or with a new one where that is used up; otherwise a new grant, or that of a
//!    request that was faster: see `persistence/src/recovery/`.
//! 9. With refresh tokens and binding `grant`: a new grant each time.
//! 10. In mode none a new grant each time, too, and nothing is written: the refresh token carries it.
//! 11. But for a client whose tokens are told of in status lists: its grant gets a row, with the place in a list that all
//!     access tokens of the grant share.

use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::Opened;
use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Authority, Client, Grant, GrantId, GrantType, JwtBearerRequest,
    OAuthError, PersistenceMode, Secret, Seen, Slot, SlotBinding, Subject,
};
use grantry_store::Opening;

use crate::assertions::{CheckedAssertion, Claims};
use crate::authenticate::AuthenticatedClient;
use crate::issuing::allowed_scope;
use crate::key_sets::{Owner, Unverified};
use crate::tokens::IssuedToken;
use crate::tokens::opaque::{self, RefreshToken};
use crate::{Credentials, GrantError, Grants, TokenResponse};

impl Grants {
    /// # Errors
    /// `invalid_client`; `unauthorized_client`; `invalid_grant`; `invalid_scope`; `invalid_target`.
    pub async fn jwt_bearer(
        &self,
        credentials: &Credentials,
        request: JwtBearerRequest,
    ) -> Result<TokenResponse, GrantError> {
        // 1.
        let AuthenticatedClient { client, seen } = self.authenticate(credentials).await?;
        if !client.metadata.grant_types.contains(&GrantType::JwtBearer) {
            return Err(OAuthError::unauthorized_client("the client is not registered for jwt-bearer").into());
        }
        // 2. to 4.
        let (subject, assertion) = self.check_bearer(&client, &request.assertion).await?;
        // 5.
        let scope = allowed_scope(&client, request.wanted.scope)?;
        let audience = self.allowed_audience(&client, request.wanted.audience)?;
        // 6.
        if !self.use_up(assertion).await? {
            return Err(OAuthError::invalid_grant("the assertion was used before").into());
        }
        let format = client.metadata.access_token_format;
        let slot = Slot::of_user(client.id.clone(), subject, scope, audience, format);
        match (client.metadata.jwt_bearer_refresh, client.metadata.slot_binding) {
            // 7.
            (false, SlotBinding::None) => {
                let holder = self.find_holder(&client, &slot).await?;
                let token = self.obtain_token(&client, slot, seen, holder).await?;
                self.respond(&client, &token, None).await
            }
            (false, SlotBinding::Grant) => {
                let slot = Slot { grant: Some(self.new_grant_id()), ..slot };
                let token = self.obtain_token(&client, slot, seen, None).await?;
                self.respond(&client, &token, None).await
            }
            // 8.
            (true, SlotBinding::None)
                if self.settings().persistence_for(&client) == PersistenceMode::None =>
            {
                self.open_grant(&client, self.new_grant_id(), slot, seen).await
            }
            (true, SlotBinding::None) => self.pair_of_slot(&client, slot, seen).await,
            // 9.
            (true, SlotBinding::Grant) => {
                let id = self.new_grant_id();
                self.open_grant(&client, id, Slot { grant: Some(id), ..slot }, seen).await
            }
        }
    }

    async fn check_bearer(
        &self,
        client: &Client,
        assertion: &Secret,
    ) -> Result<(Subject, CheckedAssertion), GrantError> {
        // 2.
        let metadata = &client.metadata;
        let (owner, issuer) = match &metadata.jwt_bearer_issuer {
            Some(issuer) => (Owner::AssertionIssuer, issuer.issuer.as_str()),
            None => (Owner::Client, client.id.as_str()),
        };
        let no_keys = || OAuthError::invalid_grant("the keys of the assertion's issuer cannot be had");
        let source = metadata.assertion_keys().ok_or_else(no_keys)?;
        let claims: Claims =
            self.key_sets.verify(&client.id, owner, source, assertion.expose()).await.map_err(|error| {
                match error {
                    Unverified::Signature(_) => OAuthError::invalid_grant(
                        "the assertion is not a JWT that is signed by a key of its issuer",
                    )
                    .into(),
                    Unverified::NoKeys => no_keys().into(),
                    Unverified::Unavailable(why) => GrantError::Unavailable(why),
                }
            })?;
        // 3.
        let checked = claims
            .check(issuer, &self.settings().issuer, self.clock.now())
            .map_err(OAuthError::invalid_grant)?;
        // 4.
        let subject = claims.sub.and_then(|subject| subject.parse::<Subject>().ok());
        subject
            .filter(|subject| metadata.jwt_bearer_subjects.iter().any(|allowed| allowed.matches(subject)))
            .map(|subject| (subject, checked))
            .ok_or_else(|| {
                OAuthError::invalid_grant("the client may not speak for the assertion's sub").into()
            })
    }

    // 8.
    async fn pair_of_slot(
        &self,
        client: &Client,
        slot: Slot,
        seen: Seen,
    ) -> Result<TokenResponse, GrantError> {
        let (grant, holder) =
            tokio::join!(self.store.grant_find_by_slot(slot.key()), self.find_holder(client, &slot));
        match grant?.filter(|stored| stored.is_active(self.clock.now())) {
            Some(stored) => {
                let grant = stored.grant;
                // The grant may have been opened, with its token, after the holder was looked up.
                let holder = match holder? {
                    None => self.find_holder(client, &slot).await?,
                    found => found,
                };
                let token = self.obtain_token(client, slot, grant.authority(), holder).await?;
                self.respond(client, &token, Some(self.refresh_token(&grant))).await
            }
            None => self.open_grant(client, self.new_grant_id(), slot, seen).await,
        }
    }

    /// With binding `none`, where the slot names no grant, the grant is found by the slot from now on.
    async fn open_grant(
        &self,
        client: &Client,
        id: GrantId,
        slot: Slot,
        seen: Seen,
    ) -> Result<TokenResponse, GrantError> {
        // 11.
        if self.shares_places(client) {
            return self.open_listed_grant(client, id, Slot { grant: Some(id), ..slot }, seen).await;
        }
        let is_found_by_slot = slot.grant.is_none();
        let token = self.new_token(client, slot, Authority { seen, grant: Some(id), session: None });
        // 10.
        if self.settings().persistence_for(client) == PersistenceMode::None {
            let policy = match is_found_by_slot {
                true => self.settings().policy_for(client),
                false => ActiveTokenPolicy::Multiple,
            };
            let issued = self.issue_unstored(token, policy).await?;
            let grant = self.grant_of(&issued.token, id, is_found_by_slot);
            let refresh_token = opaque::write_sealed_refresh(&self.keys, &grant, grant.counter);
            return self.respond(client, &issued, Some(refresh_token)).await;
        }
        let token = self.placed(client, token).await?;
        let grant = self.grant_of(&token, id, is_found_by_slot);
        let opening =
            Arc::new(Opening { grant, token, is_stored: true, policy: self.settings().policy_for(client) });
        let min_life = self.settings().reuse_minimum_life_for(client);
        match self.persistence.open(Arc::clone(&opening), min_life).await? {
            Opened::New => {
                self.issued.count(PersistenceMode::Sync);
                let Opening { grant, token, .. } = Arc::unwrap_or_clone(opening);
                self.respond(client, &IssuedToken::stored(token), Some(self.refresh_token(&grant))).await
            }
            Opened::Joined { grant, token } => {
                let refresh_token = self.refresh_token(&grant.grant);
                self.respond(client, &IssuedToken::stored(*token), Some(refresh_token)).await
            }
        }
    }

    // 11.
    async fn open_listed_grant(
        &self,
        client: &Client,
        id: GrantId,
        slot: Slot,
        seen: Seen,
    ) -> Result<TokenResponse, GrantError> {
        let token = self.new_token(client, slot, Authority { seen, grant: Some(id), session: None });
        let token = AccessToken { status_index: Some(self.new_place(seen.epoch).await?), ..token };
        let grant = Grant { status_index: token.status_index, ..self.grant_of(&token, id, false) };
        let policy = ActiveTokenPolicy::Multiple;
        let opening = Opening { grant: grant.clone(), token: token.clone(), is_stored: false, policy };
        match self.persistence.open(Arc::new(opening), Duration::ZERO).await? {
            Opened::New => {}
            Opened::Joined { .. } => {
                return Err(GrantError::Internal("a grant of its own slot was joined to another".to_owned()));
            }
        }
        self.issued.count(PersistenceMode::None);
        let issued = IssuedToken { token, is_stored: false };
        self.respond(client, &issued, Some(self.refresh_token(&grant))).await
    }

    /// A grant that begins with this token, and has seen what the token has.
    fn grant_of(&self, token: &AccessToken, id: GrantId, is_found_by_slot: bool) -> Grant {
        let now = self.clock.now();
        Grant {
            id,
            slot: is_found_by_slot.then_some(token.slot),
            client_id: token.client_id.clone(),
            subject: token.subject.clone(),
            subject_kind: token.subject_kind,
            scope: token.scope.clone(),
            audience: token.audience.clone(),
            session: None,
            seen: token.authority.seen,
            created_at: now,
            expires_at: now + self.settings().refresh_token_lifetime.as_duration(),
            idle_expires_at: now + self.settings().refresh_token_idle.as_duration(),
            counter: 0,
            rotated_at: now,
            access_token: token.id,
            status_index: None,
        }
    }

    /// The one that is good.
    fn refresh_token(&self, grant: &Grant) -> Secret {
        opaque::write_refresh(&self.keys, RefreshToken { grant: grant.id, counter: grant.counter })
    }

    fn new_grant_id(&self) -> GrantId {
        self.ids.grant(self.clock.now(), self.rng.as_ref())
    }
}
