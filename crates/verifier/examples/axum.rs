//! A service that receives access tokens of Grantry. With a client that has the scope `grantry:revocations`:
//!
//! ```text
//! ISSUER=http://127.0.0.1:8080 AUDIENCE=http://127.0.0.1:3000 CLIENT_ID=... CLIENT_SECRET=... \
//!     cargo run -p grantry-verifier --example axum
//! ```

use std::env;
use std::error::Error;
use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use grantry_verifier::{
    ClientCredentials, RequireScope, RequireToken, ResourceMetadata, Revocations, Secret, Settings, Verified,
    Verifier,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (issuer, audience) = (env::var("ISSUER")?, env::var("AUDIENCE")?);
    let credentials = ClientCredentials {
        client_id: env::var("CLIENT_ID")?,
        client_secret: Secret::new(env::var("CLIENT_SECRET")?),
    };
    let mut settings = Settings::new(&issuer, &audience, Revocations::Followed(credentials));
    let resource = ResourceMetadata::new(&audience, &issuer, &["read"])?;
    settings.resource = Some(resource.clone());
    let verifier = Verifier::start(settings)?;

    let app = Router::new()
        .route("/reports", get(reports).layer(RequireScope::new(&verifier, "read")))
        .route("/", get(who))
        .layer(RequireToken::new(Arc::clone(&verifier)))
        // What is added after the layer is for everybody.
        .merge(resource.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

async fn who(Extension(token): Extension<Arc<Verified>>) -> String {
    token.subject().to_owned()
}

async fn reports(Extension(token): Extension<Arc<Verified>>) -> String {
    format!("reports for {}", token.subject())
}
