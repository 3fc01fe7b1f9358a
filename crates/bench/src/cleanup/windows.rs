//! Issuing at a fixed rate, second by second, so that a second in which something happens can be told from others.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::{
    clock,
    failure::Failure,
    grantry,
    load::{self, Load},
    report::Report,
    scenario::{Endpoints, Scenario},
    supply::Supply,
};

const WIDTH: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct Window {
    from: Instant,
    until: Instant,
    pub p99_us: u64,
    /// Tokens answered.
    pub answered: u64,
}

impl Window {
    pub fn overlaps(&self, from: Instant, until: Instant) -> bool {
        self.from < until && from < self.until
    }
}

pub struct Issuing {
    pub endpoints: Endpoints,
    pub connections: usize,
    pub rate: f64,
}

impl Issuing {
    pub async fn windows(&self, count: u32) -> Result<Vec<Window>, Failure> {
        let mut windows = Vec::new();
        for _ in 0..count {
            windows.push(self.window().await?);
        }
        Ok(windows)
    }

    /// One after the other until `done`.
    pub async fn windows_until(&self, done: &Cell<bool>) -> Result<Vec<Window>, Failure> {
        let mut windows = Vec::new();
        while !done.get() {
            windows.push(self.window().await?);
        }
        Ok(windows)
    }

    /// Latency counts from the intended start, so that a stall is felt by every request that it delays.
    async fn window(&self) -> Result<Window, Failure> {
        let load = Load {
            connections: self.connections,
            rate: Some(self.rate),
            warmup: Duration::ZERO,
            seconds: WIDTH,
            count: None,
            timeout: Duration::from_secs(30),
            max_backlog: 100_000,
            quiet: true,
        };
        let spec = grantry::own_slots(Scenario::Issue, self.endpoints.clone(), 0, load);
        let from = clock::now();
        let measured = load::measure(&spec, &Supply::obtain(&spec).await?).await?;
        let Report { latency_us, .. } = Report::new(&spec, &measured, None)?.into_usable()?;
        Ok(Window { from, until: clock::now(), p99_us: latency_us.p99, answered: measured.tally.tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_overlaps_what_happens_in_it() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let window = Window { from: at(10), until: at(20), p99_us: 0, answered: 0 };
        assert!(
            window.overlaps(at(12), at(13))
                && window.overlaps(at(5), at(25))
                && window.overlaps(at(5), at(11))
        );
        assert!(!window.overlaps(at(0), at(10)) && !window.overlaps(at(20), at(30)));
    }
}
