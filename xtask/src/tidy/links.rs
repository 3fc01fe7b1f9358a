//! Links between our documents: a rename that forgets one leaves a reader stranded.

use std::collections::BTreeMap;

use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule = Rule {
    name: "links",
    fix: "point it at a file of this repository, and at a heading that is there",
    check,
};

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| is_markdown(path)) {
        for (line, target) in links(text) {
            if let Err(what) = resolve(tree, path, &target) {
                findings.push(Finding::new(path, line, format!("the link `{target}` {what}")));
            }
        }
    }
    findings
}

fn is_markdown(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|extension| extension == "md")
}

fn resolve(tree: &Tree, from: &str, target: &str) -> Result<(), String> {
    let has_scheme =
        target.split_once(':').is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric()));
    if has_scheme || target.starts_with("//") {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { from.to_owned() } else { join(from, file)? };
    if !tree.exists(&path) {
        return Err(format!("leads to `{path}`, which does not exist"));
    }
    let Some(anchor) = anchor.filter(|_| is_markdown(&path)) else { return Ok(()) };
    match tree.text(&path) {
        Some(text) if anchors(text).iter().any(|known| known == anchor) => Ok(()),
        _ => Err(format!("leads to the heading `#{anchor}`, which `{path}` does not have")),
    }
}

/// The path in the repository that `file` means, seen from the document `from`.
fn join(from: &str, file: &str) -> Result<String, String> {
    if file.starts_with('/') {
        return Err("is absolute: where it leads depends on who renders it".into());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or("leads out of the repository")?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Line (from 1) and target of every inline link, image and reference definition outside code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:"));
        if let Some((label, target)) = definition
            && !label.contains(']')
            && !label.starts_with('^')
        {
            links.extend(destination(target.trim()).map(|target| (number, target)));
        }
        for (at, _) in line.match_indices("](") {
            links.extend(destination(&line[at + 2..]).map(|target| (number, target)));
        }
    }
    links
}

/// The lines (from 1) outside code blocks, code spans blanked out.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => lines.push((index + 1, without_code_spans(line))),
            _ => {}
        }
    }
    lines
}

fn without_code_spans(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some(open) = rest.find('`') {
        let ticks = rest[open..].chars().take_while(|c| *c == '`').count();
        let body = &rest[open + ticks..];
        let Some(close) = body.find(&rest[open..open + ticks]) else { break };
        kept.push_str(&rest[..open]);
        rest = &body[close + ticks..];
    }
    kept + rest
}

/// The destination at the start of `text`: up to the closing parenthesis or the title, or between angle brackets.
fn destination(text: &str) -> Option<String> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('<') {
        return inner.split_once('>').map(|(target, _)| target.to_owned());
    }
    let mut depth = 0_u32;
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ')' | ' ' | '\t' => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    Some(text[..end].to_owned()).filter(|target| !target.is_empty())
}

/// The anchors that GitHub and GitLab give to the headings, and those set by hand.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut fence = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fence = !fence;
        }
        for attribute in ["id=\"", "name=\""] {
            for (at, _) in line.match_indices(attribute) {
                anchors.extend(line[at + attribute.len()..].split('"').next().map(String::from));
            }
        }
        let hashes = line.chars().take_while(|c| *c == '#').count();
        if fence || !(1..=6).contains(&hashes) || !line[hashes..].starts_with(' ') {
            continue;
        }
        let slug = slug(&line[hashes..]);
        let count = seen.entry(slug.clone()).or_default();
        anchors.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    anchors
}

fn slug(heading: &str) -> String {
    let mut text = heading.trim().trim_end_matches('#').trim().to_lowercase();
    // A link in a heading counts with its text only.
    while let Some((before, rest)) = text.split_once("](") {
        let after = rest.split_once(')').map_or("", |(_, after)| after);
        text = format!("{before}{after}");
    }
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let page = "[a](b.md)\n[b](../../out.md)\n[c](#no-such)\n[d](docs/c.md#nor-this)\n[e](/docs/c.md)\n\n[ref]: gone.md\n";
        let lines: Vec<usize> = found(&RULE, &[("README.md", page), ("docs/c.md", "# C\n")])
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 7]);
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        let page = "# Top `code`, and [more](c.md)\n[a](c.md) ![i](img/x.svg \"t\") [b](../README.md#a--b) [c](#top-code-and-more)\n\
                    [d](https://example.com/x(y)) [e](mailto:a@b) [f](img) [g](<c.md>)\n`[no](nope.md)`\n```\n[no](nope.md)\n```\n";
        let files =
            [("docs/p.md", page), ("docs/c.md", ""), ("docs/img/x.svg", ""), ("README.md", "## A & B\n")];
        assert_eq!(found(&RULE, &files), []);
    }

    #[test]
    fn headings_get_the_anchors_that_a_forge_gives_them() {
        let text = "# One\n## Two words, and `code`\n## One\n```\n# not\n```\n<a id=\"by-hand\"></a>\n### A_b-c (d)\n";
        assert_eq!(anchors(text), ["one", "two-words-and-code", "one-1", "by-hand", "a_b-c-d"]);
    }
}
