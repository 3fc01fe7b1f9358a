use serde::{Deserialize, Serialize};

use crate::{
    Audience, Authority, ClientId, GrantId, ScopeSet, Seen, SessionId, SlotKey, StatusIndex, Subject,
    SubjectKind, Timestamp, TokenId,
};

/// One authorization of one client by one subject, for as long as it can be refreshed. However often that happens, it
/// stays one row: the counter tells the refresh token that is good from those that were spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    /// Where slot binding `none` finds it again: at most one live grant a slot. Absent for binding `grant`.
    pub slot: Option<SlotKey>,
    pub client_id: ClientId,
    pub subject: Subject,
    pub subject_kind: SubjectKind,
    /// The most that a refresh may ask for (RFC 6749 §6).
    pub scope: ScopeSet,
    pub audience: Audience,
    pub session: Option<SessionId>,
    /// What was known of the revocation log when the authority was given.
    pub seen: Seen,
    pub created_at: Timestamp,
    /// The absolute end; no refresh moves it.
    pub expires_at: Timestamp,
    /// The end if nobody refreshes; each refresh moves it.
    pub idle_expires_at: Timestamp,
    /// How often it was rotated: the refresh token with this number is the one that is good.
    pub counter: u32,
    /// When the counter last moved, on the store's clock; `created_at` before it did.
    pub rotated_at: Timestamp,
    /// The access token of the last rotation: what a repeated refresh is answered with.
    pub access_token: TokenId,
    /// Where status lists tell of it, for its access tokens that get no row; absent where they get one each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_index: Option<StatusIndex>,
}

impl Grant {
    /// What its tokens carry.
    pub const fn authority(&self) -> Authority {
        Authority { seen: self.seen, grant: Some(self.id), session: self.session }
    }

    /// When it ends by itself, as things stand.
    pub fn ends_at(&self) -> Timestamp {
        self.expires_at.min(self.idle_expires_at)
    }
}

/// Where a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GrantState {
    /// Its refresh token is good.
    Active,
    /// Its absolute or its idle lifetime is over.
    Expired,
    /// Ended by revocation, or because a spent refresh token came back.
    Revoked,
}
