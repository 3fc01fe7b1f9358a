//! Reads the settings.
//!
//! 1. The file: `--config`, else `GRANTRY_CONFIG`, else `grantry.toml` in the working directory if it is there.
//! 2. Every key in it has to exist.
//! 3. The environment: `GRANTRY_SECTION__KEY` goes before the file. A variable of ours that is not a key is an error.
//! 4. Every value has to be of its key's type.
//! 5. `store.url_file` takes the place of `store.url`, and `data_space.password_file` of `data_space.password`.
//! 6. No two settings may contradict each other ([`check`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};
use zeroize::Zeroizing;

use super::environment::{Environment, Program};
use super::keys::{Key, Kind, keys_of};
use super::unknown::{is_section, unknown_entry, unknown_variable};
use super::{Config, Password, Problem, Problems, StoreUrl, check};

const IMPLIED_FILE: &str = "grantry.toml";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File { path: PathBuf, line: usize },
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Settings that can be used. Has no `Debug`, because the environment may hold secrets.
pub struct Loaded {
    pub config: Config,
    /// By the key's path; a key that is not in here has its default.
    pub origins: BTreeMap<String, Origin>,
    pub file: Option<PathBuf>,
    pub environment: Environment,
}

/// # Errors
/// All problems at once; those of a later step only if the earlier ones found none.
pub fn load(named: Option<&Path>, environment: Environment) -> Result<Loaded, Problems> {
    // 1.
    let file = choose_file(named, &environment);
    // 2. 3. 4.
    let (mut config, mut reading) = Reading::of::<Config>(Program::Server, file.as_deref(), &environment)?;
    // 5.
    reading.read_store_url(&mut config);
    reading.read_data_space_password(&mut config);
    reading.no_problems()?;
    // 6.
    let problems = check(&config, &reading.origins, &environment);
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    Ok(Loaded { config, origins: reading.origins, file, environment })
}

fn choose_file(named: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let implied = || Some(PathBuf::from(IMPLIED_FILE)).filter(|path| path.exists());
    named
        .map(Path::to_owned)
        .or_else(|| environment.get("GRANTRY_CONFIG").map(PathBuf::from))
        .or_else(implied)
}

