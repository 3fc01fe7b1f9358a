use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
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
}
