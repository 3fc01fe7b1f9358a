//! What the revocation log has ended, kept in memory ([`Index`]), and how long a node may rely on it ([`Freshness`]).
//! Pure: entries and moments come from outside.

mod freshness;
mod index;

pub use freshness::{Freshness, InvalidStaleness};
pub use index::{Followed, Index, Interrupted, Reading};
