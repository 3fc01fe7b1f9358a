//! Every key that exists, taken from the schema of [`Config`]: reading, `config show` and the reference go by this list,
//! so none of them can forget a key.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

use super::Config;
use super::environment::PREFIX;

pub struct Key {
    /// As [`Section::path`].
    pub section: String,
    pub name: String,
    pub kind: Kind,
    /// Absent where there is none, or where it depends on other keys.
    pub default: Option<Value>,
    pub description: String,
    /// The only values, if they are few.
    pub values: Vec<String>,
    /// For messages, where the default is none or would not do.
    pub example: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Duration,
    Integer,
    Bool,
    List,
    Table,
}

pub struct Section {
    /// As in its header: `cache`, and below it `cache.tokens`.
    pub path: String,
    pub description: String,
    /// Its own, without those of the sections below it.
    pub keys: Vec<Key>,
}

impl Key {
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that goes before the file.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path().replace('.', "__")).to_uppercase()
    }

    /// A line that would be right, for an error message.
    pub fn example(&self) -> String {
        let value = match (&self.default, self.name.as_str()) {
            _ if self.example.is_some() => self.example.as_ref().map(in_toml).unwrap_or_default(),
            (Some(default), _) if *default != Value::Array(Vec::new()) => default.to_string(),
            (_, "trusted_proxies" | "allowed_networks") => "[\"10.0.0.0/8\"]".to_owned(),
            (_, "discovery") => "[\"redis://127.0.0.1:6379\"]".to_owned(),
            (_, "username" | "sentinel_master") => "\"grantry\"".to_owned(),
            (_, "password") => "\"...\"".to_owned(),
            (_, "password_file") => "\"/run/secrets/grantry-data-space\"".to_owned(),
            (_, "default_audience") => "[\"https://api.example\"]".to_owned(),
            (_, "issuer") => "\"https://auth.example\"".to_owned(),
            (_, "clients_file") => "\"grantry-data/clients.json\"".to_owned(),
            (_, "url_file") => "\"/run/secrets/grantry-store-url\"".to_owned(),
            _ if self.kind == Kind::Duration => "\"2s\"".to_owned(),
            (_, name) => format!("\"grantry-data/{name}.pem\""),
        };
        format!("{} = {value}", self.name)
    }
}

/// The sections and their keys, in the order of their declaration; a section stands before those below it.
pub fn sections() -> Vec<Section> {
    sections_of::<Config>()
}

pub fn sections_of<C: Default + Serialize + JsonSchema>() -> Vec<Section> {
    // Under the serialize contract every field is required, and `required` keeps the order of the declaration, which
    // the sorted properties do not.
    let generator = SchemaSettings::default()
        .for_serialize()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let schema = generator.into_root_schema_for::<C>().to_value();
    // The schema would know them by type, and two sections of one type may differ in their defaults.
    let defaults = serde_json::to_value(C::default()).unwrap_or_default();
    let mut sections = Vec::new();
    for (name, schema) in in_order(&schema) {
        read_section(name, schema, &defaults[name], &mut sections);
    }
    sections
}

/// Of every key, such as `tokens.refresh_grace`.
pub fn paths() -> Vec<String> {
    keys().iter().map(Key::path).collect()
}

pub fn keys() -> Vec<Key> {
    keys_of::<Config>()
}

pub fn keys_of<C: Default + Serialize + JsonSchema>() -> Vec<Key> {
    sections_of::<C>().into_iter().flat_map(|section| section.keys).collect()
}

fn in_order(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let names = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(|name| (name, &schema["properties"][name]))
}

fn read_section(path: &str, schema: &Value, defaults: &Value, sections: &mut Vec<Section>) {
    let (below, own): (Vec<_>, Vec<_>) = in_order(schema).partition(|(_, schema)| is_section(schema));
    let keys = own.into_iter().map(|(name, schema)| read_key(path, name, schema, &defaults[name])).collect();
    sections.push(Section { path: path.to_owned(), description: description(schema), keys });
    for (name, schema) in below {
        read_section(&format!("{path}.{name}"), schema, &defaults[name], sections);
    }
}

fn is_section(schema: &Value) -> bool {
    schema.get("properties").is_some()
}

fn read_key(section: &str, name: &str, schema: &Value, default: &Value) -> Key {
    Key {
        section: section.to_owned(),
        name: name.to_owned(),
        kind: kind(schema),
        default: Some(default).filter(|default| !default.is_null()).cloned(),
        description: description(schema),
        values: values(schema),
        example: schema.get("example").cloned(),
    }
}

fn kind(schema: &Value) -> Kind {
    let has = |name: &str| match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    };
    match () {
        () if has("array") => Kind::List,
        () if has("boolean") => Kind::Bool,
        () if has("object") => Kind::Table,
        () if has("integer") => Kind::Integer,
        () if is_lifetime(schema) => Kind::Duration,
        () => Kind::Text,
    }
}

