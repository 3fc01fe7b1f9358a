//! What a subscriber of the feed of revocations is sent first: everything that is in force.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::{
    clock,
    failure::Failure,
    grantry::{self, Grantry, JWT_CLIENT, client_document},
    http1::{Head, Wire, once},
    load::{self, Load},
    pool, progress,
    scenario::{Scenario, Spec, token_form},
    supply::Supply,
    table::thousands,
};

const SUBSCRIBER: &str = "bench-subscriber";
const SCOPE: &str = "grantry:revocations";
/// Tokens that are made, held here and revoked at a time.
const BATCH: u64 = 50_000;
const BATCH_WITHIN: Duration = Duration::from_secs(600);
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Bytes; several times what a snapshot of ten million entries has.
const MOST: usize = 2 << 30;

#[derive(Debug, Serialize)]
pub struct Snapshot {
    entries: u64,
    revocations_per_second: f64,
    /// What the server has in memory, in bytes.
    memory_before: u64,
    memory_after: u64,
    /// To make it, by the server's own account.
    made_in: Duration,
    /// To ask for it and have all of it, the first time and when it was there already.
    took: Duration,
    took_again: Duration,
    bytes: u64,
}

/// Revokes so many tokens that are not stored, then asks for the snapshot of all that.
pub async fn measure(server: &Grantry, entries: u64, quiet: bool) -> Result<Snapshot, Failure> {
    let memory_before = server.memory()?;
    let bar = progress::bar(entries, quiet, "{bar:40} {pos}/{len} revoked for the snapshot");
    let (begun, mut revoked) = (clock::now(), 0);
    while revoked < entries {
        let count = BATCH.min(entries - revoked);
        revoke(server, count, revoked).await?;
        revoked += count;
        bar.set_position(revoked);
    }
    bar.finish_and_clear();
    let revocations_per_second = entries as f64 / begun.elapsed().as_secs_f64();
    let authorization = subscribe(server).await?;
    let (took, bytes) = ask(server, &authorization).await?;
    let made_in = server.metrics().await?.count("grantry_feed_snapshot_seconds_sum", &[]);
    let (took_again, _) = ask(server, &authorization).await?;
    Ok(Snapshot {
        entries,
        revocations_per_second,
        memory_before,
        memory_after: server.memory()?,
        made_in: Duration::from_secs_f64(made_in),
        took,
        took_again,
        bytes,
    })
}

/// # Errors
/// Not every token was revoked.
async fn revoke(server: &Grantry, count: u64, from: u64) -> Result<(), Failure> {
    let credentials = grantry::credentials(JWT_CLIENT);
    let spec = Spec {
        scenario: Scenario::Revoke,
        endpoints: server.endpoints()?,
        form: token_form(Some(grantry::SCOPE), &[], &credentials),
        credentials,
        pool: count,
        grants: None,
        load: Load { count: Some(count), ..Load::closed_loop(64, Duration::ZERO, BATCH_WITHIN) },
    };
    let right = load::measure(&spec, &Supply::obtain(&spec).await?).await?.tally.measured();
    if right == count {
        return Ok(());
    }
    Err(Failure::new(format!("of {count} tokens from number {from} on {right} were revoked")))
}

async fn subscribe(server: &Grantry) -> Result<HeaderValue, Failure> {
    let mut document = client_document(SUBSCRIBER, "opaque");
    document["scope"] = json!(SCOPE);
    server.create_clients(&[document]).await?;
    let credentials = grantry::credentials(SUBSCRIBER);
    let form = token_form(Some(SCOPE), &[], &credentials);
    let head = Head::form(&server.endpoints()?.token, credentials.header())?;
    let token = pool::token_in(&once(head, form.render(0), ANSWER_WITHIN).await?)?;
    HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::new("the subscriber's token is no header value"))
}

/// How long the whole answer took, and its bytes.
async fn ask(server: &Grantry, authorization: &HeaderValue) -> Result<(Duration, u64), Failure> {
    let target = server.endpoints()?.token.with_path("/oauth2/revocations");
    let head = Head::get(&target)?.with_authorization(authorization.clone());
    let mut wire = Wire::new(head, ANSWER_WITHIN).with_answers_up_to(MOST);
    wire.connect().await?;
    let begun = clock::now();
    let answer = wire.send(Bytes::new()).await;
    let answer = answer.map_err(|lost| Failure::new(format!("{target}: {lost}")))?;
    let took = begun.elapsed();
    match answer.status {
        StatusCode::OK => Ok((took, answer.body.len() as u64)),
        _ => Err(Failure::new(format!("a snapshot was asked for, and the answer is {}", answer.shown()))),
    }
}

impl Snapshot {
    pub fn sentence(&self) -> String {
        format!(
            "{} tokens revoked ({} a second, made and revoked): a snapshot of {:.1} MB, made in {:.2} s and there after \
             {:.2} s, {:.2} s where it was made already; memory {} MB before and {} MB after.\n",
            thousands(self.entries as f64),
            thousands(self.revocations_per_second),
            self.bytes as f64 / 1e6,
            self.made_in.as_secs_f64(),
            self.took.as_secs_f64(),
            self.took_again.as_secs_f64(),
            thousands(self.memory_before as f64 / 1e6),
            thousands(self.memory_after as f64 / 1e6),
        )
    }
}
