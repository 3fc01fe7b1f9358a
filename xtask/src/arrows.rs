//! `cargo xtask arrows`: nothing points up. The tables below are the design's drawing; a dependency between our crates
//! that they do not list fails the build, so that a shortcut becomes a decision that somebody has to write down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::run::Failure;
use crate::tidy::rust_text::RustText;
use crate::tidy::tree::Tree;
use crate::workspace::{self, Kind, Package};

type Arrows = &'static [(&'static str, &'static [&'static str])];

/// Crate -> the crates directly below it. "Depends on" means these and everything below them. Crates that do not
/// exist yet are listed, so that they are born in their place.
const ARROWS: Arrows = &[
    ("server", &["web", "store-sqlite", "store-postgres", "store-redis", "verifier"]),
    ("web", &["grants", "jose"]),
    ("grants", &["persistence", "jose"]),
    ("persistence", &["cache"]),
    ("cache", &["store", "revocation"]),
    ("store-sqlite", &["store"]),
    ("store-postgres", &["store"]),
    ("store-redis", &["store"]),
    ("store", &["protocol"]),
    ("revocation", &["protocol"]),
    ("verifier", &["jose", "revocation"]),
    ("jose", &[]),
    ("protocol", &[]),
    ("bench", &[]),
];

/// What tests may use besides: the back ends lie below whatever uses a store, though only the server may wire them
/// into the product, and a test against a real store proves more than one against the memory back end.
const TEST_ARROWS: Arrows = &[("cache", &["store-sqlite", "store-postgres", "store-redis"])];

/// The one file of the server that may name a concrete back end.
const WIRE: &str = "crates/server/src/wire.rs";

/// How a crate that is a concrete back end is written in Rust.
const BACK_END: &str = "grantry_store_";

pub fn run() -> Result<(), Failure> {
    let packages = workspace::packages()?;
    let mut wrong = check(&packages);
    wrong.extend(check_wiring(&Tree::from_git(Path::new("."))?));
    if wrong.is_empty() {
        println!("xtask: arrows: the dependencies of {} crates point down", packages.len());
        return Ok(());
    }
    for line in &wrong {
        println!("{line}");
    }
    Err(Failure::Failed(format!("arrows: {} that the design does not list", wrong.len())))
}

/// Everything below each crate.
fn closure(tables: &[Arrows]) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut below = BTreeMap::new();
    for (name, _) in tables.iter().copied().flatten() {
        let mut found = BTreeSet::new();
        let mut open = direct(tables, name);
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(direct(tables, next));
            }
        }
        below.insert(*name, found);
    }
    below
}

fn direct(tables: &[Arrows], name: &str) -> Vec<&'static str> {
    let rows = tables.iter().copied().flatten().filter(|row| row.0 == name);
    rows.flat_map(|row| row.1).copied().collect()
}

fn check(packages: &[Package]) -> Vec<String> {
    let normal = closure(&[ARROWS]);
    let in_tests = closure(&[ARROWS, TEST_ARROWS]);
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let is_ours = |name: &str| name.starts_with("grantry-") || ours.contains(name);
    let mut wrong = Vec::new();
    for package in packages {
        let name = short(&package.name);
        if package.name != "xtask" && !normal.contains_key(name) {
            wrong.push(format!(
                "{}: the crate `{}` has no place in the drawing. Fix: add it to ARROWS in xtask/src/arrows.rs and to \
                 ARCHITECTURE.md, with an ADR that says why it is a crate",
                manifest(package),
                package.name,
            ));
            continue;
        }
        for dependency in package.dependencies.iter().filter(|dependency| is_ours(&dependency.name)) {
            let table = if dependency.kind == Kind::Dev { &in_tests } else { &normal };
            let to = short(&dependency.name);
            // A crate's own tests may turn on its features that way.
            let own_tests = dependency.kind == Kind::Dev && to == name;
            if !own_tests && !table.get(name).is_some_and(|below| below.contains(to)) {
                wrong.push(offence(package, name, to, dependency.kind, &normal));
            }
        }
    }
    wrong
}

fn offence(
    package: &Package,
    from: &str,
    to: &str,
    kind: Kind,
    below: &BTreeMap<&'static str, BTreeSet<&'static str>>,
) -> String {
    let section = match kind {
        Kind::Normal => "dependencies",
        Kind::Build => "build-dependencies",
        Kind::Dev => "dev-dependencies",
    };
    let up = below.get(to).is_some_and(|under| under.contains(from));
    let why = match up {
        true if kind == Kind::Dev => {
            "points up: move the test to the upper crate, or what it needs to a lower one"
        }
        true => "points up: move what is shared down, or put it behind a trait of the lower crate",
        false => {
            "is not in the drawing: use a crate below, or write an ADR and add the arrow to ARROWS in \
                  xtask/src/arrows.rs and to ARCHITECTURE.md"
        }
    };
    format!("{}: [{section}] {from} -> {to} {why}", manifest(package))
}

