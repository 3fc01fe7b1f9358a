//! How a node says whether a token is active.

use super::database::Ends;
use super::node::{Node, is_ended_by};
use super::{Action, Age, Mutation, Protocol, State, Token};

/// A request, and what a node has found in its index. One at a time is enough: it changes nothing for the others.
///
/// It is looked up at the moment at which it was sent: a promise that is due for a request from earlier is due for this
/// one, too. The node may hold it for as long as it likes before it answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Introspection {
    pub node: usize,
    pub token: usize,
    /// What has to end the token and was acknowledged so long before the request was sent that the promise is due.
    pub due: Ends,
    /// What has to end the token and the node had read of.
    pub known: Ends,
    pub ended: bool,
    /// How old the node's proof has become that it had when it looked.
    pub proof: Age,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Active,
    Inactive,
    /// The node is not fresh. Another look is like another request.
    Unavailable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntrospectStep {
    /// A request for a token reaches a node, which looks in its index.
    LookUp {
        token: usize,
        node: usize,
    },
    /// What a mutant alone does: the node reads the log at a server.
    ReadLog(usize),
    Answer,
}

impl Introspection {
    pub fn age(&mut self) {
        self.proof = self.proof.older();
    }

    pub fn swap_nodes(&mut self) {
        self.node = 1 - self.node;
    }
}

impl Protocol {
    /// What the request would be answered now, by what was found.
    pub fn answer(&self, state: &State) -> Option<Answer> {
        let request = state.introspection.as_ref()?;
        let proof = match self.is(Mutation::LookUpBeforeTheWait) {
            true => state.nodes[request.node].proof,
            false => request.proof,
        };
        Some(match (request.ended, proof.is_fresh()) {
            (true, _) => Answer::Inactive,
            (false, true) => Answer::Active,
            (false, false) => Answer::Unavailable,
        })
    }

    /// What was found is in the request's hands: nothing but time can change the answer, unless a mutant waits with it.
    pub fn has_only_to_answer(&self, state: &State) -> bool {
        state.introspection.is_some() && !self.is(Mutation::LookUpBeforeTheWait)
    }

    pub fn introspecting(&self, state: &State, actions: &mut Vec<Action>) {
        use IntrospectStep::{Answer as Reply, LookUp, ReadLog};
        let mut add = |step| actions.push(Action::Introspect(step));
        if state.introspection.is_none() {
            let signed = |token: &usize| matches!(state.tokens[*token], Token::Signed(_));
            let tokens = (0..state.tokens.len()).filter(signed);
            tokens.for_each(|token| state.node_numbers().for_each(|node| add(LookUp { token, node })));
            return;
        }
        add(Reply);
        if self.is(Mutation::PlainReadFallback) && self.answer(state) == Some(Answer::Unavailable) {
            state.database.readable().for_each(|server| add(ReadLog(server)));
        }
    }

    pub fn introspect(&self, state: &mut State, step: IntrospectStep) -> Option<()> {
        match step {
            IntrospectStep::LookUp { token, node } => {
                state.introspection = Some(look_up(state, token, node)?);
            }
            IntrospectStep::ReadLog(server) => return self.read_log(state, server),
            IntrospectStep::Answer => state.introspection = None,
        }
        Some(())
    }

    fn read_log(&self, state: &mut State, server: usize) -> Option<()> {
        let request = state.introspection.as_mut()?;
        let Token::Signed(authority) = &state.tokens[request.token] else { return None };
        request.ended = is_ended_by(state.database.log(server), &self.scope, request.token, authority);
        request.proof = Age::NEW;
        Some(())
    }
}

fn look_up(state: &State, token: usize, node: usize) -> Option<Introspection> {
    let Token::Signed(authority) = &state.tokens[token] else { return None };
    let due = (0..state.endings.len()).filter(|&end| state.endings[end].is_due()).collect::<Ends>();
    let Node { applied, proof, known, .. } = &state.nodes[node];
    Some(Introspection {
        node,
        token,
        due: due.and(authority.ended_by),
        known: known.and(authority.ended_by),
        ended: applied.as_ref().is_some_and(|applied| applied.is_ended(token, authority)),
        proof: *proof,
    })
}
