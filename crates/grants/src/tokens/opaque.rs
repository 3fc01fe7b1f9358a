//! Opaque access tokens: `gta_` and, in base64url, key version (1 byte) ‖ flags (1) ‖ id (16) ‖ MAC (20). The MAC
//! covers the prefix and every byte before it. The store holds the id alone, so a stolen database yields no token,
//! and a forged token is refused before any look-up.

use grantry_jose::{base64url, from_base64url};
use grantry_protocol::{Secret, TokenId};

use crate::KeyRing;

const PREFIX: &str = "gta_";
const MAC_LEN: usize = 20;
const SIGNED_LEN: usize = 2 + TokenId::LEN;
/// No flag is defined yet; a token that sets one is not ours.
const FLAGS: u8 = 0;

pub fn write(keys: &KeyRing, id: TokenId) -> Secret {
    let (version, key) = keys.newest_token_mac();
    let mut bytes = [0; SIGNED_LEN + MAC_LEN];
    bytes[0] = version;
    bytes[1] = FLAGS;
    bytes[2..SIGNED_LEN].copy_from_slice(id.as_bytes());
    let mac = key.tag(&[PREFIX.as_bytes(), &bytes[..SIGNED_LEN]]);
    bytes[SIGNED_LEN..].copy_from_slice(&mac[..MAC_LEN]);
    Secret::new(format!("{PREFIX}{}", base64url(bytes)))
}

pub fn read(keys: &KeyRing, text: &str) -> Option<TokenId> {
    let bytes = from_base64url(text.strip_prefix(PREFIX)?)?;
    let (signed, mac) = bytes.split_at_checked(SIGNED_LEN).filter(|(_, mac)| mac.len() == MAC_LEN)?;
    let key = keys.token_mac(signed[0])?;
    if !key.verify(&[PREFIX.as_bytes(), signed], mac) || signed[1] != FLAGS {
        return None;
    }
    Some(TokenId::from_bytes(signed[2..].try_into().ok()?))
}
