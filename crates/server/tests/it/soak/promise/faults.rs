//! What happens to the nodes and to what they rely on, and when it did.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::soak::random::Random;

/// On a slow way, there and back.
const LEAST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_millis(700);

pub fn draw_delays(random: &mut Random) -> [Duration; 2] {
    [(); 2].map(|()| random.between(LEAST_DELAY, LONGEST_DELAY))
}

/// Whether everything is lost on the way there, and on the way back.
pub fn draw_silence(random: &mut Random) -> (bool, bool) {
    random.pick(&[(true, true), (true, false), (false, true)])
}

/// The same in words; `far` is where the way leads, `near` where it begins.
pub fn describe_silence(there: bool, back: bool, near: &str, far: &str) -> String {
    match (there, back) {
        (true, true) => "both ways".to_owned(),
        (true, false) => format!("to {far}"),
        _ => format!("to {near}"),
    }
}

/// One line of the table.
pub trait Kind: Copy + PartialEq + Send + 'static {
    /// In the order of the table.
    const ALL: &'static [Self];

    fn name(self) -> &'static str;
}

pub trait Fault: Copy + fmt::Display + Send + Sync + 'static {
    type Kind: Kind;

    fn draw(kind: Self::Kind, random: &mut Random) -> Self;

    fn kind(self) -> Self::Kind;

    /// Whether it may keep the node from answering.
    fn concerns(self, node: usize) -> bool;
}

/// A fault from just before it until all is again as it should be.
struct Span<F> {
    fault: F,
    from: Instant,
    /// Absent while it is in force.
    until: Option<Instant>,
}

impl<F> Span<F> {
    fn overlaps(&self, from: Instant, until: Instant) -> bool {
        self.from <= until && self.until.is_none_or(|end| from <= end)
    }
}

/// One fault after the other.
pub struct Faults<F> {
    start: Instant,
    spans: Mutex<Vec<Span<F>>>,
    begun: watch::Sender<usize>,
}

impl<F: Fault> Faults<F> {
    pub fn none_yet() -> Self {
        Self { start: Instant::now(), spans: Mutex::default(), begun: watch::Sender::default() }
    }

    pub fn begin(&self, fault: F) {
        self.spans().push(Span { fault, from: Instant::now(), until: None });
        self.begun.send_modify(|begun| *begun += 1);
    }

    pub fn end(&self) {
        let mut spans = self.spans();
        spans.last_mut().expect("a fault in force").until = Some(Instant::now());
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
    pub fn within(&self, from: Instant, until: Instant) -> Option<F> {
        // The latest ones are at the end, and everything that is asked for is recent.
        self.spans().iter().rev().find(|span| span.overlaps(from, until)).map(|span| span.fault)
    }

    /// The same for a record that a person reads.
    pub fn describe(&self, from: Instant, until: Instant) -> String {
        let described = |span: &Span<F>| {
            let end = span.until.map_or("now".to_owned(), |end| self.at(end));
            format!("{} ({} to {end})", span.fault, self.at(span.from))
        };
        let all: Vec<_> =
            self.spans().iter().filter(|span| span.overlaps(from, until)).map(described).collect();
        if all.is_empty() { "no fault".to_owned() } else { all.join(", ") }
    }

    /// Since the beginning of the run.
    pub fn at(&self, moment: Instant) -> String {
        format!("{:.3} s", moment.duration_since(self.start).as_secs_f64())
    }

    fn spans(&self) -> MutexGuard<'_, Vec<Span<F>>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