/// A table stands on one line there.
pub fn in_toml(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{} = {}", name_in_toml(name), in_toml(value)))
                .collect();
            match members.as_slice() {
                [] => "{}".to_owned(),
                members => format!("{{ {} }}", members.join(", ")),
            }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(in_toml).collect::<Vec<_>>().join(", ")),
        plain => plain.to_string(),
    }
}

/// Without quotes where it can be.
fn name_in_toml(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match !name.is_empty() && name.bytes().all(is_bare) {
        true => name.to_owned(),
        false => Value::from(name).to_string(),
    }
}

/// One that may be absent is one of several.
fn is_lifetime(schema: &Value) -> bool {
    let is = |schema: &Value| schema["format"] == "lifetime";
    is(schema) || schema["anyOf"].as_array().is_some_and(|several| several.iter().any(is))
}

/// Variants of an enum stand in `enum`, or, where one has a doc comment, in `oneOf`.
fn values(schema: &Value) -> Vec<String> {
    let listed = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = listed(&schema["enum"]);
    for variant in listed(&schema["oneOf"]) {
        found.extend(listed(&variant["enum"]));
        found.extend(variant.get("const").cloned());
    }
    found.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// One line; the schema keeps the line breaks of the doc comment.
fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Key {
        keys().into_iter().find(|key| key.path() == path).unwrap_or_else(|| panic!("{path} is missing"))
    }

    #[test]
    fn keys_have_their_kinds_and_defaults() {
        assert_eq!(key("server.listen").kind, Kind::Text);
        assert_eq!(key("server.listen").default, Some("127.0.0.1:8080".into()));
        assert_eq!(key("server.issuer").default, None);
        assert_eq!(key("server.trusted_proxies").kind, Kind::List);
        assert_eq!(key("server.behind_tls_proxy").kind, Kind::Bool);
        assert_eq!(key("limits.max_connections").kind, Kind::Integer);
        assert_eq!(key("tokens.access_token_lifetime").kind, Kind::Duration);
        assert_eq!(key("tokens.active_token_policy").values, ["reuse", "replace", "multiple"]);
        assert_eq!(key("tokens.claims").kind, Kind::Table);
        assert_eq!(key("tokens.claims").variable(), "GRANTRY_TOKENS__CLAIMS");
        assert_eq!(key("store.statement_timeout").kind, Kind::Duration);
        assert_eq!(key("store.statement_timeout").default, None);
        assert_eq!(key("store.url").default, Some("sqlite:grantry-data/grantry.db".into()));
        assert_eq!(key("store.url_file").kind, Kind::Text);
        assert_eq!(key("token_persistence.journal").values, ["fsync", "os", "off"]);
        assert_eq!(key("cache.coherence").values, ["strict", "bounded", "none"]);
        assert_eq!(key("cache.max_staleness").kind, Kind::Duration);
        assert_eq!(key("cache.token_owners.eviction_policy").values, ["lru", "lfu", "s3fifo"]);
        assert_eq!(key("data_space.discovery").kind, Kind::List);
        assert_eq!(key("data_space.password").kind, Kind::Text);
        assert_eq!(key("data_space.replication_count").default, Some((-1).into()));
        assert_eq!(key("data_space.replication_policy").values, ["async", "sync"]);
        assert_eq!(key("data_space.answer_timeout").default, Some("50ms".into()));
        assert_eq!(key("log.format").values, ["auto", "text", "json"]);
    }

    #[test]
    fn every_section_and_key_is_described() {
        for section in sections() {
            assert!(!section.description.is_empty(), "{}", section.path);
            for key in section.keys {
                assert!(!key.description.is_empty(), "{}", key.path());
            }
        }
    }

    #[test]
    fn keys_stand_in_the_order_of_their_declaration() {
        let paths: Vec<String> = sections().into_iter().map(|section| section.path).collect();
        assert_eq!(
            paths,
            [
                "server",
                "store",
                "keys",
                "token_persistence",
                "tokens",
                "cache",
                "cache.tokens",
                "cache.token_owners",
                "cache.clients",
                "data_space",
                "limits",
                "outbound",
                "log"
            ]
        );
        assert_eq!(keys()[0].path(), "server.issuer");
    }

    #[test]
    fn a_key_of_a_section_below_another_has_the_path_of_both_and_a_default_of_its_own() {
        assert_eq!(key("cache.tokens.capacity").variable(), "GRANTRY_CACHE__TOKENS__CAPACITY");
        assert_eq!(key("cache.tokens.capacity").default, Some(100_000.into()));
        assert_eq!(key("cache.clients.capacity").default, Some(10_000.into()));
        assert_eq!(key("cache.enabled").section, "cache");
    }
}
