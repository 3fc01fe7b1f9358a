use std::fmt;

use serde::{Deserialize, Serialize};

/// The most scope values in one set.
pub const MAX_SCOPE_VALUES: usize = 128;
/// The longest scope set as text, in bytes.
pub const MAX_SCOPE_LEN: usize = 4096;

/// A set of scope values (RFC 6749 §3.3) in canonical form: each value once, sorted by bytes, one space between.
/// Two sets that grant the same are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopeSet(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    #[error("scope has a character that RFC 6749 section 3.3 does not allow")]
    Character,
    #[error("scope is longer than {MAX_SCOPE_LEN} bytes or has more than {MAX_SCOPE_VALUES} values")]
    TooLong,
}

impl ScopeSet {
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        if text.len() > MAX_SCOPE_LEN {
            return Err(InvalidScope::TooLong);
        }
        if !text.bytes().all(|byte| byte == b' ' || is_scope_character(byte)) {
            return Err(InvalidScope::Character);
        }
        let mut values: Vec<&str> = text.split(' ').filter(|value| !value.is_empty()).collect();
        values.sort_unstable();
        values.dedup();
        if values.len() > MAX_SCOPE_VALUES {
            return Err(InvalidScope::TooLong);
        }
        Ok(Self(values.join(" ")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|value| !value.is_empty())
    }

    pub fn contains(&self, value: &str) -> bool {
        self.values().any(|own| own == value)
    }

    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.values().all(|value| other.contains(value))
    }
}

/// `scope-token` of RFC 6749 §3.3: %x21 / %x23-5B / %x5D-7E.
fn is_scope_character(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

impl std::str::FromStr for ScopeSet {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ScopeSet {
    type Error = InvalidScope;

    fn try_from(text: String) -> Result<Self, InvalidScope> {
        Self::parse(&text)
    }
}

impl From<ScopeSet> for String {
    fn from(scope: ScopeSet) -> Self {
        scope.0
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_repetition_and_spaces_do_not_matter() {
        let canonical = ScopeSet::parse("read write").unwrap();
        assert_eq!(ScopeSet::parse(" write  read write ").unwrap(), canonical);
        assert_eq!(canonical.as_str(), "read write");
    }

    #[test]
    fn what_the_grammar_does_not_allow_is_refused() {
        for wrong in ["a\0", "a\nb", "a\tb", "a\"b", "a\\b", "\u{e9}", "a\u{7f}"] {
            assert_eq!(ScopeSet::parse(wrong), Err(InvalidScope::Character), "{wrong:?}");
        }
        assert_eq!(ScopeSet::parse(&"x".repeat(MAX_SCOPE_LEN + 1)), Err(InvalidScope::TooLong));
        let many: Vec<String> = (0..=MAX_SCOPE_VALUES).map(|n| n.to_string()).collect();
        assert_eq!(ScopeSet::parse(&many.join(" ")), Err(InvalidScope::TooLong));
    }

    #[test]
    fn a_value_is_matched_whole() {
        let scope = ScopeSet::parse("reader").unwrap();
        assert!(!scope.contains("read"));
        assert!(ScopeSet::default().is_subset_of(&scope));
        assert!(!ScopeSet::parse("read").unwrap().is_subset_of(&scope));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_its_form_is_a_fixed_point(text in ".{0,200}") {
            if let Ok(scope) = ScopeSet::parse(&text) {
                prop_assert_eq!(ScopeSet::parse(scope.as_str()), Ok(scope));
            }
        }
    }
}
