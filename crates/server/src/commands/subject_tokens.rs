//! What a subject has, in the JSON of `/admin/v1/tokens`, read from the store itself.

use grantry_grants::{Grants, SubjectCursor, SubjectTokens};
use grantry_protocol::{Subject, Timestamp};
use grantry_store::{StoredGrant, StoredToken};
use serde_json::{Value, json};

use crate::failure::Failure;

pub async fn list(grants: &Grants, subject: &Subject, limit: usize) -> Result<Value, Failure> {
    let mut found = grants.subject_tokens(subject, SubjectCursor::START, limit).await?;
    while let Some(next) = found.next.filter(|_| found.grants.len() < limit && found.tokens.len() < limit) {
        let more = grants.subject_tokens(subject, next, limit).await?;
        found.grants.extend(more.grants);
        found.tokens.extend(more.tokens);
        found.next = more.next;
    }
    let SubjectTokens { grants, tokens, next, at } = found;
    let more = next.is_some() || grants.len() > limit || tokens.len() > limit;
    let grant = |stored: &StoredGrant| {
        let grant = &stored.grant;
        json!({
            "id": grant.id.to_string(),
            "client_id": grant.client_id.as_str(),
            "subject": grant.subject.as_str(),
            "subject_kind": grant.subject_kind,
            "scope": grant.scope.as_str(),
            "audience": grant.audience.names(),
            "state": stored.state(at),
            "created_at": grant.created_at.as_secs(),
            "expires_at": grant.expires_at.as_secs(),
            "idle_expires_at": grant.idle_expires_at.as_secs(),
            "counter": grant.counter,
            "rotated_at": grant.rotated_at.as_secs(),
            "ended_at": stored.ended_at.map(Timestamp::as_secs),
            "session_id": grant.session.map(|id| id.to_string()),
        })
    };
    let token = |stored: &StoredToken| {
        let token = &stored.token;
        json!({
            "id": token.id.to_string(),
            "client_id": token.client_id.as_str(),
            "subject": token.subject.as_str(),
            "subject_kind": token.subject_kind,
            "scope": token.scope.as_str(),
            "audience": token.audience.names(),
            "format": token.format,
            "state": stored.state(at),
            "issued_at": token.issued_at.as_secs(),
            "expires_at": token.expires_at.as_secs(),
            "grant_id": token.authority.grant.map(|id| id.to_string()),
            "session_id": token.authority.session.map(|id| id.to_string()),
        })
    };
    Ok(json!({
        "grants": grants.iter().take(limit).map(grant).collect::<Vec<_>>(),
        "tokens": tokens.iter().take(limit).map(token).collect::<Vec<_>>(),
        "more": more,
    }))
}
