//! The states of two nodes, a database and its standby, and all that can happen next.
//!
//! Requests to end something, to issue, to introspect and to probe are each several steps, and between any two of them
//! anything else may happen. What the model leaves out would make nodes answer `active` less often, never more: tokens
//! do not expire, no row says that one has ended, and a node issues whether it is fresh or not.

pub mod database;
mod ending;
mod introspecting;
mod issuing;
pub mod node;
mod probing;
pub mod scope;
mod time;
mod tokens;

use std::ops::Range;

use stateright::{Model, Property};

use self::database::Database;
use self::ending::{EndStep, Ending};
pub use self::introspecting::Answer;
use self::introspecting::{IntrospectStep, Introspection};
use self::issuing::IssueStep;
use self::node::Node;
use self::probing::ProbeStep;
use self::scope::{End, Mutation, Reads, Scope, Standby};
use self::time::Age;
pub use self::tokens::Origin;
use self::tokens::{Authority, Token};
use crate::properties;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub database: Database,
    /// One for each end of the scope.
    pub endings: Vec<Ending>,
    /// One or two.
    pub nodes: Vec<Node>,
    pub tokens: Vec<Token>,
    pub introspection: Option<Introspection>,
}

/// The numbers say which token, which end of the scope, which node or which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    TimePasses,
    RestartNode(usize),
    /// The standby receives an entry.
    Ship,
    PromoteStandby,
    Issue(usize, IssueStep),
    End(usize, EndStep),
    Probe(usize, ProbeStep),
    Introspect(IntrospectStep),
}

#[derive(Debug, Clone)]
pub struct Protocol {
    pub scope: Scope,
    pub mutation: Option<Mutation>,
}

impl Protocol {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn first_tokens(&self) -> Vec<Token> {
        let first = |origin: &Origin| match origin {
            Origin::Earlier => Token::Signed(Authority::FIRST),
            Origin::Request | Origin::Code => Token::Absent,
        };
        self.scope.tokens.iter().map(first).collect()
    }
}

impl State {
    fn node_numbers(&self) -> Range<usize> {
        0..self.nodes.len()
    }

    fn age(&mut self) {
        self.nodes.iter_mut().for_each(Node::age);
        self.endings.iter_mut().for_each(Ending::age);
        self.introspection.iter_mut().for_each(Introspection::age);
    }

    /// Requests at the node end with it.
    fn restart(&mut self, node: usize) {
        self.nodes[node] = Node::STARTED;
        let requests = self.tokens.iter_mut().filter(|token| token.requested_at() == Some(node));
        requests.for_each(|token| *token = Token::Absent);
    }

    /// The nodes are interchangeable: of two states that differ in which is which, one is looked at. So a
    /// node's number may change from one step to the next.
    fn with_nodes_in_order(mut self) -> Self {
        if !self.nodes.is_sorted() {
            self.nodes.swap(0, 1);
            self.tokens.iter_mut().for_each(Token::swap_nodes);
            self.introspection.iter_mut().for_each(Introspection::swap_nodes);
        }
        self
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            database: Database::EMPTY,
            endings: vec![Ending::ToCome; self.scope.ends.len()],
            nodes: vec![Node::STARTED; self.scope.nodes],
            tokens: self.first_tokens(),
            introspection: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::TimePasses);
        self.introspecting(state, actions);
        if self.has_only_to_answer(state) {
            return;
        }
        self.ending(state, actions);
        self.issuing(state, actions);
        self.probing(state, actions);
        if self.scope.restarts {
            actions.extend(state.node_numbers().map(Action::RestartNode));
        }
        if self.scope.standby != Standby::None && !state.database.promoted {
            actions.extend([Action::Ship, Action::PromoteStandby]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::TimePasses => next.age(),
            Action::RestartNode(node) => next.restart(node),
            Action::Ship => next.database.ship().then_some(())?,
            Action::PromoteStandby => self.promote(&mut next),
            Action::Issue(token, step) => self.issue(&mut next, token, step)?,
            Action::End(end, step) => self.end(&mut next, end, step)?,
            Action::Probe(node, step) => self.probe(&mut next, node, step)?,
            Action::Introspect(step) => self.introspect(&mut next, step)?,
        }
        Some(next.with_nodes_in_order())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}
