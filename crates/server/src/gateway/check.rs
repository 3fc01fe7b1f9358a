//! What the types cannot tell about the gateway's settings. Every sentence names the key and the fix.

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::http::Method;
use grantry_protocol::ScopeSet;
use grantry_verifier::{ResourceMetadata, StartError};

use super::path::NormalPath;
use super::rules::{Needed, Pattern, Rule, Rules};
use super::settings::{Gateway, Login, PathRule, Revocations, Unmatched};
use crate::config::{self, Origin, Problem};

const MAX_RULES: usize = 1000;
/// Bounds that nobody needs to pass.
const MOST_AT_ONCE: usize = 1_000_000;
/// hyper refuses a smaller read buffer.
const LEAST_HEADER_BYTES: usize = 8192;
const MOST_HEADER_BYTES: usize = 1024 * 1024;
const STALENESS_MILLIS: std::ops::RangeInclusive<u128> = 100..=60_000;

/// The rules, or all that is wrong.
pub fn check(gateway: &Gateway, origins: &BTreeMap<String, Origin>) -> Result<Rules, Vec<Problem>> {
    let mut check = Check { gateway, origins, problems: Vec::new() };
    check.tokens();
    check.listeners();
    check.proxies();
    check.logins();
    check.limits();
    let rules = check.rules();
    let unmatched = match gateway.default {
        Unmatched::Deny => None,
        Unmatched::Authenticated => Some(Needed::Token(Vec::new())),
    };
    if check.problems.is_empty() { Ok(Rules::new(rules, unmatched)) } else { Err(check.problems) }
}

struct Check<'a> {
    gateway: &'a Gateway,
    origins: &'a BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn refuse(&mut self, key: &str, problem: impl Display) {
        let path = format!("gateway.{key}");
        let place = self.origins.get(&path).map(Origin::to_string);
        self.problems.push(Problem { place, sentence: format!("{path}: {problem}") });
    }

    fn tokens(&mut self) {
        let gateway = self.gateway;
        match &gateway.issuer {
            None => self.refuse(
                "issuer",
                "must be set: the server.issuer of the authorization server, such as \"https://auth.example\"",
            ),
            Some(issuer) => {
                if let Err(problem) = config::check_issuer(issuer) {
                    self.refuse("issuer", problem);
                }
            }
        }
        if gateway.audience.is_empty() || gateway.audience.iter().any(String::is_empty) {
            self.refuse(
                "audience",
                "must have at least one name, which tokens for this resource have in their aud, such as \
                 [\"https://api.example\"]",
            );
        }
        self.resource();
        if !STALENESS_MILLIS.contains(&gateway.max_staleness.as_duration().as_millis()) {
            self.refuse(
                "max_staleness",
                format!("{} is out of bounds; choose something from 100ms to 60s", gateway.max_staleness),
            );
        }
    }

    fn resource(&mut self) {
        let gateway = self.gateway;
        let Some(resource) = &gateway.resource else { return };
        if !gateway.audience.contains(resource) {
            self.refuse(
                "resource",
                format!(
                    "{resource:?} must be in gateway.audience as well, or the tokens that clients ask for by it would be refused"
                ),
            );
        } else if let Err(StartError::Setting { problem, .. }) = ResourceMetadata::new(resource, "", &[]) {
            self.refuse("resource", problem);
        }
    }

    fn listeners(&mut self) {
        let gateway = self.gateway;
        match (&gateway.tls_cert, &gateway.tls_key) {
            (Some(_), None) => self.refuse("tls_cert", "needs gateway.tls_key; set it, or remove both"),
            (None, Some(_)) => self.refuse("tls_key", "needs gateway.tls_cert; set it, or remove both"),
            _ => {}
        }
        let listen = gateway.listen;
        if !listen.ip().is_loopback() && gateway.tls_cert.is_none() && !gateway.private_network {
            self.refuse(
                "listen",
                format!(
                    "{listen} is reachable from other machines, and tokens would cross the network in the clear. One of \
                     three: set gateway.tls_cert and gateway.tls_key; set gateway.private_network = true if nobody else is \
                     on that network; or listen on a loopback address such as 127.0.0.1:{}",
                    listen.port()
                ),
            );
        }
        if config::overlap(listen, gateway.admin_listen) {
            self.refuse(
                "admin_listen",
                format!(
                    "{} and gateway.listen ({listen}) are the same; give it a port of its own",
                    gateway.admin_listen
                ),
            );
        }
        if !config::is_log_filter(&gateway.log.level) {
            self.refuse("log.level", "must be off, error, warn, info, debug or trace");
        }
    }

    fn proxies(&mut self) {
        if self.gateway.proxy.is_none() {
            self.refuse("proxy", "must be set: which proxy asks, \"nginx\", \"traefik\" or \"envoy\"");
        }
        if self.gateway.trusted_proxies.is_empty() {
            self.refuse(
                "trusted_proxies",
                "must name the networks that the proxy connects from, or nobody could ask; write for example \
                 [\"127.0.0.1/32\"]",
            );
        }
    }

    fn logins(&mut self) {
        let gateway = self.gateway;
        self.login("feed", &gateway.feed);
        self.login("introspection", &gateway.introspection);
        match (gateway.revocations, &gateway.feed.client_id) {
            (Revocations::Follow, None) => self.refuse(
                "feed.client_id",
                "must be set: a client that was granted the scope grantry:revocations. Or set gateway.revocations = \"off\", \
                 and revoked tokens pass until they expire",
            ),
            (Revocations::Off, Some(_)) => self.refuse(
                "feed.client_id",
                "means nothing with gateway.revocations = \"off\"; remove it, or set \"follow\"",
            ),
            _ => {}
        }
    }

    fn login(&mut self, section: &str, login: &Login) {
        match (&login.client_id, &login.client_secret) {
            (Some(_), None) => self.refuse(
                &format!("{section}.client_id"),
                format!(
                    "needs its secret: set gateway.{section}.client_secret_file (or client_secret), or remove it"
                ),
            ),
            (None, Some(_)) => self.refuse(
                &format!("{section}.client_secret"),
                format!("needs gateway.{section}.client_id; set it, or remove the secret"),
            ),
            _ => {}
        }
    }

    fn limits(&mut self) {
        let limits = &self.gateway.limits;
        self.within(
            "limits.max_header_bytes",
            limits.max_header_bytes,
            LEAST_HEADER_BYTES,
            MOST_HEADER_BYTES,
        );
        self.within("limits.max_concurrent_requests", limits.max_concurrent_requests, 1, MOST_AT_ONCE);
        self.within("limits.max_connections", limits.max_connections, 1, MOST_AT_ONCE);
        self.within("token_capacity", self.gateway.token_capacity, 0, MOST_AT_ONCE);
        for (key, span) in
            [("header_timeout", limits.header_timeout), ("request_timeout", limits.request_timeout)]
        {
            if span.as_duration().as_millis() == 0 {
                self.refuse(
                    &format!("limits.{key}"),
                    "must be longer than nothing; write for example \"5s\"",
                );
            }
        }
    }

    fn within(&mut self, key: &str, value: usize, least: usize, most: usize) {
        if value < least || value > most {
            let problem = format!("{value} is out of bounds; choose something from {least} to {most}");
            self.refuse(key, problem);
        }
    }

    fn rules(&mut self) -> Vec<Rule> {
        let paths = &self.gateway.paths;
        if paths.len() > MAX_RULES {
            self.refuse("paths", format!("{} rules are too many; at most {MAX_RULES}", paths.len()));
            return Vec::new();
        }
        if paths.is_empty() && self.gateway.default == Unmatched::Deny {
            self.refuse(
                "paths",
                "has no rule, so every request would be denied; write a [[gateway.paths]], or set gateway.default = \
                 \"authenticated\"",
            );
        }
        let mut rules: Vec<(usize, Rule)> = Vec::new();
        for (number, path) in (1..).zip(paths) {
            match rule(path).and_then(|rule| contradicts_none(&rules, rule)) {
                Ok(rule) => rules.push((number, rule)),
                Err(problem) => {
                    let place = self.origins.get("gateway.paths").map(Origin::to_string);
                    let name = path.prefix.as_ref().or(path.exact.as_ref()).cloned().unwrap_or_default();
                    let sentence = format!("gateway.paths: rule {number} ({name:?}): {problem}");
                    self.problems.push(Problem { place, sentence });
                }
            }
        }
        rules.into_iter().map(|(_, rule)| rule).collect()
    }
}