/// Only `wire.rs` knows which back ends exist: everything else holds a store as a trait, so that a back end can be
/// added or left out in one place.
fn check_wiring(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in tree.rust() {
        if !path.starts_with("crates/server/src/") || path == WIRE {
            continue;
        }
        let text = RustText::parse(text);
        for (number, line) in text.code.lines().enumerate().filter(|(_, line)| line.contains(BACK_END)) {
            let back_end: String = line[line.find(BACK_END).unwrap_or(0)..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            wrong.push(format!(
                "{path}:{}: names the back end `{back_end}`. Fix: only {WIRE} may; take the store as a trait object",
                number + 1,
            ));
        }
    }
    wrong
}

fn short(package: &str) -> &str {
    package.strip_prefix("grantry-").unwrap_or(package)
}

fn manifest(package: &Package) -> String {
    format!("{}/Cargo.toml", package.dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        Package {
            name: name.into(),
            dir: format!("crates/{}", short(name)),
            has_lib: true,
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency { name: (*name).into(), kind: *kind })
                .collect(),
        }
    }

    fn below(name: &str) -> Vec<&'static str> {
        closure(&[ARROWS])[name].iter().copied().collect()
    }

    #[test]
    fn below_means_everything_reachable() {
        assert_eq!(below("persistence"), ["cache", "protocol", "revocation", "store"]);
        assert_eq!(below("verifier"), ["jose", "protocol", "revocation"]);
        assert!(below("bench").is_empty() && below("jose").is_empty());
        assert_eq!(below("server").len(), ARROWS.len() - 2, "all but itself and bench");
    }

    #[test]
    fn no_crate_is_below_itself() {
        for (name, below) in closure(&[ARROWS, TEST_ARROWS]) {
            assert!(!below.contains(name), "{name} reaches itself");
        }
    }

    #[test]
    fn an_arrow_down_is_fine_however_far() {
        let packages =
            [package("grantry-web", &[("grantry-grants", Kind::Normal), ("grantry-protocol", Kind::Normal)])];
        assert!(check(&packages).is_empty());
    }

    #[test]
    fn an_arrow_up_is_found_and_named() {
        let wrong =
            check(&[package("grantry-store", &[("serde", Kind::Normal), ("grantry-grants", Kind::Normal)])]);
        assert_eq!(wrong.len(), 1);
        assert!(
            wrong[0].starts_with("crates/store/Cargo.toml: [dependencies] store -> grants points up"),
            "{}",
            wrong[0]
        );
    }

    #[test]
    fn an_arrow_sideways_is_found() {
        let wrong = check(&[package("grantry-web", &[("grantry-store-sqlite", Kind::Normal)])]);
        assert!(wrong[0].contains("web -> store-sqlite is not in the drawing"), "{}", wrong[0]);
        let wrong = check(&[package("grantry-bench", &[("grantry-jose", Kind::Build)])]);
        assert!(wrong[0].contains("[build-dependencies] bench -> jose"), "{}", wrong[0]);
    }

    #[test]
    fn a_test_may_use_what_is_below_and_nothing_above() {
        let real_store = package("grantry-persistence", &[("grantry-store-sqlite", Kind::Dev)]);
        let own_features = package("grantry-store", &[("grantry-store", Kind::Dev)]);
        assert_eq!(check(&[real_store, own_features]), [] as [&str; 0]);
        let wrong = check(&[package("grantry-jose", &[("grantry-web", Kind::Dev)])]);
        assert!(wrong[0].contains("[dev-dependencies] jose -> web points up"), "{}", wrong[0]);
        assert_eq!(check(&[package("grantry-bench", &[("grantry-server", Kind::Dev)])]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_place_is_found_and_xtask_uses_none_of_ours() {
        assert!(check(&[package("grantry-misc", &[])])[0].contains("has no place"));
        assert_eq!(check(&[package("xtask", &[("grantry-protocol", Kind::Normal)])]).len(), 1);
    }

    #[test]
    fn only_the_wiring_may_name_a_back_end() {
        let tree = Tree::of(&[
            (WIRE, "use grantry_store_sqlite::SqliteStore;\n"),
            (
                "crates/server/src/serve.rs",
                "// grantry_store_sqlite is wired elsewhere\nlet s = grantry_store_sqlite::open();\n",
            ),
        ]);
        let wrong = check_wiring(&tree);
        assert_eq!(wrong.len(), 1);
        assert!(
            wrong[0].starts_with("crates/server/src/serve.rs:2: names the back end `grantry_store_sqlite`"),
            "{}",
            wrong[0]
        );
    }
}
