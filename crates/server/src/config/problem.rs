use std::fmt;

/// One thing that is wrong with the settings: where it stands, and a sentence with the key and the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `FILE:LINE` or the environment variable; absent where neither was involved.
    pub place: Option<String>,
    pub sentence: String,
}

impl Problem {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { place: None, sentence: sentence.into() }
    }

    pub fn at(place: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { place: Some(place.into()), sentence: sentence.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.sentence),
            None => f.write_str(&self.sentence),
        }
    }
}

/// All that is wrong, so that one round of corrections is enough. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration cannot be used: {only}"),
            several => {
                write!(f, "the configuration cannot be used, for {} reasons:", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
