//! What happens to a slot, to a token and to a grant, decided from what the transaction has read under its lock.

use grantry_protocol::{ActiveTokenPolicy, Ending, IllegalTransition, Timestamp, TokenId, TokenState};
use serde::{Deserialize, Serialize};

use crate::{Issue, Opening, Rotation, StoredGrant, StoredToken, Unwritten};

/// What a slot's row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub id: TokenId,
    pub expires_at: Timestamp,
    /// The holder before it, if that was known when this one was made and found not good enough.
    pub displaced: Option<TokenId>,
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

/// What is known when a token that was answered before it was written gets its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling {
    pub already_written: bool,
    /// It was revoked before it had a row.
    pub ended_early: bool,
    pub ended_by_rule: bool,
    /// The token that the slot names.
    pub holder: Option<StoredToken>,
    /// The holder was made by somebody who knew this token.
    pub displaced_by_holder: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleDecision {
    /// The token is there already: an earlier attempt was committed, or the journal is replayed.
    AlreadyWritten,
    /// It has expired; write nothing.
    Skip,
    /// Insert it and make it the holder; the previous one, if any, is over or becomes RETIRED.
    TakeSlot,
    /// The same, and this earlier holder ends as INACTIVE and is announced in the log.
    TakeSlotAndEnd(TokenId),
    /// Insert it without its slot: RETIRED, or ended by a rule.
    Insert,
    /// Insert it as ended; INACTIVE is announced in the log, REVOKED has been.
    InsertEnded(Ending),
}

