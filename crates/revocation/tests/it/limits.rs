//! What the protocol does not promise, found by the checker so that it is known for what it is.

use crate::model::Origin;
use crate::model::scope::{End, Reads, Scope, Standby};
use crate::mutants::assert_breaks;
use crate::properties::RULE_HOLDS;

/// With an asynchronous standby: the new primary gives out positions anew that tokens have seen, until a node that knows
/// the lost ones asks it.
#[test]
fn a_rule_between_a_lossy_promotion_and_its_repair_may_miss_what_has_seen_the_lost_position() {
    let scope = Scope::new(&[Origin::Request], &[End::Rule; 2]).with(Standby::Asynchronous).with_one_node();
    assert_breaks(Scope { counts_before_repair: true, ..scope }, None, RULE_HOLDS);
}

/// What a node has seen says nothing about what a deposed primary lets it read.
#[test]
fn a_request_that_reads_at_a_deposed_primary_may_outlive_a_rule() {
    let scope = Scope::new(&[Origin::Request], &[End::Rule]).with(Standby::Synchronous);
    assert_breaks(Scope { reads: Reads::Any, ..scope }, None, RULE_HOLDS);
}
