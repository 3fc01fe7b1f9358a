use serde::{Deserialize, Serialize};

use crate::OAuthError;

/// The most `resource` parameters in one request, and audiences of one token.
pub const MAX_RESOURCES: usize = 16;
/// The longest resource, in bytes.
pub const MAX_RESOURCE_LEN: usize = 1024;

/// For whom a token is meant: the `aud` of RFC 9068 §2.2, sorted, each name once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Audience(Vec<String>);

impl Audience {
    /// An audience that the operator named; any text will do.
    pub fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// The audience that `resource` parameters ask for (RFC 8707 §2): absolute URIs without a fragment.
    ///
    /// # Errors
    /// `invalid_target`.
    pub fn from_resources<'a>(resources: impl Iterator<Item = &'a str>) -> Result<Self, OAuthError> {
        let mut names = Vec::new();
        for resource in resources {
            if names.len() == MAX_RESOURCES {
                return Err(OAuthError::invalid_target("too many resource parameters; 16 are allowed"));
            }
            if !is_resource(resource) {
                return Err(OAuthError::invalid_target(
                    "resource must be an absolute URI without a fragment, of at most 1024 ASCII characters",
                ));
            }
            names.push(resource.to_owned());
        }
        Ok(Self::new(names))
    }

    pub fn names(&self) -> &[String] {
        &self.0
    }

    pub fn as_claim(&self) -> AudienceClaim<'_> {
        match self.names() {
            [only] => AudienceClaim::One(only),
            names => AudienceClaim::Many(names),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }
}

/// An audience as claims and introspection show it (RFC 7519 §4.1.3): one name as a string, several as a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AudienceClaim<'a> {
    One(&'a str),
    Many(&'a [String]),
}

impl AudienceClaim<'_> {
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Many([]))
    }
}

fn is_resource(text: &str) -> bool {
    text.len() <= MAX_RESOURCE_LEN
        && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
        && url::Url::parse(text).is_ok_and(|url| url.fragment().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_absolute_uris_without_a_fragment() {
        let audience = Audience::from_resources(
            ["https://b.example/", "https://a.example/", "https://b.example/"].into_iter(),
        );
        assert_eq!(audience.unwrap().names(), ["https://a.example/", "https://b.example/"]);
        for wrong in
            ["", "api", "/path", "https://a.example/#x", "https://a.example/\n", "https://a.example/\0"]
        {
            assert!(Audience::from_resources([wrong].into_iter()).is_err(), "{wrong:?}");
        }
        assert!(Audience::from_resources(std::iter::repeat_n("https://a.example/", 17)).is_err());
    }
}