/// Settings on their way in, of the server or of the gateway.
#[derive(Default)]
pub struct Reading {
    keys: Vec<Key>,
    /// By the key's path.
    values: BTreeMap<String, Value>,
    pub origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Reading {
    /// Steps 2 to 4.
    pub fn of<C>(
        program: Program,
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<(C, Self), Problems>
    where
        C: Default + Serialize + DeserializeOwned + JsonSchema,
    {
        let mut reading = Self { keys: keys_of::<C>(), ..Self::default() };
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let sentence = format!("the configuration file {} cannot be read: {error}", path.display());
                Problems(vec![Problem::new(sentence)])
            })?;
            reading.read_file(path, &text);
        }
        reading.read_environment(program, environment);
        reading.no_problems()?;
        let config = reading.typed()?;
        Ok((config, reading))
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let refuse = |error: &toml::de::Error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            Problem::at(format!("{}:{line}", path.display()), error.message().to_owned())
        };
        // The one knows where a key stands, the other has the values.
        let (spans, values) = match (DeTable::parse(text), text.parse::<Table>()) {
            (Ok(spans), Ok(values)) => (spans, values),
            (Err(error), _) | (_, Err(error)) => return self.problems.push(refuse(&error)),
        };
        let line = |at: usize| Origin::File { path: path.to_owned(), line: line_of(text, at) };
        self.read_section("", spans.get_ref(), &values, &line);
    }

    /// Keys, and the sections below. Outside of all sections, where the path is empty, there are no keys.
    fn read_section(
        &mut self,
        section: &str,
        spans: &DeTable<'_>,
        values: &Table,
        line: &impl Fn(usize) -> Origin,
    ) {
        for (name, content) in spans {
            let path = match section {
                "" => name.get_ref().to_string(),
                section => format!("{section}.{}", name.get_ref()),
            };
            let origin = line(Spanned::span(name).start);
            if name.get_ref().contains('.') {
                let sentence =
                    format!("\"{}\" is one name in its quotes; write it without them", name.get_ref());
                self.problems.push(Problem::at(origin.to_string(), sentence));
                continue;
            }
            let value = &values[name.get_ref().as_ref()];
            match (content.get_ref(), value) {
                (DeValue::Table(below), Value::Table(values)) if is_section(&self.keys, &path) => {
                    self.read_section(&path, below, values, line);
                }
                _ => self.read_key(path, value, origin),
            }
        }
    }

    fn read_key(&mut self, path: String, value: &Value, origin: Origin) {
        if self.keys.iter().any(|key| key.path() == path) {
            self.values.insert(path.clone(), value.clone());
            self.origins.insert(path, origin);
        } else {
            let sentence = unknown_entry(&self.keys, &path, value.is_table());
            self.problems.push(Problem::at(origin.to_string(), sentence));
        }
    }

    fn read_environment(&mut self, program: Program, environment: &Environment) {
        for name in environment.key_names(program) {
            match self.keys.iter().find(|key| key.variable() == name) {
                Some(key) => {
                    let value = from_text(key.kind, environment.get(name).unwrap_or_default());
                    self.values.insert(key.path(), value);
                    self.origins.insert(key.path(), Origin::Variable(name.to_owned()));
                }
                None => self.problems.push(Problem::at(name, unknown_variable(&self.keys, name))),
            }
        }
        self.read_log_level(environment);
    }

    /// `GRANTRY_LOG` is the short name of `GRANTRY_LOG__LEVEL`; with both nobody could say which one counts.
    fn read_log_level(&mut self, environment: &Environment) {
        let Some(level) = environment.get("GRANTRY_LOG") else { return };
        let is_level = |key: &&Key| matches!(key.path().as_str(), "log.level" | "gateway.log.level");
        let Some(key) = self.keys.iter().find(is_level) else { return };
        if environment.get(&key.variable()).is_some() {
            let sentence =
                format!("{} is set as well, and both are {}; remove one", key.variable(), key.path());
            return self.problems.push(Problem::at("GRANTRY_LOG", sentence));
        }
        self.values.insert(key.path(), Value::String(level.to_owned()));
        self.origins.insert(key.path(), Origin::Variable("GRANTRY_LOG".to_owned()));
    }

    /// Each key by itself, so that all wrong values are found and not only the first.
    fn typed<C: Default + Serialize + DeserializeOwned>(&mut self) -> Result<C, Problems> {
        let defaults =
            Table::try_from(C::default()).map_err(|error| Problems(vec![Problem::new(error.to_string())]))?;
        let mut all = defaults.clone();
        for key in &self.keys {
            let path = key.path();
            let Some(value) = self.values.remove(&path) else { continue };
            let mut alone = defaults.clone();
            set(&mut alone, &path, value.clone());
            set(&mut all, &path, value);
            if let Err(error) = deserialize::<C>(alone) {
                let sentence = format!(
                    "{}: {}; write for example {}",
                    error.path(),
                    error.inner().message().trim_end(),
                    key.example()
                );
                let place = self.origins.get(&path).map(Origin::to_string);
                self.problems.push(Problem { place, sentence });
            }
        }
        self.no_problems()?;
        deserialize(all).map_err(|error| Problems(vec![Problem::new(error.to_string())]))
    }

    fn read_store_url(&mut self, config: &mut Config) {
        if let Some(url) = self.read_twin("store.url", config.store.url_file.as_deref(), "URL") {
            config.store.url = StoreUrl::new(url.trim());
        }
    }

    fn read_data_space_password(&mut self, config: &mut Config) {
        let file = config.data_space.password_file.as_deref();
        if let Some(password) = self.read_twin("data_space.password", file, "password") {
            config.data_space.password = Some(Password::new(password.trim()));
        }
    }

    /// The first line of the file that `KEY_file` names: what `key` would be.
    pub fn read_twin(&mut self, key: &str, file: Option<&Path>, what: &str) -> Option<Zeroizing<String>> {
        let path = file?;
        let problem = if self.origins.contains_key(key) {
            format!("{key} is set as well; keep one of the two")
        } else {
            match std::fs::read_to_string(path).map(Zeroizing::new) {
                Ok(text) => match text.lines().next() {
                    Some(line) if !line.trim().is_empty() => {
                        self.origins.insert(key.to_owned(), Origin::File { path: path.to_owned(), line: 1 });
                        return Some(Zeroizing::new(line.to_owned()));
                    }
                    _ => format!("{} is empty; its first line must be the {what}", path.display()),
                },
                Err(error) => format!("{} cannot be read: {error}", path.display()),
            }
        };
        let file_key = format!("{key}_file");
        let place = self.origins.get(&file_key).map(Origin::to_string);
        self.problems.push(Problem { place, sentence: format!("{file_key}: {problem}") });
        None
    }

    pub fn no_problems(&mut self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(std::mem::take(&mut self.problems))) }
    }
}

fn deserialize<C: DeserializeOwned>(table: Table) -> Result<C, serde_path_to_error::Error<toml::de::Error>> {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(Value::Table(table), &mut track);
    C::deserialize(tracked).map_err(|error| serde_path_to_error::Error::new(track.path(), error))
}

/// Makes the sections on the way that are not there yet.
fn set(values: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(values.insert(path.to_owned(), value)),
        Some((section, rest)) => {
            let below = values.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(below) = below {
                set(below, rest, value);
            }
        }
    }
}

/// A variable is text. What cannot be read as the key's kind stays text, and the type check says what is wrong with it.
fn from_text(kind: Kind, text: &str) -> Value {
    let as_written = || Value::String(text.to_owned());
    let trimmed = text.trim();
    let in_toml = |value: &str| format!("value = {value}").parse::<Table>().ok()?.remove("value");
    match kind {
        Kind::Text | Kind::Duration => as_written(),
        Kind::Integer => trimmed.parse().map_or_else(|_| as_written(), Value::Integer),
        Kind::Bool => trimmed.parse().map_or_else(|_| as_written(), Value::Boolean),
        Kind::List if trimmed.starts_with('[') => in_toml(trimmed).unwrap_or_else(as_written),
        Kind::Table => in_toml(trimmed).unwrap_or_else(as_written),
        Kind::List => {
            let items = trimmed.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
