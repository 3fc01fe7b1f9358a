use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{
    ActiveTokenPolicy, Epoch, LogEntry, LogHead, LogKind, LogPage, Position, Seen, TokenState,
};
use tokio::time::timeout;

use super::harness::{Harness, LIFETIME, issue_under};
use crate::{Merge, MergeOutcome, NodeId, Probe, TokenWrite, WriteOutcome};

const NODE: NodeId = NodeId([1; 16]);
/// For what comes at once, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn the_log_of_a_new_store_is_empty(harness: Harness) {
    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.log().await, []);
}

pub async fn positions_have_no_gaps_and_the_chain_recomputes_to_the_head(harness: Harness) {
    let mut client = harness.client("managed");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::ClientChanged).await;
    let (first, second) = (harness.issued("a").await, harness.issued("b").await);
    harness
        .store
        .token_write(vec![
            TokenWrite::Revoke { id: first.id, unwritten: None, audit: None },
            TokenWrite::Revoke { id: second.id, unwritten: None, audit: None },
        ])
        .await
        .unwrap();
    harness.revoke(first.id).await;
    harness.issued("c").await;
    harness.write(issue_under(ActiveTokenPolicy::Replace, &harness.token("c"))).await;
    harness.update(&mut client, LogKind::Client).await;
    harness.delete("managed").await;

    let log = harness.log().await;
    assert_eq!(log.len(), 6);
    let mut head = LogHead::EMPTY;
    for entry in log {
        let (expected, next) = head.append(entry.kind, entry.key.clone(), entry.keep_until);
        assert_eq!(entry, expected);
        head = next;
    }
    assert_eq!(harness.head().await, head);
}

pub async fn the_log_is_listed_after_a_position_and_up_to_a_limit(harness: Harness) {
    for client in ["a", "b", "c", "d"] {
        let token = harness.issued(client).await;
        harness.revoke(token.id).await;
    }
    let all = harness.log().await;
    let list = async |after, limit| harness.store.revocation_list(Position(after), limit).await.unwrap();
    assert_eq!(list(1, 2).await, all[1..3]);
    assert_eq!(list(3, 2).await, all[3..]);
    assert_eq!(list(4, 2).await, []);
    assert_eq!(list(0, 0).await, []);
    assert_eq!(list(0, usize::MAX).await, all);
}

/// So many entries about tokens.
async fn append(harness: &Harness, count: usize) {
    for n in 0..count {
        let token = harness.issued(&format!("client {n}")).await;
        harness.revoke(token.id).await;
    }
}

/// What a node remembers that the log may lack.
fn remembered(harness: &Harness, kind: LogKind, key: &[u8]) -> LogEntry {
    LogEntry {
        epoch: Epoch(9),
        position: Position(99),
        kind,
        key: key.to_vec(),
        keep_until: harness.now() + LIFETIME,
    }
}

async fn merge(harness: &Harness, from: LogHead, raise_epoch: bool, entries: &[LogEntry]) -> MergeOutcome {
    let merge = Merge { from, raise_epoch, entries: entries.to_vec() };
    harness.store.revocation_merge(merge).await.unwrap()
}

pub async fn a_probe_answers_how_the_log_goes_on_and_when(harness: Harness) {
    let nothing = LogPage { head: LogHead::EMPTY, entries: Vec::new(), now: harness.now() };
    assert_eq!(harness.probe(NODE, Seen::NOTHING).await, nothing);
    append(&harness, 3).await;
    harness.clock.advance(Duration::from_millis(7));
    let (head, log) = (harness.head().await, harness.log().await);
    for position in 0..4 {
        let applied = Seen { epoch: Epoch(1), position: Position(position) };
        let entries = log.iter().filter(|entry| entry.position.0 > position).cloned().collect();
        let page = LogPage { head, entries, now: harness.now() };
        assert_eq!(harness.probe(NODE, applied).await, page);
    }
}

pub async fn a_probe_answers_at_most_as_much_as_it_asks_for(harness: Harness) {
    append(&harness, 3).await;
    let (head, log) = (harness.head().await, harness.log().await);
    for limit in 0..4 {
        let probe = Probe { node: NODE, applied: Seen::NOTHING, limit };
        let page = harness.store.revocation_probe(probe).await.unwrap();
        assert_eq!((page.head, page.entries.as_slice()), (head, &log[..limit]));
    }
}

pub async fn a_probe_of_a_node_that_is_ahead_of_the_log_finds_only_its_head(harness: Harness) {
    append(&harness, 1).await;
    let applied = Seen { epoch: Epoch(1), position: Position(5) };
    let page = harness.probe(NODE, applied).await;
    assert_eq!((page.head, page.entries), (harness.head().await, Vec::new()));
}

pub async fn a_merge_goes_on_from_the_head_that_it_was_made_for(harness: Harness) {
    append(&harness, 2).await;
    let from = harness.head().await;
    let lost =
        [remembered(&harness, LogKind::Token, &[7; 16]), remembered(&harness, LogKind::Client, b"gone")];
    let mut expected = from;
    for entry in &lost {
        expected = expected.append(entry.kind, entry.key.clone(), entry.keep_until).1;
    }
    assert_eq!(merge(&harness, from, false, &lost).await, MergeOutcome::Merged(expected));
    assert_eq!(harness.head().await, expected);
    let merged = harness.store.revocation_list(from.position, 10).await.unwrap();
    let head = merged.iter().try_fold(from, |head, entry| head.after(entry));
    assert_eq!(head, Some(expected), "each entry is the next of the epoch");
    assert_eq!(merge(&harness, expected, false, &[]).await, MergeOutcome::Merged(expected));
    append(&harness, 1).await;
    assert_eq!(harness.head().await.position, Position(5));
}

