//! Requests as an attacker writes them: no client library in between that puts them right.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// `None` where it is not there at all.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// `line` is method and target, `headers` are whole lines.
pub async fn request(port: u16, line: &str, headers: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!("{line} HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{line}: no answer, but {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}
