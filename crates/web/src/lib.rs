//! HTTP in front of the flows. A handler parses, calls one flow and renders; all routes stand in [`routes`].

mod address;
mod admin;
mod attempts;
mod bearer;
mod body;
mod cors;
mod credentials;
mod deadline;
mod guard;
mod health;
mod metadata;
mod metrics;
mod oauth2;
mod request;
mod respond;
mod routes;
mod state;

pub use request::{RequestName, current_request};
pub use routes::{PublicSite, Site, admin_router, public_site};
pub use state::{Limits, PersistenceFacts, WebSettings, WebState};
