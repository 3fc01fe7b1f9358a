//! Opaque tokens: a prefix and, in base64url, key version (1 byte) ‖ flags (1) ‖ id (16) ‖ counter (4, refresh tokens
//! only) ‖ rest. The id is that of a refresh token's grant.
//!
//! - Of what has a row, the rest is a MAC (20 bytes). The flags of an access token are the number of the node that answered
//!   with it before its row was written, or 0; a refresh token has none.
//! - Of what says everything itself, all flags are set, and the rest is sealed (`sealed.rs`). Its length tells it from the
//!   token of a node with that number.
//!
//! The MAC and the seal cover the prefix and every byte before them. The store holds the id alone, if anything: so a stolen
//! database yields no token, and a forged token is refused before any look-up.

use grantry_jose::{base64url, from_base64url};
use grantry_protocol::{AccessToken, Grant, GrantId, NodeNumber, Secret, TokenId};

use super::sealed;
use crate::KeyRing;
use crate::keys::TokenKey;

const ACCESS: &str = "gta_";
const REFRESH: &str = "gtr_";
const MAC_LEN: usize = 20;
const COUNTER_LEN: usize = 4;
const NONCE_LEN: usize = 12;
/// Version and flags, id, and the counter of a refresh token.
const ACCESS_HEAD: usize = 2 + TokenId::LEN;
const REFRESH_HEAD: usize = 2 + GrantId::LEN + COUNTER_LEN;
/// A refresh token has none; one that sets any, but for all, is not ours.
const NO_FLAGS: u8 = 0;
const SEALED: u8 = 0xff;

/// What a refresh token says: which grant, and how often that had been rotated when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    pub grant: GrantId,
    pub counter: u32,
}

/// What an access token says.
pub enum ReadAccess {
    Row(TokenId, Option<NodeNumber>),
    Sealed(Box<AccessToken>),
}

pub fn write(keys: &KeyRing, id: TokenId, deferred_by: Option<NodeNumber>) -> Secret {
    with_mac(keys, ACCESS, deferred_by.map_or(NO_FLAGS, NodeNumber::get), id.as_bytes())
}

pub fn write_sealed(keys: &KeyRing, token: &AccessToken) -> Secret {
    let id = token.id.as_bytes();
    // Of the id what rises and what is random: it comes again no sooner than after a minute, if at all.
    with_seal(keys, ACCESS, id, nonce(&id[4..]), sealed::write_token(token))
}

pub fn read(keys: &KeyRing, text: &str) -> Option<ReadAccess> {
    let bytes = from_base64url(text.strip_prefix(ACCESS)?)?;
    if bytes.len() == ACCESS_HEAD + MAC_LEN {
        let (flags, id) = open_mac(keys, ACCESS, &bytes)?;
        return Some(ReadAccess::Row(TokenId::from_bytes(id.try_into().ok()?), NodeNumber::new(flags)));
    }
    let head = bytes.get(..ACCESS_HEAD)?;
    let id = TokenId::from_bytes(head[2..].try_into().ok()?);
    let content = open_seal(keys, ACCESS, head, nonce(&id.as_bytes()[4..]), &bytes[ACCESS_HEAD..])?;
    sealed::read_token(id, &content).map(|token| ReadAccess::Sealed(Box::new(token)))
}

pub fn write_refresh(keys: &KeyRing, token: RefreshToken) -> Secret {
    with_mac(keys, REFRESH, NO_FLAGS, &refresh_id(token))
}

/// The grant goes along, but for its counter.
pub fn write_sealed_refresh(keys: &KeyRing, grant: &Grant, counter: u32) -> Secret {
    let id = refresh_id(RefreshToken { grant: grant.id, counter });
    with_seal(keys, REFRESH, &id, nonce(&id[8..]), sealed::write_grant(grant))
}

/// With the grant, rotated never, where it says that.
pub fn read_refresh(keys: &KeyRing, text: &str) -> Option<(RefreshToken, Option<Grant>)> {
    let bytes = from_base64url(text.strip_prefix(REFRESH)?)?;
    let head = bytes.get(..REFRESH_HEAD)?;
    let (grant, counter) = head[2..].split_at_checked(GrantId::LEN)?;
    let token = RefreshToken {
        grant: GrantId::from_bytes(grant.try_into().ok()?),
        counter: u32::from_be_bytes(counter.try_into().ok()?),
    };
    if bytes.len() == REFRESH_HEAD + MAC_LEN {
        let (flags, _) = open_mac(keys, REFRESH, &bytes)?;
        return (flags == NO_FLAGS).then_some((token, None));
    }
    let content = open_seal(keys, REFRESH, head, nonce(&head[10..]), &bytes[REFRESH_HEAD..])?;
    Some((token, Some(sealed::read_grant(token.grant, &content)?)))
}

fn refresh_id(token: RefreshToken) -> [u8; GrantId::LEN + COUNTER_LEN] {
    let mut bytes = [0; GrantId::LEN + COUNTER_LEN];
    bytes[..GrantId::LEN].copy_from_slice(token.grant.as_bytes());
    bytes[GrantId::LEN..].copy_from_slice(&token.counter.to_be_bytes());
    bytes
}

/// What an id ends with: the same for the same token, so that it is sealed to the same bytes.
fn nonce(end_of_id: &[u8]) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(end_of_id);
    nonce
}

fn with_mac(keys: &KeyRing, prefix: &str, flags: u8, id: &[u8]) -> Secret {
    let (version, key) = keys.newest_token_key();
    let mut bytes = [&[version, flags], id].concat();
    let mac = key.mac.tag(&[prefix.as_bytes(), &bytes]);
    bytes.extend_from_slice(&mac[..MAC_LEN]);
    text(prefix, bytes)
}

fn with_seal(keys: &KeyRing, prefix: &str, id: &[u8], nonce: [u8; NONCE_LEN], content: Vec<u8>) -> Secret {
    let (version, key) = keys.newest_token_key();
    let mut bytes = [&[version, SEALED], id].concat();
    let sealed = key.seal.seal(nonce, &[prefix.as_bytes(), &bytes].concat(), content);
    bytes.extend_from_slice(&sealed);
    text(prefix, bytes)
}

fn text(prefix: &str, bytes: Vec<u8>) -> Secret {
    Secret::new(format!("{prefix}{}", base64url(bytes)))
}

/// The flags and the id.
fn open_mac<'b>(keys: &KeyRing, prefix: &str, bytes: &'b [u8]) -> Option<(u8, &'b [u8])> {
    let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_LEN)?)?;
    let (version, flags) = (*signed.first()?, *signed.get(1)?);
    let key = keys.token_key(version)?;
    key.mac.verify(&[prefix.as_bytes(), signed], mac).then_some((flags, &signed[2..]))
}

fn open_seal(
    keys: &KeyRing,
    prefix: &str,
    head: &[u8],
    nonce: [u8; NONCE_LEN],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let (version, flags) = (*head.first()?, *head.get(1)?);
    if flags != SEALED {
        return None;
    }
    let key: std::sync::Arc<TokenKey> = keys.token_key(version)?;
    key.seal.unseal(nonce, &[prefix.as_bytes(), head].concat(), sealed)
}
