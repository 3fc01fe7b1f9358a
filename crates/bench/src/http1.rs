//! One HTTP/1.1 connection on bare hyper: the cheapest client that still parses answers properly, since the generator
//! shares its cores with the server that it measures.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{failure::Failure, target::Target};

/// The longest answer that is read, in bytes; a longer one counts as a broken connection.
const MAX_ANSWER: usize = 1 << 20;
/// How much of a refusal is shown, in bytes.
const SHOWN: usize = 300;

/// Request line and headers, built once for all requests of a run.
#[derive(Clone)]
pub struct Head {
    target: Target,
    parts: Parts,
}

impl Head {
    /// A form to an endpoint of RFC 6749, 7662 or 7009.
    pub fn form(target: &Target, authorization: Option<HeaderValue>) -> Result<Self, Failure> {
        Self::new(Method::POST, target, Some("application/x-www-form-urlencoded"), authorization)
    }

    pub fn json(target: &Target, authorization: HeaderValue) -> Result<Self, Failure> {
        Self::new(Method::POST, target, Some("application/json"), Some(authorization))
    }

    pub fn get(target: &Target) -> Result<Self, Failure> {
        Self::new(Method::GET, target, None, None)
    }

    #[must_use]
    pub fn with_authorization(mut self, authorization: HeaderValue) -> Self {
        self.parts.headers.insert(header::AUTHORIZATION, authorization);
        self
    }

    fn new(
        method: Method,
        target: &Target,
        content_type: Option<&'static str>,
        authorization: Option<HeaderValue>,
    ) -> Result<Self, Failure> {
        let mut request =
            Request::builder().method(method).uri(&target.path).header(header::HOST, &target.authority);
        request = request.header(header::ACCEPT, "application/json");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request =
            request.body(()).map_err(|error| Failure::new(format!("{target} cannot be asked: {error}")))?;
        Ok(Self { target: target.clone(), parts: request.into_parts().0 })
    }
}

/// What came back, whatever its status.
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// For a message: the status, and the beginning of a refusal, which holds no token.
    pub fn shown(&self) -> String {
        let status = self.status;
        if status.is_success() {
            return format!("{status} with something else than the scenario expects");
        }
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(SHOWN)]);
        format!("{status} {body}").trim_end().to_owned()
    }
}

/// Why nothing came back; whether the server did what was asked is unknown.
#[derive(Debug)]
pub enum Lost {
    Connect(std::io::Error),
    Broken(String),
    Timeout,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Timeout => f.write_str("no answer within --timeout"),
        }
    }
}

/// A connection that is opened again after it broke.
pub struct Wire {
    head: Head,
    timeout: Duration,
    /// Bytes of an answer.
    most: usize,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Wire {
    pub fn new(head: Head, timeout: Duration) -> Self {
        Self { head, timeout, most: MAX_ANSWER, sender: None }
    }

    #[must_use]
    pub fn with_answers_up_to(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Opens the connection now, so that its set-up is not measured.
    pub async fn connect(&mut self) -> Result<(), Failure> {
        let opening = tokio::time::timeout(self.timeout, open(&self.head.target));
        let opened = opening.await.unwrap_or(Err(Lost::Timeout));
        let target = &self.head.target;
        self.sender = Some(
            opened.map_err(|lost| Failure::new(format!("{target}: {lost}; is the server running there?")))?,
        );
        Ok(())
    }

    pub async fn send(&mut self, body: Bytes) -> Result<Answer, Lost> {
        let parts = self.head.parts.clone();
        self.send_within(Request::from_parts(parts, Full::new(body))).await
    }

    /// To another endpoint of the same server, on the same connection.
    pub async fn send_as(&mut self, head: &Head, body: Bytes) -> Result<Answer, Lost> {
        self.send_within(Request::from_parts(head.parts.clone(), Full::new(body))).await
    }

    async fn send_within(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Lost> {
        tokio::time::timeout(self.timeout, self.exchange(request)).await.unwrap_or(Err(Lost::Timeout))
    }

    /// Keeps the connection only after a whole answer: what is still on the way after an error or a timeout must not
    /// be taken for the answer to the next request.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Lost> {
        // A server may have closed the connection since its last answer; nothing has been sent then.
        let kept = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let mut sender = match kept {
            Some(sender) => sender,
            None => open(&self.head.target).await?,
        };
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), self.most).collect().await;
        let body = body.map_err(|error| Lost::Broken(error.to_string()))?.to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status, body })
    }
}

/// One request on a connection of its own, outside any measurement.
pub async fn once(head: Head, body: Bytes, timeout: Duration) -> Result<Answer, Failure> {
    let target = head.target.clone();
    Wire::new(head, timeout).send(body).await.map_err(|lost| Failure::new(format!("{target}: {lost}")))
}

async fn open(target: &Target) -> Result<SendRequest<Full<Bytes>>, Lost> {
    let stream = TcpStream::connect(target.address).await.map_err(Lost::Connect)?;
    stream.set_nodelay(true).map_err(Lost::Connect)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // The sender reports whatever ends the connection.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

#[expect(clippy::needless_pass_by_value, reason = "it is used as a function for map_err")]
fn broken(error: hyper::Error) -> Lost {
    Lost::Broken(error.to_string())
}
