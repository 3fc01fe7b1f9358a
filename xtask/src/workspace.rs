//! Our packages and what they depend on, from `cargo metadata`.

use std::path::Path;

use serde_json::Value;

use crate::run::{self, Failure};

#[derive(Debug, Clone)]
pub struct Package {
    pub name: String,
    /// Relative to the workspace, as in `crates/store`.
    pub dir: String,
    pub has_lib: bool,
    pub dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone)]
pub struct Dependency {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    Dev,
}

pub fn packages() -> Result<Vec<Package>, Failure> {
    let text = run::output(run::cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Failed(format!("cargo metadata did not print JSON: {error}")))?;
    parse(&metadata).ok_or_else(|| Failure::Failed("cargo metadata has another shape than version 1".into()))
}

fn parse(metadata: &Value) -> Option<Vec<Package>> {
    let root = Path::new(metadata["workspace_root"].as_str()?);
    metadata["packages"].as_array()?.iter().map(|package| parse_package(package, root)).collect()
}

fn parse_package(package: &Value, root: &Path) -> Option<Package> {
    let dir = Path::new(package["manifest_path"].as_str()?).parent()?;
    let is_lib = |target: &Value| {
        target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"))
    };
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        dir: dir.strip_prefix(root).ok()?.to_str()?.to_owned(),
        has_lib: package["targets"].as_array()?.iter().any(is_lib),
        dependencies: package["dependencies"]
            .as_array()?
            .iter()
            .map(parse_dependency)
            .collect::<Option<_>>()?,
    })
}

fn parse_dependency(dependency: &Value) -> Option<Dependency> {
    let kind = match dependency["kind"].as_str() {
        None => Kind::Normal,
        Some("build") => Kind::Build,
        Some("dev") => Kind::Dev,
        Some(_) => return None,
    };
    Some(Dependency { name: dependency["name"].as_str()?.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_with_kinds_and_relative_directories() {
        let metadata = serde_json::json!({
            "workspace_root": "/src/grantry",
            "packages": [{
                "name": "grantry-store",
                "manifest_path": "/src/grantry/crates/store/Cargo.toml",
                "targets": [{ "kind": ["lib"] }],
                "dependencies": [
                    { "name": "grantry-protocol", "kind": null },
                    { "name": "proptest", "kind": "dev" },
                ],
            }],
        });
        let packages = parse(&metadata).expect("the shape is right");
        assert_eq!((packages[0].dir.as_str(), packages[0].has_lib), ("crates/store", true));
        assert_eq!(packages[0].dependencies[0].kind, Kind::Normal);
        assert_eq!(packages[0].dependencies[1].kind, Kind::Dev);
    }
}
