mod admin;
mod document;
mod file;
mod live;

use std::time::Duration;

use grantry_protocol::{
    ActiveTokenPolicy, Audience, Client, ConfiguredClaims, Grant, Lifetime, MetadataRules, NodeNumber,
    PersistenceMode, TokenId,
};
use grantry_store::Unwritten;

pub use self::admin::SettingsAdminError;
pub use self::document::RUNTIME_KEYS;
pub use self::file::{CacheCapacities, FileSettings, InvalidSetting};
pub use self::live::{LiveSettings, SettingsState};

/// Far more than a request can take from its first read to its commit.
const LONGEST_REQUEST: Duration = Duration::from_secs(3600);

/// Half of it is the `ttl` of a list, in whole seconds.
const SHORTEST_STATUS_LIST_TTL: Lifetime = Lifetime::from_secs(2);
const LONGEST_STATUS_LIST_TTL: Lifetime = Lifetime::from_secs(24 * 3600);

/// What `[server]` and `[tokens]` say about tokens.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// The `iss` of every token (RFC 9068 §2.2); a URL without a trailing slash.
    pub issuer: String,
    pub access_token_lifetime: Lifetime,
    pub retention_time: Lifetime,
    pub active_token_policy: ActiveTokenPolicy,
    /// A token with no more life left than this is not handed out again.
    pub reuse_minimum_life: Lifetime,
    /// From the authorization to the absolute end of its grant.
    pub refresh_token_lifetime: Lifetime,
    /// From the last refresh to the end of a grant that nobody refreshes.
    pub refresh_token_idle: Lifetime,
    /// How long after a rotation the refresh token before it may come back as a retry.
    pub refresh_grace: Lifetime,
    /// The audience of a token that was asked for without `resource`.
    pub default_audience: Audience,
    /// What every access token says besides; a client's own claims go before it.
    pub claims: ConfiguredClaims,
    /// How old what a verifier knows from a status list may be.
    pub status_list_ttl: Lifetime,
    /// When access tokens are persisted, unless the client's metadata say otherwise.
    pub persistence: PersistenceMode,
    /// Whether there is a queue for mode async.
    pub has_queue: bool,
    /// Mode async, where tokens are stored at all, if this is more than 0 and there is a queue.
    pub pool_size: usize,
}

/// Names the key and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct InvalidTokenSettings {
    pub key: &'static str,
    pub problem: String,
}

impl TokenSettings {
    pub fn validate(&self) -> Result<(), InvalidTokenSettings> {
        let refuse = |key, problem| Err(InvalidTokenSettings { key, problem });
        if self.access_token_lifetime < Lifetime::from_secs(1) {
            return refuse("tokens.access_token_lifetime", "must be at least 1s".to_owned());
        }
        if self.access_token_lifetime >= self.retention_time {
            return refuse(
                "tokens.access_token_lifetime",
                format!(
                    "{} is not less than tokens.retention_time ({}), so rows of live tokens would be removed: \
                     shorten the one or lengthen the other",
                    self.access_token_lifetime, self.retention_time
                ),
            );
        }
        if self.refresh_token_lifetime < Lifetime::from_secs(1) {
            return refuse("tokens.refresh_token_lifetime", "must be at least 1s".to_owned());
        }
        if self.refresh_token_idle < Lifetime::from_secs(1) {
            return refuse("tokens.refresh_token_idle", "must be at least 1s".to_owned());
        }
        if self.refresh_token_idle > self.refresh_token_lifetime {
            return refuse(
                "tokens.refresh_token_idle",
                format!(
                    "{} is more than tokens.refresh_token_lifetime ({}), so it would mean nothing: shorten the one or \
                     lengthen the other",
                    self.refresh_token_idle, self.refresh_token_lifetime
                ),
            );
        }
        if self.refresh_grace >= self.refresh_token_idle {
            return refuse(
                "tokens.refresh_grace",
                format!(
                    "{} is not less than tokens.refresh_token_idle ({}), so a stolen refresh token would never be \
                     recognized: shorten the one or lengthen the other",
                    self.refresh_grace, self.refresh_token_idle
                ),
            );
        }
        if self.pool_size > 0 && !self.has_queue {
            return refuse(
                "token_persistence.pool_size",
                format!(
                    "{} needs a queue, and this server was started without one: set token_persistence.pool_size in its \
                     grantry.toml and restart it",
                    self.pool_size
                ),
            );
        }
        if !(SHORTEST_STATUS_LIST_TTL..=LONGEST_STATUS_LIST_TTL).contains(&self.status_list_ttl) {
            return refuse(
                "tokens.status_list_ttl",
                format!(
                    "{} is out of bounds; choose something from {SHORTEST_STATUS_LIST_TTL} to {LONGEST_STATUS_LIST_TTL}",
                    self.status_list_ttl
                ),
            );
        }
        if let Err(problem) = self.claims.validate() {
            return refuse("tokens.claims", problem);
        }
        if self.reuse_minimum_life >= self.access_token_lifetime {
            return refuse(
                "tokens.reuse_minimum_life",
                format!(
                    "{} is not less than tokens.access_token_lifetime ({}), so no token would ever be handed out \
                     again: shorten the one or lengthen the other",
                    self.reuse_minimum_life, self.access_token_lifetime
                ),
            );
        }
        Ok(())
    }

