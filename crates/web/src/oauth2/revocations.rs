//! The feed of revocations (docs/feed.md).
//!
//! 1. Who asks, and from where on.
//! 2. The answer at once, if there is one or nobody wants to wait.
//! 3. Else, and for a stream always, the answer's head is sent and its body comes when there is something. So it counts as
//!    answered: neither `limits.request_timeout` nor `limits.max_concurrent_requests` is about those who wait.
//! 4. The body is made as it is taken, so nothing is kept for somebody who reads slowly; whoever takes too long is cut off.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use grantry_grants::{FeedAnswer, FeedPlace, FeedSubscriber, GrantError};
use grantry_persistence::ReadinessProbe;
use grantry_protocol::{ErrorCode, OAuthError, Params, Seen, scopes};
use grantry_revocation::{FeedPageKind, parse_position, position_text};
use metrics::counter;
use tokio::time::Instant;

use crate::WebState;
use crate::bearer::{self, BearerError};
use crate::respond::Refusal;

/// The longest `wait`, in seconds.
const LONGEST_WAIT: u64 = 30;
/// A stream says at least this often how far the node is and how old its proof.
const PING: Duration = Duration::from_millis(500);
/// For one answer, or one event of a stream, to be taken.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks nginx to pass events on as they come.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET /oauth2/revocations`.
pub async fn get(
    State(state): State<Arc<WebState>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match tell(&state, &headers, query.as_deref()).await {
        Ok(response) => response,
        Err(Refused(response)) => *response,
    }
}

async fn tell(state: &WebState, headers: &HeaderMap, query: Option<&str>) -> Result<Response, Refused> {
    // 1.
    let subscriber = subscriber(state, headers).await?;
    let asked = Asked::read(headers, query)?;
    // 2.
    let answer = subscriber.answer(asked.after).await?;
    let (after, is_empty) = (answer.head, answer.is_empty);
    let readiness = state.readiness.clone();
    let mut telling = Telling::of(subscriber, readiness, after);
    let waits = asked.is_stream || (is_empty && !asked.wait.is_zero());
    if waits {
        let place = telling.subscriber.place();
        let full = || Refusal::temporarily_unavailable("too many follow the revocations at once");
        telling.place = Some(place.ok_or_else(full)?);
    }
    // 3.
    telling.then = match (asked.is_stream, waits) {
        (true, _) => Then::Events,
        (false, true) => Then::Answer(asked.wait),
        (false, false) => Then::End,
    };
    if asked.is_stream {
        telling.say_event(answer);
    } else if !waits {
        telling.say(answer.json);
    }
    Ok(telling.into_response(asked.is_stream))
}

async fn subscriber(state: &WebState, headers: &HeaderMap) -> Result<FeedSubscriber, Refused> {
    let bearer = bearer::presented(headers).ok_or_else(|| Refused::by(BearerError::Missing))?;
    state.grants.feed_subscriber(bearer).await.map_err(|error| match error {
        GrantError::Refused(refusal) if refusal.code == ErrorCode::InvalidScope => {
            Refused::by(BearerError::InsufficientScope(scopes::REVOCATIONS))
        }
        GrantError::Refused(_) => Refused::by(BearerError::Invalid),
        error => error.into(),
    })
}

/// An answer to a request that is not fulfilled.
struct Refused(Box<Response>);

impl<R: Into<Refusal>> From<R> for Refused {
    fn from(refusal: R) -> Self {
        Self(Box::new(refusal.into().into_response()))
    }
}

impl Refused {
    fn by(error: BearerError) -> Self {
        Self(Box::new(error.into_response()))
    }
}

/// What somebody wants to be told.
struct Asked {
    after: Option<Seen>,
    wait: Duration,
    is_stream: bool,
}

impl Asked {
    fn read(headers: &HeaderMap, query: Option<&str>) -> Result<Self, OAuthError> {
        let params = Params::parse(query.unwrap_or_default().as_bytes())?;
        let is_stream = wants_events(headers);
        let last = headers.get(LAST_EVENT_ID).filter(|id| is_stream && !id.is_empty());
        let after = match last {
            Some(id) => Some(position("Last-Event-ID", id.to_str().unwrap_or_default())?),
            None => params.get("after").map(|after| position("after", after)).transpose()?,
        };
        Ok(Self { after, wait: params.get("wait").map(wait).transpose()?.unwrap_or_default(), is_stream })
    }
}

