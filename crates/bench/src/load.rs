use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    caller::{Caller, Came},
    clock,
    failure::Failure,
    grants::GrantFacts,
    http1::{Head, Wire},
    pace::{Backlog, ClosedLoop, FixedRate, Gate, Schedule, Ticket},
    progress,
    scenario::Spec,
    supply::Supply,
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
    /// A quiet closed loop, as the rounds of a comparison are.
    pub const fn closed_loop(connections: usize, warmup: Duration, seconds: Duration) -> Self {
        Self {
            connections,
            rate: None,
            warmup,
            seconds,
            count: None,
            timeout: Duration::from_secs(30),
            max_backlog: 0,
            quiet: true,
        }
    }

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
    pub grants: Option<GrantFacts>,
}

/// What the workers share.
struct Work {
    gate: Gate,
    tally: Arc<Mutex<Tally>>,
}

/// Measures with what was obtained beforehand; grants are in it again afterwards, with their newest refresh tokens.
pub async fn measure(spec: &Spec, supply: &Supply) -> Result<Measured, Failure> {
    let callers = connect(spec, supply).await?;
    let start = clock::now();
    let gate = open_gate(&spec.load, supply.limit(), start)?;
    let tally = Arc::new(Mutex::new(Tally::new(start + spec.load.warmup)?));
    let work = Arc::new(Work { gate, tally: tally.clone() });
    tokio::select! {
        callers = drive(callers, &work, &spec.load) => take_back(callers, supply),
        () = progress::follow(spec.load.quiet, spec.load.whole(), tally.clone()) => {}
    }
    let backlog = match &work.gate {
        Gate::Closed(_) => None,
        Gate::Fixed(gate) => Some(gate.backlog()),
    };
    drop(work);
    let tally = Arc::into_inner(tally).ok_or_else(|| Failure::new("a worker is still running"))?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Measured { tally, backlog, pool: supply.pool(), grants: supply.grant_facts() })
}

async fn connect(spec: &Spec, supply: &Supply) -> Result<Vec<Caller>, Failure> {
    let head = Head::form(spec.target()?, spec.credentials.header())?;
    let mut callers = Vec::with_capacity(spec.load.connections);
    for task in supply.tasks(spec.load.connections) {
        let wire = Wire::new(head.clone(), spec.load.timeout);
        callers.push(Caller::connect(wire, task).await?);
    }
    Ok(callers)
}

fn take_back(callers: Vec<Caller>, supply: &Supply) {
    let Some(grants) = supply.grants() else { return };
    callers.into_iter().filter_map(Caller::into_share).for_each(|share| grants.take_back(share));
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
async fn drive(callers: Vec<Caller>, work: &Arc<Work>, load: &Load) -> Vec<Caller> {
    let mut workers = JoinSet::new();
    for caller in callers {
        workers.spawn(work_on(caller, work.clone()));
    }
    let mut back = Vec::with_capacity(workers.len());
    let in_time = async {
        while let Some(ended) = workers.join_next().await {
            back.extend(ended);
        }
    };
    if tokio::time::timeout(load.whole() + load.timeout, in_time).await.is_err() {
        work.gate.give_up();
        while let Some(ended) = workers.join_next().await {
            back.extend(ended);
        }
    }
    back
}

async fn work_on(mut caller: Caller, work: Arc<Work>) -> Caller {
    while !caller.is_spent()
        && let Some(ticket) = work.gate.next().await
    {
        let came = caller.send(ticket.index).await;
        let now = clock::now();
        let is_lost = came.result.as_ref().is_err_and(|wrong| wrong.is_lost);
        note(&work, ticket, came, now);
        if is_lost {
            tokio::time::sleep(AFTER_A_LOSS).await;
        }
    }
    caller
}

fn note(work: &Work, ticket: Ticket, came: Came, now: Instant) {
    let mut tally = work.tally.lock().unwrap_or_else(PoisonError::into_inner);
    let Came { result, tokens, part } = came;
    match result {
        Ok(()) => {
            tally.right(ticket, now);
            tally.brought(tokens, part);
        }
        Err(wrong) => {
            tally.brought(tokens, None);
            if wrong.is_lost {
                tally.lost(wrong.name, || wrong.in_full);
            } else {
                tally.wrong(wrong.name, || wrong.in_full);
            }
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
