//! What stands in the file: a client as the admin API takes it, and under `kept` what only a store knows of it. Keys are
//! sealed under the master key, and of secrets there are hashes.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantry_grants::{KeptClient, KeptSecret, Past};
use grantry_protocol::{Client, ClientId, ClientMetadata, ClientSecretHash, Secret, Timestamp};
use grantry_store::{KeyPurpose, KeyRecord};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

#[derive(Default)]
pub struct Content {
    /// The cluster id of the store that the clients were in when the file was written.
    pub store: Option<String>,
    /// Of client secrets.
    pub keys: Vec<KeyRecord>,
    pub clients: Vec<Entry>,
}

pub struct Entry {
    /// Where it begins in the file.
    pub line: usize,
    pub client: KeptClient,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(default)]
    store: Option<String>,
    #[serde(default)]
    client_secret_keys: Vec<WrittenKey>,
    #[serde(default, borrow)]
    clients: Vec<&'a RawValue>,
}

/// Times are in milliseconds since the epoch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    version: u8,
    /// Base64.
    sealed: String,
    created_at: i64,
    active_from: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    needed_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPast {
    version: u64,
    created_at: i64,
    updated_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<WrittenHash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHash {
    /// Among `client_secret_keys`.
    key_version: u8,
    /// Base64 of 32 bytes.
    hash: String,
}

/// What is wrong, and with which field.
type Problem = (&'static str, String);

impl Content {
    /// # Errors
    /// Names the line, and what to do.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let refuse = |line: usize, what: String| {
            Failure::new(format!(
                "{0}:{line}: {what}. Correct {0} (store.clients_file), or move it away to begin without its clients",
                path.display()
            ))
        };
        let written: Written<'_> = serde_json::from_str(text)
            .map_err(|error| refuse(error.line(), without_place(&error.to_string())))?;
        let keys = written.client_secret_keys.iter().map(key_record).collect::<Option<Vec<_>>>();
        let keys = keys.ok_or_else(|| {
            let damaged =
                "a key among \"client_secret_keys\" is not as it was written: \"sealed\" is no base64";
            refuse(line_of(text, "\"client_secret_keys\""), damaged.to_owned())
        })?;
        let (mut clients, mut ids) = (Vec::new(), BTreeSet::new());
        for raw in written.clients {
            let raw = raw.get();
            let line = lines_before(text, raw) + 1;
            let client = client(raw, &keys).map_err(|(field, problem)| {
                let within = line_of(raw, &format!("\"{field}\"")) - 1;
                refuse(line + within, format!("{field}: {problem}"))
            })?;
            if !ids.insert(client.id.clone()) {
                return Err(refuse(line, format!("there are two clients \"{}\"", client.id)));
            }
            clients.push(Entry { line, client });
        }
        Ok(Self { store: written.store, keys, clients })
    }
}

fn key_record(key: &WrittenKey) -> Option<KeyRecord> {
    Some(KeyRecord {
        purpose: KeyPurpose::ClientSecret,
        version: key.version,
        sealed: STANDARD.decode(&key.sealed).ok()?,
        created_at: Timestamp::from_millis(key.created_at),
        active_from: Timestamp::from_millis(key.active_from),
        needed_until: key.needed_until.map(Timestamp::from_millis),
        revoked_at: key.revoked_at.map(Timestamp::from_millis),
    })
}

