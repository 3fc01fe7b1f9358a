use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that stands still does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One command on a connection of its own. What comes back is text: the elements of a list are lines, an error begins with
/// `-`, and nothing is nothing.
pub fn ask(port: u16, command: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("*{}\r\n", command.len());
    for word in command {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    answer(&mut BufReader::new(stream))
}

/// RESP2.
fn answer(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let Some((kind, rest)) = line.split_at_checked(1) else {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let count = usize::try_from(rest.parse::<i64>().unwrap_or(-1)).ok();
    Ok(match (kind, count) {
        ("$" | "*", None) => String::new(),
        ("$", Some(length)) => {
            let mut text = vec![0; length + 2];
            from.read_exact(&mut text)?;
            text.truncate(length);
            String::from_utf8_lossy(&text).into_owned()
        }
        ("*", Some(count)) => {
            let elements = (0..count).map(|_| answer(from)).collect::<Result<Vec<_>>>()?;
            elements.join("\n")
        }
        ("-", _) => line.to_owned(),
        _ => rest.to_owned(),
    })
}
