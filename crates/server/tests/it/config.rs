use std::process::Output;

use crate::home::{Home, text};

fn check(toml: &str, variables: &[(&str, &str)]) -> Output {
    let home = Home::with_config(toml);
    home.grantry(&["config", "check"]).envs(variables.iter().copied()).output().unwrap()
}

/// What is said about settings that cannot be used.
fn refusal(toml: &str, variables: &[(&str, &str)]) -> String {
    let output = check(toml, variables);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "accepted, though it should not be:\n{toml}\n{said}");
    said
}

#[test]
fn every_key_of_the_reference_is_accepted_with_its_default() {
    let home = Home::new();
    let shown = home.run(&["config", "show"]);
    let settings = String::from_utf8(shown.stdout).unwrap();
    let output = check(&settings, &[]);
    assert!(output.status.success(), "{}", text(&output));
    for key in ["listen = \"127.0.0.1:8080\"", "pool_size = 0", "max_connections = 10000", "issuer = \"http"]
    {
        assert!(settings.contains(key), "{settings}");
    }
}

/// A wrong value for each key, one a line of the reference, and what is wrong with it.
const WRONG: &[(&str, &str, &str)] = &[
    ("server.issuer", "\"http://auth.example\"", "https://"),
    ("server.issuer", "\"https://auth.example/\"", "slash"),
    ("server.issuer", "\"https://auth.example/?x=1\"", "query"),
    ("server.issuer", "\"https://auth.example/#x\"", "fragment"),
    ("server.issuer", "\"https://me:pw@auth.example\"", "password"),
    ("server.issuer", "\"ftp://auth.example\"", "neither https nor http"),
    ("server.issuer", "\"auth.example\"", "URL"),
    ("server.issuer", "1", "issuer = "),
    ("server.listen", "\"localhost\"", "listen = \"127.0.0.1:8080\""),
    ("server.listen", "\"0.0.0.0:8080\"", "tls_cert"),
    ("server.admin_listen", "\"127.0.0.1\"", "admin_listen = \"127.0.0.1:8081\""),
    ("server.admin_listen", "\"0.0.0.0:8081\"", "behind_tls_proxy"),
    ("server.admin_listen", "\"127.0.0.1:8080\"", "are the same"),
    ("server.tls_cert", "\"cert.pem\"", "server.tls_key"),
    ("server.tls_key", "\"key.pem\"", "server.tls_cert"),
    ("server.behind_tls_proxy", "\"yes\"", "boolean"),
    ("server.trusted_proxies", "[\"10.0.0.0/8\"]", "behind_tls_proxy = true"),
    ("server.trusted_proxies", "[\"10.0.0.0/8\", \"ten\"]", "trusted_proxies[1]"),
    ("store.url", "\"mysql://db\"", "sqlite:PATH"),
    ("store.url", "\"sqlite:\"", "names no file"),
    ("store.url", "\"sqlite://x.db\"", "path of a file"),
    ("store.url", "\"sqlite::memory:\"", "memory:"),
    ("store.url", "\"postgres:\"", "names no server"),
    ("store.url_file", "\"nowhere\"", "cannot be read"),
    ("store.url_file", "\"\"", "cannot be read"),
    ("store.clients_file", "\"clients.json\"", "would only go out of step"),
    ("store.url", "\"redis:db\"", "names no server"),
    ("store.busy_timeout", "\"soon\"", "length of time"),
    ("store.busy_timeout", "\"0s\"", "longer than nothing"),
    ("store.busy_timeout", "\"15s\"", "limits.request_timeout"),
    ("store.prepared", "\"no\"", "boolean"),
    ("store.prepared", "false", "postgres:// only"),
    ("store.statement_timeout", "\"1s\"", "postgres:// only"),
    ("store.lock_timeout", "\"soon\"", "lock_timeout = \"2s\""),
    ("store.connect_timeout", "\"soon\"", "length of time"),
    ("store.write_connections", "7", "postgres:// only"),
    ("store.read_connections", "-1", "read_connections = 3"),
    ("keys.master_key_file", "\"\"", "names no file"),
    ("keys.signing_algorithm", "\"HS256\"", "`EdDSA`, `ES256`"),
    ("keys.jwks_max_age", "\"999ms\"", "from 1s to"),
    ("keys.jwks_max_age", "\"25h\"", "from 1s to"),
    ("keys.jwks_max_age", "\"a while\"", "length of time"),
    ("token_persistence.enable", "\"no\"", "boolean"),
    ("token_persistence.pool_size", "65", "from 0 to 64"),
    ("token_persistence.max_batch", "4097", "from 1 to 4096"),
    ("token_persistence.journal", "\"disk\"", "`fsync`, `os`"),
    ("token_persistence.journal", "\"os\"", "token_persistence.pool_size is 0"),
    ("token_persistence.journal_dir", "\"elsewhere\"", "journal drain"),
    ("token_persistence.journal_max_bytes", "1000", "from 1048576"),
    ("token_persistence.retry_count", "1001", "from 0 to 1000"),
    ("token_persistence.retry_count", "-1", "retry_count = 5"),
    ("token_persistence.queue_capacity", "0", "from 1 to"),
    ("tokens.access_token_lifetime", "\"24h\"", "tokens.retention_time"),
    ("tokens.access_token_lifetime", "\"0s\"", "at least 1s"),
    ("tokens.access_token_lifetime", "\"1 fortnight\"", "length of time"),
    ("tokens.retention_time", "true", "length of time"),
    ("tokens.refresh_token_lifetime", "\"0s\"", "at least 1s"),
    ("tokens.refresh_token_lifetime", "\"7d\"", "is more than tokens.refresh_token_lifetime"),
    ("tokens.refresh_token_idle", "\"0s\"", "at least 1s"),
    ("tokens.refresh_token_idle", "\"31d\"", "shorten the one"),
    ("tokens.refresh_grace", "\"14d\"", "tokens.refresh_token_idle"),
    ("tokens.refresh_grace", "\"a while\"", "length of time"),
    ("tokens.active_token_policy", "\"keep\"", "`reuse`, `replace`"),
    ("tokens.reuse_minimum_life", "\"2h\"", "tokens.access_token_lifetime"),
    ("tokens.status_list_ttl", "\"1s\"", "from 2s to 1day"),
    ("tokens.status_list_ttl", "\"25h\"", "from 2s to 1day"),
    ("tokens.default_audience", "[]", "at least one"),
    ("tokens.default_audience", "[\"a b\"]", "without spaces"),
    ("tokens.claims", "{ tenant = 1, exp = 1 }", "\"exp\" is a registered claim"),
    ("tokens.revoked_token_headers_in_response", "1", "boolean"),
    ("tokens.claims", "\"acme\"", "claims = { tenant = \"acme\" }"),
    ("cache.enabled", "\"yes\"", "boolean"),
    ("cache.coherence", "\"eventual\"", "`bounded`"),
    ("cache.max_staleness", "\"99ms\"", "from 100ms to 1m"),
    ("cache.max_staleness", "\"61s\"", "from 100ms to 1m"),
    ("cache.max_staleness", "\"soon\"", "max_staleness = \"1s\""),
    ("cache.max_staleness", "\"15s\"", "limits.request_timeout"),
    ("cache.load_batch_size", "0", "from 1 to 65536"),
    ("cache.load_batch_size", "65537", "from 1 to 65536"),
    ("cache.directory", "\"\"", "names no file"),
    ("cache.directory", "\"elsewhere\"", "set disk_offload or flush_to_disk_on_stop"),
    ("cache.tokens.capacity", "0", "from 1 to 100000000"),
    ("cache.tokens.capacity", "100000001", "from 1 to 100000000"),
    ("cache.tokens.eviction_policy", "\"fifo\"", "`lru`"),
    ("cache.tokens.disk_offload", "1", "boolean"),
    ("cache.tokens.flush_to_disk_on_stop", "1", "flush_to_disk_on_stop = false"),
    ("cache.token_owners.capacity", "0", "from 1 to"),
    ("cache.token_owners.eviction_policy", "\"LRU\"", "eviction_policy = \"lru\""),
    ("cache.token_owners.disk_offload", "\"ssd\"", "boolean"),
    ("cache.token_owners.flush_to_disk_on_stop", "\"no\"", "boolean"),
    ("cache.clients.capacity", "-1", "capacity = 10000"),
    ("cache.clients.eviction_policy", "true", "eviction_policy = \"lru\""),
    ("cache.clients.disk_offload", "\"no\"", "boolean"),
    ("cache.clients.flush_to_disk_on_stop", "\"no\"", "boolean"),
    ("data_space.name", "\"a b\"", "letters, digits"),
    ("data_space.name", "\"other\"", "data_space.discovery is empty"),
    ("data_space.discovery", "\"redis://127.0.0.1\"", "discovery = [\"redis://127.0.0.1:6379\"]"),
    (
        "data_space.discovery",
        "[\"redis://127.0.0.1\", \"http://:hunter2@x\"]",
        "address 2 must begin with redis://",
    ),
    ("data_space.discovery", "[\"127.0.0.1:6379\"]", "address 1 is no URL"),
    ("data_space.discovery", "[\"redis:\"]", "address 1 names no host"),
    ("data_space.discovery", "[\"redis://127.0.0.1/2\"]", "data_space.name"),
    ("data_space.username", "\"\"", "is empty"),
    ("data_space.password", "\"\"", "is empty"),
    ("data_space.password_file", "\"nowhere\"", "cannot be read"),
    ("data_space.sentinel_master", "\"\"", "is empty"),
    ("data_space.replication_count", "-2", "from -1 to 16"),
    ("data_space.replication_count", "17", "from -1 to 16"),
    ("data_space.replication_policy", "\"both\"", "`async`"),
    ("data_space.replication_timeout", "\"1ms\"", "from 10ms to 1m"),
    ("data_space.answer_timeout", "\"0s\"", "from 1ms to 5s"),
    ("data_space.answer_timeout", "\"6s\"", "from 1ms to 5s"),
    ("limits.max_body_bytes", "10", "from 1024"),
    ("limits.max_header_bytes", "100", "from 8192"),
    ("limits.header_timeout", "\"0s\"", "longer than nothing"),
    ("limits.body_timeout", "\"0s\"", "longer than nothing"),
    ("limits.body_timeout", "\"1m\"", "limits.request_timeout"),
    ("limits.request_timeout", "\"forever\"", "length of time"),
    ("limits.max_concurrent_requests", "0", "from 1"),
    ("limits.max_connections", "0", "from 1"),
    ("limits.failed_attempts_per_client", "0", "from 1"),
    ("limits.failed_attempts_per_address", "-3", "failed_attempts_per_address = 200"),
    ("limits.failed_attempts_window", "\"0s\"", "longer than nothing"),
    ("limits.shutdown_grace", "\"x\"", "length of time"),
    ("outbound.allowed_networks", "\"10.0.0.0/8\"", "allowed_networks = [\"10.0.0.0/8\"]"),
    ("outbound.allowed_networks", "[\"10.0.0.0/8\", \"ten\"]", "allowed_networks[1]"),
    ("outbound.ca_file", "\"\"", "names no file"),
    ("outbound.timeout", "\"0s\"", "longer than nothing"),
    ("outbound.timeout", "\"15s\"", "limits.request_timeout"),
    ("log.level", "\"inof\"", "debug"),
    ("log.level", "\"\"", "debug"),
    ("log.format", "\"xml\"", "`json`"),
];

