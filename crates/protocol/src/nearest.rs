/// The candidate that `word` was most likely meant to be, if one is close enough to be worth naming.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn names_a_near_miss_and_keeps_quiet_about_a_far_one() {
        assert_eq!(nearest("pool_sise", ["pool_size", "enable"]), Some("pool_size"));
        assert_eq!(nearest("banana", ["pool_size", "enable"]), None);
    }
}
