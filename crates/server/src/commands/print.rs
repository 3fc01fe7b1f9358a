//! What the commands say on standard output.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::exit;
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Ends the program where nobody takes its output: quietly for `| head`, with an error for a full disk, because a
/// secret that was not written is lost.
pub fn line(text: impl Display) {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            eprintln!("grantry: standard output cannot be written: {error}");
            exit(1)
        }
    }
}

pub fn json(value: &Value) {
    line(format_args!("{value:#}"));
}

/// Names and values in two columns, without what is not there.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a Value)>) {
    let fields: Vec<(&str, String)> = fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name, shown(value)))
        .collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        line(format_args!("  {name:<width$}  {value}"));
    }
}

/// Rows in columns, under their names.
pub fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(head[column].len())
    };
    let print = |cells: [&str; COLUMNS]| {
        let cells: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<width$}", width = width(column)))
            .collect();
        line(cells.join("  ").trim_end());
    };
    print(head);
    rows.iter().for_each(|row| print(std::array::from_fn(|column| row[column].as_str())));
}

/// Progress, shown on a terminal only.
pub fn bar(what: &'static str, length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}");
    ProgressBar::new(length)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}

/// Seconds since the epoch as people read them (RFC 3339).
pub fn time(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_u64() else { return String::new() };
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// A value as a person reads it: text bare, a list with commas.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
