//! The keys of a deployment. The store keeps them sealed under the master key, a list that only ever changes as a
//! whole; each process has them open in a [`KeyRing`] and looks every half second whether the list has changed.
//!
//! Keys that take over from one another make a line: one for the MACs of tokens, one for client secrets, one for each
//! signature algorithm. What the place of a key in its line means stands in `snapshot.rs`.

mod change;
mod error;
mod import;
mod info;
mod list;
mod master;
mod reload;
mod reseal;
mod revoke;
mod ring;
mod rotate;
mod snapshot;
#[cfg(test)]
mod tests;

pub use error::{KeyAdminError, KeyRingError};
pub use info::{KeyInfo, KeyName, KeyState};
pub use master::MasterKey;
pub use reload::Masters;
pub use ring::{KeyOptions, KeyRing};
pub(crate) use snapshot::TokenKey;
