//! What must be true when everything has come to rest: all nodes up, the store up, nothing queued.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grantry_persistence::PersistenceError;
use grantry_protocol::{
    ActiveTokenPolicy, Clock, Ending, LogEntry, LogHead, LogKind, PersistenceMode, Position, RuleKeys,
    SlotKey, Timestamp, TokenId, TokenState,
};
use grantry_store::StoredToken;

use super::clients::{ClientKind, MIN_LIFE};
use super::cluster::Cluster;
use super::model::{Answered, Knowledge, Made, Origin};

/// Clocks of different machines judge how much life a token has left; so far are they apart at most.
const SLACK: Duration = Duration::from_secs(8);

/// The store as it is.
pub struct Rest {
    pub now: Timestamp,
    pub rows: BTreeMap<TokenId, StoredToken>,
    pub log: Vec<LogEntry>,
}

impl Cluster {
    /// Checks, and answers what it has seen.
    pub async fn check(&self) -> Rest {
        let rest = self.look().await;
        self.check_nodes(&rest).await;
        let mut violations = Vec::new();
        {
            let known = self.model.knowledge();
            check_log(&rest, &mut violations);
            for answered in known.answered.values() {
                check_kept(answered, &rest, &mut violations);
            }
            let slots = by_slot(&known);
            for (id, row) in &rest.rows {
                let Some(made) = known.made.get(id) else { continue };
                let rivals = &slots[&row.token.slot];
                if let Err(why) = explain(row, made, rivals, &rest, &known) {
                    violations.push(format!("{id} is {:?}, and {why}", row.state(rest.now)));
                }
            }
            for (slot, rivals) in &slots {
                check_slot(*slot, rivals, &rest, &known, &mut violations);
            }
            check_refreshes(&known, &rest, &mut violations);
            check_absent(&known, &rest, &mut violations);
        }
        self.check_ends(&rest);
        violations.into_iter().for_each(|violation| self.model.violation(violation));
        rest
    }

    /// A restart of everything changes no token, but for what a record does that could not be written for certain and
    /// was not answered: it comes back, and takes its slot like any other.
    pub fn check_unchanged(&self, before: &Rest, after: &Rest) {
        let new: Vec<&StoredToken> =
            after.rows.iter().filter(|(id, _)| !before.rows.contains_key(*id)).map(|(_, row)| row).collect();
        for row in &new {
            let known = self.model.knowledge();
            let answered = known.answered.get(&row.token.id);
            let was_certain =
                answered.is_some_and(|answered| answered.token.deferred_by.is_some() && !answered.at_risk);
            drop(known);
            if was_certain {
                self.model.violation(format!("{} was written after a restart only", row.token.id));
            }
        }
        for (id, row) in &before.rows {
            let now = after.rows.get(id);
            if now != Some(row) && new.iter().all(|new| new.token.slot != row.token.slot) {
                self.model.violation(format!("{id} was {row:?} before a restart, and is {now:?}"));
            }
        }
    }

    async fn look(&self) -> Rest {
        let store = &self.far_end.store;
        let made: Vec<TokenId> = self.model.knowledge().made.keys().copied().collect();
        let mut rows = BTreeMap::new();
        for id in made {
            if let Some(row) = store.token_find(id).await.unwrap() {
                rows.insert(id, row);
            }
        }
        let count = store.token_count().await.unwrap();
        if count != rows.len() as u64 {
            self.model
                .violation(format!("the store has {count} tokens, and {} of them were made", rows.len()));
        }
        let log = store.revocation_list(Position(0), usize::MAX).await.unwrap();
        let head = log.iter().fold(LogHead::EMPTY, |head, entry| {
            let (next, head) = head.append(entry.kind, entry.key.clone(), entry.keep_until);
            if next.position != entry.position {
                self.model.violation(format!("the log has a gap before {:?}", entry.position));
            }
            head
        });
        if head != store.revocation_head().await.unwrap() {
            self.model.violation("the chain of the log does not come out".to_owned());
        }
        Rest { now: self.far_end.clock.now(), rows, log }
    }

