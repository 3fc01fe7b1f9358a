use std::borrow::Cow;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// A string of a JSON document, copied only where the document has escaped something in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> From<&'a str> for JsonText<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl Deref for JsonText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_escaped_is_copied() {
        let read = |json| serde_json::from_str::<JsonText<'_>>(json).unwrap();
        assert!(matches!(read(r#""at+jwt""#).0, Cow::Borrowed("at+jwt")));
        let escaped = read(r#""application\/at+jwt""#);
        assert!(matches!(escaped.0, Cow::Owned(_)));
        assert_eq!(&*escaped, "application/at+jwt");
    }
}
