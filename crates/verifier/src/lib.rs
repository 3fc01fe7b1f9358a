//! For resource servers: tells whether an access token of Grantry is good, without asking for each request, and stops
//! taking it within a stated time after it was revoked.
//!
//! [`Verifier::start`] follows an issuer; [`Verifier::check`] judges a token. [`RequireToken`] and [`RequireScope`] are
//! both as layers for tower and axum. What is promised and what each failure looks like: `docs/verifier.md`.

mod ambient;
mod cache;
mod challenge;
mod claims;
mod discovery;
mod feed;
mod http_client;
mod introspection;
mod keys;
mod layer;
mod login;
mod metadata;
mod refusal;
mod settings;
mod verified;
mod verifier;

pub use ambient::Ambient;
pub use challenge::bearer_token;
pub use grantry_jose::Algorithm;
pub use grantry_protocol::{BootClock, Clock, Rng, Secret, Timestamp};
pub use layer::{RequireScope, RequireToken, ScopeService, TokenService};
pub use metadata::ResourceMetadata;
pub use refusal::{Outage, Reason, Refusal};
pub use settings::{ClientCredentials, Endpoints, Introspection, Revocations, Settings, StartError};
pub use verified::Verified;
pub use verifier::Verifier;
