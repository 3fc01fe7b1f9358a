use serde_json::{Map, Value};

use crate::cli::{Output, SettingsCommand};
use crate::commands::desk::Desk;
use crate::commands::print;
use crate::config::Loaded;
use crate::failure::Failure;
use crate::offline;

pub fn run(loaded: &Loaded, command: SettingsCommand) -> Result<(), Failure> {
    offline::run(Box::pin(carry_out(loaded, command)))
}

async fn carry_out(loaded: &Loaded, command: SettingsCommand) -> Result<(), Failure> {
    let (output, settings) = match command {
        SettingsCommand::Show { output, access } => {
            (output, Desk::open(loaded, &access).await?.settings_get().await?)
        }
        SettingsCommand::Set { changes, output, access } => {
            let patch = patch(changes.iter().map(|change| read_change(change)))?;
            (output, Desk::open(loaded, &access).await?.settings_update(patch).await?)
        }
        SettingsCommand::Reset { keys, output, access } => {
            let patch = patch(keys.iter().map(|key| Ok((key.as_str(), Value::Null))))?;
            (output, Desk::open(loaded, &access).await?.settings_update(patch).await?)
        }
    };
    show(output, &settings);
    Ok(())
}

/// Digits are a number, `true` and `false` are those, and anything else is text.
fn read_change(change: &str) -> Result<(&str, Value), Failure> {
    let (key, value) = change.split_once('=').ok_or_else(|| {
        Failure::new(format!("{change}: write KEY=VALUE, as in tokens.access_token_lifetime=10m"))
    })?;
    let value = value.trim();
    let number = || value.parse::<u64>().ok().map(Value::from);
    let truth = || value.parse::<bool>().ok().map(Value::from);
    Ok((key.trim(), number().or_else(truth).unwrap_or_else(|| value.into())))
}

/// A merge patch (RFC 7396) of values by their paths.
fn patch<'a>(
    changes: impl Iterator<Item = Result<(&'a str, Value), Failure>>,
) -> Result<Map<String, Value>, Failure> {
    let mut patch = Map::new();
    for change in changes {
        let (path, value) = change?;
        if !put(&mut patch, path, value) {
            return Err(Failure::new(format!("{path} is given twice, or is a section of another key")));
        }
    }
    Ok(patch)
}

/// Whether there was nothing yet at this place.
fn put(section: &mut Map<String, Value>, path: &str, value: Value) -> bool {
    match path.split_once('.') {
        None => section.insert(path.to_owned(), value).is_none(),
        Some((name, rest)) => {
            let below = section.entry(name).or_insert_with(|| Map::new().into());
            below.as_object_mut().is_some_and(|below| put(below, rest, value))
        }
    }
}

fn show(output: Output, settings: &Value) {
    if output.json {
        print::json(settings);
        return;
    }
    let sources = settings["sources"].as_object().into_iter().flatten();
    let rows: Vec<[String; 3]> = sources
        .map(|(key, source)| {
            let value = settings["settings"].pointer(&format!("/{}", key.replace('.', "/")));
            [key.clone(), value.map(print::shown).unwrap_or_default(), print::shown(source)]
        })
        .collect();
    print::table(["SETTING", "VALUE", "FROM"], &rows);
    if let Some(detail) = settings["problem"]["detail"].as_str() {
        let key = settings["problem"]["key"].as_str().unwrap_or_default();
        print::line(format_args!(
            "the stored settings (version {}) are not in force at this node: {key}: {detail}",
            settings["version"]
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(changes: &[&str]) -> Result<Value, String> {
        let made = patch(changes.iter().map(|change| read_change(change)));
        made.map(Value::Object).map_err(|failure| failure.to_string())
    }

    #[test]
    fn changes_become_one_patch() {
        let expected = json!({
            "tokens": { "access_token_lifetime": "10m", "refresh_grace": 30 },
            "cache": { "tokens": { "capacity": 500 } },
            "token_persistence": { "enable": false },
        });
        let changes = [
            "tokens.access_token_lifetime=10m",
            "cache.tokens.capacity = 500",
            "tokens.refresh_grace=30",
            "token_persistence.enable=false",
        ];
        assert_eq!(made(&changes), Ok(expected));
        for wrong in [&["tokens.refresh_grace"][..], &["a.b=1", "a.b=2"], &["a=1", "a.b=2"]] {
            assert!(made(wrong).is_err(), "{wrong:?}");
        }
    }
}
