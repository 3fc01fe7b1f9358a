use aws_lc_rs::aead::{AES_256_GCM, AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// What came out of a seal; overwritten when dropped.
pub type Unsealed = Zeroizing<Vec<u8>>;

/// An AES-256-GCM key. Nonces are random, so one key must not seal more than 2^32 messages (NIST SP 800-38D §8.3).
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    pub const LEN: usize = 32;

    pub fn new(key: &[u8; Self::LEN]) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, key).expect("the length is right");
        Self(LessSafeKey::new(unbound))
    }

    /// The nonce, the ciphertext, the tag. `context` is not kept; unsealing has to name the same.
    pub fn seal(&self, fill_random: impl FnOnce(&mut [u8]), context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce);
        let mut message = Zeroizing::new(plain.to_vec());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut *message)
            .expect("messages are far shorter than the cipher's bound");
        [&nonce[..], &message].concat()
    }

    /// `None` when it was sealed under another key or for another context, or was changed.
    pub fn unseal(&self, context: &[u8], sealed: &[u8]) -> Option<Unsealed> {
        let (nonce, message) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut message = Zeroizing::new(message.to_vec());
        let length = self.0.open_in_place(nonce, Aad::from(context), &mut message).ok()?.len();
        message.truncate(length);
        Some(message)
    }
}

/// An AES-256-GCM-SIV key (RFC 8452): one nonce may come twice, and then tells no more than whether two messages are the
/// same. So nonces need not be random, the same message can be sealed to the same bytes, and one key lasts for more
/// messages than any deployment makes (RFC 8452 §6).
pub struct NonceMisuseResistantKey(LessSafeKey);

impl NonceMisuseResistantKey {
    pub const LEN: usize = 32;

    pub fn new(key: &[u8; Self::LEN]) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, key).expect("the length is right");
        Self(LessSafeKey::new(unbound))
    }

    /// The ciphertext and the tag. Neither `nonce` nor `context` is in it; unsealing has to name the same.
    pub fn seal(&self, nonce: [u8; NONCE_LEN], context: &[u8], plain: Vec<u8>) -> Vec<u8> {
        let mut message = plain;
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut message)
            .expect("messages are far shorter than the cipher's bound");
        message
    }

    /// `None` when it was sealed under another key, nonce or context, or was changed.
    pub fn unseal(&self, nonce: [u8; NONCE_LEN], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut message = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.0.open_in_place(nonce, Aad::from(context), &mut message).ok()?.len();
        message.truncate(length);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_context_unseal() {
        let key = SealingKey::new(&[1; 32]);
        let sealed = key.seal(|nonce| nonce.fill(9), b"mac 1", b"secret");
        assert_eq!(key.unseal(b"mac 1", &sealed).unwrap().as_slice(), b"secret");
        assert!(key.unseal(b"mac 2", &sealed).is_none());
        assert!(SealingKey::new(&[2; 32]).unseal(b"mac 1", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.unseal(b"mac 1", &changed).is_none());
        }
        assert!(key.unseal(b"mac 1", &sealed[..5]).is_none());
    }

    #[test]
    fn the_same_message_is_sealed_to_the_same_bytes_and_only_the_same_key_nonce_and_context_unseal() {
        let key = NonceMisuseResistantKey::new(&[1; 32]);
        let nonce = [9; NONCE_LEN];
        let sealed = key.seal(nonce, b"gta_", b"claims".to_vec());
        assert_eq!(sealed, key.seal(nonce, b"gta_", b"claims".to_vec()));
        assert_eq!(key.unseal(nonce, b"gta_", &sealed).unwrap(), b"claims");
        assert!(key.unseal([8; NONCE_LEN], b"gta_", &sealed).is_none());
        assert!(key.unseal(nonce, b"gtr_", &sealed).is_none());
        assert!(NonceMisuseResistantKey::new(&[2; 32]).unseal(nonce, b"gta_", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.unseal(nonce, b"gta_", &changed).is_none());
        }
        assert!(key.unseal(nonce, b"gta_", &sealed[..5]).is_none());
    }
}