pub async fn a_merge_into_a_log_that_ends_elsewhere_writes_nothing(harness: Harness) {
    append(&harness, 2).await;
    let (head, log) = (harness.head().await, harness.log().await);
    let lost = [remembered(&harness, LogKind::Client, b"gone")];
    let elsewhere = [
        LogHead { epoch: Epoch(2), ..head },
        LogHead { position: Position(1), ..head },
        LogHead { chain: [9; 32], ..head },
        LogHead::EMPTY,
    ];
    for from in elsewhere {
        assert_eq!(merge(&harness, from, true, &lost).await, MergeOutcome::Moved);
    }
    assert_eq!((harness.head().await, harness.log().await), (head, log));
    append(&harness, 1).await;
    assert_eq!(harness.head().await.position, Position(3));
}

pub async fn a_merge_that_begins_an_epoch_goes_on_in_it(harness: Harness) {
    append(&harness, 1).await;
    let from = harness.head().await;
    let lost = remembered(&harness, LogKind::Token, &[7; 16]);
    let raised = LogHead { epoch: Epoch(2), ..from };
    let expected = raised.append(lost.kind, lost.key.clone(), lost.keep_until).1;
    assert_eq!(merge(&harness, from, true, &[lost]).await, MergeOutcome::Merged(expected));
    append(&harness, 1).await;
    let epochs: Vec<_> = harness.log().await.iter().map(|entry| (entry.epoch.0, entry.position.0)).collect();
    assert_eq!(epochs, [(1, 1), (2, 2), (2, 3)]);
    assert_eq!(harness.head().await.seen(), Seen { epoch: Epoch(2), position: Position(3) });
}

pub async fn an_epoch_can_begin_without_an_entry(harness: Harness) {
    append(&harness, 1).await;
    let from = harness.head().await;
    let raised = LogHead { epoch: Epoch(2), ..from };
    assert_eq!(merge(&harness, from, true, &[]).await, MergeOutcome::Merged(raised));
    assert_eq!(harness.head().await, raised);
    assert_eq!(merge(&harness, from, true, &[]).await, MergeOutcome::Moved);
}

pub async fn a_merged_rule_ends_what_has_seen_less(harness: Harness) {
    let mut ahead = harness.token("billing");
    // Of a log that had come further when it was lost.
    ahead.authority.seen = Seen { epoch: Epoch(1), position: Position(50) };
    assert_eq!(harness.issue(&ahead).await, WriteOutcome::Issued);
    let lost = [remembered(&harness, LogKind::Client, b"billing")];
    let MergeOutcome::Merged(head) = merge(&harness, harness.head().await, true, &lost).await else {
        panic!("nobody else has moved the log");
    };
    assert_eq!(harness.state(ahead.id).await, TokenState::Revoked);
    let mut later = harness.token("billing");
    later.authority.seen = head.seen();
    let policy = ActiveTokenPolicy::Multiple;
    assert_eq!(harness.write(issue_under(policy, &later)).await, WriteOutcome::Issued);
    assert_eq!(harness.state(later.id).await, TokenState::Active);
}

pub async fn of_merges_at_the_same_time_one_is_done(harness: Harness) {
    append(&harness, 1).await;
    let from = harness.head().await;
    let merges: Vec<_> = (0..4)
        .map(|n| {
            let entries = vec![remembered(&harness, LogKind::Token, &[n; 16])];
            let store = Arc::clone(&harness.store);
            let merge = Merge { from, raise_epoch: true, entries };
            tokio::spawn(async move { store.revocation_merge(merge).await.unwrap() })
        })
        .collect();
    let mut merged = Vec::new();
    for merge in merges {
        match merge.await.unwrap() {
            MergeOutcome::Merged(head) => merged.push(head),
            MergeOutcome::Moved => {}
        }
    }
    assert_eq!(merged, [harness.head().await]);
    assert_eq!(merged[0].seen(), Seen { epoch: Epoch(2), position: Position(2) });
}

pub async fn the_bell_rings_when_something_was_appended(harness: Harness) {
    let mut bell = harness.store.revocation_bell();
    // The first rings may be for what was before.
    for n in 0..4 {
        bell.mark_unchanged();
        match n {
            3 => drop(merge(&harness, harness.head().await, true, &[]).await),
            _ => append(&harness, 1).await,
        }
        match harness.hears {
            true => timeout(PATIENCE, bell.changed()).await.expect("it rings").unwrap(),
            false => assert_eq!(bell.has_changed().ok(), Some(false)),
        }
    }
}

pub async fn the_bell_of_a_store_that_is_gone_is_closed(harness: Harness) {
    let mut bell = harness.store.revocation_bell();
    drop(harness);
    let closed = async { while bell.changed().await.is_ok() {} };
    timeout(PATIENCE, closed).await.expect("nobody is left to ring it");
}
