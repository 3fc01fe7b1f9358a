//! A queued token as the journal has it: JSON, so that a later version can add fields and a person can read it.

use std::borrow::Cow;
use std::time::Duration;

use grantry_protocol::{AccessToken, ActiveTokenPolicy, TokenId};
use grantry_store::Issue;
use serde::{Deserialize, Serialize};

/// What stands in the journal cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("a record of the journal cannot be read: {0}")]
pub struct UnreadableRecord(#[from] serde_json::Error);

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    #[serde(flatten)]
    token: Cow<'a, AccessToken>,
    policy: ActiveTokenPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed: Option<TokenId>,
    /// Milliseconds.
    min_life: u64,
}

/// # Errors
/// Never for a token that was made by this program; serde's interface allows it.
pub fn encode(issue: &Issue) -> Result<Vec<u8>, UnreadableRecord> {
    Ok(serde_json::to_vec(&Record {
        token: Cow::Borrowed(&issue.token),
        policy: issue.policy,
        observed: issue.observed,
        min_life: u64::try_from(issue.min_life.as_millis()).unwrap_or(u64::MAX),
    })?)
}

pub fn decode(payload: &[u8]) -> Result<Issue, UnreadableRecord> {
    let Record { token, policy, observed, min_life } = serde_json::from_slice(payload)?;
    Ok(Issue { token: token.into_owned(), policy, observed, min_life: Duration::from_millis(min_life) })
}

#[cfg(test)]
mod tests {
    use grantry_protocol::{
        AccessTokenFormat, Audience, Authority, Epoch, GrantId, NodeNumber, Position, ScopeSet, Seen,
        SessionId, Slot, Timestamp,
    };

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
