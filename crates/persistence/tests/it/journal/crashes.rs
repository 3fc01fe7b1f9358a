//! Any interleaving of appends, drains, faults, deaths of the process and crashes of the machine keeps what was promised.
//! A model knows of each record what it has to survive.

use std::collections::BTreeMap;
use std::sync::Arc;

use grantry_persistence::journal::{
    Journal, JournalError, JournalMode, JournalOptions, Receipt, Recovery, SimulatedDisk,
};
use proptest::prelude::*;

use super::{NODE, SeededRng, open, options, segments};

#[derive(Debug, Clone)]
enum Step {
    Append {
        len: usize,
    },
    Drain {
        pick: usize,
    },
    Seal,
    FailSync,
    FailWrite {
        after: usize,
    },
    FailTruncate,
    Free(Option<u64>),
    /// The process dies.
    Kill,
    /// The machine loses power.
    Crash {
        seed: u64,
    },
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![3 => 8_usize..60, 2 => 400_usize..1500, 1 => 4000_usize..9000];
    prop_oneof![
        20 => len.prop_map(|len| Step::Append { len }),
        12 => (0_usize..64).prop_map(|pick| Step::Drain { pick }),
        1 => Just(Step::Seal),
        1 => Just(Step::FailSync),
        1 => (0_usize..1000).prop_map(|after| Step::FailWrite { after }),
        1 => Just(Step::FailTruncate),
        2 => prop_oneof![Just(None), (0_u64..3000).prop_map(Some)].prop_map(Step::Free),
        2 => Just(Step::Kill),
        2 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
        1 => Just(Step::Close),
    ]
}

/// What is known of a record that was appended, acknowledged or not.
struct Record {
    payload: Vec<u8>,
    sequence: Option<u64>,
    /// Until it is drained.
    receipt: Option<Receipt>,
    survives_kill: bool,
    survives_crash: bool,
}

struct Run {
    disk: SimulatedDisk,
    mode: JournalMode,
    journal: Journal,
    /// By what their payloads begin with.
    records: BTreeMap<u64, Record>,
}

impl Run {
    fn start(mode: JournalMode) -> Self {
        let disk = SimulatedDisk::new();
        let (journal, _) = open(&disk, mode);
        Self { disk, mode, journal, records: BTreeMap::new() }
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { len } => self.append(len).await,
            Step::Drain { pick } => self.drain(pick),
            Step::Seal => self.journal.seal().await.unwrap(),
            Step::FailSync => self.disk.fail_next_sync(),
            Step::FailWrite { after } => self.disk.fail_next_write_after(after),
            Step::FailTruncate => self.disk.fail_next_truncate(),
            Step::Free(bytes) => self.disk.set_free_bytes(bytes),
            Step::Kill => {
                self.disk.kill();
                self.reopen(false);
            }
            Step::Crash { seed } => {
                self.disk.crash(&SeededRng::new(seed));
                self.reopen(true);
            }
            Step::Close => self.close().await,
        }
    }

    async fn append(&mut self, len: usize) {
        let id = self.records.len() as u64;
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(len, id as u8);
        let outcome = self.journal.append(payload.clone()).await;
        let acknowledged = outcome.is_ok();
        let receipt = match outcome {
            Ok(receipt) => Some(receipt),
            Err(JournalError::Failed(_)) => None,
            Err(other) => panic!("{other}"),
        };
        let record = Record {
            payload,
            sequence: receipt.as_ref().map(Receipt::sequence),
            receipt,
            survives_kill: acknowledged,
            survives_crash: acknowledged && self.mode == JournalMode::Fsync,
        };
        self.records.insert(id, record);
    }

    fn drain(&mut self, pick: usize) {
        let mut held: Vec<_> = self.records.values_mut().filter(|record| record.receipt.is_some()).collect();
        if held.is_empty() {
            return;
        }
        let index = pick % held.len();
        let record = &mut held[index];
        (record.survives_kill, record.survives_crash) = (false, false);
        self.journal.drained(record.receipt.take().unwrap());
    }

    async fn close(&mut self) {
        let held = self.records.values().filter(|record| record.receipt.is_some()).count();
        assert_eq!(self.journal.close().await, Ok(held as u64));
        assert!(held > 0 || segments(&self.disk).is_empty(), "segments are left of nothing");
        self.reopen(false);
    }

    fn reopen(&mut self, crashed: bool) {
        // Room to set aside what is torn: a start without it is refused.
        self.disk.forget_faults();
        let (journal, recovery) = open(&self.disk, self.mode);
        self.journal = journal;
        let mut recovered = self.take(recovery);
        for (id, record) in &mut self.records {
            let receipt = recovered.remove(id);
            let promised = if crashed { record.survives_crash } else { record.survives_kill };
            assert!(receipt.is_some() || !promised, "record {id} is lost: {:?}", record.sequence);
            let is_back = receipt.is_some();
            if let Some(receipt) = &receipt {
                assert_eq!(*record.sequence.get_or_insert(receipt.sequence()), receipt.sequence());
            }
            record.receipt = receipt;
            record.survives_kill = is_back;
            // What a crash left is on the disk.
            record.survives_crash = is_back && (crashed || record.survives_crash);
        }
    }

    /// Every record that comes back was appended, as it was appended, once and in order.
    fn take(&self, recovery: Recovery) -> BTreeMap<u64, Receipt> {
        let mut recovered = BTreeMap::new();
        let mut last = 0;
        for record in recovery {
            let record = record.unwrap();
            let id = u64::from_le_bytes(record.payload[..8].try_into().unwrap());
            assert_eq!(record.payload, self.records[&id].payload);
            assert!(record.receipt.sequence() > last);
            last = record.receipt.sequence();
            assert!(recovered.insert(id, record.receipt).is_none(), "record {id} came back twice");
        }
        recovered
    }
}

