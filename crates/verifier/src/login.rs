//! The access token that the feed is read with. It is renewed when a quarter of its life is left, and when the issuer refuses
//! it. The one that is there is used until then, whatever becomes of the renewal.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::Secret;
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::discovery::Discovery;
use crate::http_client::{Failure, PATIENCE, post, send};
use crate::{Ambient, ClientCredentials};

const SCOPE: &str = "grantry:revocations";
const FIRST_BREATH: Duration = Duration::from_millis(100);
const LONGEST_BREATH: Duration = Duration::from_secs(5);
/// A token that was taken for so long has not been refused at once.
const STEADY: Duration = Duration::from_secs(10);
/// Between two renewals, however short tokens live.
const LEAST_LIFE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
    scope: Option<String>,
}

pub struct Login {
    client: Client,
    discovery: Arc<Discovery>,
    credentials: ClientCredentials,
    ambient: Ambient,
    token: watch::Sender<Option<Arc<Secret>>>,
    refused: Notify,
}

impl Login {
    pub fn new(
        client: Client,
        discovery: Arc<Discovery>,
        credentials: ClientCredentials,
        ambient: Ambient,
    ) -> Self {
        let (token, refused) = (watch::Sender::new(None), Notify::new());
        Self { client, discovery, credentials, ambient, token, refused }
    }

    /// Waits for one if there is none.
    pub async fn token(&self) -> Arc<Secret> {
        let mut token = self.token.subscribe();
        loop {
            if let Some(token) = token.borrow_and_update().clone() {
                return token;
            }
            // The sender lives as long as `self`.
            let _ = token.changed().await;
        }
    }

    /// The issuer did not take it.
    pub fn refuse(&self, refused: &Arc<Secret>) {
        let is_the_one =
            |token: &mut Option<Arc<Secret>>| token.take_if(|token| Arc::ptr_eq(token, refused)).is_some();
        if self.token.send_if_modified(is_the_one) {
            self.refused.notify_one();
        }
    }

    /// For as long as the verifier is there.
    pub async fn follow(self: Arc<Self>) {
        let (mut failures, mut refusals) = (0, 0);
        loop {
            match self.obtain().await {
                Ok((token, life)) => {
                    failures = 0;
                    let begun = self.ambient.now();
                    self.token.send_replace(Some(Arc::new(token)));
                    tokio::select! {
                        () = sleep((life / 4 * 3).max(LEAST_LIFE)) => refusals = 0,
                        // One that is refused at once, again and again, is asked for less and less often.
                        () = self.refused.notified() => {
                            let was_good = self.ambient.now().since(begun) >= STEADY;
                            refusals = if was_good { 0 } else { refusals + 1 };
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no access token for the revocation feed");
                    failures += 1;
                }
            }
            if let Some(pause) = breath(failures.max(refusals)) {
                sleep(self.ambient.jittered(pause)).await;
            }
        }
    }

    async fn obtain(&self) -> Result<(Secret, Duration), Failure> {
        let places = self.discovery.places().await?;
        let to =
            places.token.as_ref().ok_or_else(|| Failure::Answer("there is no token_endpoint".to_owned()))?;
        let form = [("grant_type", "client_credentials"), ("scope", SCOPE)];
        let body = send(post(&self.client, to, &self.credentials, &form), PATIENCE).await?;
        // The error could quote the token.
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| Failure::Answer("it is no token response (RFC 6749 section 5.1)".to_owned()))?;
        let token = Secret::new(answer.access_token);
        // RFC 6749 §5.1: absent where it is what was asked for.
        if answer.scope.is_some_and(|scope| !scope.split(' ').any(|value| value == SCOPE)) {
            return Err(Failure::Answer(format!("the client is not allowed the scope {SCOPE}")));
        }
        Ok((token, Duration::from_secs(answer.expires_in.unwrap_or(60).min(24 * 3600))))
    }
}

/// How long to wait after so many failures in a row.
fn breath(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(1)?.min(10);
    Some(FIRST_BREATH.saturating_mul(1 << doublings).min(LONGEST_BREATH))
}
