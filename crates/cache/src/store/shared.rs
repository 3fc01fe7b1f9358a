//! What this node finds in the data space, and puts there for the others.

use std::time::Duration;

use grantry_protocol::{ClientId, SlotKey, TokenId};
use grantry_store::{CopyKind, Precedence, StoredToken};

use super::clients::ClientCopy;
use super::{CachedStore, has_known_holder};

/// Far less than the log remembers that a client was changed, however short tokens live: once it has forgotten that, a copy
/// from before would be taken for good.
const CLIENT_TTL: Duration = Duration::from_secs(600);

impl CachedStore {
    pub(super) async fn find_shared_token(&self, id: TokenId) -> Option<StoredToken> {
        let shared = self.shared.as_ref()?;
        let is_it = |copy: &StoredToken| copy.token.id == id && self.is_good(copy);
        let copy = shared.find(CopyKind::Token, &id.to_string(), is_it).await?;
        Some(self.judged(copy))
    }

    /// For as long as the token lives: who asks for it later is answered by the store.
    pub(super) fn share_token(&self, stored: &StoredToken) {
        let Some(shared) = &self.shared else { return };
        let ttl = stored.token.expires_at.since(self.clock.now());
        shared.put(CopyKind::Token, stored.token.id.to_string(), stored, ttl, Precedence::Last);
    }

    pub(super) async fn find_shared_holder(&self, slot: SlotKey) -> Option<StoredToken> {
        let shared = self.shared.as_ref()?;
        let owner: TokenId = shared.find(CopyKind::TokenOwner, &String::from(slot), |_| true).await?;
        let near = self.near.as_ref().and_then(|near| near.tokens.get(&owner));
        let holder = match near {
            Some(copy) => StoredToken::clone(&copy),
            None => self.find_shared_token(owner).await?,
        };
        let is_its = holder.token.slot == slot && has_known_holder(&holder);
        (is_its && self.still_holds(&holder)).then_some(holder)
    }

    /// Ids are ordered by time: of two holders the later one stays, in whatever order nodes put them.
    pub(super) fn share_holder(&self, holder: &StoredToken) {
        self.share_token(holder);
        let Some(shared) = self.shared.as_ref().filter(|_| has_known_holder(holder)) else { return };
        let (slot, id) = (String::from(holder.token.slot), holder.token.id);
        let ttl = holder.token.expires_at.since(self.clock.now());
        shared.put(CopyKind::TokenOwner, slot, &id, ttl, Precedence::Greatest);
    }

    pub(super) async fn find_shared_client(&self, id: &ClientId) -> Option<ClientCopy> {
        let shared = self.shared.as_ref()?;
        let is_it = |copy: &ClientCopy| copy.is_of(id) && self.is_current(copy);
        shared.find(CopyKind::Client, id.as_str(), is_it).await
    }

    pub(super) fn share_client(&self, id: &ClientId, copy: &ClientCopy) {
        let Some(shared) = &self.shared else { return };
        shared.put(CopyKind::Client, id.as_str().to_owned(), copy, CLIENT_TTL, Precedence::Last);
    }
}
