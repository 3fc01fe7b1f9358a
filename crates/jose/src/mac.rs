use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::equal_in_constant_time;

/// An HMAC-SHA256 key, hashed once.
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// The bytes of a key: as many as the hash has (RFC 2104 §3).
    pub const LEN: usize = 32;

    pub fn new(key: &[u8; Self::LEN]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The MAC over the parts one after the other. The caller sees to it that no two messages run together.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }

    /// Whether `tag`, which may be cut short, is the beginning of the MAC. An empty one never is.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let expected = self.tag(parts);
        !tag.is_empty() && tag.len() <= expected.len() && equal_in_constant_time(&expected[..tag.len()], tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_vector_of_rfc_4231_case_2_padded_to_a_full_key() {
        // HMAC pads keys with zeros, so the vector's 4-byte key "Jefe" and its padded form are the same key.
        let mut key = [0; MacKey::LEN];
        key[..4].copy_from_slice(b"Jefe");
        let tag = MacKey::new(&key).tag(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(tag[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn a_cut_tag_verifies_and_an_empty_or_changed_one_does_not() {
        let key = MacKey::new(&[7; 32]);
        let tag = key.tag(&[b"message"]);
        assert!(key.verify(&[b"message"], &tag[..20]));
        assert!(!key.verify(&[b"message"], &[]));
        assert!(!key.verify(&[b"messagE"], &tag[..20]));
        let mut flipped = tag;
        flipped[19] ^= 1;
        assert!(!key.verify(&[b"message"], &flipped[..20]));
    }
}
