//! The real time and the real randomness. Everything else is handed them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grantry_protocol::{BootClock, Clock, Moment, Rng, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Clocks and randomness; a test brings its own.
#[derive(Clone)]
pub struct Ambient {
    pub clock: Arc<dyn Clock>,
    pub boot_clock: Arc<dyn BootClock>,
    pub rng: Arc<dyn Rng>,
}

impl Ambient {
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), boot_clock: Arc::new(SystemBootClock), rng: Arc::new(SystemRng) }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::now(&*self.clock, &*self.boot_clock)
    }

    /// Between half of it and all of it, so that many who have failed together do not come back together.
    pub(crate) fn jittered(&self, span: Duration) -> Duration {
        let mut bytes = [0; 2];
        self.rng.fill(&mut bytes);
        span / 2 + span / 2 * u32::from(u16::from_be_bytes(bytes)) / u32::from(u16::MAX)
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the verifier looks at the wall clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// `CLOCK_BOOTTIME`: that of `Instant` stands still while the machine is suspended.
struct SystemBootClock;

impl BootClock for SystemBootClock {
    fn since_boot(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).expect("no time before the boot")
    }
}

struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, dest: &mut [u8]) {
        aws_lc_rs::rand::fill(dest).expect("the operating system gives randomness");
    }
}
