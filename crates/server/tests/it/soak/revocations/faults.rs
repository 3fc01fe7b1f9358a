//! What happens to the nodes and the databases.

use std::fmt;
use std::time::Duration;

use crate::soak::promise::faults::{describe_silence, draw_delays, draw_silence};
use crate::soak::promise::{NODES, faults};
use crate::soak::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    LinkCut,
    LinkDelayed,
    LinkSilent,
    NodeStopped,
    NodeKilled,
    ClockWrong,
    DatabaseRestarted,
    RedisGone,
    StandbyPromoted,
}

/// All that can happen again and again.
pub const REPEATABLE: [Kind; 8] = [
    Kind::LinkCut,
    Kind::LinkDelayed,
    Kind::LinkSilent,
    Kind::NodeStopped,
    Kind::NodeKilled,
    Kind::ClockWrong,
    Kind::DatabaseRestarted,
    Kind::RedisGone,
];

/// Five minutes.
const WRONG_BY: i64 = 300;

impl faults::Kind for Kind {
    const ALL: &'static [Self] = &[
        Self::LinkCut,
        Self::LinkDelayed,
        Self::LinkSilent,
        Self::NodeStopped,
        Self::NodeKilled,
        Self::ClockWrong,
        Self::DatabaseRestarted,
        Self::RedisGone,
        Self::StandbyPromoted,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::LinkCut => "a node's link to the databases is cut",
            Self::LinkDelayed => "the link is slow: 50 to 700 ms each way",
            Self::LinkSilent => "the link loses everything, one way or both",
            Self::NodeStopped => "SIGSTOP of a node for two bounds, SIGCONT",
            Self::NodeKilled => "kill -9 of a node, restart",
            Self::ClockWrong => "a node's wall clock jumps by 5 minutes, and back",
            Self::DatabaseRestarted => "immediate stop of the primary, start",
            Self::RedisGone => "kill -9 of Redis, started empty, or SIGSTOP of it",
            Self::StandbyPromoted => "the standby is promoted while the old primary goes on",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    LinkCut { node: usize },
    LinkDelayed { node: usize, there: Duration, back: Duration },
    LinkSilent { node: usize, there: bool, back: bool },
    NodeStopped { node: usize },
    NodeKilled { node: usize },
    ClockWrong { node: usize, seconds: i64 },
    DatabaseRestarted,
    RedisGone { stands_still: bool },
    StandbyPromoted,
}

impl faults::Fault for Fault {
    type Kind = Kind;

    fn draw(kind: Kind, random: &mut Random) -> Self {
        let node = random.below(NODES);
        match kind {
            Kind::LinkCut => Self::LinkCut { node },
            Kind::LinkDelayed => {
                let [there, back] = draw_delays(random);
                Self::LinkDelayed { node, there, back }
            }
            Kind::LinkSilent => {
                let (there, back) = draw_silence(random);
                Self::LinkSilent { node, there, back }
            }
            Kind::NodeStopped => Self::NodeStopped { node },
            Kind::NodeKilled => Self::NodeKilled { node },
            Kind::ClockWrong => Self::ClockWrong { node, seconds: random.pick(&[WRONG_BY, -WRONG_BY]) },
            Kind::DatabaseRestarted => Self::DatabaseRestarted,
            Kind::RedisGone => Self::RedisGone { stands_still: random.pick(&[true, false]) },
            Kind::StandbyPromoted => Self::StandbyPromoted,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::LinkCut { .. } => Kind::LinkCut,
            Self::LinkDelayed { .. } => Kind::LinkDelayed,
            Self::LinkSilent { .. } => Kind::LinkSilent,
            Self::NodeStopped { .. } => Kind::NodeStopped,
            Self::NodeKilled { .. } => Kind::NodeKilled,
            Self::ClockWrong { .. } => Kind::ClockWrong,
            Self::DatabaseRestarted => Kind::DatabaseRestarted,
            Self::RedisGone { .. } => Kind::RedisGone,
            Self::StandbyPromoted => Kind::StandbyPromoted,
        }
    }

    /// The databases are everybody's. Nobody is to notice that Redis is gone.
    fn concerns(self, node: usize) -> bool {
        match self {
            Self::LinkCut { node: its }
            | Self::LinkDelayed { node: its, .. }
            | Self::LinkSilent { node: its, .. }
            | Self::NodeStopped { node: its }
            | Self::NodeKilled { node: its }
            | Self::ClockWrong { node: its, .. } => its == node,
            Self::DatabaseRestarted | Self::StandbyPromoted => true,
            Self::RedisGone { .. } => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LinkCut { node } => write!(f, "the link of node {node} is cut"),
            Self::LinkDelayed { node, there, back } => {
                write!(f, "the link of node {node} takes {there:?} there and {back:?} back")
            }
            Self::LinkSilent { node, there, back } => {
                let way = describe_silence(there, back, "the node", "the databases");
                write!(f, "the link of node {node} loses everything {way}")
            }
            Self::NodeStopped { node } => write!(f, "node {node} stands still"),
            Self::NodeKilled { node } => write!(f, "node {node} is killed"),
            Self::ClockWrong { node, seconds } => {
                write!(f, "the wall clock of node {node} is wrong by {seconds} s")
            }
            Self::DatabaseRestarted => write!(f, "the primary stops without notice and is started"),
            Self::RedisGone { stands_still: true } => write!(f, "Redis stands still"),
            Self::RedisGone { stands_still: false } => write!(f, "Redis is killed and comes back empty"),
            Self::StandbyPromoted => write!(f, "the standby is promoted, the old primary goes on"),
        }
    }
}
