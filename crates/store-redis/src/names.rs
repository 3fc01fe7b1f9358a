//! What the keys are called. All of a store's begin with the same hash tag, so a Redis Cluster keeps them together and a
//! script may change any of them at once.

use grantry_protocol::{ClientId, GrantId, LogKind, NodeNumber, SlotKey, Subject, TokenId};
use grantry_store::{AssertionKey, NodeId};

pub type Key = Vec<u8>;

#[derive(Debug, Clone)]
pub struct Names {
    prefix: String,
}

impl Names {
    pub fn new(name: &str) -> Self {
        Self { prefix: format!("{{{name}}}:") }
    }

    fn key(&self, rest: &str) -> Key {
        format!("{}{rest}", self.prefix).into_bytes()
    }

    /// Whom the store belongs to, and how it is written.
    pub fn meta(&self) -> Key {
        self.key("meta")
    }

    pub fn token(&self, id: TokenId) -> Key {
        self.key(&format!("token:{id}"))
    }

    /// All token ids, in order.
    pub fn tokens(&self) -> Key {
        self.key("tokens")
    }

    /// Ids of tokens that have a place in a status list, by that place.
    pub fn tokens_by_status(&self) -> Key {
        self.key("tokens_by_status")
    }

    pub fn slot(&self, slot: SlotKey) -> Key {
        self.key(&format!("slot:{}", hex(slot.as_bytes())))
    }

    pub fn early_end(&self, id: TokenId) -> Key {
        self.key(&format!("early_end:{id}"))
    }

    /// Ids of tokens that were ended early, by when they have expired.
    pub fn early_ends(&self) -> Key {
        self.key("early_ends")
    }

    pub fn grant(&self, id: GrantId) -> Key {
        self.key(&format!("grant:{id}"))
    }

    /// All grant ids, in order.
    pub fn grants(&self) -> Key {
        self.key("grants")
    }

    /// Ids of grants that have a place in a status list, by that place.
    pub fn grants_by_status(&self) -> Key {
        self.key("grants_by_status")
    }

    /// Which places of status lists were given out.
    pub fn status_head(&self) -> Key {
        self.key("status_head")
    }

    pub fn grants_of(&self, subject: &Subject) -> Key {
        self.key(&format!("grants_of:{subject}"))
    }

    /// The id of the grant that was last opened for the slot.
    pub fn slots_grant(&self, slot: SlotKey) -> Key {
        self.key(&format!("slots_grant:{}", hex(slot.as_bytes())))
    }

    pub fn assertion(&self, key: AssertionKey) -> Key {
        self.key(&format!("assertion:{}", hex(&key.0)))
    }

    /// By when they have expired.
    pub fn assertions(&self) -> Key {
        self.key("assertions")
    }

    /// The last rule of the kind with that key.
    pub fn rule(&self, kind: LogKind, key: &[u8]) -> Key {
        self.key(&format!("rule:{}:{}", kind.code(), hex(key)))
    }

    /// Where the log ends.
    pub fn head(&self) -> Key {
        self.key("head")
    }

    /// The entries of the log, by position.
    pub fn log(&self) -> Key {
        self.key("log")
    }

    /// Their positions, by when they may be forgotten.
    pub fn log_until(&self) -> Key {
        self.key("log_until")
    }

    pub fn client(&self, id: &ClientId) -> Key {
        self.key(&format!("client:{id}"))
    }

    /// All client ids, in order.
    pub fn clients(&self) -> Key {
        self.key("clients")
    }

    /// The ids of those clients that may administrate.
    pub fn administrators(&self) -> Key {
        self.key("administrators")
    }

    /// Which clients allow which origins.
    pub fn origins(&self) -> Key {
        self.key("origins")
    }

    /// All keys of the deployment.
    pub fn keys(&self) -> Key {
        self.key("keys")
    }

    pub fn settings(&self) -> Key {
        self.key("settings")
    }

    pub fn node(&self, id: NodeId) -> Key {
        self.key(&format!("node:{}", hex(&id.0)))
    }

    /// What the node said last of itself, written without looking.
    pub fn beat(&self, id: NodeId) -> Key {
        self.key(&format!("beat:{}", hex(&id.0)))
    }

    /// The ids of all nodes.
    pub fn nodes(&self) -> Key {
        self.key("nodes")
    }

    /// The node that has the number.
    pub fn number(&self, number: NodeNumber) -> Key {
        self.key(&format!("number:{number}"))
    }

    pub fn audit(&self) -> Key {
        self.key("audit")
    }

    /// Marks a commit as done, for whoever has lost its answer.
    pub fn commit(&self, number: &str) -> Key {
        self.key(&format!("commit:{number}"))
    }

    /// Where it is published that the log has grown.
    pub fn bell(&self) -> Key {
        self.key("revocations")
    }
}

/// A limit as Redis takes it.
pub fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_being_written_as_digits() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("0g"), None);
    }

    #[test]
    fn all_keys_of_a_store_are_in_one_hash_slot() {
        let names = Names::new("grantry");
        let slot = |key: &Key| redis::cluster_routing::Slot::for_key(key);
        assert_eq!(slot(&names.head()), slot(&names.client(&"a}b{c".parse().unwrap())));
        assert_eq!(slot(&names.head()), slot(&names.bell()));
    }
}
