use std::fmt::Write as _;

use serde_json::Value;

use super::keys::{in_toml, sections};
use super::{Config, Loaded};

/// The effective settings as a configuration file, each with where it comes from.
pub fn show(loaded: &Loaded) -> String {
    let values = serde_json::to_value(effective(&loaded.config)).unwrap_or_default();
    let mut text = match &loaded.file {
        Some(path) => format!("# {}\n", path.display()),
        None => "# no configuration file\n".to_owned(),
    };
    for section in sections() {
        let _ = writeln!(text, "\n[{}]", section.path);
        for key in &section.keys {
            let path = key.path();
            let origin = loaded.origins.get(&path).map_or_else(|| "default".to_owned(), ToString::to_string);
            let line = match values.pointer(&format!("/{}", path.replace('.', "/"))) {
                None | Some(Value::Null) => format!("# {} is not set", key.name),
                Some(table @ Value::Object(_)) => format!("{} = {}", key.name, in_toml(table)),
                Some(value) => format!("{} = {value}", key.name),
            };
            let _ = writeln!(text, "{line:<50} # {origin}");
        }
    }
    text
}

/// With what depends on other settings where it is not set.
fn effective(config: &Config) -> Config {
    let mut config = config.clone();
    let issuer = config.server.issuer_at(config.server.listen);
    config.tokens.default_audience.get_or_insert_with(|| vec![issuer.clone()]);
    config.server.issuer.get_or_insert(issuer);
    config
}
