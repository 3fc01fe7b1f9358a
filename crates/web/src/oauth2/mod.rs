//! The endpoints under `/oauth2`.

pub mod introspect;
pub mod revocations;
pub mod revoke;
pub mod status_list;
pub mod token;

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::HeaderMap;
use bytes::Bytes;
use grantry_grants::{Credentials, GrantError};
use grantry_protocol::{ErrorCode, Params, RequestId};

use crate::WebState;
use crate::address::client_address;
use crate::body;
use crate::credentials::presented;
use crate::respond::Refusal;

const FORM: &str = "application/x-www-form-urlencoded";

/// A form with its bounds kept, not yet parsed.
struct Form {
    headers: HeaderMap,
    body: Bytes,
    address: IpAddr,
    request_id: RequestId,
}

impl Form {
    async fn read(state: &WebState, request: Request) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let address = client_address(&head.extensions, &head.headers, &state.settings.trusted_proxies);
        let request_id = head.extensions.get().copied().unwrap_or_else(|| state.request_ids.next());
        let body = body::read(&head.headers, body, &[FORM], &state.settings.limits).await?;
        Ok(Self { headers: head.headers, body, address, request_id })
    }

    fn params(&self) -> Result<Params<'_>, Refusal> {
        Ok(Params::parse(&self.body)?)
    }

    /// The presented credentials, unless the caller has failed with them too often.
    fn credentials(&self, state: &WebState, params: &Params<'_>) -> Result<Credentials, Refusal> {
        let credentials = presented(&self.headers, params)?;
        match state.attempts.blocked(&credentials.client_id, self.address) {
            Some(seconds) => Err(Refusal::too_many_failures(seconds)),
            None => Ok(credentials),
        }
    }

    /// The answer of a flow; a failed authentication counts against the caller.
    fn checked<T>(
        &self,
        state: &WebState,
        credentials: &Credentials,
        answer: Result<T, GrantError>,
    ) -> Result<T, Refusal> {
        if let Err(GrantError::Refused(refusal)) = &answer
            && refusal.code == ErrorCode::InvalidClient
        {
            state.attempts.record_failure(&credentials.client_id, self.address);
        }
        Ok(answer?)
    }
}
