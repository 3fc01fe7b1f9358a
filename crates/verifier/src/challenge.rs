//! The bearer token of a request (RFC 6750 §2.1). Nothing else is looked at: a token in a URL ends up in logs.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::{Reason, Refusal};

/// The token that a request shows.
///
/// # Errors
/// [`Refusal::Missing`] without a bearer token, [`Reason::Malformed`] with more than one header or with a text that is no
/// token (RFC 6750 §2.1, `b64token`).
pub fn bearer_token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let malformed = Refusal::Invalid(Reason::Malformed);
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Refusal::Missing) };
    // Which of them counts would be a guess, and somebody behind may guess otherwise.
    if values.next().is_some() {
        return Err(malformed);
    }
    let value = value.to_str().map_err(|_| malformed.clone())?;
    let Some((scheme, token)) = value.split_once(' ') else {
        return Err(if value.eq_ignore_ascii_case("bearer") { malformed } else { Refusal::Missing });
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Missing);
    }
    let token = token.trim_start_matches(' ');
    let body = token.trim_end_matches('=');
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if body.is_empty() || !body.bytes().all(legal) {
        return Err(malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_header_with_the_scheme_counts() {
        let malformed = Err(Refusal::Invalid(Reason::Malformed));
        let table: [(&[&str], _); 11] = [
            (&[], Err(Refusal::Missing)),
            (&["Basic abc"], Err(Refusal::Missing)),
            (&["Basic"], Err(Refusal::Missing)),
            (&["Bearer a.b-c_d~e+f/g=="], Ok("a.b-c_d~e+f/g==")),
            (&["bEARER  a"], Ok("a")),
            (&["Bearer"], malformed.clone()),
            (&["Bearer "], malformed.clone()),
            (&["Bearer a b"], malformed.clone()),
            (&["Bearer a,Bearer b"], malformed.clone()),
            (&["Bearer =a"], malformed.clone()),
            (&["Bearer a", "Bearer a"], malformed),
        ];
        for (values, expected) in table {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(bearer_token(&headers), expected, "{values:?}");
        }
    }
}
