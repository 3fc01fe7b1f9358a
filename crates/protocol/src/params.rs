use std::borrow::Cow;

use crate::OAuthError;

/// The most parameters in one request body.
pub const MAX_PARAMS: usize = 64;

/// The parameters of an `application/x-www-form-urlencoded` body (RFC 6749 appendix B). One without a value counts as
/// omitted (RFC 6749 §3.1), and none may be repeated (§3.2) but `resource` (RFC 8707 §2).
pub struct Params<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Params<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, OAuthError> {
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::with_capacity(8);
        for (name, value) in form_urlencoded::parse(body) {
            if pairs.len() == MAX_PARAMS {
                return Err(OAuthError::invalid_request("the request has more than 64 parameters"));
            }
            if name != "resource" && pairs.iter().any(|(other, _)| *other == name) {
                return Err(OAuthError::invalid_request("a parameter is repeated"));
            }
            pairs.push((name, value));
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self { pairs })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_ref())
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// `invalid_request`, naming the parameter.
    pub fn require(&self, name: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::invalid_request(format!("the parameter {name} is missing")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parameter_without_a_value_counts_as_omitted() {
        let params = Params::parse(b"scope=&grant_type=client_credentials").unwrap();
        assert_eq!(params.get("scope"), None);
        assert_eq!(params.require("grant_type").unwrap(), "client_credentials");
        assert!(params.require("token").is_err());
    }

    #[test]
    fn only_resource_may_be_repeated() {
        assert!(Params::parse(b"scope=a&scope=b").is_err());
        assert!(Params::parse(b"scope=&scope=b").is_err());
        let params = Params::parse(b"resource=a&resource=b").unwrap();
        assert_eq!(params.all("resource").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn there_is_a_limit_to_parameters() {
        let body: Vec<String> = (0..=MAX_PARAMS).map(|n| format!("p{n}=1")).collect();
        assert!(Params::parse(body.join("&").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Params::parse(&body);
        }
    }
}