fn position(name: &str, text: &str) -> Result<Seen, OAuthError> {
    parse_position(text).map_err(|error| OAuthError::invalid_request(format!("{name} {error}")))
}

fn wait(text: &str) -> Result<Duration, OAuthError> {
    let seconds = text.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT);
    seconds.map(Duration::from_secs).ok_or_else(|| {
        OAuthError::invalid_request(format!("wait must be 0 to {LONGEST_WAIT}, in whole seconds"))
    })
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let media = accepted.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    media.map(str::trim).any(|media| media.eq_ignore_ascii_case(EVENT_STREAM))
}

/// A body that is made as it is taken.
struct Telling {
    subscriber: FeedSubscriber,
    readiness: ReadinessProbe,
    /// Given back when the body ends, or nobody takes it any more.
    place: Option<FeedPlace>,
    /// What was made and not taken yet, and since when.
    pieces: VecDeque<Bytes>,
    since: Instant,
    after: Seen,
    then: Then,
}

/// What comes when everything is taken.
enum Then {
    /// One answer, at the latest after so long.
    Answer(Duration),
    Events,
    End,
}

impl Telling {
    fn of(subscriber: FeedSubscriber, readiness: ReadinessProbe, after: Seen) -> Self {
        let (pieces, since) = (VecDeque::new(), Instant::now());
        Self { subscriber, readiness, place: None, pieces, since, after, then: Then::End }
    }

    fn into_response(self, is_stream: bool) -> Response {
        let media = if is_stream { EVENT_STREAM } else { "application/json" };
        let mut response = Response::new(Body::from_stream(unfold(self, Self::step)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        response
    }

    // 4.
    async fn step(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.pieces.is_empty() {
            self.go_on().await;
        }
        let piece = self.pieces.pop_front()?;
        if self.since.elapsed() > TAKEN_WITHIN {
            counter!("grantry_feed_slow_subscribers_total").increment(1);
            (self.pieces, self.then) = (VecDeque::new(), Then::End);
            return Some((Err(io::ErrorKind::TimedOut.into()), self));
        }
        Some((Ok(piece), self))
    }

    /// Makes what comes next, if anything does.
    async fn go_on(&mut self) {
        let (is_stream, wait) = match self.then {
            Then::End => return,
            Then::Answer(wait) => (false, wait),
            Then::Events => (true, PING),
        };
        let next = tokio::select! {
            next = self.subscriber.next(self.after, wait) => next,
            () = self.readiness.stopped() => Ok(None),
        };
        match next {
            Ok(Some(answer)) if is_stream => return self.say_event(answer),
            Ok(Some(answer)) => self.say(answer.json),
            // To be asked again, which then tells why not; a stream just ends.
            Ok(None) | Err(_) if is_stream => {}
            Ok(None) | Err(_) => match self.subscriber.nothing_after(self.after) {
                Ok(answer) => self.say(answer.json),
                Err(error) => tracing::warn!(%error, "a wait for revocations ended without an answer"),
            },
        }
        (self.then, self.place) = (Then::End, None);
    }

    fn say(&mut self, json: Vec<Bytes>) {
        self.since = Instant::now();
        self.pieces.extend(json);
        self.pieces.push_back(Bytes::from_static(b"\n"));
    }

    /// Server-sent events: HTML standard §9.2.
    fn say_event(&mut self, answer: FeedAnswer) {
        let event = match (answer.kind, answer.is_empty) {
            (FeedPageKind::Snapshot, _) => "snapshot",
            (FeedPageKind::Entries, true) => "ping",
            (FeedPageKind::Entries, false) => "entries",
        };
        self.after = answer.head;
        let head = position_text(answer.head);
        self.pieces.push_back(format!("event: {event}\nid: {head}\ndata: ").into());
        self.say(answer.json);
        self.pieces.push_back(Bytes::from_static(b"\n"));
    }
}