fn client(raw: &str, keys: &[KeyRecord]) -> Result<KeptClient, Problem> {
    let mut fields: Map<String, Value> =
        serde_json::from_str(raw).map_err(|_| ("clients", "a client must be an object".to_owned()))?;
    let id = match fields.remove("client_id") {
        Some(Value::String(id)) => {
            id.parse::<ClientId>().map_err(|error| ("client_id", error.to_string()))?
        }
        _ => return Err(("client_id", "is missing, or no text".to_owned())),
    };
    let plain = match fields.remove("client_secret") {
        None | Some(Value::Null) => None,
        Some(Value::String(secret)) => Some(Secret::new(secret)),
        Some(_) => return Err(("client_secret", "must be a text".to_owned())),
    };
    let kept = fields.remove("kept").map(serde_json::from_value::<WrittenPast>).transpose();
    let kept = kept.map_err(|error| ("kept", error.to_string()))?;
    // What an answer of the admin API carries may be put here as it is.
    for read_only in Client::READ_ONLY_FIELDS {
        fields.remove(*read_only);
    }
    let metadata = ClientMetadata::from_fields(fields).map_err(|invalid| (invalid.field, invalid.problem))?;
    let past = kept.as_ref().map(|kept| Past {
        version: kept.version,
        created_at: Timestamp::from_millis(kept.created_at),
        updated_at: Timestamp::from_millis(kept.updated_at),
    });
    let secret = match (plain, kept.and_then(|kept| kept.secret)) {
        (Some(_), Some(_)) => {
            let both = "stands beside the hash of another one; remove \"secret\" below \"kept\"".to_owned();
            return Err(("client_secret", both));
        }
        (Some(plain), None) => KeptSecret::Plain(plain),
        (None, Some(hash)) => hashed(&hash, keys)?,
        (None, None) => KeptSecret::None,
    };
    Ok(KeptClient { id, metadata, secret, past })
}

fn hashed(written: &WrittenHash, keys: &[KeyRecord]) -> Result<KeptSecret, Problem> {
    let refuse = |problem: String| Err(("kept", problem));
    let key_version = written.key_version;
    let Some(key) = keys.iter().find(|key| key.version == key_version) else {
        return refuse(format!("there is no key {key_version} among \"client_secret_keys\""));
    };
    match STANDARD.decode(&written.hash).ok().and_then(|hash| hash.try_into().ok()) {
        Some(hash) => Ok(KeptSecret::Hashed(ClientSecretHash { key_version, hash }, key.created_at)),
        None => refuse("the hash is not the base64 of 32 bytes".to_owned()),
    }
}

/// The whole file.
pub fn render(store: &str, keys: &[KeyRecord], clients: &[Client]) -> String {
    let keys: Vec<WrittenKey> = keys
        .iter()
        .filter(|key| key.purpose == KeyPurpose::ClientSecret)
        .map(|key| WrittenKey {
            version: key.version,
            sealed: STANDARD.encode(&key.sealed),
            created_at: key.created_at.as_millis(),
            active_from: key.active_from.as_millis(),
            needed_until: key.needed_until.map(Timestamp::as_millis),
            revoked_at: key.revoked_at.map(Timestamp::as_millis),
        })
        .collect();
    let clients: Vec<Value> = clients.iter().map(client_json).collect();
    format!("{:#}\n", json!({ "store": store, "client_secret_keys": keys, "clients": clients }))
}

fn client_json(client: &Client) -> Value {
    let mut fields = client.metadata.to_fields();
    fields.insert("client_id".to_owned(), client.id.as_str().into());
    let past = WrittenPast {
        version: client.version,
        created_at: client.created_at.as_millis(),
        updated_at: client.updated_at.as_millis(),
        secret: client.secret.map(|secret| WrittenHash {
            key_version: secret.key_version,
            hash: STANDARD.encode(secret.hash),
        }),
    };
    fields.insert("kept".to_owned(), json!(past));
    fields.into()
}

/// serde_json says the place behind its message.
fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message).to_owned()
}

