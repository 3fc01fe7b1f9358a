use serde::{Deserialize, Serialize};

use crate::Subject;

/// The longest pattern in bytes, as long as the longest subject.
const MAX_LEN: usize = 255;

/// Which subjects a client may speak for: a subject as it is, or with `*` for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectPattern(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a subject or pattern must be 1 to {MAX_LEN} printable ASCII characters; \"*\" stands for any run of them"
)]
pub struct InvalidPattern;

impl SubjectPattern {
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut rest = subject.as_str();
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(last) = parts.next_back() else { return rest == first };
        let Some(after) = rest.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
            return false;
        };
        rest = after;
        // Each part at its first place leaves the most for those that follow.
        parts.all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

impl TryFrom<String> for SubjectPattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        let legal =
            (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if legal { Ok(Self(text)) } else { Err(InvalidPattern) }
    }
}

impl From<SubjectPattern> for String {
    fn from(pattern: SubjectPattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, subject: &str) -> bool {
        SubjectPattern::try_from(pattern.to_owned()).unwrap().matches(&subject.parse().unwrap())
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters_and_nothing_else_does() {
        assert!(
            matches("alice", "alice") && matches("*", "alice") && matches("*@example.com", "a@example.com")
        );
        assert!(matches("a*b*c", "abc") && matches("a*b*c", "a-b-b-c") && matches("*li*", "alice"));
        assert!(!matches("alice", "alice2") && !matches("alice", "Alice") && !matches("a.ice", "alice"));
        assert!(!matches("*@example.com", "a@example.com.evil") && !matches("aa*aa", "aaa"));
        assert!(!matches("a*b*c", "a-c"));
    }

    #[test]
    fn an_empty_pattern_or_one_with_other_characters_is_refused() {
        for wrong in ["", "a\n", "\u{e9}"] {
            assert!(SubjectPattern::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }
}
