//! What happens to the nodes and the databases, and when it did.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::random::Random;
use super::{MAX_STALENESS, NODES};

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

const LEAST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_millis(700);
/// Five minutes.
const WRONG_BY: i64 = 300;

impl Kind {
    pub const fn name(self) -> &'static str {
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

impl Fault {
    pub fn draw(kind: Kind, random: &mut Random) -> Self {
        let node = random.below(NODES);
        match kind {
            Kind::LinkCut => Self::LinkCut { node },
            Kind::LinkDelayed => {
                let mut delay = || random.between(LEAST_DELAY, LONGEST_DELAY);
                Self::LinkDelayed { node, there: delay(), back: delay() }
            }
            Kind::LinkSilent => {
                let (there, back) = random.pick(&[(true, true), (true, false), (false, true)]);
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

    pub const fn kind(self) -> Kind {
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
    pub const fn concerns(self, node: usize) -> bool {
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

/// A fault from just before it until every node does again all that it should.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub fault: Fault,
    from: Instant,
    /// Absent while it is in force.
    until: Option<Instant>,
}

impl Span {
    fn overlaps(&self, from: Instant, until: Instant) -> bool {
        self.from <= until && self.until.is_none_or(|end| from <= end)
    }
}

/// One fault after the other.
pub struct Faults {
    start: Instant,
    spans: Mutex<Vec<Span>>,
    begun: watch::Sender<usize>,
    /// When the standby had become a primary.
    promoted: OnceLock<Instant>,
}

impl Faults {
    pub fn none_yet() -> Self {
        Self {
            start: Instant::now(),
            spans: Mutex::default(),
            begun: watch::Sender::default(),
            promoted: OnceLock::new(),
        }
    }

    pub fn begin(&self, fault: Fault) {
        self.spans().push(Span { fault, from: Instant::now(), until: None });
        self.begun.send_modify(|begun| *begun += 1);
    }

    pub fn end(&self) {
        let mut spans = self.spans();
        spans.last_mut().expect("a fault in force").until = Some(Instant::now());
    }

    pub fn note_promotion(&self) {
        self.promoted.set(Instant::now()).expect("it happens once");
    }

    /// Whether a node that is asked at this moment may still read from the old primary, and so not know a token that was
    /// made at the new one: it has proved less than the bound ago that it asked the primary.
    pub fn may_read_from_old_primary(&self, moment: Instant) -> bool {
        let is_promoted = self.within(moment, moment) == Some(Fault::StandbyPromoted);
        is_promoted && self.promoted.get().is_none_or(|promoted| moment <= *promoted + MAX_STALENESS)
    }

    /// Returns when the next one begins.
    pub async fn wait_for_next(&self) {
        let mut begun = self.begun.subscribe();
        // It ends with the faults at the latest.
        let _ = begun.changed().await;
    }

    /// Returns when one is in force.
    pub async fn wait_for_one(&self) {
        let mut begun = self.begun.subscribe();
        let now = Instant::now();
        if self.within(now, now).is_none() {
            // It ends with the faults at the latest.
            let _ = begun.changed().await;
        }
    }

    /// What was in force at any time of it; `until` has passed.
    pub fn within(&self, from: Instant, until: Instant) -> Option<Fault> {
        // The latest ones are at the end, and everything that is asked for is recent.
        self.spans().iter().rev().find(|span| span.overlaps(from, until)).map(|span| span.fault)
    }

    /// The same for a record that a person reads.
    pub fn describe(&self, from: Instant, until: Instant) -> String {
        let described = |span: &Span| {
            let end = span.until.map_or("now".to_owned(), |end| self.at(end));
            format!("{} ({} to {end})", span.fault, self.at(span.from))
        };
        let all: Vec<_> =
            self.spans().iter().filter(|span| span.overlaps(from, until)).map(described).collect();
        let promoted = self.promoted.get().map(|promoted| format!(", promoted at {}", self.at(*promoted)));
        let all = if all.is_empty() { "no fault".to_owned() } else { all.join(", ") };
        all + &promoted.unwrap_or_default()
    }

    /// Since the beginning of the run.
    pub fn at(&self, moment: Instant) -> String {
        format!("{:.3} s", moment.duration_since(self.start).as_secs_f64())
    }

    fn spans(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
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
                let way = match (there, back) {
                    (true, true) => "both ways",
                    (true, false) => "to the databases",
                    _ => "to the node",
                };
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
