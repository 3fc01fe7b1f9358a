use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grantry_protocol::Rng;

/// SplitMix64: one number makes a whole run.
pub struct Random(AtomicU64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds are to have nothing in common.
        Self(AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)))
    }

    fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn percent(&self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'t, T>(&self, from: &'t [T]) -> Option<&'t T> {
        from.get(self.below(from.len()))
    }

    /// Whole milliseconds.
    pub fn up_to(&self, span: Duration) -> Duration {
        Duration::from_millis(self.below(span.as_millis() as usize + 1) as u64)
    }

    /// From `-span` to `span`, in milliseconds.
    pub fn around_zero(&self, span: Duration) -> i64 {
        self.up_to(span * 2).as_millis() as i64 - span.as_millis() as i64
    }
}

impl Rng for Random {
    fn fill(&self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
