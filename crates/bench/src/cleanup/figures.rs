use serde::Serialize;

use super::{
    removal::{CHUNK, Way},
    windows::Window,
};
use crate::{
    cleanup::removal::Removal,
    clock,
    machine::Machine,
    stats::{Spread, ratios},
    table::{markdown, thousands},
};

/// One removal on its own, and one under load.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    pub way: Way,
    pub seconds: f64,
    pub wal_bytes: u64,
    pub loaded_seconds: f64,
    /// Medians of the windows in which nothing was removed, and of those in which something was.
    pub p99_without_us: f64,
    pub p99_during_us: f64,
    /// Of the latter the worst.
    pub p99_worst_us: f64,
}

impl Figure {
    /// `None` if no window was on one of the two sides.
    pub fn new(way: Way, calm: &Removal, loaded: &Removal, windows: &[Window]) -> Option<Self> {
        let (during, without): (Vec<_>, Vec<_>) =
            windows.iter().partition(|window| window.overlaps(loaded.from, loaded.until));
        let spread =
            |windows: Vec<&Window>| Spread::of(windows.into_iter().map(|window| window.p99_us as f64));
        let (during, without) = (spread(during)?, spread(without)?);
        Some(Self {
            way,
            seconds: calm.took().as_secs_f64(),
            wal_bytes: calm.wal_bytes,
            loaded_seconds: loaded.took().as_secs_f64(),
            p99_without_us: without.median,
            p99_during_us: during.median,
            p99_worst_us: during.most,
        })
    }
}

#[derive(Serialize)]
pub struct Cleanup {
    /// RFC 3339.
    at: String,
    machine: Machine,
    postgres: String,
    tokens: u64,
    rate: f64,
    figures: Vec<Figure>,
}

impl Cleanup {
    pub fn new(postgres: String, tokens: u64, rate: f64, figures: Vec<Figure>) -> Self {
        Self { at: clock::date(), machine: Machine::here(), postgres, tokens, rate, figures }
    }

    pub fn markdown(&self) -> String {
        let header = [
            "how",
            "takes s",
            "WAL MB",
            "under load s",
            "p99 without ms",
            "p99 during ms",
            "worst second ms",
            "during / without",
        ];
        let rows = [
            self.row("partitions dropped by the server", Way::Drop),
            self.row(&format!("DELETE of {} at a time, and VACUUM", thousands(CHUNK as f64)), Way::Delete),
        ];
        let Machine { cores, os, arch, commit } = &self.machine;
        format!(
            "{}\n{}, commit {}, {cores} cores ({os}, {arch}), server, generator and disk on one machine; {} expired \
             tokens go; issuing at {} a second meanwhile, p99 from the intended start, second by second; medians of {} \
             rounds. {}.\n",
            markdown(&header, &rows),
            self.at,
            commit.as_deref().unwrap_or("unknown"),
            thousands(self.tokens as f64),
            self.rate,
            self.figures.len() / 2,
            self.postgres,
        )
    }

    fn row(&self, title: &str, way: Way) -> Vec<String> {
        let figures: Vec<_> = self.figures.iter().filter(|figure| figure.way == way).collect();
        let median = |value: fn(&Figure) -> f64| {
            Spread::of(figures.iter().map(|figure| value(figure))).map_or(0.0, |spread| spread.median)
        };
        let pairs: Vec<_> =
            figures.iter().map(|figure| (figure.p99_during_us, figure.p99_without_us)).collect();
        let ratio = Spread::of(ratios(&pairs)).map_or(0.0, |ratio| ratio.median);
        vec![
            title.to_owned(),
            format!("{:.2}", median(|figure| figure.seconds)),
            format!("{:.2}", median(|figure| figure.wal_bytes as f64) / 1_000_000.0),
            format!("{:.2}", median(|figure| figure.loaded_seconds)),
            format!("{:.2}", median(|figure| figure.p99_without_us) / 1000.0),
            format!("{:.2}", median(|figure| figure.p99_during_us) / 1000.0),
            format!("{:.2}", median(|figure| figure.p99_worst_us) / 1000.0),
            format!("{ratio:.2}"),
        ]
    }
}
