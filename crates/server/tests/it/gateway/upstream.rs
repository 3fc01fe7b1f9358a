//! The application behind the proxy: it writes down every request that reaches it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub struct Upstream {
    pub port: u16,
    seen: Seen,
    serving: AbortHandle,
}

type Seen = Arc<Mutex<Vec<Reached>>>;

/// A request that has got through.
#[derive(Debug, Clone)]
pub struct Reached {
    pub line: String,
    headers: Vec<(String, String)>,
}

impl Reached {
    /// All values, in their order.
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let router = Router::new().fallback(note).with_state(Arc::clone(&seen));
        let serving =
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { port, seen, serving }
    }

    /// Those since the last call.
    pub fn take(&self) -> Vec<Reached> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn note(State(seen): State<Seen>, request: Request) -> (StatusCode, &'static str) {
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let line = format!("{} {}", request.method(), request.uri());
    let fails = request.uri().path().ends_with("/fails");
    seen.lock().unwrap().push(Reached { line, headers });
    // An error of the application's own has to arrive as it is.
    if fails {
        (StatusCode::INTERNAL_SERVER_ERROR, "the application failed")
    } else {
        (StatusCode::OK, "application")
    }
}
