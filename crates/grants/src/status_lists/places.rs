//! Which place in the lists a token gets. A node reserves a block of numbers and gives them out one by one; what it has
//! not given out when it stops is lost, which costs a few bits.
//!
//! - A token that gets a row gets a place of its own.
//! - In mode none its grant has the place, and a row that says so, and all its access tokens share it. Under the policy
//!   `replace` one of them can end alone, which the shared place could not tell: so they have none.
//! - A token that has neither a row nor a grant has no place.
//! - A block from before an epoch of the log that this node knows is left alone: after a restore no list tells of its
//!   numbers any more, and after a failover another node may have been given the same ones.

use std::ops::Range;

use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Client, Epoch, Grant, GrantId, PersistenceMode,
    StatusIndex,
};
use metrics::counter;
use tokio::sync::Mutex;

use crate::{GrantError, Grants};

/// A thousand tokens a second are four reservations.
const BLOCK: u32 = 256;

/// Where this node's places come from.
#[derive(Default)]
pub struct Places {
    block: Mutex<Option<Block>>,
}

struct Block {
    left: Range<u64>,
    /// What was known of the log when it was reserved.
    epoch: Epoch,
}

impl Block {
    fn next(&mut self, epoch: Epoch) -> Option<StatusIndex> {
        let is_current = epoch <= self.epoch;
        self.left.next().filter(|_| is_current).map(StatusIndex)
    }
}

impl Grants {
    /// The token as it is to be stored.
    pub(crate) async fn placed(
        &self,
        client: &Client,
        token: AccessToken,
    ) -> Result<AccessToken, GrantError> {
        match is_listed(client) {
            true => {
                let status_index = Some(self.new_place(token.authority.seen.epoch).await?);
                Ok(AccessToken { status_index, ..token })
            }
            false => Ok(token),
        }
    }

    /// The same for a token of a grant that is there, which is stored in some modes.
    pub(crate) async fn placed_in_grant(
        &self,
        client: &Client,
        grant: &Grant,
        mode: PersistenceMode,
        policy: ActiveTokenPolicy,
        token: AccessToken,
    ) -> Result<AccessToken, GrantError> {
        match mode {
            PersistenceMode::Sync | PersistenceMode::Async => self.placed(client, token).await,
            PersistenceMode::None if is_listed(client) && policy != ActiveTokenPolicy::Replace => {
                Ok(AccessToken { status_index: grant.status_index, ..token })
            }
            PersistenceMode::None => Ok(token),
        }
    }

    /// Whether a new grant of the client gets a place for its access tokens.
    pub(crate) fn shares_places(&self, client: &Client) -> bool {
        let settings = self.settings();
        is_listed(client)
            && settings.persistence_for(client) == PersistenceMode::None
            && settings.policy_for(client) != ActiveTokenPolicy::Replace
    }

    /// For a token that has seen this epoch of the log; a grant, and so its tokens, may have seen less than the node.
    pub(crate) async fn new_place(&self, seen: Epoch) -> Result<StatusIndex, GrantError> {
        let known = self.store.revocation_view().map(|view| view.head.seen().epoch);
        let epoch = known.map_or(seen, |known| known.max(seen));
        let mut block = self.places.block.lock().await;
        loop {
            if let Some(place) = block.as_mut().and_then(|block| block.next(epoch)) {
                return Ok(place);
            }
            let left = self.store.status_index_reserve(BLOCK).await?;
            counter!("grantry_status_indexes_reserved_total").increment(u64::from(BLOCK));
            *block = Some(Block { left, epoch });
        }
    }
}

/// The grant that a token without a row shares its place with.
pub fn whose_place(unstored: &AccessToken) -> Option<GrantId> {
    unstored.status_index.and(unstored.authority.grant)
}

/// The metadata are not taken otherwise; only a JWT could say it.
fn is_listed(client: &Client) -> bool {
    client.metadata.status_list && client.metadata.access_token_format == AccessTokenFormat::Jwt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_from_before_a_restore_is_left_alone() {
        let mut block = Block { left: 5..7, epoch: Epoch(2) };
        assert_eq!(block.next(Epoch(2)), Some(StatusIndex(5)));
        assert_eq!(block.next(Epoch(3)), None);
        let mut block = Block { left: 5..6, epoch: Epoch(2) };
        assert_eq!(block.next(Epoch(1)), Some(StatusIndex(5)), "whoever has seen less does not know better");
        assert_eq!(block.next(Epoch(2)), None, "it is used up");
    }
}
