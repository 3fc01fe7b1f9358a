//! Introspection (RFC 7662).
//!
//! 1. A token that was not made with our keys is inactive; the store is not asked.
//! 2. Read the token's row, with all that may have ended it, in one snapshot.
//! 3. The caller may see it if it is its own, meant for it, or if the caller holds `grantry:introspect`. To anybody
//!    else it is inactive: that it exists is nobody else's business (RFC 7662 §4).
//! 4. It is active if it is ACTIVE or RETIRED.

use grantry_protocol::{AccessToken, Client, scopes};

use crate::{GrantError, Grants};

pub enum Introspection {
    Inactive,
    Active(Box<ActiveToken>),
}

/// The members of RFC 7662 §2.2 come from here.
pub struct ActiveToken {
    pub token: AccessToken,
    pub issuer: String,
}

impl Grants {
    pub async fn introspect(&self, caller: &Client, token: &str) -> Result<Introspection, GrantError> {
        // 1.
        let Some(recognized) = self.recognize_token(token) else { return Ok(Introspection::Inactive) };
        // 2.
        let Some(stored) = self.store.token_find(recognized.id).await? else { return Ok(Introspection::Inactive) };
        // 3.
        if stored.token.format != recognized.format || !may_see(caller, &stored.token) {
            return Ok(Introspection::Inactive);
        }
        // 4.
        if !stored.state(self.clock.now()).is_honoured() {
            return Ok(Introspection::Inactive);
        }
        Ok(Introspection::Active(Box::new(ActiveToken { token: stored.token, issuer: self.settings.issuer.clone() })))
    }
}

fn may_see(caller: &Client, token: &AccessToken) -> bool {
    token.client_id == caller.id
        || token.audience.contains(caller.id.as_str())
        || caller.metadata.resources.iter().any(|resource| token.audience.contains(resource))
        || caller.metadata.scope.contains(scopes::INTROSPECT)
}
