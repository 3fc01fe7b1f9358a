use std::sync::Arc;

use grantry_persistence::journal::{
    Disk, FindingKind, Journal, JournalMode, JournalOpenError, NodeName, SimulatedDisk,
};
use grantry_store::NodeId;

use super::{
    HEADER, NODE, RECORD_HEADER, SeededRng, append, fresh, leave, open, options, segments, set_aside, texts,
};

const FIRST: &str = "00000000000000000001.journal";
const OTHER: NodeId = NodeId([9; 16]);

/// A disk with the journal of a process that died: one segment with these records.
async fn disk_with(payloads: &[&str]) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    for payload in payloads {
        leave(&journal, payload.as_bytes()).await;
    }
    disk.kill();
    disk
}

fn open_as(disk: &SimulatedDisk, node: NodeId) -> Result<NodeId, JournalOpenError> {
    let (journal, _) = Journal::inline(Arc::new(disk.clone()), node, options(JournalMode::Fsync))?;
    Ok(journal.node())
}

#[tokio::test]
async fn the_node_keeps_its_id_whatever_is_handed_in_later() {
    let disk = SimulatedDisk::new();
    assert_eq!(open_as(&disk, OTHER).unwrap(), OTHER);
    assert_eq!(open_as(&disk, NODE).unwrap(), OTHER);
    let line = String::from_utf8(disk.content("node").unwrap()).unwrap();
    assert!(line.starts_with("09090909090909090909090909090909 ") && line.ends_with('\n'), "{line}");
}

#[tokio::test]
async fn a_node_without_a_journal_keeps_its_name_and_its_directory_to_itself() {
    let disk = SimulatedDisk::new();
    let name = NodeName::claim(&disk, OTHER).unwrap();
    assert_eq!(name.id, OTHER);
    assert!(matches!(NodeName::claim(&disk, NODE), Err(JournalOpenError::Locked { .. })));
    assert!(matches!(open_as(&disk, NODE), Err(JournalOpenError::Locked { .. })));
    drop(name);
    assert_eq!(NodeName::claim(&disk, NODE).unwrap().id, OTHER);
}

#[tokio::test]
async fn a_lost_node_id_is_taken_from_the_segments() {
    let disk = disk_with(&["a"]).await;
    disk.remove("node").unwrap();
    assert_eq!(open_as(&disk, OTHER).unwrap(), NODE);
    assert_eq!(open_as(&disk, OTHER).unwrap(), NODE);
}

#[tokio::test]
async fn a_node_id_with_any_byte_changed_is_refused_and_not_replaced() {
    let disk = disk_with(&[]).await;
    let line = disk.content("node").unwrap();
    for index in 0..line.len() {
        let mut changed = line.clone();
        changed[index] ^= 1;
        disk.put("node", &changed);
        assert!(matches!(open_as(&disk, OTHER), Err(JournalOpenError::InvalidNode { .. })), "{index}");
    }
    for wrong in [&line[..line.len() - 1], b"", &[line.clone(), line.clone()].concat()] {
        disk.put("node", wrong);
        let refusal = open_as(&disk, OTHER).unwrap_err().to_string();
        assert!(refusal.contains("simulated/node") && refusal.contains("remove it"), "{refusal}");
    }
}

#[tokio::test]
async fn a_segment_of_another_node_is_refused_before_anything_is_changed() {
    let disk = disk_with(&["a"]).await;
    let mut torn = disk.content(FIRST).unwrap();
    torn.pop();
    disk.put(FIRST, &torn);
    let foreign = SimulatedDisk::new();
    open_as(&foreign, OTHER).unwrap();
    foreign.put(FIRST, &torn);
    let refusal = open_as(&foreign, OTHER).unwrap_err();
    assert!(matches!(refusal, JournalOpenError::ForeignSegment { .. }));
    assert!(refusal.to_string().contains(&"07".repeat(16)), "{refusal}");
    assert_eq!(foreign.content(FIRST).unwrap(), torn);
}

