//! The nouns that every other crate speaks: ids, scope sets, clients, tokens with their legal transitions, slots,
//! positions in the revocation log, parsed requests and OAuth errors. Nothing in here does I/O, reads a clock or
//! draws a random number; [`Clock`] and [`Rng`] are handed in.

mod audience;
mod claims;
mod client;
mod client_document;
mod client_keys;
mod error;
mod grant;
mod ids;
mod log;
mod nearest;
mod params;
mod request;
mod rng;
mod scope;
mod secret;
mod slot;
mod status_list;
mod subject_pattern;
mod time;
mod token;

pub use audience::{Audience, AudienceClaim, MAX_RESOURCE_LEN, MAX_RESOURCES};
pub use claims::ConfiguredClaims;
pub use client::{
    AccessTokenFormat, ActiveTokenPolicy, AuthMethod, Client, ClientMetadata, ClientSecretHash, GrantType,
    InvalidMetadata, MetadataRules, PersistenceMode, RefreshTokenRotation, SlotBinding,
};
pub use client_keys::{AssertionIssuer, ClientKeySet, KeySource, MAX_CLIENT_KEYS};
pub use error::{ErrorCode, OAuthError};
pub use grant::{Grant, GrantState};
pub use ids::{
    ClientId, GrantId, InvalidId, InvalidUuid, NodeNumber, RequestId, RequestIds, SessionId, Subject,
    SubjectKind, TimeOrderedIds, TokenId,
};
pub use log::{Epoch, LogEntry, LogHead, LogKind, LogPage, Position, Rule, RuleKeys, Seen};
pub use nearest::nearest;
pub use params::{MAX_PARAMS, Params};
pub use request::{
    IntrospectionRequest, JwtBearerRequest, RefreshRequest, RevocationRequest, TokenRequest, Wanted,
};
pub use rng::Rng;
pub use scope::{InvalidScope, MAX_SCOPE_LEN, MAX_SCOPE_VALUES, ScopeSet};
pub use secret::Secret;
pub use slot::{Confirmation, InvalidSlotKey, Slot, SlotKey};
pub use status_list::StatusIndex;
pub use subject_pattern::{InvalidPattern, SubjectPattern};
pub use time::{BootClock, Clock, InvalidLifetime, Lifetime, ManualClock, Moment, Timestamp};
pub use token::{AccessToken, Authority, Ending, IllegalTransition, TokenState};

/// Scopes of Grantry itself; an administrator grants them, registration never does.
pub mod scopes {
    /// The admin API.
    pub const ADMIN: &str = "grantry:admin";
    /// Introspection of every token, not only the caller's own.
    pub const INTROSPECT: &str = "grantry:introspect";
    /// The feed of revocations.
    pub const REVOCATIONS: &str = "grantry:revocations";
    /// What every scope of Grantry itself starts with.
    pub const RESERVED_PREFIX: &str = "grantry:";
    /// All that exist; any other scope under the prefix is refused.
    pub const ALL: &[&str] = &[ADMIN, INTROSPECT, REVOCATIONS];
}
