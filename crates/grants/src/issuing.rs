//! What the flows that issue access tokens share: what a client may have, and how a slot's token comes about.

use std::sync::Arc;

use grantry_persistence::Persisted;
use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Audience, Authority, Client, OAuthError, PersistenceMode, ScopeSet,
    Secret, Slot,
};
use grantry_store::{Issue, StoredToken};
use metrics::{Counter, counter};

use crate::tokens::IssuedToken;
use crate::{GrantError, Grants};

/// A successful answer of the token endpoint (RFC 6749 §5.1).
pub struct TokenResponse {
    pub access_token: Secret,
    /// Seconds.
    pub expires_in: u64,
    pub scope: ScopeSet,
    /// RFC 6749 §6; never for client credentials (RFC 6749 §4.4.3).
    pub refresh_token: Option<Secret>,
}

impl Grants {
    /// What holds the slot, where the client's policy lets it be handed out again.
    pub(crate) async fn find_holder(
        &self,
        client: &Client,
        slot: &Slot,
    ) -> Result<Option<StoredToken>, GrantError> {
        let settings = self.settings();
        let is_stored = settings.persistence_for(client) != PersistenceMode::None;
        if !is_stored || settings.policy_for(client) != ActiveTokenPolicy::Reuse {
            return Ok(None);
        }
        Ok(self.persistence.find_holder(slot.key()).await?)
    }

    /// The holder again, if it has enough life left and comes from the same grant; otherwise a new token, or that of
    /// a request that was faster: see `persistence/src/recovery/`. Whichever it is, it is committed, or queued where the
    /// client's mode is async. In mode none it is always a new one.
    pub(crate) async fn obtain_token(
        &self,
        client: &Client,
        slot: Slot,
        authority: impl Into<Authority>,
        holder: Option<StoredToken>,
    ) -> Result<IssuedToken, GrantError> {
        let authority = authority.into();
        let mode = self.settings().persistence_for(client);
        if mode == PersistenceMode::None {
            let is_of_grant = slot.grant.is_some();
            let token = self.new_token(client, slot, authority);
            // The slot of one login has no earlier token.
            let policy = match is_of_grant {
                true => ActiveTokenPolicy::Multiple,
                false => self.settings().policy_for(client),
            };
            return self.issue_unstored(token, policy).await;
        }
        let min_life = self.settings().reuse_minimum_life_for(client);
        let observed = match holder {
            Some(holder) if holder.is_reusable(self.clock.now(), min_life, authority.grant) => {
                return Ok(self.issued.reused(holder));
            }
            holder => holder.map(|holder| holder.token.id),
        };
        let token = self.placed(client, self.new_token(client, slot, authority)).await?;
        let policy = self.settings().policy_for(client);
        let issue = Arc::new(Issue { token, policy, observed, min_life });
        match self.persistence.issue(Arc::clone(&issue), mode).await? {
            Persisted::Issued { deferred_by } => {
                self.issued.count(if deferred_by.is_some() {
                    PersistenceMode::Async
                } else {
                    PersistenceMode::Sync
                });
                Ok(IssuedToken::stored(AccessToken { deferred_by, ..Arc::unwrap_or_clone(issue).token }))
            }
            Persisted::Winner(winner) => Ok(self.issued.reused(*winner)),
        }
    }

    /// The token without a row, and where the policy is `replace` as the only one of its slot.
    pub(crate) async fn issue_unstored(
        &self,
        token: AccessToken,
        policy: ActiveTokenPolicy,
    ) -> Result<IssuedToken, GrantError> {
        let keep_until = self.clock.now() + self.settings().rule_memory();
        let token = self.persistence.issue_unstored(token, policy, keep_until).await?;
        self.issued.count(PersistenceMode::None);
        Ok(IssuedToken { token, is_stored: false })
    }

    /// A token that nobody has yet.
    pub(crate) fn new_token(
        &self,
        client: &Client,
        slot: Slot,
        authority: impl Into<Authority>,
    ) -> AccessToken {
        let now = self.clock.now();
        let id = self.ids.token(now, self.rng.as_ref());
        AccessToken::issue(id, slot, authority, now, self.settings().lifetime_for(client))
    }

    /// With the claims that are configured at this moment.
    pub(crate) async fn respond(
        &self,
        client: &Client,
        issued: &IssuedToken,
        refresh_token: Option<Secret>,
    ) -> Result<TokenResponse, GrantError> {
        let settings = self.settings();
        let claims = client.metadata.access_token_claims.over(&settings.claims);
        Ok(TokenResponse {
            access_token: self.write_token(issued, &claims).await?,
            expires_in: issued.token.expires_in(self.clock.now()),
            scope: issued.token.scope.clone(),
            refresh_token,
        })
    }

    /// What `resource` asks for (RFC 8707), else what the configuration says.
    pub(crate) fn allowed_audience(
        &self,
        client: &Client,
        requested: Audience,
    ) -> Result<Audience, OAuthError> {
        if requested.is_empty() {
            return Ok(self.settings().default_audience.clone());
        }
        if !client.metadata.allows_audience(&requested) {
            return Err(OAuthError::invalid_target("the client may not ask for this resource"));
        }
        Ok(requested)
    }
}

/// Part of what the client is registered for; none asked for means all of it (RFC 6749 §3.3).
pub(crate) fn allowed_scope(client: &Client, requested: Option<ScopeSet>) -> Result<ScopeSet, OAuthError> {
    let registered = &client.metadata.scope;
    match requested {
        None => Ok(registered.clone()),
        Some(scope) if scope.is_subset_of(registered) => Ok(scope),
        Some(_) => Err(OAuthError::invalid_scope("the client is not registered for all of this scope")),
    }
}

/// How many access tokens were handed out. The handles are kept: to find one by its name costs a good part of what making a
/// token does.
pub(crate) struct IssuedTokens {
    sync: Counter,
    asynchronous: Counter,
    none: Counter,
    reused: Counter,
}

impl IssuedTokens {
    pub fn new() -> Self {
        let issued = |mode: PersistenceMode| counter!("grantry_tokens_issued_total", "mode" => mode.as_str());
        Self {
            sync: issued(PersistenceMode::Sync),
            asynchronous: issued(PersistenceMode::Async),
            none: issued(PersistenceMode::None),
            reused: counter!("grantry_tokens_reused_total"),
        }
    }

    pub fn count(&self, mode: PersistenceMode) {
        match mode {
            PersistenceMode::Sync => self.sync.increment(1),
            PersistenceMode::Async => self.asynchronous.increment(1),
            PersistenceMode::None => self.none.increment(1),
        }
    }

    fn reused(&self, stored: StoredToken) -> IssuedToken {
        self.reused.increment(1);
        IssuedToken::stored(stored.token)
    }
}
