//! What happens to a slot and to a token, decided from what the transaction has read under its lock.

use grantry_protocol::{ActiveTokenPolicy, Ending, IllegalTransition, Timestamp, TokenId, TokenState};

use crate::{Issue, StoredToken};

/// What a slot's row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub id: TokenId,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueDecision {
    /// The token is there already: an earlier attempt was committed and its answer lost.
    AlreadyWritten,
    /// Insert the token and make it the holder. The previous holder, if any, becomes RETIRED by losing the slot.
    TakeSlot,
    /// The same, and the previous holder ends as INACTIVE and is announced in the log.
    TakeSlotAndEnd(TokenId),
    /// Write nothing; the holder is the slot's token.
    YieldTo(TokenId),
}

/// Who gets the slot. `holder` has been read under the lock that the same transaction writes with.
pub fn decide_issue(
    issue: &Issue,
    already_written: bool,
    holder: Option<Holder>,
    now: Timestamp,
) -> IssueDecision {
    if already_written {
        return IssueDecision::AlreadyWritten;
    }
    let Some(holder) = holder else { return IssueDecision::TakeSlot };
    match issue.policy {
        ActiveTokenPolicy::Multiple => IssueDecision::TakeSlot,
        ActiveTokenPolicy::Replace if holder.expires_at > now => IssueDecision::TakeSlotAndEnd(holder.id),
        ActiveTokenPolicy::Replace => IssueDecision::TakeSlot,
        ActiveTokenPolicy::Reuse if issue.observed == Some(holder.id) => IssueDecision::TakeSlot,
        ActiveTokenPolicy::Reuse if holder.expires_at <= now + issue.min_life => IssueDecision::TakeSlot,
        ActiveTokenPolicy::Reuse => IssueDecision::YieldTo(holder.id),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeDecision {
    /// Record this ending, free the slot if the token holds it, append to the log.
    End(Ending),
    AlreadyOver,
    Unknown,
}

pub fn decide_revoke(token: Option<&StoredToken>, now: Timestamp) -> RevokeDecision {
    let Some(token) = token else { return RevokeDecision::Unknown };
    match token.state(now).end(Ending::Revoked) {
        Ok(TokenState::Revoked) => RevokeDecision::End(Ending::Revoked),
        Ok(_) | Err(IllegalTransition { .. }) => RevokeDecision::AlreadyOver,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use grantry_protocol::{AccessToken, AccessTokenFormat, Audience, Lifetime, ScopeSet, Seen, Slot};

    use super::IssueDecision::{AlreadyWritten, TakeSlot, TakeSlotAndEnd, YieldTo};
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn id(n: u8) -> TokenId {
        TokenId::from_bytes([n; 16])
    }

    fn issue(policy: ActiveTokenPolicy, observed: Option<TokenId>) -> Issue {
        let slot = Slot::of_client(
            "c".parse().unwrap(),
            ScopeSet::default(),
            Audience::default(),
            AccessTokenFormat::Opaque,
        );
        let token = AccessToken::issue(id(9), slot, Seen::NOTHING, NOW, Lifetime::from_secs(60));
        Issue { token, policy, observed, min_life: Duration::from_secs(10) }
    }

    #[test]
    fn who_gets_the_slot() {
        use ActiveTokenPolicy::{Multiple, Replace, Reuse};
        let live = Some(Holder { id: id(1), expires_at: Timestamp::from_secs(1_011) });
        let short = Some(Holder { id: id(1), expires_at: Timestamp::from_secs(1_010) });
        let expired = Some(Holder { id: id(1), expires_at: NOW });
        // policy, observed, already written, holder => decision
        let table = [
            (Reuse, None, true, live, AlreadyWritten),
            (Reuse, None, false, None, TakeSlot),
            (Reuse, None, false, live, YieldTo(id(1))),
            (Reuse, Some(id(1)), false, live, TakeSlot),
            (Reuse, Some(id(2)), false, live, YieldTo(id(1))),
            (Reuse, None, false, short, TakeSlot),
            (Reuse, Some(id(2)), false, short, TakeSlot),
            (Reuse, None, false, expired, TakeSlot),
            (Replace, None, true, live, AlreadyWritten),
            (Replace, None, false, None, TakeSlot),
            (Replace, None, false, live, TakeSlotAndEnd(id(1))),
            (Replace, None, false, short, TakeSlotAndEnd(id(1))),
            (Replace, None, false, expired, TakeSlot),
            (Multiple, None, true, live, AlreadyWritten),
            (Multiple, None, false, None, TakeSlot),
            (Multiple, None, false, live, TakeSlot),
            (Multiple, None, false, expired, TakeSlot),
        ];
        for (policy, observed, written, holder, expected) in table {
            let decision = decide_issue(&issue(policy, observed), written, holder, NOW);
            assert_eq!(
                decision, expected,
                "{policy:?} observed {observed:?} written {written} holder {holder:?}"
            );
        }
    }

    #[test]
    fn what_a_revocation_does() {
        let token = issue(ActiveTokenPolicy::Reuse, None).token;
        let stored = StoredToken { token, ended: None, ended_by_rule: false, holds_slot: true };
        let with = |change: fn(&mut StoredToken)| {
            let mut changed = stored.clone();
            change(&mut changed);
            decide_revoke(Some(&changed), NOW)
        };
        assert_eq!(decide_revoke(None, NOW), RevokeDecision::Unknown);
        assert_eq!(with(|_| ()), RevokeDecision::End(Ending::Revoked));
        assert_eq!(with(|t| t.holds_slot = false), RevokeDecision::End(Ending::Revoked));
        assert_eq!(with(|t| t.ended = Some(Ending::Inactive)), RevokeDecision::End(Ending::Revoked));
        assert_eq!(with(|t| t.ended = Some(Ending::Revoked)), RevokeDecision::AlreadyOver);
        assert_eq!(with(|t| t.ended_by_rule = true), RevokeDecision::AlreadyOver);
        assert_eq!(with(|t| t.token.expires_at = NOW), RevokeDecision::AlreadyOver);
    }
}
