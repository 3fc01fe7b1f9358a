//! What to say about a name that does not exist.

/// "unknown command `tset`; did you mean `test`? (known: test, lint)". A suggestion only when it is a likely one.
pub fn unknown<'a>(what: &str, given: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let list = known.clone().collect::<Vec<_>>().join(", ");
    let nearest = known
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, name)| *distance <= name.len() / 2)
        .min();
    match nearest {
        Some((_, name)) => format!("unknown {what} `{given}`; did you mean `{name}`? (known: {list})"),
        None => format!("unknown {what} `{given}` (known: {list})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_only_listed() {
        let known = ["collide", "crash"];
        assert!(unknown("soak test", "colide", known.into_iter()).contains("did you mean `collide`?"));
        let far = unknown("soak test", "weather", known.into_iter());
        assert!(!far.contains("did you mean") && far.contains("collide, crash"), "{far}");
    }
}