    /// Every node finds every token, as it is.
    async fn check_nodes(&self, rest: &Rest) {
        let answered: Vec<Answered> = self.model.knowledge().answered.values().cloned().collect();
        let wild_clocks = self.model.knowledge().wild_clocks;
        for process in self.processes() {
            for Answered { token, at_risk } in &answered {
                let row = rest.rows.get(&token.id);
                let found = process.persistence.find_token(token.id, token.deferred_by).await;
                let is_right = match &found {
                    Ok(found) => found.as_ref() == row,
                    // A clock that went back far holds back the mark, too.
                    Err(error) => {
                        let may_be_unknown = *at_risk || (wild_clocks && token.expires_at <= rest.now);
                        row.is_none() && may_be_unknown && PersistenceError::is_unwritten(error)
                    }
                };
                if !is_right {
                    let (node, id) = (process.node, token.id);
                    self.model.violation(format!("n{node} has {found:?} for {id}, which is {row:?}"));
                }
            }
        }
    }

    fn check_ends(&self, rest: &Rest) {
        for (id, row) in &rest.rows {
            if row.state(rest.now).is_honoured() && self.model.is_over(&row.token) {
                self.model.violation(format!("{id} is honoured after its end was answered"));
            }
        }
    }
}

fn by_slot(known: &Knowledge) -> BTreeMap<SlotKey, Vec<&Made>> {
    let mut slots: BTreeMap<SlotKey, Vec<&Made>> = BTreeMap::new();
    for made in known.made.values() {
        slots.entry(made.token.slot).or_default().push(made);
    }
    slots
}

/// What was answered has its row, unless nobody can need it.
fn check_kept(answered: &Answered, rest: &Rest, violations: &mut Vec<String>) {
    let token = &answered.token;
    match rest.rows.get(&token.id) {
        None if token.expires_at > rest.now && !answered.at_risk => {
            violations.push(format!("{} was answered, and is lost", token.id));
        }
        _ => {}
    }
}

fn announced(id: TokenId, rest: &Rest) -> usize {
    let names = |entry: &&LogEntry| entry.kind == LogKind::Token && entry.key == id.as_bytes();
    rest.log.iter().filter(names).count()
}

fn check_log(rest: &Rest, violations: &mut Vec<String>) {
    for (id, row) in &rest.rows {
        let allowed = match row.ended {
            None => 0..=0,
            Some(Ending::Inactive) => 1..=1,
            // What was INACTIVE may be revoked besides.
            Some(Ending::Revoked) => 1..=2,
        };
        let count = announced(*id, rest);
        if !allowed.contains(&count) {
            violations.push(format!("{id} is ended as {:?} and announced {count} times", row.ended));
        }
    }
}

/// Why the token is in its state, from what has happened.
fn explain(
    row: &StoredToken,
    made: &Made,
    rivals: &[&Made],
    rest: &Rest,
    known: &Knowledge,
) -> Result<(), &'static str> {
    let id = made.token.id;
    let others =
        || rivals.iter().filter(|rival| rival.token.id != id && rest.rows.contains_key(&rival.token.id));
    let client = ClientKind::of(&made.token);
    match row.state(rest.now) {
        TokenState::Active | TokenState::Expired => Ok(()),
        TokenState::Revoked if row.ended_by_rule => match is_ruled_out(row, rest) {
            true => Ok(()),
            false => Err("no rule says so"),
        },
        TokenState::Revoked => match known.revoking.contains(&id) {
            true => Ok(()),
            false => Err("nobody has revoked it"),
        },
        TokenState::Inactive => match client.policy {
            ActiveTokenPolicy::Multiple => Err("its client may have several"),
            ActiveTokenPolicy::Replace if others().next().is_some() => Ok(()),
            ActiveTokenPolicy::Reuse if client.mode == PersistenceMode::Sync => Err("it was committed first"),
            ActiveTokenPolicy::Reuse if others().any(|rival| ends(rival, made, known)) => Ok(()),
            _ => Err("no other token has ended it"),
        },
        TokenState::Retired => match client.policy {
            ActiveTokenPolicy::Multiple if others().next().is_some() => Ok(()),
            ActiveTokenPolicy::Replace if may_leave_several(known) => Ok(()),
            ActiveTokenPolicy::Replace => Err("its client has one at most"),
            ActiveTokenPolicy::Reuse if others().any(|rival| retires(rival, made, known)) => Ok(()),
            _ => Err("no other token has retired it"),
        },
    }
}

