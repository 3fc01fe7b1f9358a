//! What is said about a name that does not exist, and what it may have meant.

use grantry_protocol::nearest;

use super::environment::{PREFIX, really_called, special_names};
use super::keys::Key;

/// Whether there are keys at this path or below.
pub fn is_section(keys: &[Key], path: &str) -> bool {
    keys.iter().any(|key| is_at_or_below(&key.section, path))
}

/// An entry of the file that is not a key, and no table with the name of a section. All that it stands below exists.
pub fn unknown_entry(keys: &[Key], path: &str, is_table: bool) -> String {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let has_sections = !sections_below(keys, parent).is_empty();
    match () {
        () if is_section(keys, path) => {
            format!("{path} must be a section: write [{path}] and its keys below")
        }
        () if is_table && has_sections => unknown_section(keys, path, parent, name),
        () if parent.is_empty() => unknown_outside(keys, name),
        () => unknown_key(keys, parent, name),
    }
}

fn unknown_section(keys: &[Key], path: &str, parent: &str, name: &str) -> String {
    let beside = sections_below(keys, parent);
    let meant = Some(of_nearest_name(name, &beside)).filter(|meant| !meant.is_empty());
    let meant = meant.unwrap_or_else(|| of_nearest_name(name, &all_sections(keys)));
    let hint = match (meant.as_slice(), parent) {
        ([], "") => format!("the sections are {}", beside.join(", ")),
        ([], parent) => format!("the sections below [{parent}] are {}", beside.join(", ")),
        (meant, _) => format!("did you mean {}?", any_of(meant.iter().map(|path| format!("[{path}]")))),
    };
    format!("there is no section [{path}]; {hint}")
}

fn unknown_outside(keys: &[Key], name: &str) -> String {
    match homes(keys, name) {
        Some(homes) => format!("{name} stands outside of its section; move it below {homes}"),
        None => unknown_section(keys, name, "", name),
    }
}

fn unknown_key(keys: &[Key], section: &str, name: &str) -> String {
    let own = own_names(keys, section);
    let below = of_nearest_name(name, &sections_below(keys, section));
    let hint = if let Some(near) = nearest(name, own.iter().copied()) {
        format!("did you mean {section}.{near}?")
    } else if let Some(homes) = homes(keys, name) {
        format!("{name} belongs to {homes}")
    } else if let Some(near) = below.first() {
        format!("did you mean [{near}]?")
    } else {
        format!("the keys of [{section}] are {}", own.join(", "))
    };
    format!("there is no key {section}.{name}; {hint}")
}

pub fn unknown_variable(keys: &[Key], name: &str) -> String {
    let path = short(name).to_lowercase().replace("__", ".");
    let meant = really_called(name).map(|right| vec![right.to_owned()]);
    let meant = meant.or_else(|| variables_in_section(keys, &path)).or_else(|| nearest_variable(keys, name));
    let hint = meant.map_or_else(
        || "a key is set by GRANTRY_SECTION__KEY, with two underscores for each dot of its path".to_owned(),
        |meant| format!("did you mean {}?", any_of(meant)),
    );
    format!("Grantry does not know this variable; {hint}")
}

/// With the right section: the nearest of its keys, else those of that name in other sections.
fn variables_in_section(keys: &[Key], path: &str) -> Option<Vec<String>> {
    let (section, name) = path.rsplit_once('.').filter(|(section, _)| is_section(keys, section))?;
    let near = nearest(name, own_names(keys, section));
    let found = keys.iter().filter(|key| match near {
        Some(near) => key.section == section && key.name == near,
        None => key.name == name,
    });
    Some(found.map(Key::variable).collect()).filter(|found: &Vec<_>| !found.is_empty())
}

/// What all of them begin with says nothing about how near they are.
fn nearest_variable(keys: &[Key], name: &str) -> Option<Vec<String>> {
    let variables: Vec<String> = keys.iter().map(Key::variable).collect();
    let all = variables.iter().map(String::as_str).chain(special_names().iter().copied());
    nearest(short(name), all.map(short)).map(|near| vec![format!("{PREFIX}{near}")])
}

fn short(variable: &str) -> &str {
    variable.strip_prefix(PREFIX).unwrap_or(variable)
}

fn own_names<'a>(keys: &'a [Key], section: &str) -> Vec<&'a str> {
    keys.iter().filter(|key| key.section == section).map(|key| key.name.as_str()).collect()
}

/// The sections that have a key of this name.
fn homes(keys: &[Key], name: &str) -> Option<String> {
    let homes: Vec<_> =
        keys.iter().filter(|key| key.name == name).map(|key| format!("[{}]", key.section)).collect();
    Some(homes).filter(|homes| !homes.is_empty()).map(any_of)
}