fn rule(written: &PathRule) -> Result<Rule, String> {
    let (text, exact) = match (&written.prefix, &written.exact) {
        (Some(prefix), None) => (prefix, false),
        (None, Some(exact)) => (exact, true),
        (None, None) => return Err("needs prefix or exact".to_owned()),
        (Some(_), Some(_)) => return Err("has prefix and exact; write two rules".to_owned()),
    };
    if text.contains(['?', '*']) {
        return Err("is a path, without a query and without patterns; a prefix covers all that is below it"
            .to_owned());
    }
    let path = NormalPath::of(text).map_err(|ambiguity| format!("no request could have it: {ambiguity}"))?;
    for method in &written.methods {
        if Method::from_bytes(method.as_bytes()).is_err() || *method != method.to_ascii_uppercase() {
            return Err(format!("{method:?} is no method; write for example \"GET\""));
        }
        if method == "HEAD" {
            return Err("HEAD counts as GET; write \"GET\"".to_owned());
        }
    }
    for scope in &written.scopes {
        if scope.contains(' ') || ScopeSet::parse(scope).map_or(true, |set| set.is_empty()) {
            return Err(format!("{scope:?} is no scope; write each by itself, as in [\"read\", \"write\"]"));
        }
    }
    if written.public && !written.scopes.is_empty() {
        return Err("is public and needs scopes; remove one of the two".to_owned());
    }
    let needed = if written.public { Needed::Nothing } else { Needed::Token(written.scopes.clone()) };
    Ok(Rule { pattern: Pattern { path, exact }, methods: written.methods.clone(), needed })
}

/// Two rules for one request, or patterns of which nobody could say whether they mean the same.
fn contradicts_none(rules: &[(usize, Rule)], rule: Rule) -> Result<Rule, String> {
    for (number, earlier) in rules {
        if earlier.pattern == rule.pattern {
            let both = earlier.methods.iter().find(|method| rule.methods.contains(method));
            if let Some(method) = both {
                return Err(format!(
                    "is for the same path and method ({method}) as rule {number}; remove one"
                ));
            }
            if earlier.methods.is_empty() && rule.methods.is_empty() {
                return Err(format!("is for the same path as rule {number}; remove one"));
            }
        } else if earlier.pattern.without_case() == rule.pattern.without_case() {
            return Err(format!("differs from rule {number} only in upper and lower case; keep one"));
        }
    }
    Ok(rule)
}
