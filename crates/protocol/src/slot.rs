use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{AccessTokenFormat, Audience, ClientId, GrantId, ScopeSet, Subject, SubjectKind};

/// What a sender-constrained token is bound to: the `cnf` of RFC 9449 §6 and RFC 8705 §3.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Confirmation {
    /// JWK thumbprint, base64url.
    Jkt(String),
    /// SHA-256 of a certificate, base64url.
    X5tS256(String),
}

/// Everything that makes two access tokens interchangeable. At most one token of a slot is ACTIVE; lookup, the
/// constraint in the store and caches all go by its [`SlotKey`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    pub client_id: ClientId,
    pub subject: Subject,
    pub subject_kind: SubjectKind,
    pub scope: ScopeSet,
    pub audience: Audience,
    pub confirmation: Option<Confirmation>,
    /// Who acts for the subject (RFC 8693 §4.1).
    pub actor: Option<Subject>,
    pub format: AccessTokenFormat,
    /// Claims that the request asked for, as canonical JSON.
    pub requested_claims: Option<String>,
    /// `None` for slot binding `none`: one token per client, subject and scope.
    pub grant: Option<GrantId>,
}

impl Slot {
    /// The slot of a client's own tokens (RFC 6749 §4.4).
    pub fn of_client(
        client_id: ClientId,
        scope: ScopeSet,
        audience: Audience,
        format: AccessTokenFormat,
    ) -> Self {
        let subject = Subject::of_client(&client_id);
        Self {
            subject_kind: SubjectKind::Client,
            ..Self::of_user(client_id, subject, scope, audience, format)
        }
    }

    /// The slot of tokens that speak for a user.
    pub fn of_user(
        client_id: ClientId,
        subject: Subject,
        scope: ScopeSet,
        audience: Audience,
        format: AccessTokenFormat,
    ) -> Self {
        Self {
            client_id,
            subject,
            subject_kind: SubjectKind::User,
            scope,
            audience,
            confirmation: None,
            actor: None,
            format,
            requested_claims: None,
            grant: None,
        }
    }

    pub fn key(&self) -> SlotKey {
        let mut hash = Sha256::new();
        hash.update(b"grantry slot 1");
        // Each field is preceded by its length, so that no two slots run together to the same bytes.
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(self.client_id.as_str().as_bytes());
        field(self.subject.as_str().as_bytes());
        field(match self.subject_kind {
            SubjectKind::Client => b"client",
            SubjectKind::User => b"user",
        });
        field(self.scope.as_str().as_bytes());
        field(&(self.audience.names().len() as u64).to_be_bytes());
        for name in self.audience.names() {
            field(name.as_bytes());
        }
        match &self.confirmation {
            None => field(b""),
            Some(Confirmation::Jkt(thumbprint)) => field(format!("jkt {thumbprint}").as_bytes()),
            Some(Confirmation::X5tS256(hash)) => field(format!("x5t#S256 {hash}").as_bytes()),
        }
        field(self.actor.as_ref().map_or("", Subject::as_str).as_bytes());
        field(match self.format {
            AccessTokenFormat::Opaque => b"opaque",
            AccessTokenFormat::Jwt => b"jwt",
        });
        field(self.requested_claims.as_deref().unwrap_or("").as_bytes());
        field(self.grant.as_ref().map_or(&[][..], |grant| grant.as_bytes()));
        SlotKey(hash.finalize().into())
    }
}

/// SHA-256 over the fields of a [`Slot`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SlotKey([u8; Self::LEN]);

/// In hexadecimal.
impl From<SlotKey> for String {
    fn from(key: SlotKey) -> Self {
        key.0.iter().fold(Self::with_capacity(2 * SlotKey::LEN), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl TryFrom<String> for SlotKey {
    type Error = InvalidSlotKey;

    fn try_from(text: String) -> Result<Self, InvalidSlotKey> {
        let is_hex = text.len() == 2 * Self::LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| InvalidSlotKey);
        let mut key = [0; Self::LEN];
        if !is_hex {
            return Err(InvalidSlotKey);
        }
        for (at, value) in key.iter_mut().enumerate() {
            *value = byte(at)?;
        }
        Ok(Self(key))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a slot's key has 64 hexadecimal digits")]
pub struct InvalidSlotKey;

impl SlotKey {
    pub const LEN: usize = 32;

    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot::of_client(
            "billing".parse().unwrap(),
            ScopeSet::parse("read write").unwrap(),
            Audience::new(vec!["https://api.example/".into()]),
            AccessTokenFormat::Opaque,
        )
    }

    #[test]
    fn every_field_tells_slots_apart() {
        let changes: [fn(&mut Slot); 13] = [
            |s| s.client_id = "other".parse().unwrap(),
            |s| s.subject = "other".parse().unwrap(),
            |s| s.subject_kind = SubjectKind::User,
            |s| s.scope = ScopeSet::parse("read").unwrap(),
            |s| s.audience = Audience::default(),
            |s| s.audience = Audience::new(vec!["https://api.example/".into(), "x".into()]),
            |s| s.confirmation = Some(Confirmation::Jkt("a".into())),
            |s| s.confirmation = Some(Confirmation::X5tS256("a".into())),
            |s| s.actor = Some("agent".parse().unwrap()),
            |s| s.format = AccessTokenFormat::Jwt,
            |s| s.requested_claims = Some("{}".into()),
            |s| s.grant = Some(GrantId::from_bytes([1; 16])),
            |s| s.grant = Some(GrantId::from_bytes([2; 16])),
        ];
        let mut keys = vec![slot().key()];
        for change in changes {
            let mut changed = slot();
            change(&mut changed);
            keys.push(changed.key());
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn fields_do_not_run_together() {
        let mut left = slot();
        left.audience = Audience::new(vec!["ab".into(), "c".into()]);
        let mut right = slot();
        right.audience = Audience::new(vec!["a".into(), "bc".into()]);
        assert_ne!(left.key(), right.key());
    }
}
