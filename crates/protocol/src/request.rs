use crate::{Audience, GrantType, OAuthError, Params, ScopeSet};

/// A token request (RFC 6749 §4), read but not yet checked against a client.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenRequest {
    pub grant_type: GrantType,
    pub scope: Option<ScopeSet>,
    /// From the `resource` parameters (RFC 8707); empty when there were none.
    pub audience: Audience,
}

impl TokenRequest {
    pub fn parse(params: &Params<'_>) -> Result<Self, OAuthError> {
        let grant_type = GrantType::from_name(params.require("grant_type")?)
            .ok_or_else(|| OAuthError::unsupported_grant_type("this server has no such grant type"))?;
        let scope = params
            .get("scope")
            .map(ScopeSet::parse)
            .transpose()
            .map_err(|error| OAuthError::invalid_scope(error.to_string()))?;
        let audience = Audience::from_resources(params.all("resource"))?;
        Ok(Self { grant_type, scope, audience })
    }
}

/// An introspection request (RFC 7662 §2.1). The hint is not read: a token tells by itself what it is.
pub struct IntrospectionRequest<'a> {
    pub token: &'a str,
}

impl<'a> IntrospectionRequest<'a> {
    pub fn parse(params: &'a Params<'_>) -> Result<Self, OAuthError> {
        Ok(Self { token: params.require("token")? })
    }
}

/// A revocation request (RFC 7009 §2.1). The hint is not read here either, so a wrong one cannot decide anything.
pub struct RevocationRequest<'a> {
    pub token: &'a str,
}

impl<'a> RevocationRequest<'a> {
    pub fn parse(params: &'a Params<'_>) -> Result<Self, OAuthError> {
        Ok(Self { token: params.require("token")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    fn refusal(body: &str) -> ErrorCode {
        TokenRequest::parse(&Params::parse(body.as_bytes()).unwrap()).unwrap_err().code
    }

    #[test]
    fn a_wrong_field_gets_the_code_of_its_rfc() {
        assert_eq!(refusal("scope=a"), ErrorCode::InvalidRequest);
        assert_eq!(refusal("grant_type=magic"), ErrorCode::UnsupportedGrantType);
        assert_eq!(refusal("grant_type=client_credentials%00"), ErrorCode::UnsupportedGrantType);
        assert_eq!(refusal("grant_type=client_credentials&scope=a%0ab"), ErrorCode::InvalidScope);
        assert_eq!(refusal("grant_type=client_credentials&scope=a%00"), ErrorCode::InvalidScope);
        assert_eq!(refusal("grant_type=client_credentials&resource=api"), ErrorCode::InvalidTarget);
        assert_eq!(
            refusal("grant_type=client_credentials&resource=https://a.example/%00"),
            ErrorCode::InvalidTarget
        );
    }
}
