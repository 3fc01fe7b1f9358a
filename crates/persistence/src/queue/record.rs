//! A queued token as the journal has it: JSON, so that a later version can add fields and a person can read it.

use std::time::Duration;

use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Authority, ClientId, NodeNumber, ScopeSet,
    Seen, SessionId, SlotKey, Subject, SubjectKind, Timestamp, TokenId,
};
use grantry_store::Issue;
use serde::{Deserialize, Serialize};

/// What stands in the journal cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("a record of the journal cannot be read: {0}")]
pub struct UnreadableRecord(String);

#[derive(Serialize, Deserialize)]
struct Record {
    id: String,
    slot: String,
    client_id: ClientId,
    subject: Subject,
    subject_kind: SubjectKind,
    scope: ScopeSet,
    audience: Audience,
    format: AccessTokenFormat,
    issued_at: Timestamp,
    expires_at: Timestamp,
    seen: Seen,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    deferred_by: Option<NodeNumber>,
    policy: ActiveTokenPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed: Option<String>,
    /// Milliseconds.
    min_life: u64,
}

/// # Errors
/// Never for a token that was made by this program; serde's interface allows it.
pub fn encode(issue: &Issue) -> Result<Vec<u8>, UnreadableRecord> {
    let token = &issue.token;
    let record = Record {
        id: token.id.to_string(),
        slot: hex(token.slot.as_bytes()),
        client_id: token.client_id.clone(),
        subject: token.subject.clone(),
        subject_kind: token.subject_kind,
        scope: token.scope.clone(),
        audience: token.audience.clone(),
        format: token.format,
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        seen: token.authority.seen,
        grant: token.authority.grant.map(|id| id.to_string()),
        session: token.authority.session.map(|id| id.to_string()),
        deferred_by: token.deferred_by,
        policy: issue.policy,
        observed: issue.observed.map(|id| id.to_string()),
        min_life: u64::try_from(issue.min_life.as_millis()).unwrap_or(u64::MAX),
    };
    serde_json::to_vec(&record).map_err(|error| UnreadableRecord(error.to_string()))
}

pub fn decode(payload: &[u8]) -> Result<Issue, UnreadableRecord> {
    let record: Record =
        serde_json::from_slice(payload).map_err(|error| UnreadableRecord(error.to_string()))?;
    let authority = Authority {
        seen: record.seen,
        grant: record.grant.map(|id| parsed(&id)).transpose()?,
        session: record.session.map(|id| parsed::<SessionId>(&id)).transpose()?,
    };
    let token = AccessToken {
        id: parsed(&record.id)?,
        slot: slot_key(&record.slot)?,
        client_id: record.client_id,
        subject: record.subject,
        subject_kind: record.subject_kind,
        scope: record.scope,
        audience: record.audience,
        format: record.format,
        issued_at: record.issued_at,
        expires_at: record.expires_at,
        authority,
        deferred_by: record.deferred_by,
    };
    let observed = record.observed.map(|id| parsed::<TokenId>(&id)).transpose()?;
    Ok(Issue { token, policy: record.policy, observed, min_life: Duration::from_millis(record.min_life) })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, UnreadableRecord> {
    text.parse().map_err(|error: T::Err| UnreadableRecord(error.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

fn slot_key(hex: &str) -> Result<SlotKey, UnreadableRecord> {
    let refused = || UnreadableRecord("a slot is 64 hexadecimal digits".to_owned());
    let mut bytes = [0; SlotKey::LEN];
    if hex.len() != 2 * SlotKey::LEN || !hex.is_ascii() {
        return Err(refused());
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).map_err(|_| refused())?;
    }
    Ok(SlotKey::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use grantry_protocol::{Epoch, GrantId, Position, Slot};

    use super::*;

    fn issue() -> Issue {
        let slot = Slot::of_user(
            "a client with \"quotes\"".parse().unwrap(),
            "somebody".parse().unwrap(),
            ScopeSet::parse("read write").unwrap(),
            Audience::new(vec!["https://a.example/".into()]),
            AccessTokenFormat::Jwt,
        );
        let authority = Authority {
            seen: Seen { epoch: Epoch(3), position: Position(9) },
            grant: Some(GrantId::from_bytes([1; 16])),
            session: Some(SessionId::from_bytes([2; 16])),
        };
        let now = Timestamp::from_secs(1_800_000_000);
        let lifetime = grantry_protocol::Lifetime::from_secs(60);
        let mut token = AccessToken::issue(TokenId::from_bytes([3; 16]), slot, authority, now, lifetime);
        token.deferred_by = NodeNumber::new(7);
        Issue {
            token,
            policy: ActiveTokenPolicy::Reuse,
            observed: Some(TokenId::from_bytes([4; 16])),
            min_life: Duration::from_millis(1500),
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let full = issue();
        let mut plain = issue();
        plain.token.authority = full.token.authority.seen.into();
        plain.observed = None;
        for issue in [full, plain] {
            let read = decode(&encode(&issue).unwrap()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{issue:?}"));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let written = String::from_utf8(encode(&issue()).unwrap()).unwrap();
        assert!(decode(b"").is_err() && decode(b"{}").is_err());
        for (from, to) in
            [("0303", "zz03"), ("\"reuse\"", "\"other\""), ("\"deferred_by\":7", "\"deferred_by\":0")]
        {
            assert!(written.contains(from), "{written}");
            assert!(decode(written.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
    }
}
