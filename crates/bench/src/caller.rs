use std::sync::Arc;

use crate::{
    bodies::Bodies,
    failure::Failure,
    grants::Share,
    http1::{Answer, Lost, Wire},
    mix::{Mixer, Part},
    scenario::Expected,
};

/// One connection and what it sends; it has one request in flight at most.
pub struct Caller {
    wire: Wire,
    task: Task,
}

pub enum Task {
    Bodies { bodies: Arc<Bodies>, expected: Expected },
    Refresh(Share),
    Mixed(Box<Mixer>),
}

impl Caller {
    /// Opens the connection.
    pub async fn connect(mut wire: Wire, task: Task) -> Result<Self, Failure> {
        wire.connect().await?;
        Ok(Self { wire, task })
    }

    /// Whether it has nothing left to send, whatever the schedule says.
    pub fn is_spent(&self) -> bool {
        match &self.task {
            Task::Bodies { .. } => false,
            Task::Refresh(share) => share.is_spent(),
            Task::Mixed(mixer) => mixer.is_spent(),
        }
    }

    /// `index` counts the requests of the run from 0.
    pub async fn send(&mut self, index: u64) -> Came {
        match &mut self.task {
            Task::Bodies { bodies, expected } => {
                let result = Wrong::check(self.wire.send(bodies.get(index)).await, *expected);
                let tokens = u64::from(result.is_ok() && *expected == Expected::Token);
                Came { result, tokens, part: None }
            }
            Task::Refresh(share) => share.refresh(&mut self.wire).await,
            Task::Mixed(mixer) => mixer.send(&mut self.wire).await,
        }
    }

    /// The grants that it was dealt.
    pub fn into_share(self) -> Option<Share> {
        match self.task {
            Task::Bodies { .. } => None,
            Task::Refresh(share) => Some(share),
            Task::Mixed(mixer) => Some(mixer.into_share()),
        }
    }
}

/// What came of one turn.
pub struct Came {
    pub result: Result<(), Wrong>,
    /// Tokens answered of which each should be a row of its own in the store.
    pub tokens: u64,
    /// In a mix.
    pub part: Option<Part>,
}

impl Came {
    pub fn wrong(wrong: Wrong) -> Self {
        Self { result: Err(wrong), tokens: 0, part: None }
    }
}

/// Why a request does not count.
#[derive(Debug)]
pub struct Wrong {
    /// Under which it is counted.
    pub name: String,
    pub in_full: String,
    /// Whether nothing came back: the server may or may not have obeyed.
    pub is_lost: bool,
}

impl Wrong {
    pub fn check(answer: Result<Answer, Lost>, expected: Expected) -> Result<(), Self> {
        let answer = answer.map_err(|lost| Self::lost(&lost))?;
        expected.check(&answer).map_err(|name| Self::answered(name, &answer))
    }

    pub fn answered(name: String, answer: &Answer) -> Self {
        Self { name, in_full: answer.shown(), is_lost: false }
    }

    pub fn lost(lost: &Lost) -> Self {
        let name = if matches!(lost, Lost::Timeout) { "timeout" } else { "connection" };
        Self { name: name.into(), in_full: lost.to_string(), is_lost: true }
    }

    pub fn unsent(why: &str) -> Self {
        Self { name: why.into(), in_full: why.into(), is_lost: false }
    }

    /// The same, of a request that was not the one that is measured.
    pub fn during(self, what: &str) -> Self {
        let name = format!("{what}: {}", self.name);
        Self { name, in_full: format!("{what}: {}", self.in_full), ..self }
    }
}
