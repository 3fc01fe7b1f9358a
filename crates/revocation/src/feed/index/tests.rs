use grantry_protocol::{ClientId, Epoch, GrantId, Position, RuleKeys, SessionId, SlotKey, Subject, TokenId};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000);
const LATE: Timestamp = Timestamp::from_secs(2_000);

const fn at(epoch: u64, position: u64) -> Seen {
    Seen { epoch: Epoch(epoch), position: Position(position) }
}

fn end(at: Seen, kind: LogKind, key: &[u8]) -> FeedEntry {
    FeedEntry { at, kind, key: FeedKey::of(kind, key), keep_until: LATE }
}

fn page(kind: FeedPageKind, head: Seen, entries: &[FeedEntry]) -> FeedPage {
    FeedPage {
        kind,
        head,
        age: Duration::ZERO,
        max_staleness: Duration::from_secs(1),
        now: NOW,
        entries: entries.to_vec(),
    }
}

fn snapshot(head: Seen, entries: &[FeedEntry]) -> FeedIndex {
    let mut index = FeedIndex::default();
    index.apply(&page(FeedPageKind::Snapshot, head, entries)).unwrap();
    index
}

const ID: TokenId = TokenId::from_bytes([1; 16]);

/// A token of `app` for `ann`, with everything that a rule can name it by.
fn token(seen: Seen) -> FeedKeys {
    let (client_id, subject): (ClientId, Subject) = ("app".parse().unwrap(), "ann".parse().unwrap());
    let keys = RuleKeys {
        slot: Some(&SlotKey::from_bytes([2; 32])),
        client_id: &client_id,
        subject: &subject,
        session: Some(&SessionId::from_bytes([3; 16])),
        grant: Some(&GrantId::from_bytes([4; 16])),
        seen,
    };
    FeedKeys::new(ID, LATE, &keys)
}

#[test]
fn every_kind_of_end_ends_the_token_that_it_names_and_no_other() {
    let rules: [(LogKind, &[u8], &[u8]); 6] = [
        (LogKind::Slot, &[2; 32], &[9; 32]),
        (LogKind::Client, b"app", b"ann"),
        (LogKind::Subject, b"ann", b"app"),
        (LogKind::Session, &[3; 16], &[4; 16]),
        (LogKind::Grant, &[4; 16], &[3; 16]),
        (LogKind::All, b"", b""),
    ];
    for (kind, key, other) in rules {
        let index = snapshot(at(1, 5), &[end(at(1, 5), kind, key)]);
        assert!(index.is_ended(&token(at(1, 4))), "{kind:?}");
        assert!(!index.is_ended(&token(at(1, 5))), "{kind:?}: it was made after the rule");
        assert!(!index.is_ended(&token(at(2, 0))), "{kind:?}: it was made in a later epoch");
        if kind != LogKind::All {
            let index = snapshot(at(1, 5), &[end(at(1, 5), kind, other)]);
            assert!(!index.is_ended(&token(at(1, 4))), "{kind:?}");
        }
    }
    let index = snapshot(at(1, 5), &[end(at(1, 5), LogKind::Token, &[1; 16])]);
    assert!(index.is_ended(&token(at(9, 9))), "by its id, whatever it has seen");
    let index = snapshot(at(1, 5), &[end(at(1, 5), LogKind::Token, &[4; 16])]);
    assert!(!index.is_ended(&token(at(1, 4))));
}

#[test]
fn pages_may_come_twice_and_in_any_order() {
    let pages = [
        page(FeedPageKind::Entries, at(1, 6), &[end(at(1, 6), LogKind::Client, b"app")]),
        page(FeedPageKind::Entries, at(1, 4), &[end(at(1, 4), LogKind::Client, b"app")]),
    ];
    for order in [[0, 1, 0], [1, 0, 1]] {
        let mut index = snapshot(at(1, 3), &[]);
        for number in order {
            index.apply(&pages[number]).unwrap();
        }
        assert_eq!((index.head(), index.len()), (Some(at(1, 6)), 1));
        assert!(index.is_ended(&token(at(1, 5))), "the later rule stays");
    }
}

