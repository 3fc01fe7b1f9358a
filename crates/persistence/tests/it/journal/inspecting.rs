use std::fs;
use std::sync::Arc;

use grantry_persistence::journal::{
    Disk, FindingKind, Journal, JournalMode, JournalOptions, RealDisk, SetAside, SimulatedDisk, inspect,
};

use super::{HEADER, NODE, RECORD_HEADER, fresh, leave, open};

const FIRST: &str = "00000000000000000001.journal";

#[tokio::test]
async fn a_dead_machines_journal_is_shown_segment_by_segment_and_not_touched() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    leave(&journal, b"a").await;
    leave(&journal, b"bb").await;
    journal.seal().await.unwrap();
    leave(&journal, b"c").await;
    disk.kill();
    let mut torn = disk.content(FIRST).unwrap();
    torn.pop();
    disk.put(FIRST, &torn);
    let before: Vec<_> = disk.list().unwrap().iter().map(|name| disk.content(name)).collect();

    disk.set_broken(true);
    let inspection = inspect(&disk).unwrap();
    assert_eq!(inspection.node, Some(NODE));
    let [first, second] = &inspection.segments[..] else { panic!("{inspection:?}") };
    assert_eq!((first.name.as_str(), first.node), (FIRST, Some(NODE)));
    assert_eq!((first.records, first.first, first.last), (1, Some(1), Some(1)));
    assert_eq!(first.bytes, torn.len() as u64);
    let finding = first.finding.as_ref().unwrap();
    assert_eq!((finding.kind, finding.bytes, &finding.kept_as), (FindingKind::Torn, 17, &None));
    assert_eq!((second.records, second.first, second.last, &second.finding), (1, Some(3), Some(3), &None));
    let payloads: Vec<_> = first.payloads(Arc::new(disk.clone())).map(|record| record.unwrap()).collect();
    assert_eq!(payloads, [(1, b"a".to_vec())]);
    let after: Vec<_> = disk.list().unwrap().iter().map(|name| disk.content(name)).collect();
    assert_eq!(before, after);

    disk.set_broken(false);
    drop(open(&disk, JournalMode::Fsync));
    let name = format!("{FIRST}.torn-{}", HEADER + RECORD_HEADER + 1);
    assert_eq!(inspect(&disk).unwrap().set_aside, [SetAside { name, bytes: 17 }]);
}

#[tokio::test]
async fn a_running_nodes_journal_can_be_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(directory.path());
    let options = JournalOptions::new(JournalMode::Os);
    let (journal, _) = Journal::open(Arc::new(disk.clone()), NODE, options).unwrap();
    leave(&journal, b"a").await;
    let inspection = inspect(&disk).unwrap();
    assert_eq!((inspection.segments[0].records, &inspection.segments[0].finding), (1, &None));
    leave(&journal, b"b").await;
    assert_eq!(inspect(&disk).unwrap().segments[0].records, 2);
}

#[tokio::test]
async fn a_journal_of_which_the_node_is_unknown_is_shown_all_the_same() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Os);
    leave(&journal, b"a").await;
    disk.put("node", b"?");
    let inspection = inspect(&disk).unwrap();
    assert_eq!((inspection.node, inspection.segments[0].node), (None, Some(NODE)));
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_an_error_and_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let refusal = inspect(&RealDisk::new(&missing)).unwrap_err().to_string();
    assert!(refusal.contains("missing"), "{refusal}");
    assert!(fs::metadata(missing).is_err());
}
