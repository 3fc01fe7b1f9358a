/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose requests.
pub struct Draws(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// What the draw `index` of a seed is, counted from 0, without those before it.
    pub fn at(seed: u64, index: u64) -> u64 {
        Self(seed.wrapping_add(STEP.wrapping_mul(index))).next()
    }

    /// The same as a number from 0 to below 1.
    pub fn fraction_at(seed: u64, index: u64) -> f64 {
        (Self::at(seed, index) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_the_same_whether_those_before_it_were_drawn_or_not() {
        let mut draws = Draws::new(7);
        let in_turn: Vec<_> = (0..5).map(|_| draws.next()).collect();
        assert_eq!(in_turn, (0..5).map(|index| Draws::at(7, index)).collect::<Vec<_>>());
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let mut tenths = [0; 10];
        (0..100_000).for_each(|index| tenths[(Draws::fraction_at(1, index) * 10.0) as usize] += 1);
        assert!(tenths.iter().all(|count| (9_500..10_500).contains(count)), "{tenths:?}");
    }
}
