//! What a run has seen, in numbers.

use std::marker::PhantomData;
use std::time::Duration;

use tokio::time::Instant;

use super::faults::{Fault, Faults, Kind};
use super::verdict::{Answer, Asked, is_bound, violations};
use super::{MAX_STALENESS, NODES};

/// So long after a fault every node is told of the news again, and need not look for it.
const SETTLED: Duration = MAX_STALENESS.saturating_mul(2);
/// Of violations and of failures without a fault, in words.
const DESCRIBED: usize = 20;

/// One revocation, and what the nodes said from the moment it was sent.
pub struct Revocation {
    /// Whose and how it was ended.
    pub what: String,
    pub sent: Instant,
    /// Absent if it was not answered: nobody knows whether it happened.
    pub acknowledged: Option<Instant>,
    pub asked: Vec<Asked>,
}

/// Of all that happened under one kind of fault, or under none.
#[derive(Default, Clone)]
struct Row {
    times: usize,
    /// Revocations that were acknowledged meanwhile.
    revoked: usize,
    unknown: usize,
    /// Requests that the promise covers, at the nodes that the fault concerns and at the others.
    bound: usize,
    bound_elsewhere: usize,
    violations: usize,
    /// All requests to the nodes that it concerns, and those that were answered with 200.
    asked: usize,
    answered: usize,
    /// The same at the others.
    asked_elsewhere: usize,
    answered_elsewhere: usize,
    /// From the end of a fault until all nodes answered again.
    longest_back: Duration,
}

pub struct Tally<F: Fault> {
    /// Without a fault, and then one for each kind.
    rows: Vec<Row>,
    kinds: PhantomData<F>,
    /// From the acknowledgement to the answer that was the first `inactive` of a node, without a fault and not right after
    /// one.
    delays: Vec<Duration>,
    pub violations: Vec<String>,
    /// Tokens that were denied before anybody revoked them, with a fault or without.
    pub denials: Vec<String>,
    /// What came to nothing without a fault.
    pub failures: Vec<String>,
}

fn place<K: Kind>(kind: Option<K>) -> usize {
    kind.map_or(0, |kind| 1 + K::ALL.iter().position(|other| *other == kind).expect("in the table"))
}

impl<F: Fault> Tally<F> {
    pub fn new() -> Self {
        Self {
            rows: vec![Row::default(); F::Kind::ALL.len() + 1],
            kinds: PhantomData,
            delays: Vec::new(),
            violations: Vec::new(),
            denials: Vec::new(),
            failures: Vec::new(),
        }
    }

    pub fn revoked(&self) -> usize {
        self.rows.iter().map(|row| row.revoked).sum()
    }

    pub fn add(&mut self, revocation: &Revocation, faults: &Faults<F>) {
        let of = |from, until| faults.within(from, until);
        for asked in &revocation.asked {
            self.count(asked, of(asked.sent, asked.answered));
        }
        let Some(acknowledged) = revocation.acknowledged else {
            let last = revocation.asked.iter().map(|asked| asked.answered).max();
            let fault = of(revocation.sent, last.unwrap_or(revocation.sent));
            self.rows[place(fault.map(Fault::kind))].unknown += 1;
            return;
        };
        self.rows[place(of(revocation.sent, acknowledged).map(Fault::kind))].revoked += 1;
        for asked in revocation.asked.iter().filter(|asked| is_bound(acknowledged, MAX_STALENESS, asked)) {
            let fault = of(asked.sent, asked.answered);
            let row = &mut self.rows[place(fault.map(Fault::kind))];
            match fault.is_none_or(|fault| fault.concerns(asked.node)) {
                true => row.bound += 1,
                false => row.bound_elsewhere += 1,
            }
        }
        for asked in violations(acknowledged, MAX_STALENESS, &revocation.asked) {
            self.rows[place(of(asked.sent, asked.answered).map(Fault::kind))].violations += 1;
            self.violations.push(describe(revocation, acknowledged, asked, faults));
        }
        self.violations.truncate(DESCRIBED);
        for node in 0..NODES {
            let first =
                revocation.asked.iter().find(|asked| asked.node == node && asked.answer == Answer::Inactive);
            let Some(first) = first else { continue };
            if of(revocation.sent - SETTLED, first.answered).is_none() {
                self.delays.push(first.answered.saturating_duration_since(acknowledged));
            }
        }
    }

