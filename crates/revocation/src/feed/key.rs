use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grantry_protocol::{LogKind, RuleKeys, Seen, Timestamp, TokenId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// What an entry names: the id of a token, a grant or a session; the first half of a slot's key; of a client's or a
/// subject's name the first half of a SHA-256, which begins with the code of the kind; zeros for everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedKey([u8; FeedKey::LEN]);

impl FeedKey {
    pub const LEN: usize = 16;
    /// What a rule about everything names.
    pub const ALL: Self = Self([0; Self::LEN]);

    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// `key` is what an entry of the log has, or a token is known by.
    pub fn of(kind: LogKind, key: &[u8]) -> Self {
        match kind {
            LogKind::All => Self::ALL,
            LogKind::Token | LogKind::Grant | LogKind::Session | LogKind::Slot => {
                key.first_chunk().copied().map_or_else(|| Self::of_name(kind, key), Self)
            }
            LogKind::Client | LogKind::Subject | LogKind::ClientChanged | LogKind::SettingsChanged => {
                Self::of_name(kind, key)
            }
        }
    }

    fn of_name(kind: LogKind, name: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::new().chain_update([kind.code()]).chain_update(name).finalize().into();
        let mut key = [0; Self::LEN];
        key.copy_from_slice(&hash[..Self::LEN]);
        Self(key)
    }
}

impl fmt::Debug for FeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for FeedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 4 * Self::LEN.div_ceil(3)];
        let length = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(std::str::from_utf8(&text[..length]).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for FeedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl serde::de::Visitor<'_> for Text {
            type Value = FeedKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("16 bytes in base64url")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FeedKey, E> {
                let mut key = [0; FeedKey::LEN];
                match URL_SAFE_NO_PAD.decode_slice(text, &mut key) {
                    Ok(FeedKey::LEN) => Ok(FeedKey(key)),
                    Ok(_) | Err(_) => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// All that an entry can end a token by; made once for a token, since names have to be hashed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedKeys {
    pub(super) token: FeedKey,
    /// By kind; absent what the token does not have.
    pub(super) rules: [Option<(LogKind, FeedKey)>; FeedKeys::RULES],
    pub(super) seen: Seen,
    pub(super) expires_at: Timestamp,
}

impl FeedKeys {
    const RULES: usize = 6;

    pub fn new(id: TokenId, expires_at: Timestamp, keys: &RuleKeys<'_>) -> Self {
        let mut rules = [None; Self::RULES];
        for (rule, (kind, key)) in rules.iter_mut().zip(keys.iter()) {
            *rule = Some((kind, FeedKey::of(kind, key)));
        }
        Self { token: FeedKey::of(LogKind::Token, id.as_bytes()), rules, seen: keys.seen, expires_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_themselves_and_names_are_hashed_with_their_kind() {
        let id: [u8; 16] = std::array::from_fn(|n| n as u8);
        for kind in [LogKind::Token, LogKind::Grant, LogKind::Session] {
            assert_eq!(FeedKey::of(kind, &id).as_bytes(), &id, "{kind:?}");
        }
        let slot: [u8; 32] = std::array::from_fn(|n| n as u8);
        assert_eq!(FeedKey::of(LogKind::Slot, &slot).as_bytes(), &id);
        assert_eq!(FeedKey::of(LogKind::All, b""), FeedKey::ALL);
        // printf '\003billing' | sha256sum, and '\004billing'.
        let hex = |kind| format!("{:?}", FeedKey::of(kind, b"billing"));
        assert_eq!(hex(LogKind::Client), CLIENT);
        assert_eq!(hex(LogKind::Subject), SUBJECT);
    }

    const CLIENT: &str = "e82c06a9f05fedd096496aade785fd3f";
    const SUBJECT: &str = "90a662ccb76dc18e7624a022bbcf3d62";

    #[test]
    fn a_key_survives_its_text_and_no_other_length_is_read() {
        let key = FeedKey::from_bytes([0xfb; 16]);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text, "\"-_v7-_v7-_v7-_v7-_v7-w\"");
        assert_eq!(serde_json::from_str::<FeedKey>(&text).unwrap(), key);
        for wrong in ["\"\"", "\"-_v7\"", "\"-_v7-_v7-_v7-_v7-_v7-_v7\"", "\"++v7-_v7-_v7-_v7-_v7-w\"", "1"] {
            assert!(serde_json::from_str::<FeedKey>(wrong).is_err(), "{wrong}");
        }
    }
}