#[tokio::test]
async fn a_segment_of_a_newer_format_is_refused_and_left_as_it_is() {
    let disk = disk_with(&["a"]).await;
    let mut newer = disk.content(FIRST).unwrap();
    newer[8] = 2;
    let checksum = crc32fast::hash(&newer[..HEADER - 4]).to_le_bytes();
    newer[HEADER - 4..HEADER].copy_from_slice(&checksum);
    disk.put(FIRST, &newer);
    let refusal = open_as(&disk, NODE).unwrap_err();
    assert!(matches!(refusal, JournalOpenError::NewerFormat { version: 2, .. }), "{refusal}");
    assert_eq!(disk.content(FIRST).unwrap(), newer);
}

#[tokio::test]
async fn a_torn_end_is_normal_and_a_bad_record_before_good_ones_is_damage() {
    let disk = disk_with(&["first", "second", "third"]).await;
    let whole = disk.content(FIRST).unwrap();
    let second = HEADER + RECORD_HEADER + 5;
    for (bad, kind) in [(second + RECORD_HEADER, FindingKind::Damaged), (whole.len() - 1, FindingKind::Torn)]
    {
        let mut bytes = whole.clone();
        bytes[bad] ^= 0x20;
        let disk = SimulatedDisk::new();
        disk.put(FIRST, &bytes);
        let (_journal, recovery) = open(&disk, JournalMode::Fsync);
        let [finding] = recovery.findings() else { panic!("{:?}", recovery.findings()) };
        assert_eq!((finding.kind, finding.segment.as_str()), (kind, FIRST));
        let offset = usize::try_from(finding.offset).unwrap();
        let kept_as = finding.kept_as.clone().unwrap();
        assert_eq!(kept_as, format!("{FIRST}.torn-{offset}"));
        assert_eq!(disk.content(&kept_as).unwrap(), bytes[offset..]);
        assert_eq!(disk.content(FIRST).unwrap(), bytes[..offset]);
    }
}

#[tokio::test]
async fn a_record_inside_a_payload_is_never_taken_for_one() {
    // What a client could send to have a record of its own making replayed, once what is in front of it tears.
    let other = disk_with(&["", "forged"]).await;
    let forged = other.content(FIRST).unwrap()[HEADER + RECORD_HEADER..].to_vec();
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    leave(&journal, &forged).await;
    disk.kill();
    let mut bytes = disk.content(FIRST).unwrap();
    bytes[HEADER + 12] ^= 1;
    disk.put(FIRST, &bytes);
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(texts(recovery), [""; 0]);
}

#[tokio::test]
async fn records_of_an_earlier_file_behind_the_end_are_not_taken() {
    let old = disk_with(&["a", "b", "c"]).await.content(FIRST).unwrap();
    let record = RECORD_HEADER + 1;
    // The same numbers again, and lower ones.
    for stale in [&old[HEADER..], &old[HEADER + record..HEADER + 2 * record]] {
        let disk = SimulatedDisk::new();
        disk.put(FIRST, &[&old, stale].concat());
        let (_journal, recovery) = open(&disk, JournalMode::Fsync);
        assert_eq!(texts(recovery), ["a", "b", "c"]);
        assert_eq!(set_aside(&disk).len(), 1);
    }
}

#[tokio::test]
async fn a_number_that_the_next_segment_begins_with_comes_back_once() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    leave(&journal, b"a").await;
    leave(&journal, b"b").await;
    journal.seal().await.unwrap();
    leave(&journal, b"new").await;
    disk.kill();
    disk.put(FIRST, &disk_with(&["a", "b", "old"]).await.content(FIRST).unwrap());
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(texts(recovery), ["a", "b", "new"]);
    assert_eq!(set_aside(&disk).len(), 1);
}

