//! How a token comes into being: what the node has seen is captured, something is read, and later it is signed.

use grantry_protocol::Position;

use super::database::{Ends, Log};
use super::{Action, Authority, End, Mutation, Origin, Protocol, Reads, State, Token};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueStep {
    /// A request reaches a node, which captures what it has seen.
    Ask(usize),
    /// It reads at a server.
    Read(usize),
    MakeCode,
    /// The code reaches a node.
    Exchange(usize),
    Sign,
}

impl Protocol {
    pub fn issuing(&self, state: &State, actions: &mut Vec<Action>) {
        use IssueStep::{Ask, Exchange, MakeCode, Read, Sign};
        for (token, now) in state.tokens.iter().enumerate() {
            let mut add = |step| actions.push(Action::Issue(token, step));
            match now {
                Token::Absent => state.node_numbers().for_each(|node| add(Ask(node))),
                Token::Asked { .. } => {
                    let servers = state.database.readable().filter(|server| self.may_read(state, *server));
                    servers.for_each(|server| add(Read(server)));
                }
                Token::Authorized { .. } if self.scope.tokens[token] == Origin::Code => add(MakeCode),
                Token::Authorized { .. } => add(Sign),
                Token::Code(_) => state.node_numbers().for_each(|node| add(Exchange(node))),
                Token::Signed(_) => {}
            }
        }
    }

    pub fn issue(&self, state: &mut State, token: usize, step: IssueStep) -> Option<()> {
        state.tokens[token] = match step {
            IssueStep::Ask(node) => Token::Asked { node, seen: state.nodes[node].applied.as_ref()?.seen() },
            IssueStep::Read(server) => self.read(state, token, server)?,
            IssueStep::MakeCode => Token::Code(*state.tokens[token].authority()?),
            IssueStep::Exchange(node) => self.sign(state, token, node, Mutation::SeenAtExchange)?,
            IssueStep::Sign => {
                let node = state.tokens[token].requested_at()?;
                self.sign(state, token, node, Mutation::SeenAtSigning)?
            }
        };
        Some(())
    }

    /// Here the authority is given: what took effect before is in what is read, unless a deposed primary is read.
    fn read(&self, state: &State, token: usize, server: usize) -> Option<Token> {
        let Token::Asked { node, mut seen } = state.tokens[token] else { return None };
        let (read, current) = (state.database.log(server), state.database.log(state.database.primary()));
        if self.scope.reads == Reads::AnyWithItsHead {
            seen = seen.min(read.page(&self.scope.ends, Position(0)).head.seen());
        }
        let ended_by = self.rules(current).except(self.rules(read));
        Some(Token::Authorized { node, authority: Authority { seen, ended_by } })
    }

    fn sign(&self, state: &State, token: usize, node: usize, taken_anew: Mutation) -> Option<Token> {
        let (authority, now) =
            (*state.tokens[token].authority()?, state.nodes[node].applied.as_ref()?.seen());
        let seen = if self.is(taken_anew) { now } else { authority.seen };
        Some(Token::Signed(Authority { seen, ..authority }))
    }

    fn may_read(&self, state: &State, server: usize) -> bool {
        self.scope.reads != Reads::Primary || !state.database.is_deposed(server)
    }

    fn rules(&self, log: &Log) -> Ends {
        log.visible().filter(|&end| self.scope.ends[end] == End::Rule).collect()
    }
}