#[test]
fn a_wrong_value_is_refused_with_its_key_its_line_and_the_fix() {
    for (path, value, fix) in WRONG {
        let (section, key) = path.rsplit_once('.').unwrap();
        let said = refusal(&format!("# a comment\n[{section}]\n{key} = {value}\n"), &[]);
        assert!(said.contains(path), "{path} = {value}: {said}");
        assert!(said.contains(fix), "{path} = {value}: {said}");
        // What contradicts another key may be reported at either of the two.
        assert!(
            said.contains("grantry.toml:3: ")
                || [" is not less than ", " is more than "].iter().any(|other| said.contains(other)),
            "{path} = {value}: {said}"
        );
    }
}

/// With PostgreSQL, with a queue, without copies, or without a bound.
const WRONG_TOGETHER: &[(&str, &str)] = &[
    (
        "[store]\nurl = \"postgres://db/x\"\nbusy_timeout = \"50ms\"\n",
        "store.busy_timeout: 50ms is out of bounds",
    ),
    (
        "[store]\nurl = \"postgres://db/x\"\nstatement_timeout = \"6s\"\n",
        "store.statement_timeout: 6s is out of bounds",
    ),
    (
        "[store]\nurl = \"postgres://db/x\"\nlock_timeout = \"1ms\"\n",
        "store.lock_timeout: 1ms is out of bounds",
    ),
    ("[store]\nurl = \"postgres://db/x\"\nconnect_timeout = \"2m\"\n", "choose something from 10ms to 1m"),
    ("[store]\nurl = \"postgres://db/x\"\nwrite_connections = 9\n", "from 1 to 8"),
    ("[store]\nurl = \"postgres://db/x\"\nread_connections = 0\n", "from 1 to 16"),
    (
        "[store]\nurl = \"postgres://db/x\"\n[tokens]\nretention_time = \"30s\"\naccess_token_lifetime = \"20s\"\n\
         reuse_minimum_life = \"1s\"\n",
        "tokens.retention_time: 30s is too short",
    ),
    ("[store]\nurl = \"memory:\"\n[token_persistence]\npool_size = 2\n", "store.url is memory:"),
    (
        "[token_persistence]\npool_size = 2\njournal = \"off\"\njournal_max_bytes = 2097152\n",
        "token_persistence.journal_max_bytes: means nothing while token_persistence.journal is \"off\"",
    ),
    (
        "[token_persistence]\npool_size = 2\njournal = \"off\"\njournal_max_bytes = 1048576\n",
        "token_persistence.journal_max_bytes: means nothing",
    ),
    ("[token_persistence]\npool_size = 2\njournal_dir = \"\"\n", "names no file"),
    (
        "[cache]\ncoherence = \"none\"\nmax_staleness = \"2s\"\n",
        "cache.max_staleness: means nothing while cache.coherence is \"none\"",
    ),
    (
        "[cache]\ncoherence = \"strict\"\n[limits]\nrequest_timeout = \"1s\"\nbody_timeout = \"1s\"\n[store]\n\
         busy_timeout = \"500ms\"\n[outbound]\ntimeout = \"500ms\"\n",
        "cache.max_staleness: 1s is not less than limits.request_timeout (1s)",
    ),
    (
        "[cache]\nenabled = false\nload_batch_size = 7\n",
        "cache.load_batch_size: means nothing while cache.enabled is false",
    ),
    ("[cache]\nenabled = false\ndirectory = \"x\"\n", "cache.directory: means nothing while cache.enabled"),
    ("[cache]\nenabled = false\n[cache.tokens]\ncapacity = 5\n", "cache.tokens.capacity: means nothing"),
    (
        "[cache]\nenabled = false\n[cache.token_owners]\neviction_policy = \"lfu\"\n",
        "cache.token_owners.eviction_policy: means nothing",
    ),
    (
        "[cache]\nenabled = false\n[cache.clients]\ndisk_offload = true\nflush_to_disk_on_stop = true\n",
        "cache.clients.disk_offload: means nothing",
    ),
    (
        "[cache]\nenabled = false\n[cache.clients]\nflush_to_disk_on_stop = true\n",
        "cache.clients.flush_to_disk_on_stop: means nothing",
    ),
    (
        "[store]\nurl = \"memory:\"\n[data_space]\ndiscovery = [\"redis://127.0.0.1\"]\n",
        "data_space.discovery: copies outlive this process",
    ),
    (
        "[store]\nurl = \"redis://127.0.0.1\"\n[data_space]\ndiscovery = [\"redis://127.0.0.1\"]\n",
        "data_space.discovery: store.url is redis://",
    ),
    (
        "[data_space]\ndiscovery = [\"redis://127.0.0.1\"]\nreplication_policy = \"sync\"\nreplication_count = 0\n",
        "data_space.replication_policy: \"sync\" waits for replicas",
    ),
    (
        "[data_space]\ndiscovery = [\"redis://127.0.0.1\"]\nreplication_timeout = \"1s\"\n",
        "data_space.replication_timeout: means nothing",
    ),
    ("[data_space]\nreplication_policy = \"sync\"\n", "data_space.replication_policy: means nothing"),
];

