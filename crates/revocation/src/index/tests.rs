use grantry_protocol::{Epoch, GrantId};

use super::*;

const LATE: Timestamp = Timestamp::from_secs(2_000);
const NOW: Timestamp = Timestamp::from_secs(1_000);

/// A log as the store of record has it.
#[derive(Clone)]
struct Log {
    head: LogHead,
    entries: Vec<LogEntry>,
}

impl Log {
    fn new() -> Self {
        Self { head: LogHead::EMPTY, entries: Vec::new() }
    }

    fn append(&mut self, kind: LogKind, key: &[u8], keep_until: Timestamp) -> Seen {
        let (entry, head) = self.head.append(kind, key.to_vec(), keep_until);
        self.entries.push(entry);
        self.head = head;
        head.seen()
    }

    fn raise_epoch(&mut self) {
        self.head.epoch = Epoch(self.head.epoch.0 + 1);
    }

    fn page(&self, after: Position, limit: usize) -> LogPage {
        let entries =
            self.entries.iter().filter(|entry| entry.position > after).take(limit).cloned().collect();
        LogPage { head: self.head, entries, now: NOW }
    }

    fn read(&self) -> Index {
        let mut reading = Reading::from(self.head);
        assert!(reading.take(&self.entries));
        reading.finish()
    }
}

fn token(n: u8) -> TokenId {
    TokenId::from_bytes([n; 16])
}

fn follow(index: &mut Index, log: &Log) -> Result<Followed, Interrupted> {
    index.follow(&log.page(Position::from(&*index), 100))
}

/// All that a rule can name a token by, for a token that has seen so much.
fn keys<'a>(
    client: &'a ClientId,
    subject: &'a grantry_protocol::Subject,
    grant: &'a GrantId,
    seen: Seen,
) -> RuleKeys<'a> {
    RuleKeys { slot: None, client_id: client, subject, session: None, grant: Some(grant), seen }
}

#[test]
fn a_page_at_a_time_brings_the_index_to_the_end_of_the_log() {
    let mut log = Log::new();
    let mut index = log.read();
    for n in 1..=5 {
        log.append(LogKind::Token, &[n; 16], LATE);
    }
    assert_eq!(index.follow(&log.page(Position(0), 3)), Ok(Followed::PartOfTheWay));
    assert_eq!(index.seen().position, Position(3));
    assert_eq!(index.follow(&log.page(Position(3), 3)), Ok(Followed::ToTheEnd));
    assert_eq!((index.head(), index.len()), (log.head, 5));
    assert_eq!(index.follow(&log.page(Position(5), 3)), Ok(Followed::ToTheEnd));
}

#[test]
fn what_was_appended_while_the_log_was_read_is_followed_later() {
    let mut log = Log::new();
    for n in 1..=4 {
        log.append(LogKind::Token, &[n; 16], LATE);
    }
    let mut reading = Reading::from(log.head);
    log.append(LogKind::Token, &[5; 16], LATE);
    assert!(!reading.take(&log.page(Position(0), 2).entries));
    assert_eq!(reading.after(), Position(2));
    assert!(reading.take(&log.page(Position(2), 100).entries));
    let mut index = reading.finish();
    assert_eq!(index.seen().position, Position(4), "only what was asked for counts as seen");
    assert_eq!(follow(&mut index, &log), Ok(Followed::ToTheEnd));
    assert_eq!(index.len(), 5);
}

#[test]
fn a_rule_ends_what_has_seen_less_and_a_token_entry_ends_its_token() {
    let mut log = Log::new();
    let (client, subject): (ClientId, grantry_protocol::Subject) =
        ("app".parse().unwrap(), "ann".parse().unwrap());
    let (other, grant) = ("other".parse().unwrap(), GrantId::from_bytes([7; 16]));
    let before = log.append(LogKind::Token, &[1; 16], LATE);
    let rules: [(LogKind, &[u8]); 4] = [
        (LogKind::Client, b"app"),
        (LogKind::Subject, b"ann"),
        (LogKind::Grant, grant.as_bytes()),
        (LogKind::All, b""),
    ];
    for (kind, key) in rules {
        let mut log = log.clone();
        let rule = log.append(kind, key, LATE);
        let index = log.read();
        assert!(index.is_ended(token(2), &keys(&client, &subject, &grant, before)), "{kind:?}");
        assert!(!index.is_ended(token(2), &keys(&client, &subject, &grant, rule)), "{kind:?}");
        let elsewhere = GrantId::from_bytes([8; 16]);
        let stranger = "bob".parse().unwrap();
        assert_eq!(
            index.is_ended(token(2), &keys(&other, &stranger, &elsewhere, before)),
            kind == LogKind::All
        );
        assert!(
            index.is_ended(token(1), &keys(&other, &stranger, &elsewhere, rule)),
            "by its id, whatever it has seen"
        );
    }
}