/// Whether the holder of a slot under `replace` may be displaced without being ended: by a node whose clock said that it
/// has expired.
fn may_leave_several(known: &Knowledge) -> bool {
    known.wild_clocks
}

fn is_ruled_out(row: &StoredToken, rest: &Rest) -> bool {
    let keys: RuleKeys<'_> = (&row.token).into();
    let names = |entry: &LogEntry| keys.iter().any(|(kind, key)| kind == entry.kind && key == entry.key);
    rest.log.iter().any(|entry| entry.position > row.token.authority.seen.position && names(entry))
}

/// Whether `rival`, which was made by somebody who did not know of `made`, ends it. Requests at one node know of each
/// other's tokens, unless one of them went around the queue.
fn ends(rival: &Made, made: &Made, known: &Knowledge) -> bool {
    let went_around = |made: &Made| {
        let answered = known.answered.get(&made.token.id);
        answered.is_none_or(|answered| answered.token.deferred_by.is_none())
    };
    rival.origin != Origin::Issued { observed: Some(made.token.id) }
        && (known.wild_clocks || rival.token.id > made.token.id)
        && (rival.process != made.process || went_around(rival) || went_around(made))
}

/// Whether `rival` was made by somebody who meant to leave `made` valid.
fn retires(rival: &Made, made: &Made, known: &Knowledge) -> bool {
    let (rival_token, token) = (&rival.token, &made.token);
    known.wild_clocks
        || matches!(rival.origin, Origin::Opened | Origin::Refreshed)
        || rival.origin == Origin::Issued { observed: Some(token.id) }
        || token.expires_at <= rival_token.issued_at + MIN_LIFE + SLACK
        || (token.authority.grant.is_some() && token.authority.grant == rival_token.authority.grant)
}

fn check_slot(slot: SlotKey, rivals: &[&Made], rest: &Rest, known: &Knowledge, violations: &mut Vec<String>) {
    let rows = rivals.iter().filter_map(|rival| rest.rows.get(&rival.token.id));
    let honoured: Vec<&StoredToken> = rows.filter(|row| row.state(rest.now).is_honoured()).collect();
    let active: BTreeSet<TokenId> =
        honoured.iter().filter(|row| row.holds_slot).map(|row| row.token.id).collect();
    if active.len() > 1 {
        violations.push(format!("{slot:?} has several ACTIVE tokens: {active:?}"));
    }
    let Some(client) = rivals.first().map(|made| ClientKind::of(&made.token)) else { return };
    if client.policy == ActiveTokenPolicy::Replace && honoured.len() > 1 && !may_leave_several(known) {
        violations.push(format!("{slot:?} is replaced, and has {} tokens", honoured.len()));
    }
    if client.policy != ActiveTokenPolicy::Reuse || client.has_grant || known.wild_clocks {
        return;
    }
    let latest = honoured.iter().map(|row| row.token.id).max();
    if let (Some(active), Some(latest)) = (active.last(), latest)
        && *active != latest
    {
        violations.push(format!("{slot:?} has {active} as ACTIVE, and {latest} is later"));
    }
}

/// A refresh token gives one successor, and one access token that is good.
fn check_refreshes(known: &Knowledge, rest: &Rest, violations: &mut Vec<String>) {
    for (grant, model) in &known.grants {
        for (counter, tokens) in &model.spent {
            let good = tokens.iter().filter_map(|id| rest.rows.get(id));
            let good: BTreeSet<TokenId> =
                good.filter(|row| row.state(rest.now).is_honoured()).map(|row| row.token.id).collect();
            if good.len() > 1 {
                violations.push(format!("refresh token {counter} of {grant} was spent for {good:?}"));
            }
        }
    }
}

/// What was said not to exist must not have come after all.
fn check_absent(known: &Knowledge, rest: &Rest, violations: &mut Vec<String>) {
    for id in &known.absent {
        let is_at_risk = known.answered.get(id).is_some_and(|answered| answered.at_risk);
        let has_come = rest.rows.get(id).is_some_and(|row| row.ended != Some(Ending::Revoked));
        if has_come && !is_at_risk {
            violations.push(format!("{id} was said not to exist, and came after all"));
        }
    }
}
