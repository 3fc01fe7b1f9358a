//! What the claims of a token have to say: pure, so that the order and every case are tested with a table.
//!
//! 1. Those that [RFC 9068 §2.2](https://www.rfc-editor.org/rfc/rfc9068#section-2.2) requires are there.
//! 2. `iss` is the issuer, `aud` names this resource server ([§4](https://www.rfc-editor.org/rfc/rfc9068#section-4)).
//! 3. It is a bearer token.
//! 4. Where revocations are followed, it says all that the log could end it by.
//! 5. Each time that it is shown: `exp`, `nbf` and `iat`.

use std::fmt;
use std::time::Duration;

use grantry_jose::JsonText;

use grantry_protocol::{
    ClientId, Epoch, GrantId, Moment, Position, RuleKeys, Seen, SessionId, SlotKey, Subject, Timestamp,
    TokenId,
};
use grantry_revocation::FeedKeys;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Reason, Verified};

/// What is asked of every token.
#[derive(Clone)]
pub struct Demands {
    pub issuer: String,
    pub audiences: Vec<String>,
    pub leeway: Duration,
    pub revocations_are_followed: bool,
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Option<JsonText<'a>>,
    sub: Subject,
    #[serde(default, deserialize_with = "audiences")]
    aud: Vec<String>,
    client_id: ClientId,
    #[serde(default)]
    scope: String,
    iat: i64,
    exp: i64,
    nbf: Option<i64>,
    jti: TokenId,
    cnf: Option<IgnoredAny>,
    grantry_seen: Option<(u64, u64)>,
    #[serde(borrow)]
    grantry_slot: Option<JsonText<'a>>,
    grantry_grant: Option<GrantId>,
    sid: Option<SessionId>,
    /// What an introspection says besides.
    #[serde(borrow)]
    token_type: Option<JsonText<'a>>,
}

/// One as a string, several as a list (RFC 7519 §4.1.3).
fn audiences<'de, D: Deserializer<'de>>(claim: D) -> Result<Vec<String>, D::Error> {
    struct OneOrSeveral;

    impl<'de> Visitor<'de> for OneOrSeveral {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Vec<String>, E> {
            Ok(vec![name.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Vec<String>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(names))
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<String>, E> {
            Ok(Vec::new())
        }
    }

    claim.deserialize_any(OneOrSeveral)
}

impl Demands {
    /// What a JWT says whose signature has been verified. Its times are not looked at here.
    pub fn of_jwt(&self, payload: Vec<u8>) -> Result<Verified, Reason> {
        let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| Reason::Claims)?;
        if claims.iss.as_deref() != Some(&self.issuer) {
            return Err(Reason::Issuer);
        }
        let ends = match self.revocations_are_followed {
            true => Some(claims.ends().ok_or(Reason::Unfollowable)?),
            false => None,
        };
        let verified = self.verified(claims, ends, None)?;
        Ok(Verified { claims: payload, ..verified })
    }

    /// What the issuer says about an opaque token that it calls active, when it was asked at `asked`. By its id alone such a
    /// token is ended here: how much of the log it had seen is not said.
    pub fn of_introspection(&self, asked: Moment, body: Vec<u8>) -> Result<Verified, Reason> {
        let claims: Claims<'_> = serde_json::from_slice(&body).map_err(|_| Reason::Claims)?;
        if claims.iss.as_ref().is_some_and(|issuer| **issuer != *self.issuer) {
            return Err(Reason::Issuer);
        }
        // A refresh token is active, too, and has none.
        if !claims.token_type.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("bearer")) {
            return Err(Reason::Type);
        }
        let everything = Seen { epoch: Epoch(u64::MAX), position: Position(u64::MAX) };
        let ends = self.revocations_are_followed.then(|| claims.keys(everything, None));
        let verified = self.verified(claims, ends, Some(asked))?;
        Ok(Verified { claims: body, ..verified })
    }

    /// All but the JSON that these claims are read from.
    fn verified(
        &self,
        claims: Claims<'_>,
        ends: Option<FeedKeys>,
        asked: Option<Moment>,
    ) -> Result<Verified, Reason> {
        if !claims.aud.iter().any(|name| self.audiences.contains(name)) {
            return Err(Reason::Audience);
        }
        if claims.cnf.is_some() {
            return Err(Reason::SenderConstrained);
        }
        Ok(Verified {
            id: claims.jti,
            subject: claims.sub,
            client_id: claims.client_id,
            scope: claims.scope,
            audiences: claims.aud,
            issued_at: Timestamp::from_secs(claims.iat),
            expires_at: Timestamp::from_secs(claims.exp),
            not_before: claims.nbf.map(Timestamp::from_secs),
            ends,
            asked,
            claims: Vec::new(),
        })
    }

    // 5.
    pub fn judge_times(&self, token: &Verified, now: Timestamp) -> Result<(), Reason> {
        let (earliest, latest) = (now.saturating_sub(self.leeway), now + self.leeway);
        if token.expires_at <= earliest {
            return Err(Reason::Expired);
        }
        if token.issued_at > latest || token.not_before.is_some_and(|from| from > latest) {
            return Err(Reason::NotYet);
        }
        Ok(())
    }
}

impl Claims<'_> {
    fn ends(&self) -> Option<FeedKeys> {
        let (epoch, position) = self.grantry_seen?;
        let slot = grantry_jose::from_base64url(self.grantry_slot.as_deref()?)?;
        let slot = SlotKey::from_bytes(slot.try_into().ok()?);
        let seen = Seen { epoch: Epoch(epoch), position: Position(position) };
        Some(self.keys(seen, Some(&slot)))
    }

    fn keys(&self, seen: Seen, slot: Option<&SlotKey>) -> FeedKeys {
        let keys = RuleKeys {
            slot,
            client_id: &self.client_id,
            subject: &self.sub,
            session: self.sid.as_ref(),
            grant: self.grantry_grant.as_ref(),
            seen,
        };
        FeedKeys::new(self.jti, Timestamp::from_secs(self.exp), &keys)
    }
}
