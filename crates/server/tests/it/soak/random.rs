use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// SplitMix64: one number makes a whole run.
pub struct Random(u64);

/// `GRANTRY_SOAK_SEED` says it; else a short run is the same every time, and a long one is not.
pub fn seed() -> u64 {
    match std::env::var("GRANTRY_SOAK_SEED") {
        Ok(seed) => seed.parse().expect("GRANTRY_SOAK_SEED is a number"),
        Err(_) if std::env::var_os("GRANTRY_SOAK_ROUNDS").is_some() => RandomState::new().hash_one(()),
        Err(_) => 1,
    }
}

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one, which has nothing in common with this one.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub const fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Whole milliseconds, both ends included.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = (most - least).as_millis() as usize;
        least + Duration::from_millis(self.below(span + 1) as u64)
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at + 1));
        }
    }
}
