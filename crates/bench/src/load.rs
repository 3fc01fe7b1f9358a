use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    bodies::Bodies,
    clock,
    failure::Failure,
    http1::{Answer, Head, Lost, Wire},
    pace::{Backlog, ClosedLoop, FixedRate, Gate, Schedule, Ticket},
    pool, progress,
    scenario::{Expected, Scenario, Spec},
    tally::Tally,
};

/// After a connection fails, so that a server that is gone is not asked as fast as possible.
const AFTER_A_LOSS: Duration = Duration::from_millis(50);

/// How a server is loaded.
#[derive(Debug, Clone)]
pub struct Load {
    pub connections: usize,
    /// Requests a second; `None` is the closed loop.
    pub rate: Option<f64>,
    pub warmup: Duration,
    pub seconds: Duration,
    /// The most requests, warm-up included.
    pub count: Option<u64>,
    pub timeout: Duration,
    pub max_backlog: u64,
    pub quiet: bool,
}

impl Load {
    fn whole(&self) -> Duration {
        self.warmup + self.seconds
    }

    /// The starts of a fixed rate in the time that there is, at least one.
    fn schedule(&self, rate: f64, limit: Option<u64>) -> Schedule {
        let in_time = ((self.whole().as_secs_f64() * rate) as u64).max(1);
        Schedule { rate, total: limit.map_or(in_time, |limit| limit.min(in_time)) }
    }
}

/// What a run found.
pub struct Measured {
    pub tally: Tally,
    /// Of a fixed rate.
    pub backlog: Option<Backlog>,
    /// Tokens in the pool and how many of them are distinct.
    pub pool: Option<(u64, u64)>,
}

/// What the workers share.
struct Work {
    bodies: Bodies,
    expected: Expected,
    gate: Gate,
    tally: Arc<Mutex<Tally>>,
}

/// Issues the pool if the scenario needs one, then measures.
pub async fn measure(spec: &Spec) -> Result<Measured, Failure> {
    let (bodies, pool) = bodies_of(spec).await?;
    let head = Head::form(spec.target()?, spec.credentials.header())?;
    let wires = connect(&head, &spec.load).await?;
    let start = clock::now();
    let gate = open_gate(&spec.load, bodies.limit(), start)?;
    let tally = Arc::new(Mutex::new(Tally::new(start + spec.load.warmup)?));
    let work = Arc::new(Work { bodies, expected: Expected::of(spec.scenario), gate, tally: tally.clone() });
    tokio::select! {
        () = drive(wires, &work, &spec.load) => {}
        () = progress::follow(spec.load.quiet, spec.load.whole(), tally.clone()) => {}
    }
    let backlog = match &work.gate {
        Gate::Closed(_) => None,
        Gate::Fixed(gate) => Some(gate.backlog()),
    };
    drop(work);
    let tally = Arc::into_inner(tally).ok_or_else(|| Failure::new("a worker is still running"))?;
    Ok(Measured { tally: tally.into_inner().unwrap_or_else(PoisonError::into_inner), backlog, pool })
}

async fn bodies_of(spec: &Spec) -> Result<(Bodies, Option<(u64, u64)>), Failure> {
    if matches!(spec.scenario, Scenario::Issue | Scenario::Reuse) {
        return Ok((Bodies::of_form(&spec.form), None));
    }
    let tokens = pool::tokens(spec).await?;
    let counts = (tokens.len() as u64, pool::distinct(&tokens));
    let bodies = pool::bodies(&tokens, spec);
    let bodies = if spec.scenario == Scenario::Revoke { Bodies::Once(bodies) } else { Bodies::Cycle(bodies) };
    Ok((bodies, Some(counts)))
}

async fn connect(head: &Head, load: &Load) -> Result<Vec<Wire>, Failure> {
    let mut wires = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let mut wire = Wire::new(head.clone(), load.timeout);
        wire.connect().await?;
        wires.push(wire);
    }
    Ok(wires)
}

fn open_gate(load: &Load, bodies: Option<u64>, start: Instant) -> Result<Gate, Failure> {
    let limit = load.count.into_iter().chain(bodies).min();
    match load.rate {
        None => Ok(Gate::Closed(ClosedLoop::new(limit, start + load.whole()))),
        Some(rate) => {
            let schedule = load.schedule(rate, limit);
            let gate = Arc::new(FixedRate::new(schedule, start, load.connections, load.max_backlog));
            gate.start_pacer()?;
            Ok(Gate::Fixed(gate))
        }
    }
}

/// A backlog that is left at the end may take one more timeout to drain, so that its latencies are seen.
async fn drive(wires: Vec<Wire>, work: &Arc<Work>, load: &Load) {
    let mut workers = JoinSet::new();
    for wire in wires {
        workers.spawn(work_on(wire, work.clone()));
    }
    let all = async { while workers.join_next().await.is_some() {} };
    if tokio::time::timeout(load.whole() + load.timeout, all).await.is_err() {
        work.gate.give_up();
        while workers.join_next().await.is_some() {}
    }
}

async fn work_on(mut wire: Wire, work: Arc<Work>) {
    while let Some(ticket) = work.gate.next().await {
        let answer = wire.send(work.bodies.get(ticket.index)).await;
        let now = clock::now();
        let is_lost = answer.is_err();
        note(&work, ticket, answer, now);
        if is_lost {
            tokio::time::sleep(AFTER_A_LOSS).await;
        }
    }
}

fn note(work: &Work, ticket: Ticket, answer: Result<Answer, Lost>, now: Instant) {
    let checked = answer.map(|answer| work.expected.check(&answer).map_err(|name| (name, answer)));
    let mut tally = work.tally.lock().unwrap_or_else(PoisonError::into_inner);
    match checked {
        Ok(Ok(())) => tally.right(ticket, now),
        Ok(Err((name, answer))) => tally.wrong(name, || answer.shown()),
        Err(lost) => {
            let name = if matches!(lost, Lost::Timeout) { "timeout" } else { "connection" };
            tally.lost(name.into(), || lost.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            connections: 1,
            rate: None,
            warmup: Duration::from_secs(1),
            seconds: Duration::from_secs(2),
            count: None,
            timeout: Duration::from_secs(1),
            max_backlog: 10,
            quiet: true,
        }
    }

    #[test]
    fn a_schedule_fills_warm_up_and_measurement() {
        assert_eq!(load().schedule(100.0, None).total, 300);
    }

    #[test]
    fn a_schedule_ends_by_count_and_has_at_least_one_start() {
        assert_eq!(load().schedule(100.0, Some(7)).total, 7);
        assert_eq!(load().schedule(0.1, None).total, 1);
    }
}
