use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, value_parser};

use crate::{
    assertion::{AssertionKey, Assertions},
    credentials::{Auth, Credentials},
    discovery,
    failure::Failure,
    form::Param,
    grants::{self, Grants},
    load::{self, Load},
    options, placeholder,
    report::{self, Report},
    rows::{Rows, RowsCommand},
    scenario::{Endpoints, Scenario, Spec, token_form},
    supply::Supply,
    target::Target,
};

#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub struct RunArgs {
    /// What the requests do
    #[arg(long, value_enum)]
    scenario: Scenario,
    /// The token endpoint, plain http
    #[arg(long, value_name = "URL")]
    token_url: String,
    /// The introspection endpoint; without it the server's metadata is asked (RFC 8414)
    #[arg(long, value_name = "URL")]
    introspect_url: Option<String>,
    /// The revocation endpoint; without it the server's metadata is asked (RFC 8414)
    #[arg(long, value_name = "URL")]
    revoke_url: Option<String>,
    /// A client that may use the grant client_credentials (for all scenarios but refresh) and refresh_token (for refresh
    /// and mixed)
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// A file with the client's secret; without it GRANTRY_BENCH_CLIENT_SECRET is read
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// How the client authenticates
    #[arg(long, value_enum, default_value = "basic")]
    auth: Auth,
    /// The scope to ask for
    #[arg(long)]
    scope: Option<String>,
    #[arg(long = "param", value_name = "NAME=VALUE", help = PARAM_HELP)]
    params: Vec<Param>,
    /// Connections, each with one request in flight at most
    #[arg(long, default_value = "16", value_parser = options::connections)]
    connections: usize,
    /// How long to measure, in seconds
    #[arg(long, default_value = "10", value_parser = options::seconds)]
    seconds: Duration,
    /// How long to load before measuring, in seconds [default: 1, or 0 with --count]
    #[arg(long, value_parser = options::seconds_or_none)]
    warmup: Option<Duration>,
    /// Stop after so many requests, warm-up included, if --seconds has not ended the run before
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    count: Option<u64>,
    /// Fixed rate, in requests a second, latency from the intended start; without it the load is a closed loop
    #[arg(long, value_parser = options::rate)]
    rate: Option<f64>,
    /// At a fixed rate: give up when more requests than this are due and wait for a connection
    #[arg(long, value_name = "N", default_value = "100000", value_parser = value_parser!(u64).range(1..=10_000_000))]
    max_backlog: u64,
    /// How long to wait for an answer, in seconds
    #[arg(long, default_value = "10", value_parser = options::seconds)]
    timeout: Duration,
    /// How many tokens to issue beforehand for introspect, mixed and revoke [default: 1000; for revoke --count, or
    /// 20000]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000))]
    pool: Option<u64>,
    /// For refresh and mixed: a file with one refresh token a line, each of a grant of its own. Afterwards it has the
    /// newest ones instead
    #[arg(long, value_name = "FILE", conflicts_with = "subjects")]
    refresh_tokens: Option<PathBuf>,
    /// For refresh and mixed: get a grant for each of so many subjects, user-0 and so on, by assertions that the
    /// client signs (RFC 7523); it must be allowed the grant jwt-bearer with refresh tokens
    #[arg(long, value_name = "N", requires = "assertion_key", value_parser = value_parser!(u64).range(1..=1_000_000))]
    subjects: Option<u64>,
    /// The client's Ed25519 key as PKCS#8 in PEM; see `grantry-bench assertion-key`
    #[arg(long, value_name = "FILE", requires = "subjects")]
    assertion_key: Option<PathBuf>,
    /// The `kid` under which the server knows that key [default: its thumbprint, RFC 7638]
    #[arg(long, value_name = "KID", requires = "subjects")]
    assertion_key_id: Option<String>,
    /// The audience of the assertions; without it the server's metadata is asked for its issuer (RFC 8414)
    #[arg(long, value_name = "URL", requires = "subjects")]
    issuer: Option<String>,
    /// A shell command that prints how many token rows the store has, run before and after. issue and refresh must
    /// write exactly one row a token, mixed one for each that is issued or refreshed, reuse one at most
    #[arg(long, value_name = "COMMAND")]
    rows_command: Option<String>,
    /// How long to wait for rows that the server writes after its answer, in seconds
    #[arg(long, default_value = "10", value_parser = options::seconds_or_none)]
    rows_wait: Duration,
    /// Write the result here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Load a server on another machine; only one that is yours to load
    #[arg(long)]
    allow_remote: bool,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

