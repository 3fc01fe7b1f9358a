//! A source that no `mod` reaches is not compiled: it rots, and its tests never run.

use super::rust_text::words;
use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule =
    Rule { name: "no-orphans", fix: "declare it with `mod` in its parent, or delete it", check };

/// Directories in which every file is a crate root of its own.
const ROOT_DIRS: [&str; 4] = ["src/bin", "tests", "benches", "examples"];

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in tree.packages() {
        for (path, _) in tree.rust() {
            let Some(inside) = path.strip_prefix(package).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            if let Some((dir, name)) = module(inside)
                && !declared(tree, package, dir, name)
                && !included(tree, package, inside)
            {
                findings.push(Finding::new(path, 1, format!("no `mod {name}` leads to this file")));
            }
        }
    }
    findings
}

/// The directory whose owner must declare the file, and the module's name; `None` for a crate root.
fn module(path: &str) -> Option<(&str, &str)> {
    let (dir, file) = path.rsplit_once('/')?;
    let stem = file.strip_suffix(".rs")?;
    let first = dir.split('/').next().unwrap_or(dir);
    if !matches!(first, "src" | "tests" | "benches" | "examples") || ROOT_DIRS.contains(&dir) {
        return None;
    }
    let parent_is_root_dir = dir.rsplit_once('/').is_some_and(|(parent, _)| ROOT_DIRS.contains(&parent));
    match stem {
        "lib" | "main" if dir == "src" => None,
        "main" if parent_is_root_dir => None,
        "mod" => dir.rsplit_once('/'),
        _ => Some((dir, stem)),
    }
}

/// Whether an owner of `dir` says `mod name`.
fn declared(tree: &Tree, package: &str, dir: &str, name: &str) -> bool {
    let says = |path: &str| {
        tree.parsed_file(path).is_some_and(|text| {
            words(&text.code, "mod").any(|at| {
                let rest = text.code[at + 3..].trim_start();
                rest.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with([';', '{']))
            })
        })
    };
    let dir_path = format!("{package}/{dir}");
    let owners = [
        format!("{dir_path}/mod.rs"),
        format!("{dir_path}/lib.rs"),
        format!("{dir_path}/main.rs"),
        format!("{dir_path}.rs"),
    ];
    let siblings = || {
        let prefix = format!("{dir_path}/");
        tree.rust()
            .any(|(path, _)| path.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/')) && says(path))
    };
    owners.iter().any(|owner| says(owner)) || (ROOT_DIRS.contains(&dir) && siblings())
}

/// Whether a source of the package names the file in a string, as `#[path]` and `include!` do.
fn included(tree: &Tree, package: &str, inside: &str) -> bool {
    let file = inside.rsplit('/').next().unwrap_or(inside);
    let (quoted, tail) = (format!("\"{file}\""), format!("/{file}\""));
    let prefix = format!("{package}/");
    tree.parsed().any(|(path, text)| {
        path.starts_with(&prefix) && (text.strings.contains(&quoted) || text.strings.contains(&tail))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    const MANIFEST: (&str, &str) = ("crates/a/Cargo.toml", "[package]\n");

    #[test]
    fn a_file_without_a_mod_is_found() {
        let files = [
            MANIFEST,
            ("crates/a/src/lib.rs", "mod known;\n// mod lost;\n"),
            ("crates/a/src/known.rs", ""),
            ("crates/a/src/lost.rs", ""),
            ("crates/a/src/known/deep.rs", ""),
            ("crates/a/src/gone/mod.rs", ""),
            ("crates/a/tests/it/main.rs", "mod one;\n"),
            ("crates/a/tests/it/one.rs", ""),
            ("crates/a/tests/it/two.rs", ""),
        ];
        let paths: Vec<String> = found(&RULE, &files).into_iter().map(|(path, _)| path).collect();
        let lost = ["src/gone/mod.rs", "src/known/deep.rs", "src/lost.rs", "tests/it/two.rs"];
        assert_eq!(paths, lost.map(|path| format!("crates/a/{path}")));
    }

    #[test]
    fn roots_modules_and_included_files_are_fine() {
        let files = [
            MANIFEST,
            ("crates/a/build.rs", ""),
            ("crates/a/src/main.rs", "pub(crate) mod b;\nmod c {\n}\n#[path = \"odd.rs\"]\nmod d;\n"),
            ("crates/a/src/b/mod.rs", "mod e;"),
            ("crates/a/src/b/e.rs", ""),
            ("crates/a/src/odd.rs", ""),
            ("crates/a/src/bin/tool.rs", ""),
            ("crates/a/src/bin/other/main.rs", "mod f;"),
            ("crates/a/src/bin/other/f.rs", ""),
            ("crates/a/tests/it.rs", "mod common;"),
            ("crates/a/tests/common/mod.rs", ""),
        ];
        assert_eq!(found(&RULE, &files), []);
    }
}
