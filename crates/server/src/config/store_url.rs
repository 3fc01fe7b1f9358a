use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

pub const HIDDEN: &str = "********";
/// Parameters of a `postgres://` URL whose values are secrets.
const SECRET_PARAMETERS: [&str; 2] = ["password", "sslpassword"];

/// Where a store is. It may hold a password, so what is printed, logged or serialized is without it.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct StoreUrl(String);

/// Which back end the URL names, and what that one takes. The URL has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Memory,
    Sqlite(PathBuf),
    Postgres(StoreUrl),
    /// Redis or Valkey, one server or several.
    Redis(StoreUrl),
}

impl StoreUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// With the password, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.0.split_once("://"), Some(("postgres" | "postgresql", _)))
    }

    pub fn is_redis(&self) -> bool {
        matches!(self.0.split_once("://"), Some(("redis" | "rediss" | "valkey" | "valkeys", _)))
    }

    pub fn place(&self) -> Place {
        match self.0.strip_prefix("sqlite:") {
            Some(path) => Place::Sqlite(PathBuf::from(path)),
            None if self.is_postgres() => Place::Postgres(self.clone()),
            None if self.is_redis() => Place::Redis(self.clone()),
            None => Place::Memory,
        }
    }

    /// What is wrong with it, and the fix; never the URL itself.
    pub fn problem(&self) -> Option<String> {
        let sentence = match self.0.split_once(':') {
            Some(("memory", "")) => return None,
            Some(("sqlite", "")) => "names no file; write for example sqlite:grantry-data/grantry.db",
            Some(("sqlite", path)) if path.starts_with("//") || path == ":memory:" => {
                "after sqlite: comes the path of a file and nothing else, as in sqlite:grantry-data/grantry.db; for a \
                 store in memory write memory:"
            }
            Some(("sqlite", _)) => return None,
            Some(("postgres" | "postgresql", rest)) if rest.len() > 2 && rest.starts_with("//") => {
                return None;
            }
            Some(("postgres" | "postgresql", _)) => {
                "names no server; write for example postgres://grantry@db.example/grantry"
            }
            Some(("redis" | "rediss" | "valkey" | "valkeys", rest))
                if rest.len() > 2 && rest.starts_with("//") =>
            {
                return None;
            }
            Some(("redis" | "rediss" | "valkey" | "valkeys", _)) => {
                "names no server; write for example redis://cache-1.example:6379"
            }
            _ => "must be postgres://USER@HOST/DATABASE, sqlite:PATH, redis://HOST:PORT or memory:",
        };
        Some(sentence.to_owned())
    }
}

impl Place {
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Memory | Self::Postgres(_) | Self::Redis(_) => None,
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", without_password(&self.0))
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Rather hides too much: URLs of PostgreSQL may name several hosts, and people leave characters unescaped that should
/// be, so no parser of URLs is asked where a password ends.
fn without_password(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Cow::Borrowed(url) };
    let (credentials, place) =
        rest.rsplit_once('@').map_or((None, rest), |(before, after)| (Some(before), after));
    let mut shown = format!("{scheme}://");
    if let Some(credentials) = credentials {
        match credentials.split_once(':') {
            Some((user, _)) => shown.extend([user, ":", HIDDEN, "@"]),
            None => shown.extend([credentials, "@"]),
        }
    }
    let (address, parameters) = place.split_once('?').map_or((place, None), |(at, query)| (at, Some(query)));
    shown.push_str(address);
    for (index, parameter) in parameters.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => shown.extend([name, "=", HIDDEN]),
            _ => shown.push_str(parameter),
        }
    }
    Cow::Owned(shown)
}

/// An escape in a name may spell a secret's.
fn is_secret(name: &str) -> bool {
    name.contains('%') || SECRET_PARAMETERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://grantry:hunter2@db/x", "postgres://grantry:********@db/x"),
            ("postgres://grantry@db/x", "postgres://grantry@db/x"),
            ("postgres://db/x?sslmode=disable", "postgres://db/x?sslmode=disable"),
            ("postgresql://u:p@a:5432,b:5433/x?a=b", "postgresql://u:********@a:5432,b:5433/x?a=b"),
            ("postgres://u:p@ss/wo?rd@db/x", "postgres://u:********@db/x"),
            ("postgres://db/x?user=u&password=hunter2", "postgres://db/x?user=u&password=********"),
            ("postgres://db/x?p%61ssword=hunter2", "postgres://db/x?p%61ssword=********"),
            ("postgres://u:a@b?c@%2Fvar%2Frun/x", "postgres://u:********@%2Fvar%2Frun/x"),
            ("redis://:hunter2@a:6379,b:6379", "redis://:********@a:6379,b:6379"),
            ("sqlite:a@b.db", "sqlite:a@b.db"),
        ] {
            let url = StoreUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
        }
    }

    #[test]
    fn a_url_names_its_back_end() {
        let postgres = StoreUrl::new("postgres://db/x");
        assert_eq!(postgres.place(), Place::Postgres(postgres.clone()));
        assert_eq!(StoreUrl::new("sqlite:a.db").place(), Place::Sqlite("a.db".into()));
        let redis = StoreUrl::new("rediss://a,b");
        assert_eq!(redis.place(), Place::Redis(redis.clone()));
        assert_eq!(StoreUrl::new("memory:").place(), Place::Memory);
    }
}
