//! A server that answers as a test says, on threads of this process.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

pub struct Request {
    /// Counts from 1, over all connections.
    pub number: u64,
    pub path: String,
    /// In lower case.
    pub head: String,
    pub body: String,
}

pub struct Reply {
    status: u16,
    body: String,
    close: bool,
    hang_up: bool,
}

impl Reply {
    pub fn new(status: u16, body: &str) -> Self {
        Self { status, body: body.to_owned(), close: false, hang_up: false }
    }

    /// Closes the connection after the answer, and says so in it.
    pub fn and_close(self) -> Self {
        Self { close: true, ..self }
    }

    /// Closes the connection instead of answering.
    pub fn hang_up() -> Self {
        Self { hang_up: true, ..Self::new(200, "") }
    }

    pub fn token(request: &Request) -> Self {
        Self::new(200, &format!(r#"{{"access_token":"t{}","token_type":"Bearer"}}"#, request.number))
    }
}

pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, number, bodies) = (Arc::new(answer), Arc::new(AtomicU64::new(0)), seen.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, number, bodies) = (answer.clone(), number.clone(), bodies.clone());
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    while let Some(request) = read(&mut stream, &number) {
                        bodies.lock().unwrap().push(request.body.clone());
                        let reply = answer(&request);
                        if reply.hang_up || !write(stream.get_mut(), &reply) {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, seen }
    }

    pub fn bodies(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Sends `request` as it is and returns the whole first answer.
pub fn ask(url: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let head = read_head(&mut stream).unwrap();
    let body = read_body(&mut stream, &head);
    head + &body
}

fn read(stream: &mut BufReader<TcpStream>, number: &AtomicU64) -> Option<Request> {
    let head = read_head(stream)?;
    let body = read_body(stream, &head);
    let path = head.split(' ').nth(1)?.to_owned();
    Some(Request { number: number.fetch_add(1, Relaxed) + 1, path, head: head.to_lowercase(), body })
}

fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn read_body(stream: &mut BufReader<TcpStream>, head: &str) -> String {
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).map_or("0", |rest| rest.lines().next().unwrap());
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// Whether the connection stays open.
fn write(stream: &mut TcpStream, reply: &Reply) -> bool {
    let close = if reply.close { "connection: close\r\n" } else { "" };
    let (status, length, body) = (reply.status, reply.body.len(), &reply.body);
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{close}\r\n{body}");
    stream.write_all(answer.as_bytes()).is_ok() && !reply.close
}
