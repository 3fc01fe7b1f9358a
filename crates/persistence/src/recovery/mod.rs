//! What happens when a token's slot turns out to be taken. One file a mode.

pub mod sync;
