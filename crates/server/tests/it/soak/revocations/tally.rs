//! What a run has seen, in numbers.

use std::time::Duration;

use tokio::time::Instant;

use super::faults::{Fault, Faults, Kind, REPEATABLE};
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
    /// Introspections that the promise covers, at the nodes that the fault concerns and at the others.
    bound: usize,
    bound_elsewhere: usize,
    violations: usize,
    /// All introspections at the nodes that it concerns, and those that were answered with 200.
    asked: usize,
    answered: usize,
    /// The same at the others.
    asked_elsewhere: usize,
    answered_elsewhere: usize,
    /// From the end of a fault until all nodes answered again.
    longest_back: Duration,
}

#[derive(Default)]
pub struct Tally {
    rows: [Row; REPEATABLE.len() + 2],
    /// From the acknowledgement to the answer that was the first `inactive` of a node, without a fault and not right after
    /// one.
    delays: Vec<Duration>,
    pub violations: Vec<String>,
    /// Tokens that were denied before anybody revoked them, with a fault or without.
    pub denials: Vec<String>,
    /// The same right after a promotion, while a node may rely on the old primary.
    pub denials_at_promotion: usize,
    /// What came to nothing without a fault.
    pub failures: Vec<String>,
}

const fn place(kind: Option<Kind>) -> usize {
    match kind {
        None => 0,
        Some(kind) => 1 + kind as usize,
    }
}

impl Tally {
    pub fn revoked(&self) -> usize {
        self.rows.iter().map(|row| row.revoked).sum()
    }

    pub fn add(&mut self, revocation: &Revocation, faults: &Faults) {
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

    fn count(&mut self, asked: &Asked, fault: Option<Fault>) {
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

    pub fn add_fault(&mut self, kind: Kind, back: Duration) {
        let row = &mut self.rows[place(Some(kind))];
        row.times += 1;
        row.longest_back = row.longest_back.max(back);
    }

    pub fn delays(&self) -> Delays {
        let mut all = self.delays.clone();
        all.sort_unstable();
        Delays(all)
    }

    /// Of introspections at the nodes that a fault of this kind did not concern, the share that was answered with 200; 1
    /// where there are no such nodes.
    pub fn availability_elsewhere(&self, kind: Kind) -> f64 {
        let row = &self.rows[place(Some(kind))];
        match row.asked_elsewhere {
            0 => 1.0,
            asked => row.answered_elsewhere as f64 / asked as f64,
        }
    }

    /// What a run that shows something has of a kind of fault: at a node that it concerns, if there is one, a request that came so late
    /// that the promise covers it, and, but for a database that nobody can write to, a revocation that was acknowledged
    /// meanwhile.
    pub fn proves_something_about(&self, kind: Kind) -> bool {
        let row = &self.rows[place(Some(kind))];
        let bound = if kind == Kind::RedisGone { row.bound_elsewhere } else { row.bound };
        bound > 0 && (row.revoked > 0 || kind == Kind::DatabaseRestarted)
    }

    pub fn print(&self) {
        eprintln!(
            "| what happened | times | revocations acknowledged (outcome unknown) | introspections sent later than {MAX_STALENESS:?} \
             after the acknowledgement: concerned nodes / others | violations | answered with 200: concerned nodes / others \
             | all nodes answer again, at the latest |\n|---|---|---|---|---|---|---|"
        );
        let kinds = std::iter::once(None).chain(REPEATABLE.into_iter().map(Some));
        for kind in kinds.chain([Some(Kind::StandbyPromoted)]) {
            eprintln!("{}", self.line(kind));
        }
        let delays = self.delays();
        eprintln!(
            "revocations: from the acknowledgement to the first `inactive` at each node, without a fault, {} times: p50 \
             {:.1?}, p99 {:.1?}, longest {:.1?}",
            delays.0.len(),
            delays.at(50),
            delays.at(99),
            delays.at(100)
        );
        eprintln!(
            "revocations: within {MAX_STALENESS:?} after the promotion new tokens were denied {} times by nodes that read \
             from the old primary",
            self.denials_at_promotion
        );
    }

    fn line(&self, kind: Option<Kind>) -> String {
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

fn describe(revocation: &Revocation, acknowledged: Instant, asked: &Asked, faults: &Faults) -> String {
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
