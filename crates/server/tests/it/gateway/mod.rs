//! `grantry gateway` with the real issuer, behind the real nginx.

mod bounds;
mod dialects;
mod metadata;
mod nginx;
mod outage;
mod raw;
mod settings;
pub mod stage;
mod tls;
mod upstream;
