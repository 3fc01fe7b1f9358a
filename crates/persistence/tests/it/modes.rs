//! Which scenarios run in mode none. What `in_every_mode!` lists runs with rows and without, the same code, in memory, on
//! SQLite and on PostgreSQL; every other test of this crate stands in [`NOT_IN_MODE_NONE`] with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Makes a module of tests of each scenario of the file.
macro_rules! in_every_mode {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            use grantry_protocol::PersistenceMode::{None, Sync};

            use crate::{BackEnd, World};

            #[tokio::test]
            async fn with_rows_in_memory() {
                super::$scenario(World::on(BackEnd::Memory, Sync).await).await;
            }

            #[tokio::test]
            async fn with_rows_on_sqlite() {
                super::$scenario(World::on(BackEnd::Sqlite, Sync).await).await;
            }

            #[tokio::test]
            async fn with_rows_on_postgresql() {
                super::$scenario(World::on(BackEnd::Postgres, Sync).await).await;
            }

            #[tokio::test]
            async fn without_rows_in_memory() {
                super::$scenario(World::on(BackEnd::Memory, None).await).await;
            }

            #[tokio::test]
            async fn without_rows_on_sqlite() {
                super::$scenario(World::on(BackEnd::Sqlite, None).await).await;
            }

            #[tokio::test]
            async fn without_rows_on_postgresql() {
                super::$scenario(World::on(BackEnd::Postgres, None).await).await;
            }
        }
    )*};
}

const NO_HOLDER: &str =
    "who holds a slot is known from its row: without rows nobody yields to a token or takes one over";
const NO_OPENING: &str =
    "a grant that nothing is written for travels in its refresh token; none is opened for others to join";
const NO_ROW_TO_MISS: &str = "a grant without a row is ended by its refresh token, which brings it along";
const NO_QUEUE: &str =
    "what is never written waits in no queue and no journal, and no other node waits for its row";
const NO_ROWS_TO_MODEL: &str =
    "its model is of queues, journals and the rows that come out of them, and knows tokens by their rows";
const LATER_BY_THE_LOG: &str = "which of two tokens is the later is said by the revocation log, and the conformance suite shows \
                                it: of_ends_of_a_slot_at_the_same_time_the_latest_ones_token_lives";
const SAME_END_WITHOUT_A_QUEUE: &str =
    "it is about the queue; what it comes to without one runs from recovery_sync.rs and group_commit.rs";

/// Files whose subject is not there in mode none, and tests that have no meaning in it, each with the reason.
const NOT_IN_MODE_NONE: &[(&str, &[&str], &str)] = &[
    (
        "recovery_sync.rs",
        &[
            "step_1_a_free_slot_is_taken",
            "step_1_a_lost_acknowledgement_is_found_again_by_its_id",
            "step_2_the_loser_is_given_the_winners_token",
            "step_4_a_slot_that_is_contended_too_often_is_given_up",
        ],
        NO_HOLDER,
    ),
    ("recovery_open.rs", &[], NO_OPENING),
    ("grants.rs", &["a_grant_that_is_not_there_cannot_be_ended_by_its_id"], NO_ROW_TO_MISS),
    (
        "recovery_async.rs",
        &[
            "step_2_two_requests_at_one_node_hold_the_same_token",
            "step_3_a_slot_that_is_contended_too_often_is_given_up",
        ],
        NO_HOLDER,
    ),
    (
        "recovery_async.rs",
        &["step_6_of_two_nodes_tokens_the_later_wins_whoever_writes_first"],
        LATER_BY_THE_LOG,
    ),
    (
        "recovery_async.rs",
        &[
            "step_2_a_queued_token_with_too_little_life_is_passed_and_retires",
            "step_2_a_queued_token_that_was_ended_by_a_rule_is_passed",
            "step_5_a_holder_that_expired_meanwhile_gives_way",
            "step_5_a_holder_that_was_ended_by_a_rule_meanwhile_gives_way",
            "step_6_a_client_that_may_have_several_keeps_them_all",
            "step_7_what_is_revoked_in_the_queue_comes_in_as_revoked",
            "step_8_a_commit_whose_acknowledgement_is_lost_is_done_once",
            "step_9_a_poison_write_is_parked_alone_and_found_here",
        ],
        SAME_END_WITHOUT_A_QUEUE,
    ),
    (
        "recovery_async.rs",
        &[
            "step_1_a_free_slot_is_answered_when_the_journal_has_the_token",
            "step_2_where_the_journal_fails_the_first_the_second_does_its_own",
            "step_4_with_a_full_queue_the_token_is_committed_first",
            "step_4_with_a_broken_journal_the_token_is_committed_first",
            "step_4_on_a_node_that_stops_the_token_is_committed_first",
            "step_6_a_journal_that_is_replayed_an_hour_late_changes_nothing_in_the_end",
            "step_6_a_batch_may_have_a_slot_twice_and_keeps_its_order",
            "step_7_what_a_rule_ended_in_the_queue_ends_nobody",
            "step_7_what_expires_in_the_queue_gets_no_row",
            "step_8_a_store_that_is_gone_is_waited_for",
            "step_8_a_journal_whose_rows_are_partly_there_is_replayed_without_harm",
            "step_9_what_is_parked_is_written_when_it_is_redriven",
            "step_9_what_is_parked_stays_in_the_journal_over_a_stop",
        ],
        NO_QUEUE,
    ),
    ("queue.rs", &[], NO_QUEUE),
    ("unwritten.rs", &[], NO_QUEUE),
    ("journal", &[], NO_QUEUE),
    ("simulation", &[], NO_ROWS_TO_MODEL),
];

fn tests_in(file: &Path) -> BTreeSet<String> {
    let source = fs::read_to_string(file).unwrap();
    let lines = source.lines().skip_while(|line| !line.starts_with("#[t"));
    let attributed = lines.clone().zip(lines.skip(1));
    let tests =
        attributed.filter(|(attribute, _)| attribute.starts_with("#[tokio::test") || *attribute == "#[test]");
    tests.filter_map(|(_, line)| Some(line.split_once("fn ")?.1.split_once('(')?.0.to_owned())).collect()
}

#[test]
fn every_test_runs_in_mode_none_or_is_named_with_the_reason() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in fs::read_dir(&here).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let rows = || NOT_IN_MODE_NONE.iter().filter(|(file, ..)| *file == name);
        if name == "modes.rs" || rows().any(|(_, tests, _)| tests.is_empty()) {
            continue;
        }
        assert!(entry.path().is_file(), "{name} is in no row");
        let named: Vec<&str> = rows().flat_map(|(_, tests, _)| tests.iter().copied()).collect();
        let found = tests_in(&entry.path());
        assert_eq!(named.len(), found.len(), "{name}: {found:?}");
        assert!(named.iter().all(|test| found.contains(*test)), "{name}: {named:?} is not {found:?}");
    }
    for (file, ..) in NOT_IN_MODE_NONE {
        assert!(here.join(file).exists(), "{file} is gone");
    }
}
