//! What every store promises, one case a sentence.
//!
//! An implementation runs all of it with one line, `grantry_store::conformance_suite!(make_harness)`, where
//! `make_harness` is a function next to that line which makes a [`Harness`] around an empty store. The crate needs
//! `tokio` with `macros` and `rt`.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

mod harness;

pub mod administrators;
pub mod audit;
pub mod batches;
pub mod clients;
pub mod keys;
pub mod nodes;
pub mod retention;
pub mod revocations;
pub mod rules;
pub mod slots;
pub mod tokens;

pub use harness::{Harness, LIFETIME, issue, issue_over, issue_under};

/// One `#[tokio::test]` for each case, in a module for each noun.
#[macro_export]
macro_rules! conformance_suite {
    ($make_harness:ident) => {
        $crate::conformance_suite! { @tests $make_harness
            tokens {
                a_token_is_found_as_it_was_written,
                a_token_of_a_client_is_found_as_it_was_written,
                a_token_that_was_never_written_is_not_found,
                a_token_expires_by_the_clock_alone,
                tokens_are_counted_by_their_rows,
                a_revocation_ends_the_token_frees_its_slot_and_takes_the_next_position,
                a_second_revocation_writes_nothing,
                revoking_a_token_that_was_never_written_writes_nothing,
                revoking_an_expired_token_writes_nothing,
                a_retired_token_can_be_revoked_and_its_successor_keeps_the_slot,
            }
            slots {
                an_issue_yields_to_a_live_holder,
                the_holder_that_was_observed_is_displaced_and_retires,
                a_holder_other_than_the_observed_one_keeps_the_slot,
                a_holder_with_too_little_life_left_is_displaced_and_retires,
                an_expired_holder_is_displaced_and_stays_expired,
                replace_ends_the_holder_as_inactive_and_announces_it,
                a_token_that_was_replaced_can_still_be_revoked,
                replacing_an_expired_holder_announces_nothing,
                multiple_retires_the_holder_and_announces_nothing,
                a_slot_that_a_revocation_freed_is_taken_without_contest,
                slots_of_other_clients_and_scopes_are_left_alone,
                a_holder_that_a_rule_has_ended_is_shown_so_and_can_be_displaced,
                of_issues_at_the_same_time_one_gets_the_slot,
                a_holder_lives_as_long_as_its_own_lifetime_not_its_predecessors,
            }
            batches {
                an_empty_batch_has_no_outcomes,
                outcomes_come_in_the_order_of_the_writes,
                of_two_issues_for_one_slot_in_one_batch_the_first_gets_it,
                a_slot_that_a_batch_frees_can_be_taken_in_the_same_batch,
                a_write_repeated_after_a_lost_answer_is_one_row,
                a_write_that_comes_twice_in_one_batch_is_one_row,
                a_repeated_write_does_not_take_back_what_has_moved_on,
            }
            clients {
                a_client_is_found_as_it_was_written,
                a_public_client_has_no_secret,
                an_update_replaces_every_field,
                what_is_read_has_seen_the_head_of_the_log,
                clients_are_listed_by_id_after_a_cursor_and_up_to_a_limit,
                an_id_that_is_taken_is_refused_and_nothing_is_written,
                an_update_of_another_version_writes_nothing,
                of_two_updates_at_the_same_time_one_is_applied,
                changing_or_deleting_a_client_that_does_not_exist_writes_nothing,
                a_deleted_client_is_gone_and_its_id_is_free_again,
            }
            administrators {
                the_last_administrator_can_be_neither_disabled_nor_stripped,
                the_last_administrator_cannot_be_deleted,
                a_disabled_administrator_does_not_count,
                the_last_administrator_can_be_changed_otherwise,
                with_two_administrators_either_can_go,
                an_update_of_another_version_is_a_conflict_before_it_is_the_last_administrator,
                two_administrators_cannot_remove_one_another_at_the_same_time,
            }
            keys {
                a_new_store_has_no_keys,
                keys_are_listed_by_purpose_and_version,
                the_first_keys_are_written_once,
            }
            revocations {
                the_log_of_a_new_store_is_empty,
                positions_have_no_gaps_and_the_chain_recomputes_to_the_head,
                the_log_is_listed_after_a_position_and_up_to_a_limit,
            }
            rules {
                deleting_a_client_ends_its_tokens_and_no_others,
                disabling_a_client_ends_its_tokens_the_retired_ones_too,
                a_changed_client_ends_nothing,
                a_rule_spares_what_has_seen_it,
                a_rule_ends_what_has_not_seen_it_even_if_it_was_issued_later,
                a_later_rule_ends_what_has_seen_only_the_earlier_one,
                what_a_rule_has_ended_cannot_be_revoked_again,
                rules_of_other_kinds_go_by_their_own_keys,
                a_rule_of_an_administrator_is_appended_with_its_audit_row,
            }
            audit {
                a_deed_and_its_entry_are_written_together,
                an_entry_is_listed_as_it_was_written,
                entries_are_listed_after_a_number_and_up_to_a_limit,
            }
            nodes {
                a_heartbeat_has_the_time_of_the_store,
                a_node_has_one_row_however_often_its_heart_beats,
            }
            retention {
                there_is_nothing_to_sweep_in_a_new_store,
                an_expired_token_stays_for_the_retention_time,
                a_live_token_stays_when_retention_is_shortened,
                a_sweep_is_bounded_by_its_limit,
                a_swept_token_frees_the_slot_that_it_still_holds,
                a_swept_token_leaves_the_slot_to_its_successor,
                a_rule_stays_for_as_long_as_a_token_that_is_older,
                a_rule_stays_until_it_may_be_forgotten,
                a_younger_token_does_not_keep_a_rule,
                a_forgotten_entry_leaves_the_head_and_the_numbering_alone,
                a_node_goes_when_its_heart_has_not_beaten_for_the_retention_time,
            }
        }
    };
    (@tests $make_harness:ident $($noun:ident { $($case:ident,)* })*) => {
        $(mod $noun {
            $(#[::tokio::test]
            async fn $case() {
                $crate::conformance::$noun::$case(super::$make_harness()).await;
            })*
        })*

        #[test]
        fn no_case_of_the_suite_is_forgotten() {
            $crate::conformance::assert_complete(&[$((stringify!($noun), &[$(stringify!($case)),*])),*]);
        }
    };
}

const SOURCES: &[(&str, &str)] = &[
    ("tokens", include_str!("tokens.rs")),
    ("slots", include_str!("slots.rs")),
    ("batches", include_str!("batches.rs")),
    ("clients", include_str!("clients.rs")),
    ("administrators", include_str!("administrators.rs")),
    ("keys", include_str!("keys.rs")),
    ("revocations", include_str!("revocations.rs")),
    ("rules", include_str!("rules.rs")),
    ("audit", include_str!("audit.rs")),
    ("nodes", include_str!("nodes.rs")),
    ("retention", include_str!("retention.rs")),
];

/// Panics unless these are all the cases that the sources have: a case that is not in the list would never run.
pub fn assert_complete(listed: &[(&str, &[&str])]) {
    let declared = |source: &'static str| {
        source
            .lines()
            .filter_map(|line| line.strip_prefix("pub async fn ")?.split_once('(').map(|(name, _)| name))
    };
    let in_sources: Vec<(&str, Vec<&str>)> =
        SOURCES.iter().map(|(noun, source)| (*noun, declared(source).collect())).collect();
    let listed: Vec<(&str, Vec<&str>)> = listed.iter().map(|(noun, cases)| (*noun, cases.to_vec())).collect();
    assert_eq!(listed, in_sources);
}