#[tokio::test]
async fn a_segment_without_a_readable_header_is_set_aside_whole() {
    let disk = disk_with(&["a"]).await;
    let mut bytes = disk.content(FIRST).unwrap();
    bytes[3] ^= 1;
    disk.put(FIRST, &bytes);
    let (journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!((recovery.records(), segments(&disk).len()), (0, 0));
    assert_eq!(disk.content(&format!("{FIRST}.torn-0")).unwrap(), bytes);
    let receipt = append(&journal, b"b").await;
    assert_eq!(receipt.sequence(), 2, "the number of the file that is kept is not used again");
}

#[tokio::test]
async fn a_segment_under_a_wrong_name_is_set_aside_whole() {
    let disk = disk_with(&["a"]).await;
    disk.rename(FIRST, "00000000000000000005.journal").unwrap();
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(recovery.findings()[0].offset, 0);
    assert_eq!(set_aside(&disk), ["00000000000000000005.journal.torn-0"]);
}

#[tokio::test]
async fn a_segment_that_was_made_and_never_written_is_nothing_to_report() {
    let disk = SimulatedDisk::new();
    disk.put("00000000000000000007.journal", b"");
    let (journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(recovery.findings(), []);
    assert_eq!(append(&journal, b"a").await.sequence(), 8);
    assert_eq!(segments(&disk), ["00000000000000000008.journal"]);
}

#[tokio::test]
async fn an_end_that_an_interrupted_start_had_begun_to_set_aside_overwrites_nothing() {
    let disk = disk_with(&["a", "bb"]).await;
    let mut bytes = disk.content(FIRST).unwrap();
    bytes.pop();
    disk.put(FIRST, &bytes);
    let good = HEADER + RECORD_HEADER + 1;
    let aside = format!("{FIRST}.torn-{good}");
    disk.put(&aside, b"part");
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(texts(recovery), ["a"]);
    assert_eq!(disk.content(&aside).unwrap(), b"part");
    assert_eq!(disk.content(&format!("{aside}.1")).unwrap(), bytes[good..]);
}

#[tokio::test]
async fn files_that_are_not_ours_are_left_alone() {
    let disk = SimulatedDisk::new();
    for name in ["1.journal", "notes.txt", "0000000000000000000a.journal"] {
        disk.put(name, b"x");
    }
    let journal = fresh(&disk, JournalMode::Fsync);
    let receipt = append(&journal, b"a").await;
    journal.drained(receipt);
    journal.close().await.unwrap();
    assert_eq!(disk.list().unwrap(), ["0000000000000000000a.journal", "1.journal", "node", "notes.txt"]);
}

#[tokio::test]
async fn a_start_that_is_interrupted_anywhere_loses_nothing() {
    let whole = disk_with(&["a", "bb", "ccc"]).await.content(FIRST).unwrap();
    let torn = &whole[..whole.len() - 1];
    let end = &whole[HEADER + 2 * RECORD_HEADER + 3..whole.len() - 1];
    let mut interrupted = 0;
    for (changes, seed) in (0..20).flat_map(|changes| (0..20).map(move |seed| (changes, seed))) {
        let disk = SimulatedDisk::new();
        disk.put(FIRST, torn);
        disk.break_after(changes);
        interrupted += usize::from(open_as(&disk, NODE).is_err());
        disk.set_broken(false);
        disk.crash(&SeededRng::new(seed));

        let (_journal, recovery) = open(&disk, JournalMode::Fsync);
        assert_eq!(texts(recovery), ["a", "bb"]);
        let kept = set_aside(&disk).into_iter().any(|name| disk.content(&name).unwrap() == end);
        assert!(kept, "interrupted after {changes} changes, seed {seed}: {:?}", disk.list());
    }
    assert_eq!(interrupted, 11 * 20, "a start like this one makes so many changes");
}

#[tokio::test]
async fn a_torn_end_that_the_disk_has_no_room_to_copy_stays_where_it_is() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Os);
    leave(&journal, b"a").await;
    disk.fail_next_write_after(5);
    disk.fail_next_truncate();
    journal.append(b"bcd".to_vec()).await.unwrap_err();
    disk.kill();
    let before = disk.content(FIRST).unwrap();

    disk.set_free_bytes(Some(0));
    let (journal, recovery) = open(&disk, JournalMode::Os);
    assert_eq!(recovery.findings()[0].kept_as, None);
    assert_eq!(texts(recovery), ["a"]);
    assert_eq!((disk.content(FIRST).unwrap(), set_aside(&disk)), (before, vec![]));
    drop(journal);
    disk.kill();

    disk.set_free_bytes(None);
    let (_journal, recovery) = open(&disk, JournalMode::Os);
    assert!(recovery.findings()[0].kept_as.is_some());
    assert_eq!(texts(recovery), ["a"]);
}
