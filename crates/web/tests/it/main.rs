//! The routers on the memory store, one module a URL. What needs a real socket or a real store is tested on the
//! binary, in `crates/server`.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, as the test itself would")]

mod admin_v1_clients;
mod admin_v1_keys;
mod admin_v1_persistence;
mod admin_v1_revocations;
mod admin_v1_settings;
mod admin_v1_tokens;
mod app;
mod assertions;
mod client_assertion;
mod cors;
mod health;
mod oauth2_introspect;
mod oauth2_revocations;
mod oauth2_revoke;
mod oauth2_status_list;
mod oauth2_token;
mod oauth2_token_jwt_bearer;
mod oauth2_token_refresh;
mod well_known;