#[test]
fn a_snapshot_takes_nothing_away() {
    let mut index = snapshot(at(1, 5), &[end(at(1, 5), LogKind::Token, &[1; 16])]);
    index.apply(&page(FeedPageKind::Snapshot, at(2, 1), &[])).unwrap();
    assert_eq!(index.head(), Some(at(2, 1)));
    assert!(index.is_ended(&token(at(1, 9))));
}

#[test]
fn entries_that_go_on_from_elsewhere_end_what_they_end_and_ask_for_a_snapshot() {
    let entries = page(FeedPageKind::Entries, at(2, 5), &[end(at(2, 5), LogKind::Subject, b"ann")]);
    for (mut index, head) in [(FeedIndex::default(), None), (snapshot(at(1, 9), &[]), Some(at(1, 9)))] {
        assert_eq!(index.apply(&entries), Err(NotContinued));
        assert_eq!(index.head(), head);
        assert!(index.is_ended(&token(at(1, 9))));
    }
}

fn forget(index: &mut FeedIndex, now: Timestamp) {
    (0..PARTS).for_each(|_| index.forget(now));
}

#[test]
fn what_could_only_end_what_has_expired_is_forgotten_and_no_sooner() {
    let mut longer = end(at(1, 2), LogKind::Subject, b"ann");
    longer.keep_until = Timestamp::from_secs(2_002);
    let entries = [end(at(1, 1), LogKind::Token, &[1; 16]), end(at(1, 1), LogKind::Subject, b"ann"), longer];
    let mut index = snapshot(at(1, 2), &entries);
    forget(&mut index, Timestamp::from_millis(1_999_999));
    assert_eq!(index.len(), 2);
    forget(&mut index, LATE);
    assert_eq!(index.len(), 1, "the later rule about the same subject is still needed");
    assert!(index.is_ended(&token(at(1, 9))), "the token has expired, whatever the caller thinks");
    forget(&mut index, Timestamp::from_secs(2_002));
    assert!(index.is_empty());
}

#[test]
fn each_call_looks_through_a_part_so_that_all_are_through_after_64() {
    let entries: Vec<_> = (0..=u16::MAX)
        .map(|n| end(at(1, 1), LogKind::Token, &[[0; 14].as_slice(), &n.to_be_bytes()].concat()))
        .collect();
    let mut index = snapshot(at(1, 1), &entries);
    let mut parts = Vec::new();
    for _ in 0..PARTS {
        let before = index.len();
        index.forget(LATE);
        parts.push(before - index.len());
    }
    assert!(index.is_empty());
    assert!(parts.is_sorted() && parts[0] > 700 && parts[PARTS - 1] < 1_420, "{parts:?}");
}

#[test]
fn a_clock_that_goes_back_brings_nothing_to_life() {
    let mut index = snapshot(at(1, 1), &[end(at(1, 1), LogKind::Token, &[1; 16])]);
    forget(&mut index, LATE);
    assert!(index.is_empty());
    forget(&mut index, LATE.saturating_sub(SET_BACK));
    assert_eq!(index.head(), Some(at(1, 1)), "a step that is only waited for");
    forget(&mut index, NOW);
    assert_eq!(index.head(), None, "what was forgotten is needed again");
    assert!(index.is_ended(&token(at(1, 0))), "until it is there, the token is taken for expired");
    index.apply(&page(FeedPageKind::Snapshot, at(1, 3), &[])).unwrap();
    assert!(
        !index.is_ended(&token(at(1, 0))),
        "it was another token that the entry was about, as it turns out"
    );
}

#[test]
fn a_node_whose_clock_is_ahead_makes_no_subscriber_ask_again() {
    let mut index = FeedIndex::default();
    forget(&mut index, NOW);
    let ahead = Timestamp::from_secs(1_900);
    index.apply(&FeedPage { now: ahead, ..page(FeedPageKind::Snapshot, at(1, 1), &[]) }).unwrap();
    forget(&mut index, NOW + Duration::from_secs(1));
    assert_eq!(index.head(), Some(at(1, 1)));
    assert!(!index.is_ended(&token(at(1, 1))));
    let expired = FeedKeys { expires_at: ahead, ..token(at(1, 1)) };
    assert!(index.is_ended(&expired), "the node may have forgotten what has ended it");
}