#[test]
fn a_copy_of_a_client_is_out_of_date_once_the_client_was_changed() {
    let mut log = Log::new();
    let id: ClientId = "app".parse().unwrap();
    for kind in [LogKind::ClientChanged, LogKind::Client] {
        let before = log.head.seen();
        let change = log.append(kind, b"app", LATE);
        let index = log.read();
        assert!(index.client_changed_since(&id, before) && !index.client_changed_since(&id, change));
        assert!(!index.client_changed_since(&"other".parse().unwrap(), before));
    }
}

#[test]
fn a_log_that_does_not_go_on_is_noticed() {
    let mut log = Log::new();
    log.append(LogKind::Token, &[1; 16], LATE);
    let shorter = log.clone();
    log.append(LogKind::Token, &[2; 16], LATE);
    let index = log.read();
    assert_eq!(follow(&mut index.clone(), &shorter), Err(Interrupted::Lost), "it ends before what was read");
    let mut other = shorter.clone();
    other.append(LogKind::Token, &[3; 16], LATE);
    assert_eq!(
        follow(&mut index.clone(), &other),
        Err(Interrupted::Lost),
        "it has another entry in its place"
    );
    other.append(LogKind::Token, &[4; 16], LATE);
    assert_eq!(follow(&mut index.clone(), &other), Err(Interrupted::Lost), "and has gone on since");
    let mut raised = shorter;
    raised.raise_epoch();
    assert_eq!(follow(&mut index.clone(), &raised), Err(Interrupted::NewEpoch));
    assert_eq!(follow(&mut raised.read(), &log), Err(Interrupted::Lost), "an earlier epoch has come back");
    let mut gone = log.clone();
    gone.append(LogKind::Token, &[5; 16], LATE);
    gone.append(LogKind::Token, &[6; 16], LATE);
    gone.entries.remove(2);
    assert_eq!(follow(&mut index.clone(), &gone), Err(Interrupted::Forgotten), "one in between is forgotten");
    gone.entries.truncate(2);
    assert_eq!(follow(&mut index.clone(), &gone), Err(Interrupted::Forgotten), "the rest is forgotten");
}

#[test]
fn what_a_log_has_lost_is_given_back_and_stays_known_meanwhile() {
    let mut log = Log::new();
    log.append(LogKind::Token, &[1; 16], LATE);
    let promoted = log.clone();
    log.append(LogKind::Token, &[2; 16], LATE);
    log.append(LogKind::Client, b"app", LATE);
    log.append(LogKind::Token, &[3; 16], NOW);
    let mut index = log.read();
    let mut found = promoted.clone();
    found.append(LogKind::Token, &[9; 16], LATE);
    let missing = index.missing_from(&found.read(), NOW);
    let named: Vec<_> = missing.iter().map(|entry| (entry.kind, entry.key[0])).collect();
    assert_eq!(named, [(LogKind::Token, 2), (LogKind::Client, b'a')], "in order, without what has expired");
    index.adopt(found.read(), NOW);
    assert!(index.tokens.contains_key(&token(2)) && index.tokens.contains_key(&token(9)));
    assert_eq!(index.head(), found.head);
    found.raise_epoch();
    for entry in missing {
        found.append(entry.kind, &entry.key, entry.keep_until);
    }
    assert_eq!(index.missing_from(&found.read(), NOW), [], "then nothing is missing any more");
}

#[test]
fn behind_a_rule_about_everything_nothing_from_before_it_is_missed() {
    let mut log = Log::new();
    log.append(LogKind::Token, &[1; 16], LATE);
    log.append(LogKind::Client, b"app", LATE);
    let index = log.read();
    let mut restored = Log::new();
    restored.raise_epoch();
    restored.append(LogKind::All, b"", LATE);
    assert_eq!(index.missing_from(&restored.read(), NOW), []);
}

#[test]
fn entries_are_forgotten_when_all_that_they_could_end_has_expired() {
    let mut log = Log::new();
    log.append(LogKind::Token, &[1; 16], Timestamp::from_secs(1_000));
    log.append(LogKind::Token, &[2; 16], Timestamp::from_millis(1_000_001));
    log.append(LogKind::Subject, b"ann", Timestamp::from_secs(1_000));
    log.append(LogKind::Subject, b"ann", Timestamp::from_secs(1_002));
    let mut index = log.read();
    index.forget(Timestamp::from_millis(999_999));
    assert_eq!(index.len(), 3);
    index.forget(Timestamp::from_secs(1_000));
    assert_eq!(index.len(), 2, "the later rule about the same subject is still needed");
    index.forget(Timestamp::from_secs(1_001));
    assert_eq!(index.len(), 1);
    index.forget(Timestamp::from_secs(1_002));
    assert!(index.is_empty() && index.due.is_empty());
}
