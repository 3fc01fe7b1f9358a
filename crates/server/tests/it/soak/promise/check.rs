//! What has to be so at the end of a run.

use std::time::Duration;

use super::faults::{Fault, Kind};
use super::tally::Tally;

/// Of requests to nodes that a fault does not concern.
const ANSWERED_ELSEWHERE: f64 = 0.99;

impl<F: Fault> Tally<F> {
    pub fn assert_promise_was_kept(&self) {
        assert!(self.violations.is_empty(), "the promise was broken:\n{}", self.violations.join("\n"));
        assert!(self.denials.is_empty(), "what was not revoked was denied:\n{}", self.denials.join("\n"));
    }

    /// A single fault of a kind may be over before a request comes that the promise covers: a short run may miss some.
    pub fn assert_proves(&self, kinds: &[F::Kind], least: usize, is_proven: impl Fn(F::Kind) -> bool) {
        let proven = kinds.iter().filter(|kind| is_proven(**kind)).count();
        assert!(proven >= least, "it proves too little: {proven} kinds");
    }

    /// Without a fault, and at the nodes that one does not concern.
    pub fn assert_nothing_else_failed(&self, kinds: &[F::Kind]) {
        assert!(self.failures.is_empty(), "without a fault something failed:\n{}", self.failures.join("\n"));
        for kind in kinds {
            let share = self.availability_elsewhere(*kind);
            assert!(
                share >= ANSWERED_ELSEWHERE,
                "{}: nodes that it does not concern answered {share}",
                kind.name()
            );
        }
    }

    /// In 99 of 100 cases, without a fault.
    pub fn assert_told_within(&self, soon: Duration) {
        let late = self.delays().at(99);
        assert!(late < soon, "in one of a hundred cases a node was told after {late:?}");
    }
}