fn all_sections(keys: &[Key]) -> Vec<&str> {
    let mut sections: Vec<&str> = keys.iter().map(|key| key.section.as_str()).collect();
    sections.dedup();
    sections
}

/// One level below, or, where the path is empty, those that are below no other.
fn sections_below<'a>(keys: &'a [Key], path: &str) -> Vec<&'a str> {
    let mut sections = all_sections(keys);
    sections.retain(|section| section.rsplit_once('.').map_or("", |(parent, _)| parent) == path);
    sections
}

/// Of these sections the ones with the name that is nearest; the same name may stand below several.
fn of_nearest_name<'a>(name: &str, sections: &[&'a str]) -> Vec<&'a str> {
    let near = nearest(name, sections.iter().copied().map(last));
    sections.iter().copied().filter(|section| Some(last(section)) == near).collect()
}

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

fn is_at_or_below(path: &str, upper: &str) -> bool {
    path.strip_prefix(upper).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `a`, `a or b`, `a, b or c`.
fn any_of(names: impl IntoIterator<Item = String>) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        only => only.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::keys;
    use super::*;

    #[test]
    fn an_entry_that_does_not_exist_is_answered_with_what_it_may_have_meant() {
        let all = "[cache.tokens], [cache.token_owners] or [cache.clients]";
        for (path, is_table, sentence) in [
            ("sever", true, "there is no section [sever]; did you mean [server]?"),
            ("cache.token", true, "there is no section [cache.token]; did you mean [cache.tokens]?"),
            ("cache.token", false, "there is no key cache.token; did you mean [cache.tokens]?"),
            (
                "cache.sessions",
                true,
                "there is no section [cache.sessions]; the sections below [cache] are cache.tokens, \
                 cache.token_owners, cache.clients",
            ),
            (
                "cache.tokens",
                false,
                "cache.tokens must be a section: write [cache.tokens] and its keys below",
            ),
            ("cache", false, "cache must be a section: write [cache] and its keys below"),
            ("clients", true, "there is no section [clients]; did you mean [cache.clients]?"),
            ("cache.server", true, "there is no section [cache.server]; did you mean [server]?"),
            ("cache.capacity", false, &format!("there is no key cache.capacity; capacity belongs to {all}")),
            (
                "tokens.capacity",
                false,
                &format!("there is no key tokens.capacity; capacity belongs to {all}"),
            ),
            (
                "cache.tokens.enabled",
                false,
                "there is no key cache.tokens.enabled; enabled belongs to [cache]",
            ),
            (
                "cache.tokens.capacty",
                false,
                "there is no key cache.tokens.capacty; did you mean cache.tokens.capacity?",
            ),
            (
                "cache.clients.banana",
                true,
                "there is no key cache.clients.banana; the keys of [cache.clients] are capacity, eviction_policy, \
                 disk_offload, flush_to_disk_on_stop",
            ),
            ("capacity", false, &format!("capacity stands outside of its section; move it below {all}")),
            ("data_spaces", true, "there is no section [data_spaces]; did you mean [data_space]?"),
        ] {
            assert_eq!(unknown_entry(&keys(), path, is_table), sentence);
        }
    }

    #[test]
    fn a_variable_that_does_not_exist_is_answered_with_what_it_may_have_meant() {
        for (name, hint) in [
            ("GRANTRY_CACHE__TOKENS__CAPACTY", "did you mean GRANTRY_CACHE__TOKENS__CAPACITY?"),
            ("GRANTRY_CACHE__TOKEN__CAPACITY", "did you mean GRANTRY_CACHE__TOKENS__CAPACITY?"),
            ("GRANTRY_CACHE_TOKENS_CAPACITY", "did you mean GRANTRY_CACHE__TOKENS__CAPACITY?"),
            (
                "GRANTRY_CACHE__CAPACITY",
                "did you mean GRANTRY_CACHE__TOKENS__CAPACITY, GRANTRY_CACHE__TOKEN_OWNERS__CAPACITY or \
                 GRANTRY_CACHE__CLIENTS__CAPACITY?",
            ),
            ("GRANTRY_SERVER__URL", "did you mean GRANTRY_STORE__URL?"),
            ("GRANTRY_CACHE__BANANA", "with two underscores for each dot of its path"),
            ("GRANTRY_CACHE__TOKENS", "with two underscores for each dot of its path"),
        ] {
            let said = unknown_variable(&keys(), name);
            assert!(said.ends_with(hint), "{name}: {said}");
        }
    }
}
