//! The real binary, as operators start it and clients talk to it.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, as the test itself would")]

mod assertion;
mod asynchronous;
mod at;
mod backup;
mod cache;
mod claims;
mod cli;
mod clients_file;
mod config;
mod data_space;
mod deploy;
mod feed;
mod first_start;
mod gateway;
mod home;
mod jwt;
mod key_server;
mod keys;
mod limits;
mod master_key;
mod none;
mod oauth_client;
mod outage;
mod outbound;
mod postgres;
mod private_key_jwt;
mod process;
mod redis;
mod replication;
mod settings;
mod soak;
mod status_list;
mod store_copy;
mod test_server;
mod tls;
mod tokens;
mod verifier;
mod wait;