    pub(crate) fn metadata_rules(&self) -> MetadataRules {
        MetadataRules {
            retention_time: self.retention_time,
            has_queue: self.has_queue,
            persistence: self.persistence,
            active_token_policy: self.active_token_policy,
        }
    }

    pub(crate) fn lifetime_for(&self, client: &Client) -> Lifetime {
        client.metadata.access_token_lifetime.unwrap_or(self.access_token_lifetime)
    }

    pub(crate) fn policy_for(&self, client: &Client) -> ActiveTokenPolicy {
        client.metadata.active_token_policy.unwrap_or(self.active_token_policy)
    }

    /// The mode that `token_persistence.enable` and `token_persistence.pool_size` stand for.
    pub fn mode(enable: bool, pool_size: usize) -> PersistenceMode {
        match (enable, pool_size) {
            (false, _) => PersistenceMode::None,
            (true, 0) => PersistenceMode::Sync,
            (true, _) => PersistenceMode::Async,
        }
    }

    pub(crate) fn persistence_for(&self, client: &Client) -> PersistenceMode {
        client.metadata.persistence.unwrap_or(self.persistence)
    }

    /// A token lives for less than `retention_time`.
    pub(crate) fn unwritten(&self, id: TokenId, by: NodeNumber) -> Unwritten {
        Unwritten { by: Some(by), expires_by: id.made_at() + self.retention_time.as_duration() }
    }

    /// For a client with very short tokens half their lifetime is enough; otherwise none would ever be reused.
    pub(crate) fn reuse_minimum_life_for(&self, client: &Client) -> Duration {
        self.reuse_minimum_life.as_duration().min(self.lifetime_for(client).as_duration() / 2)
    }

    /// How long the log must remember a rule. The last token or grant that it ends is one whose request was under way
    /// when the rule was made: it is issued a little later, and lives from then on for less than `retention_time`, or
    /// for `refresh_token_lifetime`.
    pub fn rule_memory(&self) -> Duration {
        self.retention_time.max(self.refresh_token_lifetime).as_duration() + LONGEST_REQUEST
    }

    /// A grant that need not have a row, as its refresh token says it, as far as these settings let it live. Rules are
    /// remembered for as long as they let grants live; where they were changed to less, a grant that nothing in the store
    /// speaks for must not outlive the rules that have ended it.
    pub(crate) fn bounded(&self, mut grant: Grant, counter: u32) -> Grant {
        let longest = grant.created_at + self.refresh_token_lifetime.as_duration();
        grant.expires_at = grant.expires_at.min(longest);
        // Once it was rotated, its row knows. What has spent it must be remembered for as long as this lets it live.
        grant.idle_expires_at = match counter {
            0 => grant.idle_expires_at.min(grant.rotated_at + self.refresh_token_idle.as_duration()),
            _ => grant.expires_at,
        };
        grant
    }

    /// How long the log must remember the end of one grant, for the sake of its access tokens.
    pub(crate) fn grant_end_memory(&self) -> Duration {
        self.retention_time.as_duration() + LONGEST_REQUEST
    }
}
