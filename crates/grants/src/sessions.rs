//! What a subject has: its grants and its access tokens, newest first.
//!
//! Grants are found by their subject. Tokens are not: an index by subject costs every token that is issued, and slows
//! refreshing down as tokens gather. So a page looks at a bounded number of them, the newest first, which are those that
//! live; a page may be empty and have a next one.

use grantry_protocol::{GrantId, Subject, Timestamp, TokenId};
use grantry_store::{StoredGrant, StoredToken};

use crate::{GrantError, Grants};

/// Tokens that are looked at in one go, so that nobody else's read waits for long.
const AMONG: usize = 10_000;
/// And for one page at most this often.
const GOES: usize = 20;

/// One page of what a subject has.
pub struct SubjectTokens {
    pub grants: Vec<StoredGrant>,
    pub tokens: Vec<StoredToken>,
    /// Where the next page begins; absent on the last one.
    pub next: Option<SubjectCursor>,
    /// When it was read: what states are told by.
    pub at: Timestamp,
}

/// How far down both lists have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectCursor {
    pub grant: GrantId,
    pub token: TokenId,
}

impl SubjectCursor {
    /// Above every id.
    pub const START: Self =
        Self { grant: GrantId::from_bytes([0xff; 16]), token: TokenId::from_bytes([0xff; 16]) };
    /// Below every id.
    const END: Self = Self { grant: GrantId::from_bytes([0; 16]), token: TokenId::from_bytes([0; 16]) };
}

impl Grants {
    /// At most `limit` grants and as many tokens below the cursor.
    pub async fn subject_tokens(
        &self,
        subject: &Subject,
        from: SubjectCursor,
        limit: usize,
    ) -> Result<SubjectTokens, GrantError> {
        let (grants, tokens) = tokio::join!(
            self.store.grant_list(subject, Some(from.grant), limit),
            self.tokens_below(subject, from.token, limit)
        );
        let (grants, (tokens, token)) = (grants?, tokens?);
        let full = grants.len() == limit;
        let grant = grants.last().filter(|_| full).map_or(SubjectCursor::END.grant, |last| last.grant.id);
        let next = SubjectCursor { grant, token };
        let next = (next != SubjectCursor::END).then_some(next);
        Ok(SubjectTokens { grants, tokens, next, at: self.clock.now() })
    }

    async fn tokens_below(
        &self,
        subject: &Subject,
        mut below: TokenId,
        limit: usize,
    ) -> Result<(Vec<StoredToken>, TokenId), GrantError> {
        let mut tokens = Vec::new();
        for _ in 0..GOES {
            let page = self.store.token_list(subject, Some(below), limit - tokens.len(), AMONG).await?;
            tokens.extend(page.tokens);
            below = page.next.unwrap_or(SubjectCursor::END.token);
            if below == SubjectCursor::END.token || tokens.len() >= limit {
                break;
            }
        }
        Ok((tokens, below))
    }
}