    fn count(&mut self, asked: &Asked, fault: Option<F>) {
        let row = &mut self.rows[place(fault.map(Fault::kind))];
        let is_answered = usize::from(matches!(asked.answer, Answer::Active | Answer::Inactive));
        if fault.is_none_or(|fault| fault.concerns(asked.node)) {
            row.asked += 1;
            row.answered += is_answered;
        } else {
            row.asked_elsewhere += 1;
            row.answered_elsewhere += is_answered;
        }
    }

    /// What was asked for came to nothing; without a fault that has to be explained.
    pub fn add_failure(&mut self, what: String) {
        if self.failures.len() < DESCRIBED {
            self.failures.push(what);
        }
    }

    pub fn add_denial(&mut self, what: String) {
        if self.denials.len() < DESCRIBED {
            self.denials.push(what);
        }
    }

    pub fn add_fault(&mut self, kind: F::Kind, back: Duration) {
        let row = &mut self.rows[place(Some(kind))];
        row.times += 1;
        row.longest_back = row.longest_back.max(back);
    }

    pub fn delays(&self) -> Delays {
        let mut all = self.delays.clone();
        all.sort_unstable();
        Delays(all)
    }

    /// Of requests to the nodes that a fault of this kind did not concern, the share that was answered; 1
    /// where there are no such nodes.
    pub fn availability_elsewhere(&self, kind: F::Kind) -> f64 {
        let row = &self.rows[place(Some(kind))];
        match row.asked_elsewhere {
            0 => 1.0,
            asked => row.answered_elsewhere as f64 / asked as f64,
        }
    }

    /// Whether a run shows something about a kind of fault: a request came so late that the promise covers it, at a node that
    /// the fault concerns.
    pub fn was_bound(&self, kind: F::Kind) -> bool {
        self.rows[place(Some(kind))].bound > 0
    }

    /// The same at the others.
    pub fn was_bound_elsewhere(&self, kind: F::Kind) -> bool {
        self.rows[place(Some(kind))].bound_elsewhere > 0
    }

    /// Whether a revocation was acknowledged meanwhile.
    pub fn was_revoked_in(&self, kind: F::Kind) -> bool {
        self.rows[place(Some(kind))].revoked > 0
    }

    /// As a table, for the documentation.
    pub fn print(&self, run: &str) {
        eprintln!(
            "| what happened | times | revocations acknowledged (outcome unknown) | requests sent later than {MAX_STALENESS:?} \
             after the acknowledgement: concerned nodes / others | violations | answered: concerned nodes / others \
             | all nodes answer again, at the latest |\n|---|---|---|---|---|---|---|"
        );
        for kind in std::iter::once(None).chain(F::Kind::ALL.iter().copied().map(Some)) {
            eprintln!("{}", self.line(kind));
        }
        let delays = self.delays();
        eprintln!(
            "{run}: from the acknowledgement to the first refusal at each node, without a fault, {} times: p50 {:.1?}, p99 \
             {:.1?}, longest {:.1?}",
            delays.0.len(),
            delays.at(50),
            delays.at(99),
            delays.at(100)
        );
    }

    fn line(&self, kind: Option<F::Kind>) -> String {
        let row = &self.rows[place(kind)];
        let share = |answered: usize, asked: usize| match asked {
            0 => "-".to_owned(),
            _ => format!("{:.2} %", 100.0 * answered as f64 / asked as f64),
        };
        format!(
            "| {} | {} | {} ({}) | {} / {} | {} | {} / {} | {} |",
            kind.map_or("no fault", Kind::name),
            kind.map_or("-".to_owned(), |_| row.times.to_string()),
            row.revoked,
            row.unknown,
            row.bound,
            row.bound_elsewhere,
            row.violations,
            share(row.answered, row.asked),
            share(row.answered_elsewhere, row.asked_elsewhere),
            kind.map_or("-".to_owned(), |_| format!("{:.2} s", row.longest_back.as_secs_f64())),
        )
    }
}

/// In order.
pub struct Delays(Vec<Duration>);

impl Delays {
    pub fn at(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }
}

fn describe<F: Fault>(
    revocation: &Revocation,
    acknowledged: Instant,
    asked: &Asked,
    faults: &Faults<F>,
) -> String {
    let after = |moment: Instant| format!("{:?} after", moment.saturating_duration_since(acknowledged));
    format!(
        "{}: acknowledged at {}; node {} was asked {} and answered {:?} {} it, under: {}",
        revocation.what,
        faults.at(acknowledged),
        asked.node,
        after(asked.sent),
        asked.answer,
        after(asked.answered),
        faults.describe(revocation.sent, asked.answered)
    )
}
