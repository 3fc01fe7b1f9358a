//! Clocks that stand still until they are moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grantry_protocol::ManualClock;
use grantry_verifier::{Ambient, BootClock, Clock, Rng, Timestamp};

pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub struct Clocks {
    pub wall: Arc<ManualClock>,
    boot: Arc<ManualBootClock>,
}

impl Clocks {
    pub fn new() -> Self {
        let boot = ManualBootClock(AtomicU64::new(1_000_000));
        Self { wall: Arc::new(ManualClock::at(NOW)), boot: Arc::new(boot) }
    }

    pub fn ambient(&self) -> Ambient {
        let (clock, boot_clock) = (Arc::clone(&self.wall), Arc::clone(&self.boot));
        Ambient { clock, boot_clock, rng: Arc::new(NoJitter) }
    }

    pub fn now(&self) -> Timestamp {
        self.wall.now()
    }

    pub fn advance(&self, span: Duration) {
        self.wall.advance(span);
        self.advance_boot(span);
    }

    /// As when the wall clock is set back, or stands still.
    pub fn advance_boot(&self, span: Duration) {
        self.boot.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

struct ManualBootClock(AtomicU64);

impl BootClock for ManualBootClock {
    fn since_boot(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

struct NoJitter;

impl Rng for NoJitter {
    fn fill(&self, dest: &mut [u8]) {
        dest.fill(0);
    }
}
