//! `docs/configuration.md`, made of the doc comments, types and defaults of the settings.

use std::fmt::Write as _;

use super::keys::{Key, Kind, Section, sections};

const HEAD: &str = "\
# Configuration

<!-- Made by `grantry config reference`; change the doc comments in crates/server/src/config instead. -->

Settings come from a TOML file: `--config FILE`, else the file that `GRANTRY_CONFIG` names, else `grantry.toml` in the
working directory if it is there, else the defaults. An environment variable goes before the file: `server.listen` is
set by `GRANTRY_SERVER__LISTEN`, and `cache.tokens.capacity` by `GRANTRY_CACHE__TOKENS__CAPACITY`, with two underscores
for each dot; a list is written with commas. Relative paths are relative to the working directory.

A key or a `GRANTRY_` variable that does not exist is an error, and so are settings that contradict one another: the
server says all that is wrong, with file and line, and does not start. `grantry config check` says the same without
starting anything, `grantry config show` prints what is in force and where each value comes from.

Lengths of time are written with their unit, as in `\"90s\"`, `\"60m\"`, `\"24h\"` or `\"30d\"`.
";

const TAIL: &str = "\
## Environment

Besides one variable for each key there are:

| variable | meaning |
|---|---|
| `GRANTRY_CONFIG` | The configuration file, when `--config` is not given. |
| `GRANTRY_MASTER_KEY` | The base64 of the 32 bytes of the master key; goes before `keys.master_key_file`. |
| `GRANTRY_BOOTSTRAP_CLIENT_ID`, `GRANTRY_BOOTSTRAP_CLIENT_SECRET` | Id and secret of the first administrative client, where the store has none yet. Without them both are made and written to the file `first-client` beside the store. |
| `GRANTRY_BOOTSTRAP_CLIENT_SECRET_FILE` | A file with that secret, instead of the secret itself. |
| `GRANTRY_CLIENT_ID`, `GRANTRY_CLIENT_SECRET` | What `grantry clients` and `grantry token` log in with, when no flag says so; without them the file `first-client`. |
| `GRANTRY_CLIENT_SECRET_FILE` | A file with that secret, instead of the secret itself. |
| `GRANTRY_LOG` | Short for `GRANTRY_LOG__LEVEL`. |
";

pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for section in sections() {
        text.push_str(&table(&section));
    }
    text.push('\n');
    text.push_str(TAIL);
    text
}

/// One section under a heading of its own.
pub fn table(section: &Section) -> String {
    let mut text = format!("\n## [{}]\n\n{}\n\n", section.path, section.description);
    text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for key in &section.keys {
        let description = key.description.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {} | {} | {description} |", key.name, kind(key), default(key));
    }
    text
}

fn kind(key: &Key) -> String {
    if !key.values.is_empty() {
        let values: Vec<String> = key.values.iter().map(|value| format!("`\"{value}\"`")).collect();
        return values.join(", ");
    }
    match key.kind {
        Kind::Text => "text",
        Kind::Duration => "length of time",
        Kind::Integer => "whole number",
        Kind::Bool => "`true` or `false`",
        Kind::List => "list of texts",
        Kind::Table => "table",
    }
    .to_owned()
}

fn default(key: &Key) -> String {
    key.default.as_ref().map_or_else(String::new, |default| format!("`{default}`"))
}

#[cfg(test)]
mod tests {
    /// To make the file anew: `cargo run -p grantry-server -- config reference > docs/configuration.md`.
    #[test]
    fn the_reference_in_the_documentation_is_the_one_that_is_made() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == super::reference(),
            "docs/configuration.md is out of date; run: cargo run -p grantry-server -- config reference > \
             docs/configuration.md"
        );
    }
}
