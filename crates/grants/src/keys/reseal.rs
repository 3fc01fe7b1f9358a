//! Another master key: every key is sealed anew under it, all in one change. The keys themselves stay, and with them
//! all tokens.

use serde_json::json;

use super::change::Next;
use super::{KeyAdminError, MasterKey};
use crate::{Actor, Grants};

impl Grants {
    /// Once this returns, the store opens with `new` only. A running server notices, and needs to find it.
    pub async fn key_reseal(&self, new: &MasterKey, actor: &Actor) -> Result<(), KeyAdminError> {
        let make = |present: &super::snapshot::Snapshot, _| {
            let mut records = present.records();
            for record in &mut records {
                let plain = present.master.unseal(record).ok_or(super::KeyRingError::WrongMasterKey {
                    purpose: record.purpose.as_str(),
                    version: record.version,
                })?;
                record.sealed = new.seal(self.rng.as_ref(), record.purpose, record.version, &plain);
            }
            let detail = json!({ "keys": records.len() });
            Ok(Next {
                records,
                master: new.clone(),
                about: None,
                action: "key.reseal",
                target: "master".to_owned(),
                detail,
            })
        };
        self.keys.change(actor, make).await.map(drop)
    }
}
