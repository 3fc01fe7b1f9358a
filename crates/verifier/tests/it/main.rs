//! A verifier before an issuer that does what a test tells it to; time stands still until a test moves it.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, as the test itself would")]

mod clock;
mod feed;
mod introspection;
mod issuer;
mod jwt;
mod keys;
mod layers;
mod wait;