#[test]
fn settings_that_contradict_the_store_or_the_mode_are_refused() {
    for (toml, hint) in WRONG_TOGETHER {
        let said = refusal(toml, &[]);
        assert!(said.contains(hint), "{toml}: {said}");
    }
    let with_a_queue = "[store]\nurl = \"postgres://db/x\"\nprepared = false\nbusy_timeout = \"1s\"\n\
                        [token_persistence]\npool_size = 64\njournal = \"os\"\njournal_dir = \"x\"\n";
    let output = check(with_a_queue, &[]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn caches_can_be_set_one_by_one_kept_on_disk_or_done_without() {
    for toml in [
        "[cache]\nenabled = false\nmax_staleness = \"100ms\"\ncoherence = \"strict\"\n",
        "[cache]\ncoherence = \"none\"\n[store]\nurl = \"memory:\"\n",
        "[cache]\ndirectory = \"x\"\n[cache.clients]\nflush_to_disk_on_stop = true\n",
        "[cache.tokens]\ndisk_offload = true\n[cache]\nmax_staleness = \"2s\"\n",
        "cache.tokens.capacity = 100000000\n",
        "[cache]\ntokens = { capacity = 1, eviction_policy = \"s3fifo\" }\n",
    ] {
        let output = check(toml, &[]);
        assert!(output.status.success(), "{toml}: {}", text(&output));
    }
}

/// The defaults of one cache are not those of another, though both have the same keys.
#[test]
fn a_cache_of_which_one_key_is_set_keeps_the_defaults_of_its_own() {
    let home =
        Home::with_config("[cache.clients]\neviction_policy = \"lfu\"\n\n[cache.tokens]\ncapacity = 5\n");
    let shown =
        home.grantry(&["config", "show"]).env("GRANTRY_CACHE__TOKENS__CAPACITY", "7").output().unwrap();
    let shown = text(&shown);
    let section = |name: &str| {
        let (_, rest) = shown.split_once(&format!("[{name}]\n")).unwrap();
        rest.split("\n\n").next().unwrap().to_owned()
    };
    let line = |name: &str, key: &str| {
        let section = section(name);
        let line = section.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("cache.clients", "capacity"), "capacity = 10000 # default");
    assert_eq!(line("cache.clients", "eviction"), "eviction_policy = \"lfu\" # grantry.toml:2");
    assert_eq!(line("cache.tokens", "capacity"), "capacity = 7 # GRANTRY_CACHE__TOKENS__CAPACITY");
    assert_eq!(line("cache.token_owners", "capacity"), "capacity = 100000 # default");
    assert_eq!(line("cache", "enabled"), "enabled = true # default");
}

#[test]
fn a_password_in_the_url_of_the_store_is_never_shown() {
    let home = Home::new();
    std::fs::write(home.path("url"), "postgres://grantry:hunter2@127.0.0.1:1/x?password=hunter2\n").unwrap();
    for (variable, value) in [
        ("GRANTRY_STORE__URL", "postgres://grantry:hunter2@127.0.0.1:1/x?password=hunter2"),
        ("GRANTRY_STORE__URL_FILE", "url"),
    ] {
        let run = |args: &[&str]| text(&home.grantry(args).env(variable, value).output().unwrap());
        let shown = run(&["config", "show"]);
        assert!(
            shown.contains("url = \"postgres://grantry:********@127.0.0.1:1/x?password=********\""),
            "{shown}"
        );
        let output = home.serve().env(variable, value).env("GRANTRY_LOG", "trace").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "nobody listens there");
        for said in
            [shown, text(&output), run(&["migrate"]), run(&["tokens", "list", "--subject", "a", "--offline"])]
        {
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
    let both = [("GRANTRY_STORE__URL_FILE", "url"), ("GRANTRY_STORE__URL", "memory:")];
    assert!(refusal("", &both).contains("store.url_file: store.url is set as well"));
    let broken = refusal("", &[("GRANTRY_STORE__URL", "mysql://grantry:hunter2@db")]);
    assert!(broken.contains("store.url: must be postgres://") && !broken.contains("hunter2"), "{broken}");
}

#[test]
fn a_password_of_the_data_space_is_never_shown() {
    let home = Home::new();
    std::fs::write(home.path("password"), "hunter2\n").unwrap();
    for (variable, value) in
        [("GRANTRY_DATA_SPACE__PASSWORD", "hunter2"), ("GRANTRY_DATA_SPACE__PASSWORD_FILE", "password")]
    {
        let discovery = "redis://me:hunter2@127.0.0.1:1,redis://127.0.0.1:1";
        let run = |args: &[&str]| {
            let mut command = home.grantry(args);
            text(
                &command
                    .env(variable, value)
                    .env("GRANTRY_DATA_SPACE__DISCOVERY", discovery)
                    .output()
                    .unwrap(),
            )
        };
        let shown = run(&["config", "show"]);
        assert!(shown.contains("password = \"********\""), "{shown}");
        assert!(shown.contains("discovery = [\"redis://me:********@127.0.0.1:1\""), "{shown}");
        let failed = run(&["serve"]);
        assert!(failed.contains("the data space cannot be reached at 127.0.0.1:1"), "{failed}");
        for said in [shown, failed] {
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
    let both = [("GRANTRY_DATA_SPACE__PASSWORD_FILE", "password"), ("GRANTRY_DATA_SPACE__PASSWORD", "x")];
    assert!(refusal("", &both).contains("data_space.password_file: data_space.password is set as well"));
}

#[test]
fn every_key_has_a_wrong_value_in_the_table() {
    let shown = String::from_utf8(Home::new().run(&["config", "show"]).stdout).unwrap();
    let mut section = "";
    for line in shown.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        let Some((key, _)) =
            line.trim_start_matches("# ").split_once([' ', '=']).filter(|_| !section.is_empty())
        else {
            continue;
        };
        let path = format!("{section}.{key}");
        assert!(WRONG.iter().any(|(wrong, _, _)| *wrong == path), "{path} is not in the table");
    }
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    for (toml, hint) in [
        ("[token_persistence]\npool_sise = 0\n", "did you mean token_persistence.pool_size?"),
        ("[sever]\nlisten = \"x\"\n", "did you mean [server]?"),
        ("[banana]\n", "the sections are server, store, keys"),
        ("[server]\nurl = \"memory:\"\n", "url belongs to [store]"),
        ("[server]\nbanana = 1\n", "the keys of [server] are issuer, listen"),
        ("listen = \"127.0.0.1:1\"\n", "move it below [server]"),
        ("server = 1\n", "write [server]"),
        ("[cache.token]\ncapacity = 1\n", "no section [cache.token]; did you mean [cache.tokens]?"),
        (
            "[cache.sessions]\n",
            "the sections below [cache] are cache.tokens, cache.token_owners, cache.clients",
        ),
        ("[cache]\nsessions = { capacity = 1 }\n", "there is no section [cache.sessions]"),
        ("[cache]\ntokens = 1\n", "write [cache.tokens] and its keys below"),
        ("[[cache.tokens]]\ncapacity = 1\n", "write [cache.tokens] and its keys below"),
        ("[cache]\ncapacity = 1\n", "belongs to [cache.tokens], [cache.token_owners] or [cache.clients]"),
        ("[cache.tokens]\nmax_staleness = \"1s\"\n", "max_staleness belongs to [cache]"),
        ("[cache.clients]\ncapasity = 1\n", "did you mean cache.clients.capacity?"),
        ("[clients]\n", "did you mean [cache.clients]?"),
        ("\"cache.tokens\" = { capacity = 1 }\n", "\"cache.tokens\" is one name in its quotes"),
        ("[cache.tokens.capacity]\nmost = 1\n", "cache.tokens.capacity: invalid type: map"),
    ] {
        let said = refusal(toml, &[]);
        assert!(said.contains(hint) && said.contains("grantry.toml:"), "{toml}: {said}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let toml = "[server]\nlisten = \"nowhere\"\n[tokens]\naccess_token_lifetime = \"soon\"\n[limits]\nmax_connections = \"many\"\n";
    let said = refusal(toml, &[]);
    assert!(said.contains("for 3 reasons"), "{said}");
    for place in
        ["grantry.toml:2: server.listen", "grantry.toml:4: tokens.access", "grantry.toml:6: limits.max_conn"]
    {
        assert!(said.contains(place), "{said}");
    }
    let toml = "[server]\nadmin_listen = \"0.0.0.0:1\"\ntls_key = \"k\"\n[limits]\nmax_connections = 0\n";
    assert!(refusal(toml, &[]).contains("for 3 reasons"));
}

#[test]
fn text_that_is_no_toml_is_an_error_with_its_line() {
    let said = refusal("[server]\nlisten = \n", &[]);
    assert!(said.contains("grantry.toml:2: "), "{said}");
}

#[test]
fn the_environment_goes_before_the_file() {
    let home = Home::with_config("[server]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n");
    let shown = home
        .grantry(&["config", "show"])
        .env("GRANTRY_SERVER__LISTEN", "127.0.0.1:2")
        .env("GRANTRY_SERVER__BEHIND_TLS_PROXY", "true")
        .env("GRANTRY_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 192.168.0.0/16")
        .env("GRANTRY_LIMITS__MAX_CONNECTIONS", "7")
        .env("GRANTRY_TOKENS__DEFAULT_AUDIENCE", "[\"https://a.example\"]")
        .env("GRANTRY_TOKENS__CLAIMS", "{ tenant = \"acme\", \"https://a.example/tier\" = 1 }")
        .output()
        .unwrap();
    let shown = text(&shown);
    let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
    for (value, origin) in [
        ("listen = \"127.0.0.1:2\"", "GRANTRY_SERVER__LISTEN"),
        ("behind_tls_proxy = true", "GRANTRY_SERVER__BEHIND_TLS_PROXY"),
        ("trusted_proxies = [\"10.0.0.0/8\",\"192.168.0.0/16\"]", "GRANTRY_SERVER__TRUSTED_PROXIES"),
        ("max_connections = 7", "GRANTRY_LIMITS__MAX_CONNECTIONS"),
        ("default_audience = [\"https://a.example\"]", "GRANTRY_TOKENS__DEFAULT_AUDIENCE"),
        ("claims = { \"https://a.example/tier\" = 1, tenant = \"acme\" }", "GRANTRY_TOKENS__CLAIMS"),
        ("level = \"warn\"", "grantry.toml:4"),
        ("admin_listen = \"127.0.0.1:8081\"", "default"),
    ] {
        let found =
            lines.iter().any(|line| line.starts_with(value) && line.ends_with(&format!("# {origin}")));
        assert!(found, "{value} # {origin}\n{shown}");
    }
}

#[test]
fn a_wrong_value_in_the_environment_names_the_variable() {
    let said = refusal("", &[("GRANTRY_LIMITS__MAX_CONNECTIONS", "many")]);
    assert!(said.contains("GRANTRY_LIMITS__MAX_CONNECTIONS: limits.max_connections: "), "{said}");
    let said = refusal("", &[("GRANTRY_SERVER__ADMIN_LISTEN", "0.0.0.0:1")]);
    assert!(said.contains("GRANTRY_SERVER__ADMIN_LISTEN: server.admin_listen: "), "{said}");
}

#[test]
fn an_unknown_variable_of_ours_is_an_error() {
    for (variable, hint) in [
        ("GRANTRY_SERVER__LISTN", "did you mean GRANTRY_SERVER__LISTEN?"),
        ("GRANTRY_SERVER_LISTEN", "did you mean GRANTRY_SERVER__LISTEN?"),
        ("GRANTRY_MASTER_KEY_FILE", "did you mean GRANTRY_KEYS__MASTER_KEY_FILE?"),
        ("GRANTRY_CACHE__TOKEN__CAPACITY", "did you mean GRANTRY_CACHE__TOKENS__CAPACITY?"),
        (
            "GRANTRY_CACHE__CAPACITY",
            "GRANTRY_CACHE__TOKEN_OWNERS__CAPACITY or GRANTRY_CACHE__CLIENTS__CAPACITY?",
        ),
        ("GRANTRY_BANANA", "GRANTRY_SECTION__KEY"),
    ] {
        let said = refusal("", &[(variable, "x")]);
        assert!(said.contains(variable) && said.contains(hint), "{variable}: {said}");
    }
    let output =
        check("", &[("GRANTRY_BENCH_CLIENT_SECRET", "x"), ("GRANTRY_SOAK_ROUNDS", "3"), ("GRANTRYX", "y")]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn bootstrap_variables_go_together() {
    let id = ("GRANTRY_BOOTSTRAP_CLIENT_ID", "root");
    let secret = ("GRANTRY_BOOTSTRAP_CLIENT_SECRET", "hunter2");
    let file = ("GRANTRY_BOOTSTRAP_CLIENT_SECRET_FILE", "hunter3");
    for (variables, hint) in [
        (vec![id], "needs GRANTRY_BOOTSTRAP_CLIENT_SECRET"),
        (vec![secret], "set GRANTRY_BOOTSTRAP_CLIENT_ID"),
        (vec![id, secret, file], "not both"),
    ] {
        let said = refusal("", &variables);
        assert!(said.contains(hint) && !said.contains("hunter"), "{said}");
    }
}

#[test]
fn the_short_name_of_the_log_level_works_and_does_not_contradict_the_long_one() {
    let home = Home::new();
    let shown = text(&home.grantry(&["config", "show"]).env("GRANTRY_LOG", "debug").output().unwrap());
    assert!(shown.contains("level = \"debug\"") && shown.contains("# GRANTRY_LOG"), "{shown}");
    let said = refusal("", &[("GRANTRY_LOG", "debug"), ("GRANTRY_LOG__LEVEL", "info")]);
    assert!(said.contains("both are log.level"), "{said}");
}

#[test]
fn beyond_loopback_is_fine_with_one_of_the_ways_out() {
    for toml in [
        "[server]\nissuer = \"https://auth.example\"\nlisten = \"0.0.0.0:80\"\nbehind_tls_proxy = true\n",
        "[server]\nissuer = \"https://auth.example\"\nlisten = \"0.0.0.0:443\"\ntls_cert = \"c\"\ntls_key = \"k\"\n",
        "[server]\nissuer = \"https://auth.example/tenant\"\n",
        "[server]\nissuer = \"http://localhost:8080\"\n",
        "[server]\nissuer = \"http://[::1]:8080\"\nlisten = \"[::1]:8080\"\n",
    ] {
        let output = check(toml, &[]);
        assert!(output.status.success(), "{toml}: {}", text(&output));
    }
    let said = refusal("[server]\nlisten = \"0.0.0.0:80\"\nbehind_tls_proxy = true\n", &[]);
    assert!(said.contains("server.issuer: must be set"), "{said}");
}

#[test]
fn the_file_is_the_named_one_else_that_of_the_environment_else_the_one_that_is_there() {
    let home = Home::with_config("[limits]\nmax_connections = 1\n");
    for (name, count) in [("b.toml", 2), ("c.toml", 3)] {
        std::fs::write(home.path(name), format!("[limits]\nmax_connections = {count}\n")).unwrap();
    }
    let shown = |args: &[&str], variable: Option<&str>| {
        text(&home.grantry(args).envs(variable.map(|name| ("GRANTRY_CONFIG", name))).output().unwrap())
    };
    assert!(shown(&["config", "show"], None).contains("max_connections = 1 "));
    assert!(shown(&["config", "show"], Some("b.toml")).contains("max_connections = 2 "));
    assert!(
        shown(&["--config", "c.toml", "config", "show"], Some("b.toml")).contains("max_connections = 3 ")
    );
    assert!(shown(&["--config", "d.toml", "config", "show"], None).contains("d.toml cannot be read"));
}

#[test]
fn check_and_show_open_nothing() {
    let home = Home::new();
    assert!(home.run(&["config", "check"]).status.success());
    assert!(home.run(&["config", "show"]).status.success());
    assert_eq!(std::fs::read_dir(home.root()).unwrap().count(), 0);
}

#[test]
fn the_server_refuses_to_start_with_settings_that_cannot_be_used() {
    let home = Home::with_config("[limits]\nmax_connections = 0\n");
    let output = home.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("limits.max_connections"), "{}", text(&output));
    assert!(!home.path("grantry-data").exists());
}
