use std::time::Duration;

use grantry_protocol::Rng;
use tokio::time::Instant;

use crate::errors::Error;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// Keeps a pool from running against a server that is not there. Each wait is between half and all of a span that
/// doubles, from 20 ms to 1 s, so that nodes which lost the same server do not come back in step.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
    /// Until when to wait, and what went wrong last.
    last: Option<(Instant, Error)>,
}

impl Backoff {
    /// The end of the wait that is due, if there is one.
    pub fn until(&self) -> Option<Instant> {
        self.last.as_ref().map(|(until, _)| *until)
    }

    pub fn last_error(&self) -> Option<&Error> {
        self.last.as_ref().map(|(_, error)| error)
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub fn failed(&mut self, error: Error, now: Instant, rng: &dyn Rng) {
        let span = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let mut byte = [0];
        rng.fill(&mut byte);
        let wait = span / 2 + span / 2 * u32::from(byte[0]) / 255;
        self.last = Some((now + wait, error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Cause;

    struct Always(u8);

    impl Rng for Always {
        fn fill(&self, dest: &mut [u8]) {
            dest.fill(self.0);
        }
    }

    fn waits(byte: u8, count: usize) -> Vec<Duration> {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let mut wait = || {
            backoff.failed(Error::new(Cause::Lost, ""), now, &Always(byte));
            backoff.until().unwrap() - now
        };
        (0..count).map(|_| wait()).collect()
    }

    #[test]
    fn waits_double_up_to_a_second_and_are_at_least_half_of_it() {
        let millis =
            |millis: &[u64]| millis.iter().map(|&millis| Duration::from_millis(millis)).collect::<Vec<_>>();
        assert_eq!(waits(255, 8), millis(&[20, 40, 80, 160, 320, 640, 1000, 1000]));
        assert_eq!(waits(0, 8), millis(&[10, 20, 40, 80, 160, 320, 500, 500]));
    }

    #[test]
    fn a_success_ends_the_waiting() {
        let mut backoff = Backoff::default();
        backoff.failed(Error::new(Cause::Lost, "gone"), Instant::now(), &Always(0));
        assert_eq!(backoff.last_error().unwrap().to_string(), "gone");
        backoff.succeeded();
        assert_eq!(backoff.until(), None);
    }
}
