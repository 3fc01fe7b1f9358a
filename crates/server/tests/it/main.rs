//! The real binary, as operators start it and clients talk to it.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, as the test itself would")]

mod cli;
mod config;
mod first_start;
mod home;
mod jwt;
mod limits;
mod master_key;
mod oauth_client;
mod outage;
mod process;
mod soak;
mod test_server;
mod tls;
mod wait;
