/// The distribution of Zipf over ranks: that of rank n, counted from 1, is drawn in proportion to n^-exponent.
pub struct Distribution {
    /// The probability of a rank or one before it, for each rank; the last is 1, but for rounding.
    cumulative: Vec<f64>,
}

impl Distribution {
    pub fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|part| *part /= sum);
        Self { cumulative }
    }

    /// The rank, counted from 0, for a number that is drawn evenly from 0 to below 1.
    pub fn rank(&self, fraction: f64) -> usize {
        let rank = self.cumulative.partition_point(|until| *until <= fraction);
        rank.min(self.cumulative.len().saturating_sub(1))
    }

    /// How much of what is drawn is among so many of the most popular.
    pub fn share_of(&self, ranks: u64) -> f64 {
        let last = usize::try_from(ranks).unwrap_or(usize::MAX).min(self.cumulative.len());
        last.checked_sub(1).map_or(0.0, |last| self.cumulative[last])
    }
}

/// For a flag.
///
/// # Errors
/// Not between 0, where all are as popular, and 5.
pub fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if (0.0..=5.0).contains(&exponent) => Ok(exponent),
        _ => Err("give a number between 0 and 5".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::Draws;

    #[test]
    fn ranks_are_drawn_in_proportion_to_their_weight() {
        // 1 + 1/2 + 1/3 + 1/4 = 25/12
        let zipf = Distribution::new(4, 1.0);
        let mut counts = [0_u32; 4];
        (0..250_000).for_each(|index| counts[zipf.rank(Draws::fraction_at(3, index))] += 1);
        for (count, expected) in counts.into_iter().zip([120_000, 60_000, 40_000, 30_000]) {
            assert!(f64::from(count.abs_diff(expected)) < 0.02 * f64::from(expected), "{counts:?}");
        }
    }

    #[test]
    fn the_ends_of_the_distribution_are_ranks() {
        let zipf = Distribution::new(1_000, 1.0);
        assert_eq!(zipf.rank(0.0), 0);
        assert_eq!(zipf.rank(1.0_f64.next_down()), 999);
        assert_eq!(zipf.rank(1.0), 999);
    }

    #[test]
    fn the_most_popular_have_their_share() {
        let zipf = Distribution::new(4, 1.0);
        assert!((zipf.share_of(1) - 0.48).abs() < 1e-9);
        assert!((zipf.share_of(2) - 0.72).abs() < 1e-9);
        assert_eq!((zipf.share_of(0), zipf.share_of(4), zipf.share_of(9)), (0.0, 1.0, 1.0));
        // The harmonic numbers of 1,024 and 1.4 million.
        let share = Distribution::new(1_400_000, 1.0).share_of(1_024);
        assert!((share - 7.5090 / 14.7292).abs() < 1e-3, "{share}");
    }

    #[test]
    fn without_an_exponent_all_are_as_popular() {
        let zipf = Distribution::new(10, 0.0);
        assert!((0..10).all(|rank| zipf.rank(rank as f64 / 10.0 + 0.05) == rank));
    }

    #[test]
    fn an_exponent_is_bounded() {
        assert_eq!(exponent("1.0"), Ok(1.0));
        assert!(exponent("-1").is_err() && exponent("NaN").is_err() && exponent("6").is_err());
    }
}
