//! What a subject has: its grants and its access tokens.

use grantry_protocol::{GrantId, Subject, Timestamp, TokenId};
use grantry_store::{StoredGrant, StoredToken};

use crate::{GrantError, Grants};

/// One page of what a subject has, oldest first.
pub struct SubjectTokens {
    pub grants: Vec<StoredGrant>,
    pub tokens: Vec<StoredToken>,
    /// When it was read: what states are told by.
    pub at: Timestamp,
}

impl Grants {
    /// At most `limit` grants above `after_grant` and as many tokens above `after_token`.
    pub async fn subject_tokens(
        &self,
        subject: &Subject,
        after_grant: Option<GrantId>,
        after_token: Option<TokenId>,
        limit: usize,
    ) -> Result<SubjectTokens, GrantError> {
        let (grants, tokens) = tokio::join!(
            self.store.grant_list(subject, after_grant, limit),
            self.store.token_list(subject, after_token, limit)
        );
        Ok(SubjectTokens { grants: grants?, tokens: tokens?, at: self.clock.now() })
    }
}
