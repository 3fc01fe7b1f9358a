//! `grantry journal inspect`: what a directory holds, from the files alone.

use std::path::Path;
use std::sync::Arc;

use grantry_grants::node_text;
use grantry_persistence::decode_record;
use grantry_persistence::journal::{Disk, Finding, FindingKind, InspectedSegment, RealDisk, inspect};
use grantry_protocol::{Clock, Timestamp};
use grantry_store::Issue;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::ambient::SystemClock;
use crate::cli::Output;
use crate::commands::print;
use crate::failure::Failure;

pub fn run(directory: &Path, with_records: bool, output: Output) -> Result<(), Failure> {
    if !directory.is_dir() {
        return Err(Failure::new(format!("there is no directory {}", directory.display())));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(directory));
    let inspection = inspect(disk.as_ref())?;
    let now = SystemClock.now();
    let mut tally = Tally::default();
    let mut tokens = Vec::new();
    for segment in &inspection.segments {
        for record in segment.payloads(Arc::clone(&disk)) {
            let (sequence, payload) = record?;
            let record = decode_record(&payload);
            tally.count(record.as_ref().ok(), now);
            if with_records {
                tokens.push(match record {
                    Ok(issue) => token_json(sequence, &issue, now),
                    Err(error) => json!({ "sequence": sequence, "unreadable": error.to_string() }),
                });
            }
        }
    }
    let segments: Vec<Value> = inspection.segments.iter().map(segment_json).collect();
    let mut found = json!({
        "directory": directory,
        "node_id": inspection.node.map(node_text),
        "records": tally.records,
        "expired": tally.expired,
        "unreadable": tally.unreadable,
        "bytes": inspection.segments.iter().map(|segment| segment.bytes).sum::<u64>(),
        "oldest_issued_at": tally.oldest.map(Timestamp::as_secs),
        "newest_issued_at": tally.newest.map(Timestamp::as_secs),
        "segments": segments,
        "set_aside": inspection.set_aside.iter()
            .map(|aside| json!({ "name": aside.name, "bytes": aside.bytes })).collect::<Vec<_>>(),
    });
    if with_records {
        found["tokens"] = tokens.into();
    }
    match output.json {
        true => print::json(&found),
        false => show(&found),
    }
    Ok(())
}

#[derive(Default)]
struct Tally {
    records: u64,
    expired: u64,
    unreadable: u64,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
}

impl Tally {
    fn count(&mut self, issue: Option<&Issue>, now: Timestamp) {
        self.records += 1;
        let Some(issue) = issue else {
            self.unreadable += 1;
            return;
        };
        let (issued, expires) = (issue.token.issued_at, issue.token.expires_at);
        self.expired += u64::from(expires <= now);
        self.oldest = Some(self.oldest.map_or(issued, |oldest| oldest.min(issued)));
        self.newest = self.newest.max(Some(issued));
    }
}

fn token_json(sequence: u64, issue: &Issue, now: Timestamp) -> Value {
    let token = &issue.token;
    json!({
        "sequence": sequence,
        "id": token.id.to_string(),
        "client_id": token.client_id,
        "subject": token.subject,
        "scope": token.scope,
        "issued_at": token.issued_at.as_secs(),
        "expires_at": token.expires_at.as_secs(),
        "expired": token.expires_at <= now,
    })
}

fn segment_json(segment: &InspectedSegment) -> Value {
    json!({
        "name": segment.name,
        "node_id": segment.node.map(node_text),
        "bytes": segment.bytes,
        "records": segment.records,
        "first": segment.first,
        "last": segment.last,
        "finding": segment.finding.as_ref().map(finding_json),
    })
}

fn finding_json(finding: &Finding) -> Value {
    let kind = match finding.kind {
        FindingKind::Torn => "torn",
        FindingKind::Damaged => "damaged",
    };
    json!({ "kind": kind, "offset": finding.offset, "bytes": finding.bytes })
}

fn show(found: &Value) {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    print::line(format_args!(
        "node {}: {} records, {}",
        found["node_id"].as_str().unwrap_or("unknown"),
        number(&found["records"]),
        HumanBytes(number(&found["bytes"])),
    ));
    if number(&found["records"]) > 0 {
        print::line(format_args!(
            "issued from {} to {}; {} have expired, {} cannot be read",
            print::time(&found["oldest_issued_at"]),
            print::time(&found["newest_issued_at"]),
            number(&found["expired"]),
            number(&found["unreadable"]),
        ));
    }
    let rows: Vec<[String; 4]> = listed(&found["segments"])
        .map(|segment| {
            let finding = match &segment["finding"] {
                Value::Null => String::new(),
                finding => format!(
                    "{} from byte {} on: {} bytes",
                    finding["kind"].as_str().unwrap_or_default(),
                    finding["offset"],
                    finding["bytes"]
                ),
            };
            let text = |field: &str| print::shown(&segment[field]);
            [text("name"), text("records"), text("bytes"), finding]
        })
        .collect();
    if !rows.is_empty() {
        print::table(["SEGMENT", "RECORDS", "BYTES", "END"], &rows);
    }
    for aside in listed(&found["set_aside"]) {
        print::line(format_args!(
            "set aside earlier: {}, {} bytes",
            print::shown(&aside["name"]),
            aside["bytes"]
        ));
    }
    show_tokens(found);
}

fn show_tokens(found: &Value) {
    let rows: Vec<[String; 7]> = listed(&found["tokens"])
        .map(|token| match token["unreadable"].as_str() {
            Some(why) => {
                let [id, sequence] = [format!("cannot be read: {why}"), print::shown(&token["sequence"])];
                [sequence, id, String::new(), String::new(), String::new(), String::new(), String::new()]
            }
            None => {
                let text = |field: &str| print::shown(&token[field]);
                let time = |field: &str| print::time(&token[field]);
                let expires = time("expires_at");
                [
                    text("sequence"),
                    text("id"),
                    text("client_id"),
                    text("subject"),
                    time("issued_at"),
                    if token["expired"] == true { format!("{expires} (expired)") } else { expires },
                    text("scope"),
                ]
            }
        })
        .collect();
    if !rows.is_empty() {
        print::line("");
        print::table(["RECORD", "TOKEN_ID", "CLIENT_ID", "SUBJECT", "ISSUED", "EXPIRES", "SCOPE"], &rows);
    }
}

fn listed(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
