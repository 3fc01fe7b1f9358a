//! What is counted about requests. Handles are kept, since looking one up by its labels costs more than counting.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

pub struct HttpMetrics {
    /// Requests that run at this moment.
    pub running: Gauge,
    /// Requests turned away because too many ran.
    pub overload: Counter,
    /// By status and endpoint; both come from us, so there are few.
    answers: RwLock<HashMap<StatusCode, HashMap<String, Answers>>>,
}

struct Answers {
    count: Counter,
    seconds: Histogram,
}

impl HttpMetrics {
    pub fn new() -> Self {
        Self {
            running: gauge!("grantry_http_running_requests"),
            overload: counter!("grantry_http_overload_total"),
            answers: RwLock::default(),
        }
    }

    /// Counts one answer; `endpoint` is the route, not the path that was asked for.
    pub fn record(&self, endpoint: &str, status: StatusCode, took: Duration) {
        {
            let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(answers) = answers.get(&status).and_then(|endpoints| endpoints.get(endpoint)) {
                return answers.record(took);
            }
        }
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        let endpoints = answers.entry(status).or_default();
        endpoints.entry(endpoint.to_owned()).or_insert_with(|| Answers::of(endpoint, status)).record(took);
    }
}

impl Answers {
    fn of(endpoint: &str, status: StatusCode) -> Self {
        let (endpoint, status) = (endpoint.to_owned(), status.as_str().to_owned());
        Self {
            count: counter!("grantry_http_requests_total", "endpoint" => endpoint.clone(), "status" => status),
            seconds: histogram!("grantry_http_request_seconds", "endpoint" => endpoint),
        }
    }

    fn record(&self, took: Duration) {
        self.count.increment(1);
        self.seconds.record(took);
    }
}
