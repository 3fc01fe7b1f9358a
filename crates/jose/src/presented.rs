use sha2::{Digest, Sha256};

/// Bytes of the text.
const MAX_LEN: usize = 16 * 1024;

/// A compact JWS (RFC 7515 §7.1) as it was presented: nothing of it has been checked. It is hashed in one pass, both for
/// whoever remembers it and for the signature.
pub struct PresentedJws<'a> {
    pub(crate) header: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) signature: &'a str,
    /// Header and payload, with the dot between them.
    pub(crate) signed: &'a str,
    hash_of_signed: Sha256,
    hash: [u8; 32],
}

impl<'a> PresentedJws<'a> {
    /// `None` for what does not have three parts, or has more than 16 KiB.
    pub fn new(text: &'a str) -> Option<Self> {
        if text.len() > MAX_LEN {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.').filter(|(_, payload)| !payload.contains('.'))?;
        let hash_of_signed = Sha256::new_with_prefix(signed);
        let hash = hash_of_signed.clone().chain_update(".").chain_update(signature).finalize().into();
        Some(Self { header, payload, signature, signed, hash_of_signed, hash })
    }

    /// SHA-256 of the text.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// SHA-256 of what is signed.
    pub(crate) fn signed_hash(&self) -> [u8; 32] {
        self.hash_of_signed.clone().finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256;

    #[test]
    fn it_has_three_parts_and_the_hash_of_its_text() {
        let jws = PresentedJws::new("a.b.c").unwrap();
        assert_eq!((jws.header, jws.payload, jws.signature, jws.signed), ("a", "b", "c", "a.b"));
        assert_eq!(*jws.hash(), sha256(b"a.b.c"));
        assert_eq!(jws.signed_hash(), sha256(b"a.b"));
        for wrong in ["", "a", "a.b", "a.b.c.d"] {
            assert!(PresentedJws::new(wrong).is_none(), "{wrong}");
        }
        assert!(PresentedJws::new(&format!("a.{}.c", "b".repeat(MAX_LEN - 4))).is_some());
        assert!(PresentedJws::new(&format!("a.{}.c", "b".repeat(MAX_LEN - 3))).is_none());
    }
}
