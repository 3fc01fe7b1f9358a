//! How a node proves that it knows the whole log.

use super::database::{Database, Ends, end_of};
use super::node::{Answer, Node, Probe, Repair};
use super::{Action, Age, Mutation, Protocol, State};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStep {
    Send,
    /// It reaches a server, which reads, and commits if it can.
    Serve(usize),
    TakeAnswer,
    /// It took too long, or was cancelled: the connection is closed, and what was on it is lost.
    Abandon,
    /// What a mutant alone does: the node reads the log's head at one server and its entries at another.
    ReadPlainly(usize, usize),
}

impl Protocol {
    pub fn probing(&self, state: &State, actions: &mut Vec<Action>) {
        use ProbeStep::{Abandon, ReadPlainly, Send, Serve, TakeAnswer};
        for node in state.node_numbers() {
            let mut add = |step| actions.push(Action::Probe(node, step));
            if self.is(Mutation::FirstReadPlainly) && state.nodes[node].applied.is_none() {
                let pairs = state
                    .database
                    .readable()
                    .flat_map(|head| state.database.readable().map(move |list| (head, list)));
                pairs.for_each(|(head, entries)| add(ReadPlainly(head, entries)));
                continue;
            }
            match state.nodes[node].probe.as_ref().map(|probe| &probe.answer) {
                None => add(Send),
                Some(Answer::Awaited) => {
                    state.database.readable().for_each(|server| add(Serve(server)));
                    add(Abandon);
                }
                Some(Answer::Read { committed, .. }) => {
                    if *committed {
                        add(TakeAnswer);
                    }
                    add(Abandon);
                }
            }
        }
    }

    pub fn probe(&self, state: &mut State, node: usize, step: ProbeStep) -> Option<()> {
        let Node { probe, .. } = &mut state.nodes[node];
        match step {
            ProbeStep::Send => *probe = Some(Probe { sent: Age::NEW, answer: Answer::Awaited }),
            ProbeStep::Serve(server) => probe.as_mut()?.answer = self.serve(&mut state.database, server),
            ProbeStep::TakeAnswer => self.take_answer(state, node),
            ProbeStep::Abandon if self.is(Mutation::CancelledProbeCounts) => self.take_answer(state, node),
            ProbeStep::Abandon => *probe = None,
            ProbeStep::ReadPlainly(head, entries) => {
                let (head, entries) = (state.database.log(head), state.database.log(entries));
                state.nodes[node].read_plainly(head, entries, &self.scope);
            }
        }
        Some(())
    }

    fn serve(&self, database: &mut Database, server: usize) -> Answer {
        let log = database.log(server).snapshot();
        if self.is(Mutation::ReadOnlyProbe) {
            return Answer::Read { server, log, committed: true };
        }
        let committed = !database.is_deposed(server);
        if committed {
            database.commit(&self.scope);
        }
        Answer::Read { server, log, committed }
    }

    fn take_answer(&self, state: &mut State, node: usize) {
        let Some(Probe { sent, answer: Answer::Read { server, log, .. } }) = state.nodes[node].probe.take()
        else {
            return;
        };
        let sent = if self.is(Mutation::DatedAtReceipt) { Age::NEW } else { sent };
        let Some(repair) = state.nodes[node].take_in(&log, sent, &self.scope, self.mutation) else { return };

        let Repair { from, entries, index, mut raises_epoch } = repair;
        let mut known = state.nodes[node].known;
        let mut ends: Vec<_> = entries.iter().map(|entry| end_of(entry, &self.scope.ends, known)).collect();
        if self.is(Mutation::NoEpochRaised) {
            (ends, known, raises_epoch) = (Vec::new(), Ends::NONE, false);
            state.nodes[node].proof = sent;
        }
        if state.database.merge(server, from, &self.scope, &ends, raises_epoch) {
            state.nodes[node].adopt(index, &log);
            self.restore(state, known);
        }
    }
}
