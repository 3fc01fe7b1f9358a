//! Arguments that several commands take, and parsers of their values; each bounds what it lets through.

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};

use crate::load::Load;

/// Where servers are measured that are started for it, and where what was found goes.
#[derive(Args)]
pub struct Stand {
    /// The server to measure [default: `grantry` beside this program]
    #[arg(long, value_name = "FILE")]
    pub server_bin: Option<PathBuf>,
    /// Where the databases are made, in directories that are removed at the end: a disk, not memory, as their flushes are
    /// part of what is measured
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    pub work_dir: PathBuf,
    /// Write every round here as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// No progress bar
    #[arg(long, short)]
    pub quiet: bool,
}

/// How often and how long each contender is measured, in turn, so that all of them meet the same machine.
#[derive(Args)]
pub struct Timing {
    /// How often everything is measured, one after the other
    #[arg(long, default_value = "7", value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub seconds: Duration,
    /// How long to load before each measurement, in seconds
    #[arg(long, default_value = "1", value_parser = seconds_or_none)]
    pub warmup: Duration,
    /// Connections, or callers of what is reached without one
    #[arg(long, default_value = "64", value_parser = connections)]
    pub connections: usize,
}

impl Timing {
    /// As fast as the server answers.
    pub fn load(&self) -> Load {
        Load::closed_loop(self.connections, self.warmup, self.seconds)
    }
}

/// # Errors
/// Not between a tenth of a second and an hour.
pub fn seconds(text: &str) -> Result<Duration, String> {
    bounded_seconds(text, 0.1)
}

/// Like [`seconds`], but zero is allowed.
pub fn seconds_or_none(text: &str) -> Result<Duration, String> {
    bounded_seconds(text, 0.0)
}

fn bounded_seconds(text: &str, least: f64) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (least..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("give seconds between {least} and 3600")),
    }
}

/// # Errors
/// Not between one request in ten seconds and a million a second.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=1_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("give requests per second between 0.1 and 1000000".into()),
    }
}

/// # Errors
/// Not between 1 and 4096.
pub fn connections(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number @ 1..=4096) => Ok(number),
        _ => Err("give a number between 1 and 4096".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("0").is_err() && seconds("3601").is_err() && seconds("NaN").is_err());
        assert_eq!(seconds_or_none("0"), Ok(Duration::ZERO));
        assert!(rate("0").is_err() && rate("inf").is_err() && rate("500").is_ok());
        assert!(connections("0").is_err() && connections("5000").is_err() && connections("64").is_ok());
    }
}
