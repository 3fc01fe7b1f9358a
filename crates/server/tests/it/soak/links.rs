//! What stands between two processes on loopback: connections to a port of its own are led on to another port.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

pub struct Links {
    port: u16,
    open: Arc<Mutex<JoinSet<()>>>,
    accepting: AbortHandle,
}

impl Links {
    /// To the server that listens on `to`. `relay` is given both sides of each connection; however it ends, they are
    /// closed.
    pub async fn start<F>(to: u16, relay: impl Fn(TcpStream, TcpStream) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::default();
        let accepting = tokio::spawn(accept(listener, to, relay, Arc::clone(&open))).abort_handle();
        Self { port, open, accepting }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection, to both sides.
    pub fn drop_all(&self) {
        lock(&self.open).abort_all();
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.accepting.abort();
        self.drop_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept<F>(
    listener: TcpListener,
    to: u16,
    relay: impl Fn(TcpStream, TcpStream) -> F + Clone + Send + 'static,
    open: Arc<Mutex<JoinSet<()>>>,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let relay = relay.clone();
        let mut open = lock(&open);
        while open.try_join_next().is_some() {}
        open.spawn(async move {
            // Both sides see the end, whatever it was.
            let _ = connect(client, to, relay).await;
        });
    }
}

async fn connect<F>(client: TcpStream, to: u16, relay: impl Fn(TcpStream, TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    let server = TcpStream::connect(("127.0.0.1", to)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    relay(client, server).await
}
