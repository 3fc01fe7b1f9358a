//! Which rule a request falls under. Pure: the rules and a request in, a decision out.
//!
//! 1. The patterns that fit the path: `exact` before `prefix`, a longer one before a shorter one. Only the first counts: a
//!    method that it does not allow is refused, and not looked for under a wider one.
//! 2. Of its rules the one that names the method, else the one that names none.
//! 3. No pattern: what `gateway.default` says.
//! 4. The same once more without regard to case. A path that would fall under another rule then is refused: the upstream may
//!    be one to which `/Admin` is `/admin`.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use super::path::NormalPath;

/// What a request needs so that it may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needed {
    Nothing,
    /// A token with all these scopes; of none of them where there are none.
    Token(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// `gateway.default` is `deny`, and no rule fits.
    NoRule,
    /// The rules of the path are for other methods.
    Method,
    /// See step 4.
    Case,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRule => "no rule allows this path",
            Self::Method => "no rule allows this method here",
            Self::Case => "upper and lower case of this path do not fit the rule",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub path: NormalPath,
    pub exact: bool,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub pattern: Pattern,
    /// Empty: all. `HEAD` counts as `GET`, because upstreams answer it alike.
    pub methods: Vec<String>,
    pub needed: Needed,
}

pub struct Rules {
    /// The most specific first.
    rules: Vec<Rule>,
    /// The same in lower case.
    without_case: Vec<Pattern>,
    /// Where no rule fits.
    unmatched: Option<Needed>,
}

impl Pattern {
    fn fits(&self, path: &NormalPath) -> bool {
        if self.exact { *path == self.path } else { path.is_at_or_below(&self.path) }
    }

    pub fn without_case(&self) -> Self {
        Self { path: self.path.without_case(), exact: self.exact }
    }
}

impl Rules {
    pub fn new(mut rules: Vec<Rule>, unmatched: Option<Needed>) -> Self {
        rules.sort_by_key(|rule| Reverse((rule.pattern.exact, rule.pattern.path.as_str().len())));
        let without_case = rules.iter().map(|rule| rule.pattern.without_case()).collect();
        Self { rules, without_case, unmatched }
    }

    /// All that a request may need, each once and in order.
    pub fn scopes(&self) -> Vec<&str> {
        let needed = self.rules.iter().filter_map(|rule| match &rule.needed {
            Needed::Token(scopes) => Some(scopes),
            Needed::Nothing => None,
        });
        let scopes: BTreeSet<&str> = needed.flatten().map(String::as_str).collect();
        scopes.into_iter().collect()
    }

    pub fn judge(&self, method: &str, path: &NormalPath) -> Result<&Needed, Denied> {
        let first = self.rules.iter().position(|rule| rule.pattern.fits(path));
        let folded = path.without_case();
        let ignoring_case = self.without_case.iter().position(|pattern| pattern.fits(&folded));
        if first != ignoring_case {
            return Err(Denied::Case);
        }
        let Some(first) = first else { return self.unmatched.as_ref().ok_or(Denied::NoRule) };
        let pattern = &self.rules[first].pattern;
        let alike = || self.rules.iter().filter(|rule| rule.pattern == *pattern);
        let method = if method == "HEAD" { "GET" } else { method };
        let named = alike().find(|rule| rule.methods.iter().any(|own| own == method));
        let rule = named.or_else(|| alike().find(|rule| rule.methods.is_empty()));
        rule.map(|rule| &rule.needed).ok_or(Denied::Method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, methods: &[&str], needed: Needed) -> Rule {
        let (path, exact) = match pattern.strip_suffix('*') {
            Some(path) => (path, false),
            None => (pattern, true),
        };
        let pattern = Pattern { path: NormalPath::of(path).unwrap(), exact };
        Rule { pattern, methods: methods.iter().map(|&method| method.to_owned()).collect(), needed }
    }

    fn scope(name: &str) -> Needed {
        Needed::Token(vec![name.to_owned()])
    }

    fn rules() -> Rules {
        let rules = vec![
            rule("/*", &[], scope("any")),
            rule("/public/*", &[], Needed::Nothing),
            rule("/public/admin/*", &[], scope("admin")),
            rule("/orders/*", &["GET"], scope("read")),
            rule("/orders/*", &["POST", "PUT"], scope("write")),
            rule("/orders/status", &[], Needed::Nothing),
            rule("/mixed/*", &[], scope("all")),
            rule("/mixed/*", &["OPTIONS"], Needed::Nothing),
        ];
        Rules::new(rules, None)
    }

    fn judge(method: &str, path: &str) -> Result<Needed, Denied> {
        rules().judge(method, &NormalPath::of(path).unwrap()).cloned()
    }

    #[test]
    fn the_most_specific_pattern_counts_whatever_the_order() {
        for (method, path, judged) in [
            ("GET", "/", Ok(scope("any"))),
            ("GET", "/publicity", Ok(scope("any"))),
            ("GET", "/public", Ok(Needed::Nothing)),
            ("GET", "/public/a", Ok(Needed::Nothing)),
            ("GET", "/public/admin", Ok(scope("admin"))),
            ("GET", "/public/admin/x", Ok(scope("admin"))),
            ("GET", "/orders/status", Ok(Needed::Nothing)),
            ("GET", "/orders/status/", Ok(Needed::Nothing)),
            ("GET", "/orders/status/x", Ok(scope("read"))),
        ] {
            assert_eq!(judge(method, path), judged, "{method} {path}");
        }
    }

    #[test]
    fn a_method_that_the_pattern_does_not_allow_is_not_looked_for_under_a_wider_one() {
        for (method, judged) in [
            ("GET", Ok(scope("read"))),
            ("HEAD", Ok(scope("read"))),
            ("POST", Ok(scope("write"))),
            ("DELETE", Err(Denied::Method)),
            ("get", Err(Denied::Method)),
            ("OPTIONS", Err(Denied::Method)),
        ] {
            assert_eq!(judge(method, "/orders/1"), judged, "{method}");
        }
        assert_eq!(judge("OPTIONS", "/mixed"), Ok(Needed::Nothing));
        assert_eq!(judge("DELETE", "/mixed"), Ok(scope("all")));
    }

    #[test]
    fn a_path_that_falls_under_another_rule_without_regard_to_case_is_refused() {
        assert_eq!(judge("GET", "/public/Admin/x"), Err(Denied::Case));
        assert_eq!(judge("GET", "/ORDERS/status"), Err(Denied::Case));
        assert_eq!(judge("GET", "/PUBLIC"), Err(Denied::Case));
        assert_eq!(judge("GET", "/public/Else"), Ok(Needed::Nothing));
        assert_eq!(judge("GET", "/Else"), Ok(scope("any")));
    }

    #[test]
    fn what_no_rule_fits_is_as_the_default_says() {
        let path = NormalPath::of("/b").unwrap();
        let only = || vec![rule("/a/*", &[], Needed::Nothing)];
        assert_eq!(Rules::new(only(), None).judge("GET", &path), Err(Denied::NoRule));
        let authenticated = Rules::new(only(), Some(Needed::Token(Vec::new())));
        assert_eq!(authenticated.judge("GET", &path), Ok(&Needed::Token(Vec::new())));
    }
}