/// Who gets the slot when both tokens are with clients already: the later one by id, whichever comes first, so that
/// the same tokens end the same in any order. The earlier one becomes INACTIVE, unless whoever made the later one
/// meant to leave it valid: it knew the earlier one, or would have found it too short of life, or both are of one grant.
pub fn decide_settle(issue: &Issue, settling: &Settling, now: Timestamp) -> SettleDecision {
    let token = &issue.token;
    let holder = match &settling.holder {
        _ if settling.already_written => return SettleDecision::AlreadyWritten,
        _ if token.expires_at <= now => return SettleDecision::Skip,
        _ if settling.ended_early => return SettleDecision::InsertEnded(Ending::Revoked),
        _ if settling.ended_by_rule => return SettleDecision::Insert,
        Some(holder) if holder.state(now).is_honoured() => holder,
        Some(_) | None => return SettleDecision::TakeSlot,
    };
    let is_later = holder.token.id < token.id;
    let (earlier, later) = if is_later { (&holder.token, token) } else { (token, &holder.token) };
    let knew = if is_later { issue.observed == Some(earlier.id) } else { settling.displaced_by_holder };
    let retires = match issue.policy {
        ActiveTokenPolicy::Multiple => true,
        ActiveTokenPolicy::Replace => false,
        ActiveTokenPolicy::Reuse => {
            knew || earlier.expires_at <= later.issued_at + issue.min_life
                || (earlier.authority.grant.is_some() && earlier.authority.grant == later.authority.grant)
        }
    };
    match (is_later, retires) {
        (true, true) => SettleDecision::TakeSlot,
        (true, false) => SettleDecision::TakeSlotAndEnd(earlier.id),
        (false, true) => SettleDecision::Insert,
        (false, false) => SettleDecision::InsertEnded(Ending::Inactive),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeDecision {
    /// Record this ending, free the slot if the token holds it, append to the log.
    End(Ending),
    /// Remember the end for the row that may still come, append to the log.
    EndEarly(Unwritten),
    AlreadyOver,
    Unknown,
}

pub fn decide_revoke(
    token: Option<&StoredToken>,
    unwritten: Option<Unwritten>,
    ended_early: bool,
    now: Timestamp,
) -> RevokeDecision {
    let Some(token) = token else {
        return match unwritten {
            Some(_) if ended_early => RevokeDecision::AlreadyOver,
            Some(unwritten) if unwritten.expires_by > now => RevokeDecision::EndEarly(unwritten),
            Some(_) | None => RevokeDecision::Unknown,
        };
    };
    match token.state(now).end(Ending::Revoked) {
        Ok(TokenState::Revoked) => RevokeDecision::End(Ending::Revoked),
        Ok(_) | Err(IllegalTransition { .. }) => RevokeDecision::AlreadyOver,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenDecision {
    /// The grant is there already: an earlier attempt was committed and its answer lost.
    AlreadyWritten,
    /// Insert the grant and its token; the grant that the slot names, if any, loses it.
    Open,
    /// Write nothing; the live grant that the slot names is the slot's.
    Yield,
}

/// `holder` is what the grant's slot names, read under the lock.
pub fn decide_open(
    opening: &Opening,
    already_written: bool,
    holder: Option<&StoredGrant>,
    now: Timestamp,
) -> OpenDecision {
    match holder {
        _ if already_written => OpenDecision::AlreadyWritten,
        Some(holder) if opening.grant.slot.is_some() && holder.is_active(now) => OpenDecision::Yield,
        _ => OpenDecision::Open,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationDecision {
    /// Move the counter on by one, from this value.
    Rotate {
        from: u32,
    },
    /// The counter stays: a refresh token that is not rotated.
    Keep,
    /// The successor was made before: give it again, with the access token that was made with it if that is still
    /// good, else with the new one.
    Repeat,
    TooSlow,
    /// End the grant.
    Reuse,
    Ahead,
    Over,
}

/// What a refresh token means, from the counter that it carries and the grant's row.
pub fn decide_rotation(rotation: &Rotation, stored: &StoredGrant, now: Timestamp) -> RotationDecision {
    let grant = &stored.grant;
    // A clock that went back makes the last rotation lie ahead; that is within the grace, too.
    let within_grace = now.since(grant.rotated_at) <= rotation.grace;
    // No refresh token came back: this very write was committed, and its answer lost.
    let is_written = grant.access_token == rotation.token.id;
    match grant.counter.checked_sub(rotation.presented) {
        _ if !stored.is_active(now) => RotationDecision::Over,
        None => RotationDecision::Ahead,
        Some(0) if !rotation.advance => RotationDecision::Keep,
        Some(0) => RotationDecision::Rotate { from: grant.counter },
        Some(1) if within_grace || is_written => RotationDecision::Repeat,
        Some(_) if within_grace => RotationDecision::TooSlow,
        Some(_) => RotationDecision::Reuse,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use grantry_protocol::{
        AccessToken, AccessTokenFormat, Audience, Grant, GrantId, Lifetime, NodeNumber, ScopeSet, Seen, Slot,
    };

    use super::IssueDecision::{AlreadyWritten, TakeSlot, TakeSlotAndEnd, YieldTo};
    use super::*;
    use crate::AuditEntry;

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

    fn holder(expires_at: i64) -> Holder {
        Holder { id: id(1), expires_at: Timestamp::from_secs(expires_at), displaced: None }
    }

    #[test]
    fn who_gets_the_slot() {
        use ActiveTokenPolicy::{Multiple, Replace, Reuse};
        let live = Some(holder(1_011));
        let short = Some(holder(1_010));
        let expired = Some(holder(1_000));
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

    fn grant(counter: u32) -> StoredGrant {
        let token = issue(ActiveTokenPolicy::Reuse, None).token;
        let grant = Grant {
            id: GrantId::from_bytes([1; 16]),
            slot: Some(token.slot),
            client_id: token.client_id,
            subject: token.subject,
            subject_kind: token.subject_kind,
            scope: token.scope,
            audience: token.audience,
            session: None,
            seen: Seen::NOTHING,
            created_at: Timestamp::from_secs(10),
            expires_at: Timestamp::from_secs(5_000),
            idle_expires_at: Timestamp::from_secs(3_000),
            counter,
            rotated_at: Timestamp::from_secs(970),
            access_token: id(8),
            status_index: None,
        };
        StoredGrant { grant, ended_at: None, ended_by_rule: false }
    }

    fn rotation(presented: u32, advance: bool) -> Rotation {
        let Issue { token, policy, .. } = issue(ActiveTokenPolicy::Multiple, None);
        let audit = AuditEntry {
            at: NOW,
            actor: "c".to_owned(),
            action: "grant.reuse",
            target: String::new(),
            detail: serde_json::Value::Null,
            request_id: None,
        };
        Rotation {
            grant: GrantId::from_bytes([1; 16]),
            origin: None,
            presented,
            advance,
            grace: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            token,
            is_stored: true,
            policy,
            token_life: Duration::from_secs(60),
            keep_until: NOW,
            reuse_audit: audit,
        }
    }

    #[test]
    fn what_a_refresh_token_means() {
        use RotationDecision::{Ahead, Keep, Over, Repeat, Reuse, Rotate, TooSlow};
        const LAST: Timestamp = NOW;
        const AFTER: Timestamp = Timestamp::from_millis(1_000_001);
        const BACK: Timestamp = Timestamp::from_secs(500);
        const IDLE: Timestamp = Timestamp::from_secs(3_000);
        const MAX: u32 = u32::MAX;
        // The last rotation was 30 s, the whole grace, before LAST.
        // the grant's counter, presented, rotated, at => decision
        let table = [
            (5, 5, true, LAST, Rotate { from: 5 }),
            (5, 5, true, AFTER, Rotate { from: 5 }),
            (5, 5, true, BACK, Rotate { from: 5 }),
            (5, 5, false, AFTER, Keep),
            (0, 0, true, AFTER, Rotate { from: 0 }),
            (5, 4, true, LAST, Repeat),
            (5, 4, true, BACK, Repeat),
            (5, 4, false, LAST, Repeat),
            (5, 4, true, AFTER, Reuse),
            (5, 4, false, AFTER, Reuse),
            (5, 3, true, LAST, TooSlow),
            (5, 0, true, LAST, TooSlow),
            (5, 3, true, AFTER, Reuse),
            (5, 6, true, LAST, Ahead),
            (5, 6, false, AFTER, Ahead),
            (0, MAX, true, AFTER, Ahead),
            (MAX, 0, true, AFTER, Reuse),
            (5, 5, true, IDLE, Over),
            (5, 4, true, IDLE, Over),
            (5, 6, true, IDLE, Over),
        ];
        for (counter, presented, advance, now, expected) in table {
            let decision = decide_rotation(&rotation(presented, advance), &grant(counter), now);
            assert_eq!(decision, expected, "{counter} presented {presented} rotated {advance} at {now:?}");
        }
        let mut written = grant(5);
        written.grant.access_token = rotation(4, true).token.id;
        assert_eq!(decide_rotation(&rotation(4, true), &written, AFTER), Repeat, "the answer was lost");
        let ends: [fn(&mut StoredGrant); 3] =
            [|g| g.ended_at = Some(NOW), |g| g.ended_by_rule = true, |g| g.grant.expires_at = NOW];
        for end in ends {
            let mut over = grant(5);
            end(&mut over);
            for presented in 3..7 {
                assert_eq!(decide_rotation(&rotation(presented, true), &over, NOW), Over, "{over:?}");
            }
        }
    }

    #[test]
    fn who_gets_a_grants_slot() {
        let Rotation { token, policy, .. } = rotation(0, true);
        let opening = |slot| Opening {
            grant: Grant { slot, ..grant(0).grant },
            token: token.clone(),
            is_stored: true,
            policy,
        };
        let (own, none) = (opening(Some(token.slot)), opening(None));
        let live = grant(3);
        let over = StoredGrant { ended_at: Some(NOW), ..grant(3) };
        assert_eq!(decide_open(&own, false, None, NOW), OpenDecision::Open);
        assert_eq!(decide_open(&own, false, Some(&live), NOW), OpenDecision::Yield);
        assert_eq!(decide_open(&own, false, Some(&over), NOW), OpenDecision::Open);
        assert_eq!(decide_open(&own, false, Some(&live), live.grant.ends_at()), OpenDecision::Open);
        assert_eq!(decide_open(&own, true, Some(&live), NOW), OpenDecision::AlreadyWritten);
        assert_eq!(decide_open(&none, false, Some(&live), NOW), OpenDecision::Open);
    }

    #[test]
    fn what_a_revocation_does() {
        let token = issue(ActiveTokenPolicy::Reuse, None).token;
        let stored = StoredToken { token, ended: None, ended_by_rule: false, holds_slot: true };
        let with = |change: fn(&mut StoredToken)| {
            let mut changed = stored.clone();
            change(&mut changed);
            decide_revoke(Some(&changed), None, false, NOW)
        };
        assert_eq!(decide_revoke(None, None, false, NOW), RevokeDecision::Unknown);
        assert_eq!(with(|_| ()), RevokeDecision::End(Ending::Revoked));
        assert_eq!(with(|t| t.holds_slot = false), RevokeDecision::End(Ending::Revoked));
        assert_eq!(with(|t| t.ended = Some(Ending::Inactive)), RevokeDecision::End(Ending::Revoked));
        assert_eq!(with(|t| t.ended = Some(Ending::Revoked)), RevokeDecision::AlreadyOver);
        assert_eq!(with(|t| t.ended_by_rule = true), RevokeDecision::AlreadyOver);
        assert_eq!(with(|t| t.token.expires_at = NOW), RevokeDecision::AlreadyOver);
    }

    #[test]
    fn what_the_revocation_of_an_unwritten_token_does() {
        let by = NodeNumber::new(1);
        let until = |secs| Unwritten { by, expires_by: Timestamp::from_secs(secs) };
        let revoke = |unwritten, ended_early| decide_revoke(None, Some(unwritten), ended_early, NOW);
        assert_eq!(revoke(until(1_001), false), RevokeDecision::EndEarly(until(1_001)));
        assert_eq!(revoke(until(1_001), true), RevokeDecision::AlreadyOver);
        assert_eq!(revoke(until(1_000), false), RevokeDecision::Unknown, "it has expired");
    }

    /// The token that is settled has id 9, was issued at 1,000 s and lives for 60 s; `min_life` is 10 s.
    #[test]
    fn who_gets_the_slot_when_both_tokens_are_with_clients() {
        use ActiveTokenPolicy::{Multiple, Replace, Reuse};
        use SettleDecision::{Insert, InsertEnded, Skip, TakeSlot, TakeSlotAndEnd};
        const AFTER: Timestamp = Timestamp::from_secs(1_060);
        let grant_of = |n| Some(GrantId::from_bytes([n; 16]));
        let stored = |n: u8, change: fn(&mut StoredToken)| {
            let mut token = issue(Reuse, None).token;
            token.id = id(n);
            let mut stored = StoredToken { token, ended: None, ended_by_rule: false, holds_slot: true };
            change(&mut stored);
            Some(stored)
        };
        let live = |n| stored(n, |_| ());
        let short = |n| stored(n, |s| s.token.expires_at = Timestamp::from_secs(1_010));
        let over = |n| stored(n, |s| s.token.expires_at = NOW);
        let by_rule = |n| stored(n, |s| s.ended_by_rule = true);
        let of_grant = |n| stored(n, |s| s.token.authority.grant = Some(GrantId::from_bytes([7; 16])));
        let late = |n| stored(n, |s| s.token.issued_at = Timestamp::from_secs(1_050));
        let ended = InsertEnded(Ending::Inactive);
        // policy, observed, grant, holder, displaced by the holder => decision
        let table = [
            (Reuse, None, None, None, false, TakeSlot),
            (Reuse, None, None, live(1), false, TakeSlotAndEnd(id(1))),
            (Reuse, Some(id(1)), None, live(1), false, TakeSlot),
            (Reuse, Some(id(2)), None, live(1), false, TakeSlotAndEnd(id(1))),
            (Reuse, None, None, short(1), false, TakeSlot),
            (Reuse, None, None, over(1), false, TakeSlot),
            (Reuse, None, None, by_rule(1), false, TakeSlot),
            (Reuse, None, grant_of(7), of_grant(1), false, TakeSlot),
            (Reuse, None, grant_of(8), of_grant(1), false, TakeSlotAndEnd(id(1))),
            (Reuse, None, None, live(10), false, ended),
            (Reuse, None, None, live(10), true, Insert),
            (Reuse, None, None, late(10), false, Insert),
            (Reuse, None, None, over(10), false, TakeSlot),
            (Reuse, None, None, by_rule(10), false, TakeSlot),
            (Reuse, None, grant_of(7), of_grant(10), false, Insert),
            (Reuse, None, grant_of(8), of_grant(10), false, ended),
            (Replace, None, None, None, false, TakeSlot),
            (Replace, None, None, live(1), false, TakeSlotAndEnd(id(1))),
            (Replace, None, None, short(1), false, TakeSlotAndEnd(id(1))),
            (Replace, None, None, over(1), false, TakeSlot),
            (Replace, None, None, live(10), true, ended),
            (Multiple, None, None, live(1), false, TakeSlot),
            (Multiple, None, None, live(10), false, Insert),
        ];
        for (policy, observed, grant, holder, displaced_by_holder, expected) in table {
            let mut issue = issue(policy, observed);
            issue.token.authority.grant = grant;
            let settling = Settling {
                already_written: false,
                ended_early: false,
                ended_by_rule: false,
                holder,
                displaced_by_holder,
            };
            let decide = |change: fn(&mut Settling), now| {
                let mut settling = settling.clone();
                change(&mut settling);
                decide_settle(&issue, &settling, now)
            };
            let row = format!("{policy:?} observed {observed:?} {settling:?}");
            assert_eq!(decide(|_| (), NOW), expected, "{row}");
            assert_eq!(decide(|s| s.already_written = true, NOW), SettleDecision::AlreadyWritten, "{row}");
            assert_eq!(decide(|_| (), AFTER), Skip, "{row}");
            assert_eq!(decide(|s| s.ended_early = true, NOW), InsertEnded(Ending::Revoked), "{row}");
            assert_eq!(decide(|s| s.ended_by_rule = true, NOW), Insert, "{row}");
        }
    }
}
