//! A fixed answer from the HTTP stack that the real server uses: nothing built on that stack can be faster.

use std::{
    net::SocketAddr,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::header,
    response::IntoResponse,
    routing::{get, post},
};
use clap::Args;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    child::{Guarded, this_program},
    failure::Failure,
    report,
};

#[derive(Args)]
pub struct BaselineArgs {
    /// Where to listen; port 0 takes a free one, and the address is printed
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// About as long as a real answer; it suits a token request as well as an introspection.
pub const ANSWER: &str = concat!(
    r#"{"access_token":"gta_AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","token_type":"Bearer","#,
    r#""expires_in":3600,"scope":"read write","active":true,"client_id":"bench","sub":"bench","#,
    r#""aud":["https://bench.example/0000000000000000"],"exp":1760003600,"iat":1760000000,"#,
    r#""jti":"0199c000-0000-7000-8000-000000000000"}"#
);

/// What a refresh is answered with: a refresh token too.
const PAIR: &str = concat!(
    r#"{"access_token":"gta_AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","token_type":"Bearer","#,
    r#""expires_in":3600,"scope":"read write","#,
    r#""refresh_token":"gtr_AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#
);

/// The longest request that is read, in bytes, as in the real server.
pub const MAX_REQUEST: usize = 64 * 1024;

/// What a server prints when it can be asked, before its address.
const SAYS: &str = "listening on http://";

/// Before accepting again when there are no more file descriptors.
const AFTER_A_FAILED_ACCEPT: Duration = Duration::from_millis(50);

pub async fn run(args: &BaselineArgs) -> Result<ExitCode, Failure> {
    serve_at(args.listen, router()).await
}

/// Prints where it listens, and serves until it is stopped.
pub async fn serve_at(listen: SocketAddr, router: Router) -> Result<ExitCode, Failure> {
    let listener = TcpListener::bind(listen).await;
    let listener =
        listener.map_err(|error| Failure::new(format!("--listen {listen} cannot be used: {error}")))?;
    let address = listener.local_addr().map_err(|error| Failure::new(format!("no address: {error}")))?;
    report::print(&format!("{SAYS}{address}\n"))?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, router.clone()))),
            Err(_) => tokio::time::sleep(AFTER_A_FAILED_ACCEPT).await,
        }
    }
}

/// Starts this program again as a server that says where it listens; returns that too.
pub fn start(arguments: &[&str]) -> Result<(Guarded, String), Failure> {
    let mut command = Command::new(this_program()?);
    command.args(arguments).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut server = Guarded::start("baseline server", &mut command)?;
    let line = server.first_line()?;
    let url = line.strip_prefix(SAYS).map(|address| format!("http://{address}"));
    let url = url.ok_or_else(|| {
        Failure::new(format!("the baseline server does not say where it listens: {line:?}"))
    })?;
    Ok((server, url))
}

/// Several routes, so that finding one costs what it costs in the real server; any other path answers too.
fn router() -> Router {
    Router::new()
        .route("/oauth2/token", post(token))
        .route("/oauth2/introspect", post(answer))
        .route("/oauth2/revoke", post(answer))
        .route("/readyz", get(answer))
        .fallback(answer)
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
}

/// Nothing of a request is understood but how it begins.
async fn token(request: Bytes) -> impl IntoResponse {
    let refreshes = request.starts_with(b"grant_type=refresh_token");
    json(if refreshes || request.starts_with(b"grant_type=urn") { PAIR } else { ANSWER })
}

async fn answer(_request: Bytes) -> impl IntoResponse {
    json(ANSWER)
}

pub fn json(body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body)
}

async fn serve(stream: TcpStream, router: Router) {
    if stream.set_nodelay(true).is_ok() {
        let service = TowerToHyperService::new(router);
        // A connection that breaks is the caller's affair.
        drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
    }
}
