use std::time::Duration;

use serde::Serialize;

use super::{
    conditions::Condition,
    contenders::Contender,
    field::{Field, Lane},
};
use crate::{
    clock,
    failure::Failure,
    grantry,
    load::{self, Load},
    progress,
    report::Report,
    rows::Rows,
    scenario::Scenario,
    supply::Supply,
    tally::Latency,
    turns::in_turn,
};

/// What is measured how often.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rounds: u32,
    pub seconds: Duration,
    pub warmup: Duration,
    pub callers: Vec<usize>,
    pub conditions: Vec<&'static Condition>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    pub per_second: f64,
    pub latency_us: Latency,
    pub rows: Rows,
    /// Of a server that writes rows after the answer.
    pub deferred: Option<Deferred>,
}

/// What came after the answers.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Deferred {
    /// From the last answer until the queue was empty.
    pub drained_us: u64,
    /// From the first request until then: what the server could keep up for ever.
    pub written_per_second: f64,
}

/// The figures of one contender under one condition with so many callers, round by round.
#[derive(Debug, Serialize)]
pub struct Cell {
    pub condition: &'static str,
    pub callers: usize,
    pub contender: &'static str,
    pub figures: Vec<Figure>,
}

/// Goes through everything once a round. Contenders that are compared follow directly on one another, and each round
/// in another order.
pub async fn measure(
    field: &mut Field,
    plan: &Plan,
    contenders: &[&'static Contender],
    quiet: bool,
) -> Result<Vec<Cell>, Failure> {
    let mut cells = cells(plan, contenders);
    let bar = progress::bar(u64::from(plan.rounds) * cells.len() as u64, quiet, "{bar:40} {pos}/{len} {msg}");
    for round in 0..plan.rounds {
        field.checkpoint().await?;
        for condition in &plan.conditions {
            field.set(condition)?;
            for callers in &plan.callers {
                for lane in in_turn(field.lanes(condition), round) {
                    bar.set_message(format!(
                        "{}, {}, {callers} callers",
                        condition.name, lane.contender.name
                    ));
                    let figure = issue_on(lane, &load(plan, *callers)).await?;
                    let cell = cells.iter_mut().find(|cell| {
                        (cell.condition, cell.callers, cell.contender)
                            == (condition.key, *callers, lane.contender.key)
                    });
                    cell.ok_or_else(|| Failure::new("a figure has no cell"))?.figures.push(figure);
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(cells)
}

fn cells(plan: &Plan, contenders: &[&'static Contender]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for condition in &plan.conditions {
        for callers in &plan.callers {
            cells.extend(contenders.iter().map(|contender| Cell {
                condition: condition.key,
                callers: *callers,
                contender: contender.key,
                figures: Vec::new(),
            }));
        }
    }
    cells
}

/// A new token a request, each in a slot of its own, in a closed loop; with the rows checked.
async fn issue_on(lane: &mut Lane, load: &Load) -> Result<Figure, Failure> {
    let spec = grantry::own_slots(Scenario::Issue, lane.endpoints(), 0, load.clone());
    let supply = Supply::obtain(&spec).await?;
    let start = clock::now();
    let measured = load::measure(&spec, &supply).await?;
    let loaded = start.elapsed();
    let (answered, lost) = (measured.tally.tokens, measured.tally.lost);
    let (before, after, drained) = lane.count(answered).await?;
    let rows = Rows { before, after, answered, lost };
    let report = Report::new(&spec, &measured, Some(rows))?.into_usable();
    let Report { per_second, latency_us, .. } =
        report.map_err(|failure| Failure::new(format!("{}: {failure}", lane.contender.name)))?;
    let deferred = drained.map(|drained| Deferred {
        drained_us: drained.as_micros() as u64,
        written_per_second: answered as f64 / (loaded + drained).as_secs_f64(),
    });
    Ok(Figure { per_second, latency_us, rows, deferred })
}

fn load(plan: &Plan, callers: usize) -> Load {
    Load::closed_loop(callers, plan.warmup, plan.seconds)
}
