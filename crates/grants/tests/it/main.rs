//! The flows on the memory store, behind the wrapper that counts calls and injects faults: one test a step.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, as the test itself would")]

mod absent;
mod claims;
mod clients;
mod deferred;
mod interleavings;
mod jwt_bearer;
mod key_sets;
mod mint;
mod none;
mod private_key_jwt;
mod refresh;
mod refresh_tokens;
mod rules;
mod settings;
mod status_lists;
mod world;
