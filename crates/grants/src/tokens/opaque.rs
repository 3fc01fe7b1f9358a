//! Opaque tokens: a prefix and, in base64url, key version (1 byte) ‖ flags (1) ‖ id (16) ‖ counter (4, refresh tokens
//! only) ‖ MAC (20). The flags of an access token are the number of the node that answered with it before its row was
//! written, or 0. The MAC covers the prefix and every byte before it. The store holds the id alone, so a stolen
//! database yields no token, and a forged token is refused before any look-up.

use grantry_jose::{base64url, from_base64url};
use grantry_protocol::{GrantId, NodeNumber, Secret, TokenId};

use crate::KeyRing;

const ACCESS: &str = "gta_";
const REFRESH: &str = "gtr_";
const MAC_LEN: usize = 20;
const COUNTER_LEN: usize = 4;
/// A refresh token has none; one that sets any is not ours.
const NO_FLAGS: u8 = 0;

/// What a refresh token says: which grant, and how often that had been rotated when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    pub grant: GrantId,
    pub counter: u32,
}

pub fn write(keys: &KeyRing, id: TokenId, deferred_by: Option<NodeNumber>) -> Secret {
    seal(keys, ACCESS, deferred_by.map_or(NO_FLAGS, NodeNumber::get), id.as_bytes())
}

pub fn read(keys: &KeyRing, text: &str) -> Option<(TokenId, Option<NodeNumber>)> {
    let (flags, id) = open(keys, ACCESS, text)?;
    Some((TokenId::from_bytes(id.try_into().ok()?), NodeNumber::new(flags)))
}

pub fn write_refresh(keys: &KeyRing, token: RefreshToken) -> Secret {
    let mut bytes = [0; GrantId::LEN + COUNTER_LEN];
    bytes[..GrantId::LEN].copy_from_slice(token.grant.as_bytes());
    bytes[GrantId::LEN..].copy_from_slice(&token.counter.to_be_bytes());
    seal(keys, REFRESH, NO_FLAGS, &bytes)
}

pub fn read_refresh(keys: &KeyRing, text: &str) -> Option<RefreshToken> {
    let (flags, bytes) = open(keys, REFRESH, text)?;
    if flags != NO_FLAGS {
        return None;
    }
    let (grant, counter) = bytes.split_at_checked(GrantId::LEN)?;
    Some(RefreshToken {
        grant: GrantId::from_bytes(grant.try_into().ok()?),
        counter: u32::from_be_bytes(counter.try_into().ok()?),
    })
}

fn seal(keys: &KeyRing, prefix: &str, flags: u8, content: &[u8]) -> Secret {
    let (version, key) = keys.newest_token_mac();
    let mut bytes = vec![version, flags];
    bytes.extend_from_slice(content);
    let mac = key.tag(&[prefix.as_bytes(), &bytes]);
    bytes.extend_from_slice(&mac[..MAC_LEN]);
    Secret::new(format!("{prefix}{}", base64url(bytes)))
}

/// The flags and the content.
fn open(keys: &KeyRing, prefix: &str, text: &str) -> Option<(u8, Vec<u8>)> {
    let mut bytes = from_base64url(text.strip_prefix(prefix)?)?;
    let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_LEN)?)?;
    let (version, flags) = (*signed.first()?, *signed.get(1)?);
    let key = keys.token_mac(version)?;
    if !key.verify(&[prefix.as_bytes(), signed], mac) {
        return None;
    }
    bytes.truncate(bytes.len() - MAC_LEN);
    Some((flags, bytes.split_off(2)))
}
