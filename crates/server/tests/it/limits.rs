use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::home::Home;
use crate::test_server::TestServer;

/// How often a slow caller sends something, and how long a read looks for an answer meanwhile.
const PACE: Duration = Duration::from_millis(50);
/// Slow enough for a busy machine, and less than what the default of a limit would let pass.
const SOON: Duration = Duration::from_secs(8);

const TIGHT: &str = "[limits]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\nrequest_timeout = \"6s\"\n";

const TOKEN_HEAD: &str =
    "POST /oauth2/token HTTP/1.1\r\nHost: grantry\r\nContent-Type: application/x-www-form-urlencoded\r\n";

fn connect(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// What comes back until the connection is closed or reset.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
            Err(error) => panic!("no answer within {SOON:?}: {error}"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends `head` and then a byte now and then, until something comes back.
fn dribble(server: &TestServer, head: &str, byte: u8) -> String {
    let mut stream = connect(server);
    stream.set_read_timeout(Some(PACE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    for _ in 0..(SOON.as_millis() / PACE.as_millis()) {
        if stream.write_all(&[byte]).is_err() {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        match stream.read(&mut buffer) {
            Ok(0) => return String::from_utf8_lossy(&bytes).into_owned(),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
    panic!("the server still listens after {SOON:?}; so far it said: {}", String::from_utf8_lossy(&bytes));
}

async fn still_works(home: &Home, server: &TestServer) {
    server.token(&home.first_client(), &[]).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let home = Home::new();
    let server = home.start().await;
    let mut stream = connect(&server);
    let header = "x".repeat(32 * 1024);
    stream.write_all(format!("{TOKEN_HEAD}Authorization: Basic {header}\r\n\r\n").as_bytes()).unwrap();
    let said = answer(&mut stream);
    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    still_works(&home, &server).await;
}

#[tokio::test]
async fn a_header_of_a_megabyte_ends_the_connection_and_nothing_else() {
    let home = Home::new();
    let server = home.start().await;
    let mut stream = connect(&server);
    let header = "x".repeat(1024 * 1024);
    // The server does not wait for the end of it, so writing may fail half-way.
    let _ = stream.write_all(format!("{TOKEN_HEAD}Authorization: Basic {header}\r\n\r\n").as_bytes());
    let said = answer(&mut stream);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    still_works(&home, &server).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_413_announced_or_not() {
    let home = Home::new();
    let server = home.start().await;
    let body = "x".repeat(65_537);
    for framing in [
        format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    ] {
        let mut stream = connect(&server);
        stream.write_all(format!("{TOKEN_HEAD}Connection: close\r\n{framing}").as_bytes()).unwrap();
        let said = answer(&mut stream);
        assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    }
    still_works(&home, &server).await;
}

#[tokio::test]
async fn a_body_that_dribbles_in_is_answered_408_within_the_bound() {
    let home = Home::with_config(TIGHT);
    let server = home.start().await;
    let said = dribble(&server, &format!("{TOKEN_HEAD}Content-Length: 60000\r\n\r\n"), b'a');
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    still_works(&home, &server).await;
}

#[tokio::test]
async fn a_head_that_dribbles_in_ends_the_connection_within_the_bound() {
    let home = Home::with_config(TIGHT);
    let server = home.start().await;
    let said = dribble(&server, &format!("{TOKEN_HEAD}X-Endless: "), b'a');
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    still_works(&home, &server).await;
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_wants_is_closed_within_the_bound() {
    let home = Home::with_config(TIGHT);
    let server = home.start().await;
    // Nothing at all, the beginning of HTTP/2's preface, and a preface that no request follows.
    for beginning in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"] {
        let mut stream = connect(&server);
        stream.write_all(beginning.as_bytes()).unwrap();
        answer(&mut stream);
    }
    still_works(&home, &server).await;
}

#[tokio::test]
async fn a_caller_that_leaves_its_answers_lying_is_cut_off() {
    let home = Home::with_config(TIGHT);
    let server = home.start().await;
    let mut stream = connect(&server);
    stream.set_write_timeout(Some(PACE)).unwrap();
    let requests = b"GET /oauth2/jwks HTTP/1.1\r\nHost: grantry\r\n\r\n".repeat(100);
    let mut waited = std::time::Duration::ZERO;
    // Answers pile up until no buffer takes any more; then the server waits for us, and we for its verdict.
    while waited < SOON {
        match stream.write(&requests) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                waited += PACE;
            }
            Err(_) => break,
        }
    }
    assert!(waited < SOON, "the connection is still open after {SOON:?}");
    still_works(&home, &server).await;
}

#[tokio::test]
async fn too_many_failed_attempts_are_answered_429_with_a_time_to_come_back() {
    let home =
        Home::with_config("[limits]\nfailed_attempts_per_client = 3\nfailed_attempts_window = \"10m\"\n");
    let server = home.start().await;
    let (id, secret) = home.first_client();
    let wrong = (id.clone(), "wrong".to_owned());
    for _ in 0..3 {
        assert_eq!(server.token_answer(&wrong, &[]).await.status(), 401);
    }
    let answer = server.token_answer(&wrong, &[]).await;
    assert_eq!(answer.status(), 429);
    let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=600).contains(&seconds), "{seconds}");
    assert_eq!(server.token_answer(&(id, secret), &[]).await.status(), 429, "guessing on is of no use");
    assert_eq!(server.token_answer(&("another".to_owned(), "x".to_owned()), &[]).await.status(), 401);
}

#[tokio::test]
async fn one_connection_more_than_the_bound_waits_for_its_turn() {
    let home = Home::with_config("[limits]\nmax_connections = 2\n");
    let server = home.start().await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: grantry\r\n\r\n";
    let mut connections = [connect(&server), connect(&server)];
    for stream in &mut connections {
        stream.write_all(request).unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
    }
    assert_eq!(server.metric("grantry_connections", "public").await, 2.0);

    let mut waiting = connect(&server);
    waiting.write_all(request).unwrap();
    waiting.set_read_timeout(Some(PACE * 6)).unwrap();
    let early = waiting.read(&mut [0; 1024]);
    assert!(early.is_err(), "a third connection was served: {early:?}");
    drop(connections);
    waiting.set_read_timeout(Some(SOON)).unwrap();
    assert_ne!(waiting.read(&mut [0; 1024]).unwrap(), 0);
}
