use crate::{Audience, GrantType, OAuthError, Params, ScopeSet, Secret};

/// A token request (RFC 6749 §4), read but not yet checked against a client.
pub enum TokenRequest {
    ClientCredentials(Wanted),
    Refresh(RefreshRequest),
    JwtBearer(JwtBearerRequest),
}

/// What the token is to be good for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    pub scope: Option<ScopeSet>,
    /// From the `resource` parameters (RFC 8707); empty when there were none.
    pub audience: Audience,
}

/// RFC 6749 §6.
pub struct RefreshRequest {
    pub refresh_token: Secret,
    pub wanted: Wanted,
}

/// RFC 7523 §2.1.
pub struct JwtBearerRequest {
    pub assertion: Secret,
    pub wanted: Wanted,
}

impl TokenRequest {
    pub fn parse(params: &Params<'_>) -> Result<Self, OAuthError> {
        let grant_type = GrantType::from_name(params.require("grant_type")?)
            .ok_or_else(|| OAuthError::unsupported_grant_type("this server has no such grant type"))?;
        let wanted = Wanted::parse(params)?;
        Ok(match grant_type {
            GrantType::ClientCredentials => Self::ClientCredentials(wanted),
            GrantType::RefreshToken => {
                let refresh_token = Secret::new(params.require("refresh_token")?);
                Self::Refresh(RefreshRequest { refresh_token, wanted })
            }
            GrantType::JwtBearer => {
                let assertion = Secret::new(params.require("assertion")?);
                Self::JwtBearer(JwtBearerRequest { assertion, wanted })
            }
        })
    }

    pub const fn grant_type(&self) -> GrantType {
        match self {
            Self::ClientCredentials(_) => GrantType::ClientCredentials,
            Self::Refresh(_) => GrantType::RefreshToken,
            Self::JwtBearer(_) => GrantType::JwtBearer,
        }
    }
}

impl Wanted {
    fn parse(params: &Params<'_>) -> Result<Self, OAuthError> {
        let scope = params
            .get("scope")
            .map(ScopeSet::parse)
            .transpose()
            .map_err(|error| OAuthError::invalid_scope(error.to_string()))?;
        Ok(Self { scope, audience: Audience::from_resources(params.all("resource"))? })
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
        match TokenRequest::parse(&Params::parse(body.as_bytes()).unwrap()) {
            Ok(_) => panic!("{body} was accepted"),
            Err(error) => error.code,
        }
    }

    #[test]
    fn a_wrong_field_gets_the_code_of_its_rfc() {
        assert_eq!(refusal("scope=a"), ErrorCode::InvalidRequest);
        assert_eq!(refusal("grant_type=magic"), ErrorCode::UnsupportedGrantType);
        assert_eq!(refusal("grant_type=client_credentials%00"), ErrorCode::UnsupportedGrantType);
        assert_eq!(refusal("grant_type=refresh_token"), ErrorCode::InvalidRequest);
        assert_eq!(
            refusal("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ErrorCode::InvalidRequest
        );
        assert_eq!(refusal("grant_type=client_credentials&scope=a%0ab"), ErrorCode::InvalidScope);
        assert_eq!(refusal("grant_type=client_credentials&scope=a%00"), ErrorCode::InvalidScope);
        assert_eq!(refusal("grant_type=client_credentials&resource=api"), ErrorCode::InvalidTarget);
        assert_eq!(
            refusal("grant_type=client_credentials&resource=https://a.example/%00"),
            ErrorCode::InvalidTarget
        );
    }
}
