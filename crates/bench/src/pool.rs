use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::{
    bodies::Bodies,
    failure::Failure,
    form::Form,
    http1::{Answer, Head, Wire},
    scenario::Spec,
};

/// What the load is bounded by before it is measured.
const ISSUED_WITHIN: Duration = Duration::from_secs(300);

/// Issues the run's tokens, with the first of these requests.
pub async fn tokens(spec: &Spec, requests: &Bodies) -> Result<Vec<String>, Failure> {
    let head = Head::form(&spec.endpoints.token, spec.credentials.header())?;
    let count = spec.pool;
    let requests = Arc::new(requests.clone());
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..spec.load.connections {
        let wire = Wire::new(head.clone(), spec.load.timeout);
        workers.spawn(issue_on(wire, requests.clone(), next.clone(), count));
    }
    let all = tokio::time::timeout(ISSUED_WITHIN, collect(workers, count)).await;
    all.unwrap_or_else(|_| {
        let message =
            format!("{count} tokens were not issued within {ISSUED_WITHIN:?}; give a smaller --pool");
        Err(Failure::new(message))
    })
}

/// The form that introspects or revokes each token (RFC 7662 §2.1, RFC 7009 §2.1).
pub fn bodies(tokens: &[String], spec: &Spec) -> Vec<Bytes> {
    let body = |token: &String| {
        let mut form = Form::new();
        form.push("token", token);
        spec.credentials.add_to(&mut form);
        form.render(0)
    };
    tokens.iter().map(body).collect()
}

pub fn distinct(tokens: &[String]) -> u64 {
    tokens.iter().collect::<HashSet<_>>().len() as u64
}

async fn collect(
    mut workers: JoinSet<Result<Vec<String>, Failure>>,
    count: u64,
) -> Result<Vec<String>, Failure> {
    let mut tokens = Vec::with_capacity(count as usize);
    while let Some(worker) = workers.join_next().await {
        tokens.extend(worker.map_err(|error| Failure::new(format!("a worker ended early: {error}")))??);
    }
    Ok(tokens)
}

async fn issue_on(
    mut wire: Wire,
    requests: Arc<Bodies>,
    next: Arc<AtomicU64>,
    count: u64,
) -> Result<Vec<String>, Failure> {
    let mut tokens = Vec::new();
    loop {
        let index = next.fetch_add(1, Relaxed);
        if index >= count {
            return Ok(tokens);
        }
        let answer = wire.send(requests.get(index)).await;
        let answer = answer.map_err(|lost| Failure::new(format!("while issuing the pool: {lost}")))?;
        tokens.push(token_in(&answer)?);
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
}

/// # Errors
/// The answer holds no token.
pub fn token_in(answer: &Answer) -> Result<String, Failure> {
    let parsed = serde_json::from_slice::<TokenAnswer>(&answer.body);
    match parsed {
        Ok(parsed) if answer.status == http::StatusCode::OK => Ok(parsed.access_token),
        _ => Err(Failure::new(format!("a token was asked for, and the answer is {}", answer.shown()))),
    }
}