fn check(mode: JournalMode, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::start(mode);
        for step in steps {
            run.step(step).await;
        }
        run.disk.kill();
        run.reopen(false);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_mode_fsync_no_acknowledged_record_is_lost_and_none_is_made_up(
        steps in proptest::collection::vec(step(), 30..120),
    ) {
        check(JournalMode::Fsync, &steps);
    }

    #[test]
    fn in_mode_os_only_a_crash_of_the_machine_loses_and_only_what_was_not_synced(
        steps in proptest::collection::vec(step(), 30..120),
    ) {
        check(JournalMode::Os, &steps);
    }

    /// With groups of more than one: the thread writes while the plug is pulled.
    #[test]
    fn whole_groups_keep_the_promise(seed in any::<u64>(), at_once in 2_usize..60) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(crash_under_load(seed, at_once));
    }
}

async fn crash_under_load(seed: u64, at_once: usize) {
    let disk = SimulatedDisk::new();
    let options = JournalOptions { segment_bytes: 16 * 1024, ..options(JournalMode::Fsync) };
    let (journal, _) = Journal::open(Arc::new(disk.clone()), NODE, options).unwrap();
    let journal = Arc::new(journal);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..at_once {
        let journal = Arc::clone(&journal);
        tasks.spawn(async move {
            let mut acknowledged = Vec::new();
            for record in 0..20 {
                let payload = vec![record; 10 + task * 7];
                match journal.append(payload.clone()).await {
                    Ok(receipt) => acknowledged.push((receipt.sequence(), payload)),
                    Err(_) => break,
                }
            }
            acknowledged
        });
    }
    let mut acknowledged = tasks.join_next().await.unwrap().unwrap();
    disk.crash(&SeededRng::new(seed));
    while let Some(more) = tasks.join_next().await {
        acknowledged.extend(more.unwrap());
    }
    drop(journal);

    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    let recovered: BTreeMap<_, _> = recovery
        .map(|record| record.unwrap())
        .map(|record| (record.receipt.sequence(), record.payload))
        .collect();
    for (sequence, payload) in acknowledged {
        assert_eq!(recovered.get(&sequence), Some(&payload), "record {sequence}");
    }
}