/// The line on which a part of the text begins, counted from 0.
fn lines_before(text: &str, part: &str) -> usize {
    let offset = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// The line, from 1, on which something stands first; the first one where it does not.
fn line_of(text: &str, what: &str) -> usize {
    text.find(what).map_or(0, |offset| lines_before(text, &text[offset..])) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Content, String> {
        Content::parse(Path::new("clients.json"), text).map_err(|failure| failure.to_string())
    }

    fn some_client() -> Client {
        let metadata: Map<String, Value> =
            serde_json::from_value(json!({ "scope": "read write", "access_token_lifetime": "5m" })).unwrap();
        Client {
            id: "billing".parse().unwrap(),
            metadata: ClientMetadata::from_fields(metadata).unwrap(),
            secret: Some(ClientSecretHash { key_version: 2, hash: [7; 32] }),
            created_at: Timestamp::from_millis(1_700_000_000_123),
            updated_at: Timestamp::from_millis(1_700_000_000_456),
            version: 3,
        }
    }

    fn some_key(purpose: KeyPurpose, version: u8) -> KeyRecord {
        KeyRecord {
            purpose,
            version,
            sealed: vec![version; 60],
            created_at: Timestamp::from_millis(5),
            active_from: Timestamp::from_millis(6),
            needed_until: Some(Timestamp::from_millis(7)),
            revoked_at: Some(Timestamp::from_millis(8)),
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_keys_of_other_kinds_are_not_written() {
        let keys = [
            some_key(KeyPurpose::ClientSecret, 1),
            some_key(KeyPurpose::ClientSecret, 2),
            some_key(KeyPurpose::Signing, 1),
        ];
        let client = some_client();
        let read = parsed(&render("abc", &keys, std::slice::from_ref(&client))).unwrap();
        assert_eq!(read.store.as_deref(), Some("abc"));
        assert!(read.keys == keys[..2]);
        let [Entry { client: kept, .. }] = read.clients.as_slice() else { panic!("one client") };
        assert_eq!((&kept.id, &kept.metadata), (&client.id, &client.metadata));
        let Past { version, created_at, updated_at } = kept.past.unwrap();
        assert_eq!((version, created_at, updated_at), (client.version, client.created_at, client.updated_at));
        assert!(matches!(kept.secret, KeptSecret::Hashed(hash, made)
            if Some(hash) == client.secret && made == keys[1].created_at));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let key = r#"{"version": 1, "sealed": "AAAA", "created_at": 1, "active_from": 1}"#;
        let table = [
            ("", "clients.json:1: EOF"),
            ("{\n  \"clients\": [\n}", "clients.json:3: expected value"),
            ("{\n  \"client\": []\n}", "clients.json:2: unknown field `client`"),
            ("{\"clients\": [\n {\"scope\": \"read\"}]}", "clients.json:2: client_id: is missing"),
            ("{\"clients\": [\n {\"client_id\": \"a\",\n  \"scop\": 1}]}", "did you mean \"scope\"?"),
            ("{\"clients\": [\n {\"client_id\": \"a\",\n  \"scope\": 1}]}", "clients.json:3: scope:"),
            ("{\"clients\": [\n 5]}", "clients.json:2: clients: a client must be an object"),
            (
                "{\"clients\": [{\"client_id\": \"a\"},\n {\"client_id\": \"a\"}]}",
                "json:2: there are two clients \"a\"",
            ),
            (
                "{\"clients\": [{\"client_id\": \"a\", \"client_secret\": 5}]}",
                "client_secret: must be a text",
            ),
            (
                r#"{"clients": [{"client_id": "a", "kept": {"version": 1, "created_at": 1, "updated_at": 1,
                "secret": {"key_version": 2, "hash": ""}}}]}"#,
                "kept: there is no key 2",
            ),
            (
                r#"{"clients": [{"client_id": "a", "kept": {"version": 1}}]}"#,
                "kept: missing field `created_at`",
            ),
            (
                "{\"client_secret_keys\": [{\"version\": 1,\n \"sealed\": \"?\", \"created_at\": 1, \"active_from\": 1}]}",
                "\"sealed\" is no base64",
            ),
            (
                &format!(
                    r#"{{"client_secret_keys": [{key}], "clients": [{{"client_id": "a", "client_secret": "s", "kept":
                    {{"version": 1, "created_at": 1, "updated_at": 1, "secret": {{"key_version": 1, "hash": "{}"}}}}}}]}}"#,
                    STANDARD.encode([1; 32])
                ),
                "client_secret: stands beside the hash",
            ),
        ];
        for (text, part) in table {
            let refusal = parsed(text).map(|_| ()).unwrap_err();
            assert!(refusal.contains(part), "{text}: {refusal}");
            assert!(refusal.contains("Correct clients.json (store.clients_file)"), "{refusal}");
        }
    }

    #[test]
    fn what_the_admin_api_answers_can_be_written_down_as_it_is() {
        let answer = some_client().to_json(Some(&Secret::new("s3cret")));
        let read = parsed(&json!({ "clients": [answer] }).to_string()).unwrap();
        assert!(
            matches!(&read.clients[0].client.secret, KeptSecret::Plain(secret) if secret.expose() == "s3cret")
        );
        assert_eq!(read.clients[0].client.past, None);
    }
}
