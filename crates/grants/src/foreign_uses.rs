//! Refresh tokens that other clients than their own present are recorded in the audit trail; once an hour for each
//! grant and client, or whoever found one token could fill the store with rows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use grantry_protocol::{ClientId, GrantId, Timestamp};
use metrics::gauge;

use crate::bounded::Bounded;

const CAPACITY: usize = 10_000;
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

pub struct ForeignUses(Mutex<Bounded<(GrantId, ClientId), Timestamp>>);

impl Default for ForeignUses {
    fn default() -> Self {
        Self(Mutex::new(Bounded::new(CAPACITY, gauge!("grantry_foreign_uses_remembered"))))
    }
}

impl ForeignUses {
    /// Whether this one is to be recorded.
    pub fn is_new(&self, grant: GrantId, client: &ClientId, now: Timestamp) -> bool {
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (grant, client.clone());
        let is_new = recorded.get(&key).is_none_or(|at| now.since(*at) >= AGAIN_AFTER);
        if is_new {
            recorded.put(key, now);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_grant_and_client_is_recorded_once_an_hour() {
        let uses = ForeignUses::default();
        let (grant, start) = (GrantId::from_bytes([1; 16]), Timestamp::from_secs(10_000));
        let (one, other): (ClientId, ClientId) = ("one".parse().unwrap(), "other".parse().unwrap());
        assert!(uses.is_new(grant, &one, start) && uses.is_new(grant, &other, start));
        assert!(uses.is_new(GrantId::from_bytes([2; 16]), &one, start));
        assert!(!uses.is_new(grant, &one, start + Duration::from_secs(3599)));
        assert!(uses.is_new(grant, &one, start + Duration::from_secs(3600)));
        assert!(!uses.is_new(grant, &one, start + Duration::from_secs(3601)));
    }
}
