//! HTTP in front of the flows. A handler parses, calls one flow and renders; all routes stand in [`routes`].

mod address;
mod admin;
mod attempts;
mod body;
mod cors;
mod credentials;
mod guard;
mod health;
mod metadata;
mod metrics;
mod oauth2;
mod respond;
mod routes;
mod state;

pub use routes::{admin_router, public_router};
pub use state::{Limits, PersistenceFacts, WebSettings, WebState};
