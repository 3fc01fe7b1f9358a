//! Do the store's rows agree with the tokens that were answered?

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{clock, failure::Failure, scenario::Scenario};

const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A shell command that prints how many rows there are.
#[derive(Debug, Clone)]
pub struct RowsCommand(pub String);

impl RowsCommand {
    pub fn count(&self) -> Result<u64, Failure> {
        let command = &self.0;
        let output = Command::new("sh").arg("-c").arg(command).output();
        let output =
            output.map_err(|error| Failure::new(format!("--rows-command: sh does not start: {error}")))?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("--rows-command {command:?} fails: {}", said.trim())));
        }
        printed.trim().parse().map_err(|_| {
            Failure::new(format!(
                "--rows-command {command:?} must print one number; it prints {:?}",
                printed.trim()
            ))
        })
    }

    /// Waits for rows that a server writes behind the answer.
    pub fn count_when_written(&self, wanted: u64, patience: Duration) -> Result<u64, Failure> {
        let until: Instant = clock::now() + patience;
        loop {
            let count = self.count()?;
            if count >= wanted || clock::now() >= until {
                return Ok(count);
            }
            thread::sleep(ASK_AGAIN);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rows {
    pub before: u64,
    pub after: u64,
    /// Tokens answered with 200, warm-up included; in a mix only the new ones, and those of grants that were obtained
    /// again.
    pub answered: u64,
    /// Requests without an answer; each may or may not have written a row.
    pub lost: u64,
}

impl Rows {
    /// # Errors
    /// A sentence with the numbers.
    pub fn check(&self, scenario: Scenario) -> Result<(), Failure> {
        let Self { before, after, answered, lost } = *self;
        let Some(written) = after.checked_sub(before) else {
            return Err(Failure::new(format!(
                "rows were deleted during the run: {before} before, {after} after"
            )));
        };
        match scenario {
            _ if scenario.writes_tokens() && written != answered => Err(Failure::new(format!(
                "rows written ({written}) differ from tokens answered ({answered}); {lost} requests had no answer"
            ))),
            Scenario::Reuse if written > 1 => Err(Failure::new(format!(
                "{written} rows were written although every request asked for the same token"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(before: u64, after: u64, answered: u64) -> Rows {
        Rows { before, after, answered, lost: 0 }
    }

    #[test]
    fn issuing_writes_one_row_a_token() {
        for scenario in [Scenario::Issue, Scenario::Refresh, Scenario::Mixed] {
            assert!(rows(5, 15, 10).check(scenario).is_ok());
            assert!(rows(5, 14, 10).check(scenario).is_err());
            assert!(rows(5, 16, 10).check(scenario).is_err());
            assert!(rows(5, 4, 0).check(scenario).is_err());
        }
    }

    #[test]
    fn reusing_writes_one_row_at_most() {
        assert!(rows(5, 6, 10).check(Scenario::Reuse).is_ok());
        assert!(rows(5, 7, 10).check(Scenario::Reuse).is_err());
    }

    #[test]
    fn a_command_prints_a_number_or_fails_clearly() {
        assert_eq!(RowsCommand("echo ' 42 '".into()).count().unwrap(), 42);
        assert!(RowsCommand("echo many".into()).count().unwrap_err().to_string().contains("one number"));
        let error = RowsCommand("echo lost >&2; exit 3".into()).count().unwrap_err().to_string();
        assert!(error.contains("lost"), "{error}");
    }
}
