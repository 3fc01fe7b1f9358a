//! The protocol as it is, in scopes that are each small enough to be searched to the end.

use stateright::{Checker, Model};

use crate::model::scope::{End, Reads, Scope, Standby};
use crate::model::{Origin, Protocol};

/// `states` is how many there are: it changes with the model alone, and a step that has become impossible shows in it.
fn check(scope: Scope, states: usize) {
    let checker = Protocol { scope, mutation: None }.checker().spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

#[test]
fn a_revocation_holds_at_every_node() {
    check(Scope::new(&[Origin::Earlier], &[End::Token(0)]).with_restarts(), 7_995);
}

#[test]
fn a_revocation_and_a_rule_hold_at_every_node() {
    check(Scope::new(&[Origin::Earlier], &[End::Token(0), End::Rule]).with_restarts(), 85_043);
}

#[test]
fn a_revocation_holds_through_the_promotion_of_a_synchronous_standby() {
    let scope = Scope::new(&[Origin::Earlier], &[End::Token(0)]);
    check(scope.with(Standby::Synchronous).with_restarts(), 75_209);
}

#[test]
fn a_rule_ends_what_a_request_from_before_it_makes() {
    check(Scope::new(&[Origin::Request], &[End::Rule]).with_restarts(), 33_750);
}

#[test]
fn a_rule_ends_what_a_code_from_before_it_makes() {
    check(Scope::new(&[Origin::Code], &[End::Rule]).with_restarts(), 39_633);
}

#[test]
fn a_rule_ends_what_a_request_from_before_it_makes_through_a_promotion() {
    check(Scope::new(&[Origin::Request], &[End::Rule]).with(Standby::Synchronous), 300_945);
}

#[test]
fn a_request_that_reads_at_a_deposed_primary_is_ended_if_it_reads_the_head_along() {
    let scope = Scope::new(&[Origin::Request], &[End::Rule]).with(Standby::Synchronous);
    check(Scope { reads: Reads::AnyWithItsHead, ..scope }, 300_945);
}

#[test]
fn a_revocation_that_a_promotion_lost_holds_again_at_every_node() {
    let scope = Scope::new(&[Origin::Earlier], &[End::Token(0)]);
    check(scope.with(Standby::Asynchronous).with_restarts(), 96_520);
}

#[test]
fn revocations_before_and_after_a_lossy_promotion_both_hold() {
    let scope = Scope::new(&[Origin::Earlier; 2], &[End::Token(0), End::Token(1)]);
    check(scope.with(Standby::Asynchronous).with_one_node().with_restarts(), 53_182);
}

#[test]
fn a_rule_after_the_repair_ends_what_had_seen_a_lost_position() {
    let scope = Scope::new(&[Origin::Request], &[End::Rule; 2]);
    check(scope.with(Standby::Asynchronous).with_one_node(), 190_590);
}
