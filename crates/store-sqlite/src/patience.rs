use std::thread;
use std::time::Duration;

use tokio::time::Instant;

const FIRST_STEP: Duration = Duration::from_micros(50);
const LONGEST_STEP: Duration = Duration::from_micros(500);

/// Waiting for something that cannot wake us, in small steps, until a deadline.
pub struct Patience {
    deadline: Instant,
    step: Duration,
    since: Option<Instant>,
}

impl Patience {
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, step: FIRST_STEP, since: None }
    }

    pub fn lasting(span: Duration) -> Self {
        Self::until(Instant::now() + span)
    }

    /// Sleeps for one step; `false` once the deadline has passed.
    pub fn wait(&mut self) -> bool {
        let now = Instant::now();
        self.since.get_or_insert(now);
        if now >= self.deadline {
            return false;
        }
        thread::sleep(self.step);
        self.step = (self.step * 2).min(LONGEST_STEP);
        true
    }

    /// Since the first wait; `None` if there was no need to.
    pub fn waited(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }
}