const PARAM_HELP: &str = concat!(
    "Another parameter of the token request; ",
    placeholder!(),
    " in its value becomes a number that is never used again, which makes each request a slot of its own. May be given \
     several times"
);

const EXAMPLES: &str = concat!(
    "The exit code is 0 only if every request was answered as the scenario expects,
the schedule of a fixed rate was kept and the rows agree.

Closed loop, as fast as 64 connections go, rows checked:
  grantry-bench run --scenario issue --client-id bench --connections 64 \\
      --token-url http://127.0.0.1:8080/oauth2/token \\
      --param 'resource=https://bench.example/",
    placeholder!(),
    "' \\
      --rows-command \"sqlite3 'file:grantry-data/grantry.db?mode=ro' \\
          'select count(*) from tokens'\"

Fixed rate, latency from the intended start:
  grantry-bench run --scenario introspect --client-id bench --rate 2000 \\
      --token-url http://127.0.0.1:8080/oauth2/token \\
      --param 'resource=https://bench.example/",
    placeholder!(),
    "' --json introspect.json

Refreshing 1,000 grants that the client gets for its subjects by assertions:
  grantry-bench assertion-key --out bench.pem   # prints the jwks of the client:
      {\"grant_types\": [\"urn:ietf:params:oauth:grant-type:jwt-bearer\",
                       \"refresh_token\"],
       \"scope\": \"read\", \"jwks\": ..., \"jwt_bearer_subjects\": [\"*\"],
       \"jwt_bearer_refresh\": true}
  grantry-bench run --scenario refresh --client-id bench --subjects 1000 \\
      --token-url http://127.0.0.1:8080/oauth2/token --assertion-key bench.pem

Refreshing counts only answers with both tokens. A connection never presents a
refresh token twice: after any other answer, and after none, the grant is
obtained again when its turn comes, if it came by an assertion; from a file it is
left out from then on. Either way the run has failed."
);

/// One run: its exit code says whether its figures can be used.
pub async fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    check(args)?;
    let spec = spec(args).await?;
    let rows_command = args.rows_command.clone().map(RowsCommand);
    let supply = Supply::obtain(&spec).await?;
    let before = rows_command.as_ref().map(RowsCommand::count).transpose()?;
    let measured = load::measure(&spec, &supply).await?;
    if let Some((path, grants)) = args.refresh_tokens.as_deref().zip(supply.grants()) {
        grants.write_to(path)?;
    }
    let rows = match (&rows_command, before) {
        (Some(command), Some(before)) => {
            let (answered, lost) = (measured.tally.tokens, measured.tally.lost);
            let wanted = if spec.scenario.writes_tokens() { before + answered } else { before };
            let after = command.count_when_written(wanted, args.rows_wait)?;
            Some(Rows { before, after, answered, lost })
        }
        _ => None,
    };
    let report = Report::new(&spec, &measured, rows)?;
    report::print(&report.text())?;
    if let Some(path) = &args.json {
        report::write_json("--json", path, &report)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Flags that contradict the scenario.
fn check(args: &RunArgs) -> Result<(), Failure> {
    let scenario = args.scenario;
    let leave_out = |flag: &str, is_for: &str| {
        Err(Failure::new(format!("{flag} is for {is_for}; leave it out for {}", scenario.name())))
    };
    if matches!(scenario, Scenario::Introspect | Scenario::Revoke) && args.rows_command.is_some() {
        return leave_out("--rows-command", "issue, reuse, refresh and mixed");
    }
    if !scenario.has_pool() && args.pool.is_some() {
        return leave_out("--pool", "introspect, revoke and mixed");
    }
    if !scenario.refreshes() && args.refresh_tokens.is_some() {
        return leave_out("--refresh-tokens", "refresh and mixed");
    }
    if !scenario.refreshes() && args.subjects.is_some() {
        return leave_out("--subjects", "refresh and mixed");
    }
    if scenario == Scenario::Refresh && !args.params.is_empty() {
        return leave_out("--param", "client credentials requests");
    }
    check_slots(args)
}

fn check_slots(args: &RunArgs) -> Result<(), Failure> {
    let is_numbered = args.params.iter().any(|param| param.value.contains("{n}"));
    if args.scenario == Scenario::Reuse && is_numbered {
        return Err(Failure::new(
            "{n} in a --param makes every request a slot of its own; reuse asks for one slot",
        ));
    }
    if args.scenario == Scenario::Mixed && !is_numbered {
        return Err(Failure::new(
            "mixed needs a --param with {n}, so that the tokens that it revokes are not those that it introspects",
        ));
    }
    Ok(())
}

async fn spec(args: &RunArgs) -> Result<Spec, Failure> {
    let credentials = Credentials::read(&args.client_id, args.client_secret_file.as_deref(), args.auth)?;
    let endpoints = endpoints(args).await?;
    let form = token_form(args.scope.as_deref(), &args.params, &credentials);
    let pool = args.pool.unwrap_or_else(|| unasked_pool(args));
    let grants = grants(args, &endpoints.token, &credentials).await?;
    Ok(Spec { scenario: args.scenario, endpoints, credentials, form, pool, grants, load: load(args) })
}

async fn endpoints(args: &RunArgs) -> Result<Endpoints, Failure> {
    let optional = |flag, url: &Option<String>| {
        url.as_deref().map(|url| Target::parse(flag, url, args.allow_remote)).transpose()
    };
    let endpoints = Endpoints {
        token: Target::parse("--token-url", &args.token_url, args.allow_remote)?,
        introspect: optional("--introspect-url", &args.introspect_url)?,
        revoke: optional("--revoke-url", &args.revoke_url)?,
    };
    let endpoints = discovery::complete(endpoints, args.scenario, args.allow_remote, args.timeout).await?;
    let address = endpoints.token.address;
    let mut others = endpoints.introspect.iter().chain(&endpoints.revoke);
    if args.scenario == Scenario::Mixed && others.any(|other| other.address != address) {
        return Err(Failure::new(
            "mixed asks all endpoints on the same connections, and these are not on one address",
        ));
    }
    Ok(endpoints)
}

async fn grants(
    args: &RunArgs,
    token: &Target,
    credentials: &Credentials,
) -> Result<Option<Grants>, Failure> {
    if let Some(path) = &args.refresh_tokens {
        return Ok(Some(Grants::given(grants::read_tokens(path)?, credentials.clone())));
    }
    let Some((count, key)) = args.subjects.zip(args.assertion_key.as_deref()) else { return Ok(None) };
    let audience = match &args.issuer {
        Some(issuer) => issuer.clone(),
        None => discovery::issuer(token, args.timeout).await?,
    };
    let key = AssertionKey::read(key, args.assertion_key_id.as_deref())?;
    let assertions = Assertions { key: key.into(), audience, scope: args.scope.clone() };
    Ok(Some(Grants::of_subjects(count, assertions, credentials.clone())))
}

/// Revoking uses each token once.
fn unasked_pool(args: &RunArgs) -> u64 {
    if args.scenario == Scenario::Revoke { args.count.unwrap_or(20_000).min(1_000_000) } else { 1_000 }
}

fn load(args: &RunArgs) -> Load {
    let unasked = if args.count.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
    Load {
        connections: args.connections,
        rate: args.rate,
        warmup: args.warmup.unwrap_or(unasked),
        seconds: args.seconds,
        count: args.count,
        timeout: args.timeout,
        max_backlog: args.max_backlog,
        quiet: args.quiet,
    }
}
