//! What every store promises, one case a sentence.
//!
//! An implementation runs all of it with one line, `grantry_store::conformance_suite!(make_harness)`, where
//! `make_harness` is a function next to that line which makes a [`Harness`] around an empty store. The crate needs
//! `tokio` with `macros` and `rt`.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

mod harness;

pub mod administrators;
pub mod assertions;
pub mod audit;
pub mod batches;
pub mod clients;
pub mod grant_retention;
pub mod grant_rules;
pub mod grants;
pub mod keys;
pub mod nodes;
pub mod origins;
pub mod retention;
pub mod revocations;
pub mod rotations;
pub mod rules;
pub mod settings;
pub mod settlements;
pub mod slots;
pub mod status_lists;
pub mod tokens;
pub mod unstored;

pub use harness::{
    GRACE, GRANT_LIFETIME, Harness, IDLE, LIFETIME, block_on, issue, issue_over, issue_under, open, rotate,
};

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
                a_revocation_writes_its_audit_row_if_it_ended_the_token,
                tokens_of_a_subject_are_listed_newest_first_and_up_to_a_limit,
                tokens_are_listed_newest_first_with_all_that_decides_their_state,
                the_last_expiry_of_tokens_is_the_latest,
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
            settlements {
                a_deferred_token_is_found_as_it_was_written,
                of_two_tokens_the_later_is_active_whichever_comes_first,
                of_three_tokens_in_any_order_the_latest_is_active,
                a_token_written_in_mode_sync_ends_for_a_later_one_that_did_not_know_it,
                a_token_that_was_known_retires_whichever_comes_first,
                a_holder_that_has_expired_or_was_ended_by_a_rule_gives_way,
                a_token_that_a_rule_has_ended_meanwhile_takes_nobodys_slot,
                under_multiple_both_are_honoured,
                under_replace_the_earlier_ends_even_if_it_was_known,
                a_settlement_that_is_repeated_changes_nothing,
                the_same_slot_twice_in_a_batch_is_settled_in_order,
                an_expired_token_is_not_written,
                a_token_revoked_before_it_was_written_is_revoked_for_good,
                a_token_that_was_written_meanwhile_is_revoked_like_any_other,
                settling_and_revoking_in_one_batch_ends_the_token_in_either_order,
                settling_and_revoking_at_the_same_time_ends_the_token,
                an_unknown_token_is_expected_until_its_node_has_drained_it,
                an_unknown_token_of_a_node_that_is_gone_is_absent,
                an_early_end_is_kept_until_the_token_has_expired,
            }
            grants {
                a_grant_is_found_as_it_was_written,
                a_grant_without_slot_and_session_is_found_as_it_was_written,
                a_grant_that_was_never_opened_is_not_found,
                an_opening_yields_to_a_live_grant_of_its_slot_and_writes_nothing,
                of_two_openings_for_one_slot_in_one_batch_the_first_gets_it,
                an_opening_takes_the_slot_of_a_grant_that_was_ended,
                an_opening_takes_the_slot_of_a_grant_whose_time_is_over,
                an_opening_takes_the_slot_of_a_grant_that_nobody_refreshed,
                an_opening_takes_the_slot_of_a_grant_that_a_rule_has_ended,
                a_grant_without_slot_yields_to_none_and_takes_none,
                an_opening_repeated_after_a_lost_answer_is_one_row,
                an_opening_that_comes_twice_in_one_batch_is_one_row,
                a_repeated_opening_does_not_take_back_what_has_moved_on,
                the_first_token_retires_what_holds_its_slot,
                under_replace_the_first_token_ends_what_holds_its_slot,
                revoking_a_grant_ends_it_and_its_tokens_and_no_other_grant,
                a_token_made_of_a_grant_that_was_revoked_is_revoked,
                revoking_a_grant_that_was_ended_before_writes_nothing,
                revoking_a_grant_that_has_expired_ends_its_tokens,
                revoking_a_grant_that_was_never_opened_writes_nothing,
                a_grant_ends_by_the_earlier_of_its_two_times,
                grants_of_a_subject_are_listed_newest_first_and_up_to_a_limit,
                the_last_expiry_of_grants_is_the_latest_absolute_end,
                a_token_may_be_issued_for_a_grant_beside_its_first,
            }
            rotations {
                the_good_refresh_token_moves_the_grant_on,
                a_refresh_keeps_a_grant_alive_until_its_absolute_end,
                a_refresh_token_that_is_not_rotated_stays_good,
                the_predecessor_within_the_grace_gives_the_same_pair_and_writes_nothing,
                the_predecessor_gives_a_new_token_if_the_last_one_was_revoked,
                the_predecessor_gives_a_new_token_if_the_last_one_has_expired,
                the_predecessor_gives_a_new_token_if_something_else_is_asked_for,
                an_older_one_within_the_grace_is_too_slow_and_changes_nothing,
                the_predecessor_after_the_grace_ends_the_grant_and_its_tokens,
                an_older_one_after_the_grace_ends_the_grant_and_its_tokens,
                one_that_is_ahead_of_the_grant_changes_nothing,
                a_grant_that_was_revoked_yields_nothing,
                a_grant_that_nobody_refreshed_yields_nothing,
                a_grant_past_its_absolute_end_yields_nothing,
                a_grant_that_a_rule_has_ended_yields_nothing,
                a_grant_that_was_never_opened_yields_nothing,
                two_uses_in_one_batch_are_one_rotation_and_one_pair,
                uses_at_the_same_time_are_one_rotation_and_one_pair,
                a_rotation_written_again_after_a_lost_answer_is_one,
                a_use_that_is_not_rotated_is_written_once_however_often_it_is_tried,
                a_repetition_with_a_new_token_is_written_once_however_often_it_is_tried,
                a_clock_that_goes_back_does_not_make_reuse_of_a_retry,
                the_token_that_is_displaced_retires,
                under_replace_the_token_that_is_displaced_ends_and_is_announced,
                under_replace_a_displaced_token_that_has_expired_is_not_announced,
                a_grant_moves_on_alone,
            }
            unstored {
                a_token_without_a_row_is_honoured_until_it_expires,
                a_revocation_of_a_token_without_a_row_is_an_entry_in_the_log,
                revoking_an_expired_token_without_a_row_writes_nothing,
                a_token_without_a_row_that_is_revoked_twice_at_the_same_time_is_revoked,
                a_rule_ends_a_token_without_a_row_that_has_not_seen_it,
                the_end_of_a_slot_ends_all_that_is_earlier_stored_or_not,
                of_ends_of_a_slot_at_the_same_time_the_latest_ones_token_lives,
                a_slot_is_not_ended_for_a_token_that_a_rule_has_ended_meanwhile,
                ends_of_slots_in_a_batch_with_others_keep_their_order,
                the_first_rotation_gives_a_row_to_a_grant_that_has_none,
                first_rotations_at_the_same_time_are_one,
                a_first_rotation_with_a_stored_token_is_one_however_often_it_is_tried,
                a_rotation_without_rows_that_is_written_again_is_one,
                a_later_refresh_token_of_a_grant_without_a_row_is_ahead,
                a_spent_refresh_token_ends_a_grant_that_had_no_row,
                a_spent_refresh_token_does_not_come_back_when_the_row_has_left,
                a_grant_without_a_row_ends_by_its_own_times_and_by_rules,
                under_replace_a_rotation_ends_the_last_token_that_has_no_row,
                a_stored_grant_is_rotated_without_a_row_for_its_token,
                revoking_a_grant_without_a_row_is_an_entry_in_the_log,
                two_first_rotations_in_one_batch_are_one,
            }
            assertions {
                an_assertion_is_consumed_once,
                an_assertion_that_comes_twice_in_one_batch_is_replayed,
                of_uses_at_the_same_time_one_consumes_the_assertion,
                an_assertion_is_remembered_until_it_has_expired,
                expired_assertions_are_swept_and_no_others,
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
            origins {
                an_origin_exists_once_a_client_has_it,
                an_update_replaces_the_origins,
                the_origins_of_a_disabled_client_do_not_count,
                an_origin_goes_with_the_last_client_that_has_it,
                what_is_refused_leaves_the_origins_alone,
            }
            administrators {
                the_last_administrator_can_be_neither_disabled_nor_stripped,
                the_last_administrator_cannot_be_deleted,
                a_disabled_administrator_does_not_count,
                the_last_administrator_can_be_changed_otherwise,
                with_two_administrators_either_can_go,
                an_update_of_another_version_is_a_conflict_before_it_is_the_last_administrator,
                two_administrators_cannot_remove_one_another_at_the_same_time,
                a_first_administrator_is_inserted_only_where_there_is_none,
                of_first_administrators_at_the_same_time_one_is_inserted,
            }
            keys {
                a_new_store_has_no_keys,
                keys_are_listed_by_purpose_and_version,
                the_first_keys_are_written_once,
                a_key_is_listed_as_it_was_written,
                keys_are_replaced_where_they_are_still_what_the_change_was_made_from,
                a_change_of_keys_that_others_changed_first_writes_nothing,
                of_two_changes_of_keys_at_the_same_time_one_is_applied,
            }
            revocations {
                the_log_of_a_new_store_is_empty,
                positions_have_no_gaps_and_the_chain_recomputes_to_the_head,
                the_log_is_listed_after_a_position_and_up_to_a_limit,
                a_probe_answers_how_the_log_goes_on_and_when,
                a_probe_answers_at_most_as_much_as_it_asks_for,
                a_probe_of_a_node_that_is_ahead_of_the_log_finds_only_its_head,
                a_merge_goes_on_from_the_head_that_it_was_made_for,
                a_merge_into_a_log_that_ends_elsewhere_writes_nothing,
                a_merge_that_begins_an_epoch_goes_on_in_it,
                an_epoch_can_begin_without_an_entry,
                a_merged_rule_ends_what_has_seen_less,
                of_merges_at_the_same_time_one_is_done,
                the_bell_rings_when_something_was_appended,
                the_bell_of_a_store_that_is_gone_is_closed,
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
                whether_there_is_a_rule_is_told_of_its_very_name,
            }
            grant_rules {
                a_rule_about_a_client_ends_its_grants_that_have_not_seen_it,
                a_rule_about_a_subject_ends_its_grants_that_have_not_seen_it,
                a_rule_about_a_session_ends_its_grants_that_have_not_seen_it,
                a_rule_about_everything_ends_all_grants_that_have_not_seen_it,
                a_rule_about_a_slot_ends_its_grants_that_have_not_seen_it,
                the_end_of_a_grant_is_a_rule_about_its_tokens_that_have_not_seen_it,
                a_rule_about_a_session_spares_what_has_none,
            }
            settings {
                a_new_store_has_no_settings,
                settings_are_found_as_they_were_written,
                settings_are_replaced_as_a_whole,
                a_change_of_settings_is_in_the_log_and_the_audit_trail,
                what_is_read_of_settings_has_seen_the_head_of_the_log,
                a_change_of_settings_from_another_version_writes_nothing,
                of_two_changes_of_settings_at_the_same_time_one_is_applied,
                a_changed_setting_ends_nothing,
                a_store_has_one_cluster_id,
            }
            audit {
                a_deed_and_its_entry_are_written_together,
                an_entry_is_listed_as_it_was_written,
                entries_are_listed_after_a_number_and_up_to_a_limit,
                an_entry_can_be_appended_by_itself,
            }
            nodes {
                a_heartbeat_has_the_time_of_the_store,
                a_node_has_one_row_however_often_its_heart_beats,
                a_node_keeps_its_number_and_no_other_gets_it,
                a_node_whose_heart_beat_before_it_registered_gets_a_number,
                there_are_255_numbers_and_one_that_was_swept_is_free_again,
                a_drain_mark_only_rises,
                a_probe_says_what_its_node_has_applied_and_leaves_the_rest_of_its_row,
                a_probe_of_an_unknown_node_makes_its_row,
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
            grant_retention {
                there_is_no_grant_to_walk_over_in_a_new_store,
                a_grant_that_nobody_refreshed_stays_for_the_retention_time,
                a_grant_past_its_absolute_end_stays_for_the_retention_time,
                a_grant_that_was_ended_stays_for_the_retention_time,
                a_grant_that_is_refreshed_stays,
                the_walk_takes_so_many_grants_a_step_and_ends,
                a_swept_grant_leaves_its_slot,
                a_swept_grant_leaves_the_slot_to_its_successor,
                a_rule_stays_for_as_long_as_a_grant_that_is_older,
                a_younger_grant_does_not_keep_a_rule,
                the_ends_of_single_grants_and_tokens_do_not_stay_for_a_grant_that_is_older,
            }
            status_lists {
                numbers_are_given_out_in_order_and_once,
                of_reservations_at_the_same_time_none_gets_the_numbers_of_another,
                from_one_number_to_a_whole_list_can_be_reserved_at_once,
                a_token_brings_its_index_wherever_it_is_read,
                a_grant_brings_its_index_wherever_it_is_read,
                the_row_of_a_grant_says_which_index_it_has,
                a_grant_can_be_opened_without_a_row_for_its_token,
                nothing_is_ended_in_a_new_store,
                a_revoked_token_is_ended_and_no_other,
                a_list_has_the_places_from_its_first_to_its_last,
                a_token_that_expired_or_lost_its_slot_is_not_ended,
                a_token_that_was_replaced_is_ended,
                of_tokens_that_are_settled_those_that_give_way_are_ended,
                a_token_revoked_before_it_was_written_is_ended_once_it_is,
                a_revoked_grant_is_ended_and_so_are_its_tokens,
                a_grant_whose_time_is_over_is_not_ended,
                a_grant_whose_refresh_token_was_spent_twice_is_ended,
                every_rule_ends_what_it_names_and_has_not_seen_it,
                lists_are_in_use_from_the_oldest_row_to_the_last_number,
                numbers_that_a_lost_commit_may_have_given_out_are_skipped,
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
    ("settlements", include_str!("settlements.rs")),
    ("grants", include_str!("grants.rs")),
    ("rotations", include_str!("rotations.rs")),
    ("unstored", include_str!("unstored.rs")),
    ("assertions", include_str!("assertions.rs")),
    ("clients", include_str!("clients.rs")),
    ("origins", include_str!("origins.rs")),
    ("administrators", include_str!("administrators.rs")),
    ("keys", include_str!("keys.rs")),
    ("revocations", include_str!("revocations.rs")),
    ("rules", include_str!("rules.rs")),
    ("grant_rules", include_str!("grant_rules.rs")),
    ("settings", include_str!("settings.rs")),
    ("audit", include_str!("audit.rs")),
    ("nodes", include_str!("nodes.rs")),
    ("retention", include_str!("retention.rs")),
    ("grant_retention", include_str!("grant_retention.rs")),
    ("status_lists", include_str!("status_lists.rs")),
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
