//! Requests of callers: when they were sent and answered, and what went wrong without a fault.

use std::fmt::Display;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio::time::Instant;

use super::Record;
use super::faults::Fault;
use crate::test_server::TestServer;
use crate::wait;

/// Connections; a server closes them after 10 seconds (`limits.header_timeout`), nginx after 75.
const KEPT_IDLE: Duration = Duration::from_secs(5);

/// Where a server listens.
#[derive(Debug, Clone)]
pub struct Address {
    pub public: String,
    /// Another one after each restart.
    pub admin: String,
}

impl Address {
    pub fn of(server: &TestServer) -> Self {
        Self { public: server.url.clone(), admin: server.admin_url.clone() }
    }
}

pub struct Reply {
    pub sent: Instant,
    pub answered: Instant,
    /// Absent where the connection was refused or ended.
    pub status: Option<u16>,
    /// Null where there is none: a revocation by its client is answered without a body.
    pub json: Value,
    /// The body, or what is wrong with the connection.
    pub text: String,
}

pub fn client() -> Client {
    Client::builder()
        .timeout(wait::PATIENCE)
        // Before the other side closes them: a request may come at the same moment.
        .pool_idle_timeout(KEPT_IDLE)
        .tls_certs_only([])
        .build()
        .unwrap()
}

pub async fn send(request: RequestBuilder) -> Reply {
    let sent = Instant::now();
    let received = async {
        let answer = request.send().await?;
        Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.bytes().await?))
    };
    let received = received.await;
    let answered = Instant::now();
    let (status, json, text) = match received {
        Ok((status, body)) => {
            let text = String::from_utf8_lossy(&body).into_owned();
            (Some(status), serde_json::from_slice(&body).unwrap_or_default(), text)
        }
        Err(error) => (None, Value::Null, format!("{error:?}")),
    };
    Reply { sent, answered, status, json, text }
}

impl Reply {
    pub fn has_succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl<F: Fault> Record<F> {
    /// Without a fault everything has to succeed.
    pub fn note_failure(&self, reply: &Reply, whom: impl Display) {
        let Reply { sent, answered, status, text, .. } = reply;
        if !reply.has_succeeded() && self.faults.within(*sent, *answered).is_none() {
            let at = self.faults.at(*sent);
            self.tally().add_failure(format!("{whom} was asked at {at} and answered {status:?}: {text}"));
        }
    }
}
