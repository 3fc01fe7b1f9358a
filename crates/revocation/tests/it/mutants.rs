//! Each mutant of the protocol breaks a promise: what it leaves out is needed, and the checker would see it missing.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::model::scope::{End, Mutation, Scope, Standby};
use crate::model::{Origin, Protocol};
use crate::properties::{NOTHING_IS_FORGOTTEN, RULE_HOLDS, TOKEN_STAYS_ENDED};

fn one_token() -> Scope {
    Scope::new(&[Origin::Earlier], &[End::Token(0)])
}

/// Searches until the property is found broken, and gives the shortest way there.
pub fn assert_breaks(scope: Scope, mutation: Option<Mutation>, property: &'static str) {
    let checker = Protocol { scope, mutation }.checker();
    let checker = checker.finish_when(HasDiscoveries::AnyOf(BTreeSet::from([property]))).spawn_bfs().join();
    let found = checker.assert_any_discovery(property);
    eprintln!("{} states, and then: {:?}", checker.unique_state_count(), found.into_actions());
}

#[test]
fn positions_from_a_sequence_let_the_tail_skip_an_entry() {
    let scope = Scope::new(&[Origin::Earlier; 2], &[End::Token(0), End::Token(1)]);
    assert_breaks(scope, Some(Mutation::SequencePositions), TOKEN_STAYS_ENDED);
}

#[test]
fn a_proof_that_dates_from_its_receipt_is_too_young() {
    assert_breaks(one_token(), Some(Mutation::DatedAtReceipt), TOKEN_STAYS_ENDED);
}

#[test]
fn a_look_up_from_before_the_wait_misses_what_the_wait_was_for() {
    assert_breaks(one_token(), Some(Mutation::LookUpBeforeTheWait), TOKEN_STAYS_ENDED);
}

#[test]
fn a_probe_that_only_reads_lets_a_deposed_primary_vouch() {
    assert_breaks(one_token().with(Standby::Synchronous), Some(Mutation::ReadOnlyProbe), TOKEN_STAYS_ENDED);
}

#[test]
fn a_log_that_is_read_without_a_probe_may_be_put_together_from_two_servers() {
    assert_breaks(
        one_token().with(Standby::Synchronous),
        Some(Mutation::FirstReadPlainly),
        TOKEN_STAYS_ENDED,
    );
}

#[test]
fn a_cancelled_probe_proves_nothing() {
    assert_breaks(
        one_token().with(Standby::Synchronous),
        Some(Mutation::CancelledProbeCounts),
        TOKEN_STAYS_ENDED,
    );
}

#[test]
fn a_plain_read_does_not_replace_a_proof() {
    assert_breaks(
        one_token().with(Standby::Synchronous),
        Some(Mutation::PlainReadFallback),
        TOKEN_STAYS_ENDED,
    );
}

#[test]
fn a_commit_with_a_replication_warning_may_be_lost() {
    assert_breaks(
        one_token().with(Standby::Synchronous),
        Some(Mutation::WarningAcknowledged),
        TOKEN_STAYS_ENDED,
    );
}

#[test]
fn seen_that_is_taken_at_signing_outlives_a_rule() {
    assert_breaks(Scope::new(&[Origin::Request], &[End::Rule]), Some(Mutation::SeenAtSigning), RULE_HOLDS);
}

#[test]
fn a_code_whose_token_has_seen_what_came_after_it_outlives_a_rule() {
    assert_breaks(Scope::new(&[Origin::Code], &[End::Rule]), Some(Mutation::SeenAtExchange), RULE_HOLDS);
}

#[test]
fn without_a_new_epoch_what_has_seen_a_lost_position_outlives_a_later_rule() {
    let scope = Scope::new(&[Origin::Request], &[End::Rule; 2]).with(Standby::Asynchronous).with_one_node();
    assert_breaks(scope, Some(Mutation::NoEpochRaised), RULE_HOLDS);
}

#[test]
fn without_the_chain_a_node_takes_another_entry_for_the_one_that_was_lost() {
    let scope = Scope::new(&[Origin::Earlier; 2], &[End::Token(0), End::Token(1)]);
    let scope = scope.with(Standby::Asynchronous).with_one_node();
    assert_breaks(scope, Some(Mutation::NoChain), TOKEN_STAYS_ENDED);
}

#[test]
fn a_node_that_takes_a_shorter_log_as_it_is_forgets_a_revocation() {
    assert_breaks(
        one_token().with(Standby::Asynchronous),
        Some(Mutation::LostIsForgotten),
        NOTHING_IS_FORGOTTEN,
    );
}
