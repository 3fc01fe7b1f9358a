use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The place of a token, or of a grant and all its tokens, among all that a deployment's status lists ever tell of. Given
/// out once, also across restores, so that a bit never speaks of two tokens (draft-ietf-oauth-status-list).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StatusIndex(pub u64);

impl StatusIndex {
    /// How many places a list has: 8 KiB of bits before they are compressed.
    pub const PER_LIST: u32 = 65_536;

    const LIST: u64 = Self::PER_LIST as u64;

    /// The number of the list that it is in.
    pub const fn list(self) -> u64 {
        self.0 / Self::LIST
    }

    /// Its place in that list, below [`Self::PER_LIST`]: the `idx` of a token.
    pub const fn idx(self) -> u32 {
        (self.0 % Self::LIST) as u32
    }

    /// All places of a list; none, where no number is that high.
    pub const fn of_list(list: u64) -> Range<u64> {
        let first = list.saturating_mul(Self::LIST);
        first..first.saturating_add(Self::LIST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AccessToken, AccessTokenFormat, Audience, Lifetime, ScopeSet, Seen, Slot, Timestamp, TokenId,
    };

    #[test]
    fn a_token_is_written_as_ever_unless_it_has_a_place() {
        let (client, format) = ("app".parse().unwrap(), AccessTokenFormat::Jwt);
        let slot = Slot::of_client(client, ScopeSet::parse("read").unwrap(), Audience::default(), format);
        let id = TokenId::from_bytes([7; TokenId::LEN]);
        let without =
            AccessToken::issue(id, slot, Seen::NOTHING, Timestamp::from_secs(1), Lifetime::from_secs(60));
        let with = AccessToken { status_index: Some(StatusIndex(70_000)), ..without.clone() };
        let written = |token: &AccessToken| serde_json::to_value(token).unwrap();
        assert_eq!(written(&without).get("status_index"), None);
        assert_eq!(written(&with)["status_index"], 70_000);
        for token in [without, with] {
            assert_eq!(serde_json::from_value::<AccessToken>(written(&token)).unwrap(), token);
        }
    }

    #[test]
    fn a_number_is_a_place_in_a_list() {
        let place = |number| (StatusIndex(number).list(), StatusIndex(number).idx());
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(65_535), (0, 65_535));
        assert_eq!(place(65_536), (1, 0));
        assert_eq!(StatusIndex::of_list(2), 131_072..196_608);
        assert!(StatusIndex::of_list(u64::MAX).is_empty());
    }
}
