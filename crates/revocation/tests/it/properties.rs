//! What must always hold, and what must happen at times so that the model is about something.

use grantry_protocol::Position;
use stateright::Property;

use crate::model::database::Ends;
use crate::model::scope::{End, Standby};
use crate::model::{Answer, Origin, Protocol, State};

pub const TOKEN_STAYS_ENDED: &str = "no token is active that was revoked longer ago than the bound";
pub const RULE_HOLDS: &str = "nothing from before a rule is active longer after it than the bound";
pub const NOTHING_IS_FORGOTTEN: &str = "what a node has taken in as ended is not active there";

pub const NOTHING_IS_LOST: &str = "a log with a synchronous standby never lacks what a node has taken in";

type Condition = fn(&Protocol, &State) -> bool;

pub fn of(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let scope = &protocol.scope;
    let mut properties = vec![
        Property::always(TOKEN_STAYS_ENDED, |p, s| !is_active_in_spite_of(p, s, |end| end != End::Rule)),
        Property::always(RULE_HOLDS, |p, s| !is_active_in_spite_of(p, s, |end| end == End::Rule)),
        Property::always(NOTHING_IS_FORGOTTEN, |p, s| !is_active_and(p, s, |_, known| !known.is_empty())),
    ];
    if scope.standby == Standby::Synchronous {
        properties.push(Property::always(NOTHING_IS_LOST, |_, s: &State| !s.database.is_repaired()));
    }
    let mut sometimes = |name, condition: Condition| properties.push(Property::sometimes(name, condition));
    sometimes("a token is active", |p, s| p.answer(s) == Some(Answer::Active));
    sometimes("a token is not active any more", |p, s| p.answer(s) == Some(Answer::Inactive));
    sometimes("a node that is not fresh refuses", |p, s| p.answer(s) == Some(Answer::Unavailable));
    if scope.ends.contains(&End::Rule) && scope.tokens.iter().any(|origin| *origin != Origin::Earlier) {
        sometimes("a token from after a rule is active where the rule is known", is_active_after_a_rule);
    }
    if scope.standby == Standby::Asynchronous {
        sometimes("what was lost is in the log again", |_, s| s.database.is_repaired());
    }
    if scope.standby != Standby::None {
        sometimes("after a promotion a token is active", |p, s| {
            s.database.promoted && p.answer(s) == Some(Answer::Active)
        });
    }
    properties
}

fn is_active_and(protocol: &Protocol, state: &State, condition: impl Fn(Ends, Ends) -> bool) -> bool {
    let is_met = state.introspection.as_ref().is_some_and(|request| condition(request.due, request.known));
    is_met && protocol.answer(state) == Some(Answer::Active)
}

fn is_active_in_spite_of(protocol: &Protocol, state: &State, which: impl Fn(End) -> bool) -> bool {
    let ends = &protocol.scope.ends;
    is_active_and(protocol, state, |due, _| (0..ends.len()).any(|end| due.contains(end) && which(ends[end])))
}

fn is_active_after_a_rule(protocol: &Protocol, state: &State) -> bool {
    let Some(request) = &state.introspection else { return false };
    let has_seen_some =
        state.tokens[request.token].authority().is_some_and(|from| from.seen.position > Position(0));
    let mut rules = (0..protocol.scope.ends.len()).filter(|&end| protocol.scope.ends[end] == End::Rule);
    let knows_all = rules.all(|end| state.nodes[request.node].known.contains(end));
    has_seen_some && knows_all && protocol.answer(state) == Some(Answer::Active)
}
