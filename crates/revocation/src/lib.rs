//! What the revocation log has ended, kept in memory ([`Index`]), how long a node may rely on it ([`Freshness`]), and the
//! feed by which others follow it ([`FeedPage`], [`FeedIndex`]).
//! Pure: entries and moments come from outside.

mod feed;
mod freshness;
mod index;

pub use feed::{
    FeedEntry, FeedIndex, FeedKey, FeedKeys, FeedPage, FeedPageKind, InvalidPosition, NotContinued,
    parse_position, position_text,
};
pub use freshness::{Freshness, InvalidStaleness};
pub use index::{Followed, Index, Interrupted, Reading};
