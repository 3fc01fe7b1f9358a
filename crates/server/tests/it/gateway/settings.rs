//! What is said about settings that cannot be used.

use crate::home::{Home, text};

const GOOD: &str = "[gateway]\nissuer = \"https://auth.example\"\naudience = [\"https://api.example\"]\nproxy = \"nginx\"\n\
                    default = \"authenticated\"\n";
const LOGIN: &str = "[gateway.feed]\nclient_id = \"gateway\"\nclient_secret_file = \"secret\"\n";

fn check(settings: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let home = Home::new();
    std::fs::write(home.path("gateway.toml"), settings).unwrap();
    std::fs::write(home.path("secret"), "s3cret\n").unwrap();
    let mut command = home.grantry(&["gateway", "--check"]);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (output.status.success(), text(&output))
}

#[test]
fn settings_that_can_be_used_are_said_to_be() {
    let (good, said) = check(&format!("{GOOD}{LOGIN}"), &[]);
    assert!(good, "{said}");
    assert!(said.contains("gateway.toml: the settings can be used"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    // Variables of a server on the same machine are none of its business.
    let (good, said) = check(
        &format!("{GOOD}{LOGIN}"),
        &[("GRANTRY_SERVER__LISTEN", "127.0.0.1:1"), ("GRANTRY_GATEWAY__MAX_STALENESS", "5s")],
    );
    assert!(good, "{said}");
}

#[test]
fn the_example_in_deploy_can_be_used() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/gateway/gateway.toml");
    let example = std::fs::read_to_string(path).unwrap();
    let (good, said) = check(&example.replace("/run/secrets/grantry-gateway\"", "secret\""), &[]);
    assert!(good, "{said}");
}

#[test]
fn every_mistake_is_answered_with_the_key_and_the_fix() {
    let rule = |rule: &str| format!("{GOOD}{LOGIN}[[gateway.paths]]\n{rule}\n");
    for (settings, sentence) in [
        (String::new(), "gateway.issuer: must be set"),
        (GOOD.to_owned(), "gateway.feed.client_id: must be set"),
        (GOOD.replace("https://auth", "http://auth"), "gateway.issuer: must begin with https://"),
        (GOOD.replace("nginx", "apache"), "gateway.proxy: "),
        (GOOD.replace("default = \"authenticated\"\n", "") + LOGIN, "gateway.paths: has no rule"),
        (GOOD.replace("audience", "audiences"), "did you mean gateway.audience?"),
        (format!("{GOOD}max_staleness = \"50ms\"\n{LOGIN}"), "gateway.max_staleness: 50ms is out of bounds"),
        (format!("{GOOD}listen = \"0.0.0.0:8090\"\n{LOGIN}"), "gateway.listen: 0.0.0.0:8090 is reachable"),
        (format!("{GOOD}trusted_proxies = []\n{LOGIN}"), "gateway.trusted_proxies: must name the networks"),
        (format!("{GOOD}{LOGIN}client_secret = \"x\"\n"), "gateway.feed.client_secret is set as well"),
        (format!("{GOOD}revocations = \"off\"\n{LOGIN}"), "means nothing with gateway.revocations = \"off\""),
        (
            format!("{GOOD}resource = \"https://else.example\"\n{LOGIN}"),
            "gateway.resource: \"https://else.example\" must be in gateway.audience as well",
        ),
        (
            format!("{}resource = \"urn:api\"\n{LOGIN}", GOOD.replace("https://api.example", "urn:api")),
            "gateway.resource: must be an http(s) URL",
        ),
        (rule("scopes = [\"a\"]"), "rule 1 (\"\"): needs prefix or exact"),
        (rule("prefix = \"/a\"\nexact = \"/a\""), "has prefix and exact"),
        (rule("prefix = \"/a/../b\""), "no request could have it: the path has a dot segment"),
        (rule("prefix = \"/a/*\""), "without patterns"),
        (rule("prefix = \"a\""), "does not begin with a slash"),
        (rule("prefix = \"/a\"\nscopes = [\"a b\"]"), "is no scope"),
        (rule("prefix = \"/a\"\nmethods = [\"get\"]"), "\"get\" is no method"),
        (rule("prefix = \"/a\"\nmethods = [\"HEAD\"]"), "HEAD counts as GET"),
        (rule("prefix = \"/a\"\npublic = true\nscopes = [\"a\"]"), "is public and needs scopes"),
        (rule("prefix = \"/a\"\n[[gateway.paths]]\nprefix = \"/a/\""), "is for the same path as rule 1"),
        (rule("prefix = \"/a\"\n[[gateway.paths]]\nprefix = \"/A\""), "differs from rule 1 only in upper"),
        (rule("prefix = \"/a\"\nscope = [\"a\"]"), "unknown field `scope`"),
    ] {
        let (good, said) = check(&settings, &[]);
        assert!(!good && said.contains(sentence), "{sentence}\n{settings}\n{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_variable_that_does_not_exist_is_an_error_and_the_server_minds_none_of_them() {
    let (good, said) = check(&format!("{GOOD}{LOGIN}"), &[("GRANTRY_GATEWAY__LISTN", "127.0.0.1:1")]);
    assert!(!good && said.contains("did you mean GRANTRY_GATEWAY__LISTEN?"), "{said}");
    let home = Home::new();
    let output = home.grantry(&["config", "check"]).env("GRANTRY_GATEWAY__LISTEN", "x").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}
