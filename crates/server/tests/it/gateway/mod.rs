//! `grantry gateway` with the real issuer, behind the real nginx.

mod dialects;
mod nginx;
mod outage;
mod raw;
mod settings;
pub mod stage;
mod upstream;
