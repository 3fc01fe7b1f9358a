//! The real time and the real randomness. Everything else is handed them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grantry_protocol::{BootClock, Clock, Rng, Timestamp};
use rustix::time::{ClockId, clock_gettime};

pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the server looks at the wall clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// `CLOCK_BOOTTIME`: that of `Instant` stands still while the machine is suspended.
pub struct SystemBootClock;

impl BootClock for SystemBootClock {
    fn since_boot(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).expect("no time before the boot")
    }
}

/// The generator of aws-lc, seeded by the operating system.
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, dest: &mut [u8]) {
        aws_lc_rs::rand::fill(dest).expect("the operating system gives randomness");
    }
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

pub fn boot_clock() -> Arc<dyn BootClock> {
    Arc::new(SystemBootClock)
}

pub fn rng() -> Arc<dyn Rng> {
    Arc::new(SystemRng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_past_the_day_this_was_written_and_random_bytes_differ() {
        assert!(SystemClock.now() > Timestamp::from_secs(1_700_000_000));
        let mut bytes = [[0; 32]; 2];
        bytes.iter_mut().for_each(|bytes| SystemRng.fill(bytes));
        assert_ne!(bytes[0], bytes[1]);
    }

    #[test]
    fn the_clock_since_boot_goes_on_and_is_not_the_wall_clock() {
        let clock = boot_clock();
        let earlier = clock.since_boot();
        assert!(earlier > Duration::ZERO);
        assert!(clock.since_boot() >= earlier);
        assert!(earlier.as_millis() < SystemClock.now().as_millis().unsigned_abs().into());
    }
}
