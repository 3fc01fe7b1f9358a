//! One listener: accepts connections, bounds them, and lets them finish at the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::Version;
use axum::response::Response;
use grantry_web::Site;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use metrics::{Gauge, counter, gauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::activity::Activity;
use crate::config::Limits;
use crate::failure::Failure;
use crate::stall::StallGuard;

/// How long to leave a listener alone that cannot accept, for want of file descriptors mostly.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// An HTTP/2 peer that does not answer a ping is gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 200;

/// A socket that is bound and not yet served.
pub struct Bound {
    socket: TcpListener,
    pub address: SocketAddr,
}

impl Bound {
    /// `key` is the setting that the address comes from.
    pub async fn to(key: &str, address: SocketAddr) -> Result<Self, Failure> {
        let refused = |error: io::Error| {
            let fix = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "; another program listens there: stop it, or choose another port"
                }
                io::ErrorKind::PermissionDenied => {
                    "; choose a port from 1024 up, or give the program the capability"
                }
                io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
                _ => "",
            };
            Failure::new(format!("{key}: cannot listen on {address}: {error}{fix}"))
        };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { socket, address })
    }
}

/// What is served on it.
pub struct Listener<S> {
    /// For metrics: `public` or `admin`.
    pub name: &'static str,
    pub bound: Bound,
    pub site: S,
    pub tls: Option<TlsAcceptor>,
}

/// What the connections of a listener share.
struct Connections<S> {
    site: S,
    tls: Option<TlsAcceptor>,
    http: auto::Builder<TokioExecutor>,
    header_timeout: Duration,
    /// How long a peer may leave an answer lying.
    stall_timeout: Duration,
    places: Arc<Semaphore>,
    open: Gauge,
}

/// One of the places for connections, while it is taken.
struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

impl<S: Site> Listener<S> {
    /// Serves until `stop` turns true; returns when the last connection has ended.
    pub async fn run(self, limits: Limits, mut stop: watch::Receiver<bool>) {
        let Self { name, bound, site, tls } = self;
        let connections = Arc::new(Connections {
            site,
            tls,
            http: http(&limits),
            header_timeout: limits.header_timeout.as_duration(),
            stall_timeout: limits.body_timeout.as_duration(),
            places: Arc::new(Semaphore::new(limits.max_connections)),
            open: gauge!("grantry_connections", "listener" => name),
        });
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(name, &bound.socket, &connections) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer, place) = accepted;
            let connections = Arc::clone(&connections);
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                connections.serve(stream, peer, watcher).await;
                drop(place);
            });
        }
        drop(bound);
        graceful.shutdown().await;
    }
}

/// The next connection, once there is a place for it. What waits meanwhile waits in the socket's backlog.
async fn accept<S>(
    name: &'static str,
    socket: &TcpListener,
    connections: &Connections<S>,
) -> (TcpStream, SocketAddr, Place) {
    let permit =
        Arc::clone(&connections.places).acquire_owned().await.expect("the semaphore is never closed");
    let mut pause = SHORTEST_PAUSE;
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                connections.open.increment(1.0);
                return (stream, peer, Place { _permit: permit, open: connections.open.clone() });
            }
            // The caller's connection, not ours, and it is gone.
            Err(error) if is_the_callers(&error) => {}
            Err(error) => {
                counter!("grantry_accept_errors_total", "listener" => name).increment(1);
                tracing::error!(%error, listener = name, "a connection cannot be accepted; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn is_the_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    let header_list = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    // What is silent is closed by `Activity`.
    http.http1().header_read_timeout(None).max_buf_size(limits.max_header_bytes);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(header_list)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

impl<S: Site> Connections<S> {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // An answer is one small packet: it must not wait for a second one. Should it fail, it is only slower.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.serve_http(stream, peer, watcher).await };
        match timeout(self.header_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve_http(stream, peer, watcher).await,
            Ok(Err(error)) => {
                counter!("grantry_tls_handshake_failures_total").increment(1);
                tracing::debug!(%error, %peer, "the TLS handshake failed");
            }
            Err(_) => {
                counter!("grantry_tls_handshake_failures_total").increment(1);
                tracing::debug!(%peer, "the TLS handshake took too long");
            }
        }
    }

    async fn serve_http<C>(&self, stream: C, peer: SocketAddr, watcher: Watcher)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let service = {
            let (site, activity) = (self.site.clone(), Arc::clone(&activity));
            service_fn(move |request| answer(site.clone(), request, peer, Arc::clone(&activity)))
        };
        let stream = TokioIo::new(StallGuard::new(stream, self.stall_timeout, Arc::clone(&activity)));
        let connection = self.http.serve_connection(stream, service).into_owned();
        tokio::select! {
            biased;
            ended = Box::pin(watcher.watch(connection)) => if let Err(error) = ended {
                tracing::debug!(error, %peer, "a connection ended early");
            },
            () = activity.silence(self.header_timeout) => {
                tracing::debug!(%peer, "a connection carried no request in time");
            }
        }
    }
}

async fn answer(
    site: impl Site,
    request: Request<Incoming>,
    peer: SocketAddr,
    activity: Arc<Activity>,
) -> Result<Response, Infallible> {
    let _running = activity.request(request.version() == Version::HTTP_2);
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    Ok(site.answer(request).await)
}
