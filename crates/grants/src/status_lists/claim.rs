use grantry_protocol::StatusIndex;
use serde::{Deserialize, Serialize};

use super::uri;

/// What a token says of where its status is told (draft-ietf-oauth-status-list §6.2).
#[derive(Debug, Serialize, Deserialize)]
pub struct StatusClaim {
    status_list: Reference,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reference {
    idx: u32,
    uri: String,
}

impl StatusClaim {
    pub fn of(index: StatusIndex, issuer: &str) -> Self {
        Self { status_list: Reference { idx: index.idx(), uri: uri(issuer, index.list()) } }
    }

    /// What [`Self::of`] was made of, with the same issuer.
    pub fn index(&self, issuer: &str) -> Option<StatusIndex> {
        let Reference { idx, uri } = &self.status_list;
        let list: u64 =
            uri.strip_prefix(issuer)?.strip_prefix(super::PATH)?.strip_prefix('/')?.parse().ok()?;
        list.checked_mul(StatusIndex::PER_LIST.into())?.checked_add((*idx).into()).map(StatusIndex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_its_status_is_and_is_read_back() {
        let (issuer, index) = ("https://auth.example", StatusIndex(3 * 65_536 + 7));
        let claim = StatusClaim::of(index, issuer);
        assert_eq!(
            serde_json::to_string(&claim).unwrap(),
            r#"{"status_list":{"idx":7,"uri":"https://auth.example/oauth2/status-list/3"}}"#
        );
        assert_eq!(claim.index(issuer), Some(index));
        assert_eq!(claim.index("https://other.example"), None);
        let largest = StatusClaim::of(StatusIndex(u64::MAX), issuer);
        assert_eq!(largest.index(issuer), Some(StatusIndex(u64::MAX)));
    }
}
