//! Which request is being answered, for whatever logs meanwhile. Not a span of `tracing`: its fields would be written as text
//! for every request, and hardly any request logs.

use std::future::Future;

use axum::http::Method;
use grantry_protocol::RequestId;
use tokio::task::futures::TaskLocalFuture;
use tokio::task_local;

#[derive(Debug, Clone)]
pub struct RequestName {
    /// What its answer carries as `x-request-id`.
    pub id: RequestId,
    pub method: Method,
}

task_local! {
    static CURRENT: RequestName;
}

pub fn named<F: Future>(name: RequestName, run: F) -> TaskLocalFuture<RequestName, F> {
    CURRENT.scope(name, run)
}

/// The request that the calling task answers, if it answers one.
pub fn current_request() -> Option<RequestName> {
    CURRENT.try_with(RequestName::clone).ok()
}
