//! A party that publishes its keys over HTTPS, well or badly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::home::Home;

pub struct KeyServer {
    address: SocketAddr,
    config: Arc<ServerConfig>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    document: Mutex<String>,
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl KeyServer {
    /// Listens, and writes its certificate to the file `ca.pem`.
    pub fn start(home: &Home, document: &Value) -> Self {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        std::fs::write(home.path("ca.pem"), cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![cert.der().clone()], key)
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, config: Arc::new(config), shared: Arc::default() };
        server.publish(document);
        server.accept(listener);
        server
    }

    /// Answers at another address as well.
    pub fn listen_at(&self, address: SocketAddr) {
        self.accept(TcpListener::bind(address).unwrap());
    }

    /// Until the test ends.
    fn accept(&self, listener: TcpListener) {
        let (config, shared) = (Arc::clone(&self.config), Arc::clone(&self.shared));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (config, shared) = (Arc::clone(&config), Arc::clone(&shared));
                thread::spawn(move || shared.answer(stream, config));
            }
        });
    }

    pub fn publish(&self, document: &Value) {
        *self.shared.document.lock().unwrap() = document.to_string();
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The heads of the requests that were made so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Shared {
    /// One request a connection. Whoever hangs up ends it.
    fn answer(&self, stream: TcpStream, config: Arc<ServerConfig>) -> Option<()> {
        let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        self.requests.lock().unwrap().push(head);
        let document = self.document.lock().unwrap().clone();
        let whole = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let answer = match path.as_str() {
            "/keys" => whole(&document),
            "/elsewhere" => "HTTP/1.1 302 Found\r\nlocation: /keys\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "/no-json" => whole("keys"),
            // The bound, and one byte more.
            "/full" => whole(&padded(&document, 65_536)),
            "/large" => whole(&padded(&document, 65_537)),
            "/slow" => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{{", document.len()),
            // Right but for its status.
            _ => whole(&document).replace("200 OK", "404 Not Found"),
        };
        stream.write_all(answer.as_bytes()).ok()?;
        stream.flush().ok()?;
        if path == "/slow" {
            // Nothing more comes; this returns when the other side gives up.
            let _ = stream.read(&mut [0]);
        }
        stream.conn.send_close_notify();
        stream.flush().ok()
    }
}

/// With spaces behind, which mean nothing.
fn padded(document: &str, length: usize) -> String {
    document.to_owned() + &" ".repeat(length - document.len())
}
