use std::sync::Arc;

use grantry_protocol::Clock;

/// What the store means by "now".
#[derive(Clone)]
pub enum StoreTime {
    /// The database's clock, read inside the statements.
    Database,
    /// A clock in its place, for tests that turn it.
    Clock(Arc<dyn Clock>),
}

impl StoreTime {
    /// For the parameter of `now!` in a statement.
    pub fn param(&self) -> Option<i64> {
        match self {
            Self::Database => None,
            Self::Clock(clock) => Some(clock.now().as_millis()),
        }
    }
}
