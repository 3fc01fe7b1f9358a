//! The revocation log as others are told of it: resource servers that judge tokens by themselves. Entries name what they
//! end by 16 bytes, so that nobody learns the name of a client or of a subject from them, and nobody's memory depends on
//! how long names are.

mod entry;
mod index;
mod key;
mod page;
mod position;

pub use entry::FeedEntry;
pub use index::{FeedIndex, NotContinued};
pub use key::{FeedKey, FeedKeys};
pub use page::{FeedPage, FeedPageKind};
pub use position::{InvalidPosition, parse_position, position_text};
