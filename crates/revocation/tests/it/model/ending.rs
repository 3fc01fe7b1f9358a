//! How a request to end something becomes an entry of the log, and what becomes of the entry.

use super::database::Ends;
use super::{Action, Age, End, Mutation, Protocol, Standby, State, Token};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    ToCome,
    Begun,
    Acknowledged(Age),
    /// Whoever asked for it was not told what became of it.
    Unknown,
    /// It was acknowledged, and then a promotion lost it.
    Lost,
}

impl Ending {
    pub fn age(&mut self) {
        if let Self::Acknowledged(age) = self {
            *age = age.older();
        }
    }

    pub fn is_due(self) -> bool {
        matches!(self, Self::Acknowledged(age) if age.is_due())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndStep {
    /// The transaction touches the head of the log, which keeps the others waiting, and sends its commit.
    Begin,
    /// The commit is visible, and acknowledged.
    Finish,
    /// The wait for the standby is cancelled: what was written is visible where it was written.
    Cancel,
}

impl Protocol {
    pub fn ending(&self, state: &State, actions: &mut Vec<Action>) {
        for (end, ending) in state.endings.iter().enumerate() {
            let mut add = |step| actions.push(Action::End(end, step));
            match ending {
                Ending::ToCome => add(EndStep::Begin),
                Ending::Begun => [EndStep::Finish, EndStep::Cancel].into_iter().for_each(add),
                Ending::Acknowledged(_) | Ending::Unknown | Ending::Lost => {}
            }
        }
    }

    pub fn end(&self, state: &mut State, end: usize, step: EndStep) -> Option<()> {
        match step {
            EndStep::Begin => self.begin(state, end),
            EndStep::Finish => self.finish(state, end),
            EndStep::Cancel => self.cancel(state, end),
        }
    }

    fn begin(&self, state: &mut State, end: usize) -> Option<()> {
        let is_there = match self.scope.ends[end] {
            End::Token(token) => matches!(state.tokens[token], Token::Signed(_)),
            End::Rule => true,
        };
        (is_there && state.database.begin(end, self.mutation)).then(|| state.endings[end] = Ending::Begun)
    }

    fn finish(&self, state: &mut State, end: usize) -> Option<()> {
        let server = state.database.server_of(end)?;
        if state.database.is_deposed(server) {
            return None;
        }
        state.database.commit(&self.scope);
        state.database.show(server, end);
        self.takes_effect(state, end);
        state.endings[end] = Ending::Acknowledged(Age::NEW);
        Some(())
    }

    fn cancel(&self, state: &mut State, end: usize) -> Option<()> {
        let waits = |server: &usize| self.scope.standby == Standby::Synchronous && *server == 0;
        let server = state.database.server_of(end).filter(waits)?;
        state.database.show(server, end);
        if !state.database.is_deposed(server) {
            self.takes_effect(state, end);
        }
        state.endings[end] = match self.is(Mutation::WarningAcknowledged) {
            true => Ending::Acknowledged(Age::NEW),
            false => Ending::Unknown,
        };
        Some(())
    }

    pub fn promote(&self, state: &mut State) {
        let lost = state.database.promote(&self.scope);
        for end in 0..state.endings.len() {
            let came_through = state.database.log(1).has(end);
            match state.endings[end] {
                Ending::Begun if came_through => {
                    state.endings[end] = Ending::Unknown;
                    self.takes_effect(state, end);
                }
                Ending::Acknowledged(_) if lost.contains(end) && !self.is(Mutation::WarningAcknowledged) => {
                    state.endings[end] = Ending::Lost;
                }
                _ => {}
            }
        }
    }

    /// What was lost is there again: the promise is due as if it had been made now.
    pub fn restore(&self, state: &mut State, restored: Ends) {
        for (end, ending) in state.endings.iter_mut().enumerate() {
            if restored.contains(end) && *ending == Ending::Lost {
                *ending = Ending::Acknowledged(Age::NEW);
            }
        }
    }

    /// From now on readers find it: what they read is from after the end, and what was read before has to end by it.
    fn takes_effect(&self, state: &mut State, end: usize) {
        match self.scope.ends[end] {
            End::Token(token) => state.tokens[token].must_end_by(end),
            End::Rule if state.database.unrepaired && !self.scope.counts_before_repair => {}
            End::Rule => state.tokens.iter_mut().for_each(|token| token.must_end_by(end)),
        }
    }
}
