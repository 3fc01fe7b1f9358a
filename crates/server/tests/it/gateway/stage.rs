//! An issuer, gateways that follow it, nginx, and an application.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::StatusCode;
use serde_json::json;
use tokio::net::TcpStream;

use super::raw::{self, Answer, bearer};
use super::upstream::Upstream;
use crate::home::Home;
use crate::process::Process;
use crate::soak::road::Road;
use crate::test_server::{Credentials, TestServer};
use crate::wait;

pub const AUDIENCE: &str = "https://api.example";
/// Rules that the tests go by.
const RULES: &str = r#"
[[gateway.paths]]
prefix = "/public"
public = true
[[gateway.paths]]
prefix = "/read"
scopes = ["read"]
[[gateway.paths]]
prefix = "/read/admin"
scopes = ["read", "write"]
[[gateway.paths]]
prefix = "/orders"
methods = ["GET"]
scopes = ["read"]
"#;

pub struct Issuer {
    pub home: Home,
    pub server: TestServer,
    port: u16,
    /// Of tokens for the application, as JWT.
    pub caller: Credentials,
    pub admin: Credentials,
    gateway: Credentials,
    introspector: Credentials,
}

impl Issuer {
    /// Comes back under the same address after a restart.
    pub async fn start() -> Self {
        let home = Home::new();
        let port = free_port();
        let server = TestServer::ready(Process::spawn(&mut command(&home, port))).await;
        let admin = home.first_client();
        let jwt = json!({ "scope": "read write", "access_token_format": "jwt" });
        let caller = server.create_client(&admin, jwt).await;
        let gateway = server.create_client(&admin, json!({ "scope": "grantry:revocations" })).await;
        let introspector = server.create_client(&admin, json!({ "scope": "grantry:introspect" })).await;
        Self { home, server, port, caller, admin, gateway, introspector }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// For the audience of the gateways, a new one for each `number`.
    pub async fn token(&self, scope: &str, number: usize) -> String {
        let client = &self.caller;
        let resource = format!("https://else.example/{number}");
        let more = [("scope", scope), ("resource", AUDIENCE), ("resource", resource.as_str())];
        self.server.token(client, &more).await
    }

    pub async fn revoke(&self, token: &str) {
        let answer =
            self.server.post("/oauth2/revoke", &self.caller, &[("token", token)]).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// A new process with the same store.
    pub async fn restart(&mut self) {
        self.server.process.kill();
        self.server = TestServer::ready(Process::spawn(&mut command(&self.home, self.port))).await;
    }
}

fn command(home: &Home, port: u16) -> Command {
    let mut command = home.serve();
    command.env("GRANTRY_SERVER__LISTEN", format!("127.0.0.1:{port}"));
    command.env("GRANTRY_SERVER__ISSUER", format!("http://127.0.0.1:{port}"));
    command
}

/// Free when it was asked for.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub struct Gateway {
    pub process: Process,
    home: Home,
    pub port: u16,
    admin_url: String,
    /// The way to the issuer.
    pub road: Road<1>,
}

impl Gateway {
    /// It may or may not be ready.
    pub async fn start(issuer: &Issuer, more: &str) -> Self {
        let home = Home::new();
        let road = Road::build([issuer.port]).await;
        let way = format!("http://127.0.0.1:{}/oauth2", road.ports()[0]);
        let port = free_port();
        let introspector = &issuer.introspector;
        let settings = format!(
            "[gateway]\nissuer = \"{}\"\naudience = [\"{AUDIENCE}\"]\nlisten = \"127.0.0.1:{port}\"\n\
             admin_listen = \"127.0.0.1:0\"\n{more}\n\
             [gateway.endpoints]\njwks = \"{way}/jwks\"\ntoken = \"{way}/token\"\n\
             revocations = \"{way}/revocations\"\nintrospection = \"{way}/introspect\"\n\
             [gateway.feed]\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
             [gateway.introspection]\nclient_id = \"{}\"\nclient_secret = \"{}\"\n{RULES}",
            issuer.url(),
            issuer.gateway.0,
            issuer.gateway.1,
            introspector.0,
            introspector.1,
        );
        fs::write(home.path("gateway.toml"), settings).unwrap();
        let (process, admin_url) = spawn(&home).await;
        Self { process, home, port, admin_url, road }
    }

    pub async fn ready(issuer: &Issuer, more: &str) -> Self {
        let gateway = Self::start(issuer, more).await;
        gateway.wait_for_readiness(StatusCode::OK).await;
        gateway
    }

    pub async fn wait_for_readiness(&self, wanted: StatusCode) {
        wait::until(format_args!("/readyz of the gateway answers {wanted}"), async || {
            let status = reqwest::get(format!("{}/readyz", self.admin_url)).await.ok()?.status();
            (status == wanted).then_some(())
        })
        .await;
    }

    /// What it logs arrives a moment after what it answers.
    pub async fn says(&self, sentence: &str) {
        wait::until(format_args!("the log says {sentence}"), async || {
            self.process.err().contains(sentence).then_some(())
        })
        .await;
    }

    pub async fn metrics(&self) -> String {
        reqwest::get(format!("{}/metrics", self.admin_url)).await.unwrap().text().await.unwrap()
    }

    /// kill -9, and a new process with the same settings, which may or may not be ready.
    pub async fn restart(&mut self) {
        self.process.kill();
        (self.process, self.admin_url) = spawn(&self.home).await;
    }
}

/// Until it says where it listens.
async fn spawn(home: &Home) -> (Process, String) {
    let mut process = Process::spawn(&mut home.grantry(&["gateway"]));
    let banner = wait::until("the gateway says where it listens", async || {
        let out = process.out();
        let ended = process.ended();
        assert!(ended.is_none(), "the gateway ended ({ended:?}) instead of starting: {}", process.err());
        out.contains("\n  settings").then_some(out)
    })
    .await;
    let line = banner.lines().find(|line| line.trim_start().starts_with("admin")).unwrap();
    let admin_url = line.split_whitespace().nth(1).unwrap().to_owned();
    (process, admin_url)
}

pub struct Nginx {
    _process: Process,
    directory: tempfile::TempDir,
    pub port: u16,
}

impl Nginx {
    /// As in `deploy/gateway`, with other addresses.
    pub async fn start(gateways: &[u16], application: u16) -> Self {
        let directory = tempfile::Builder::new().prefix("grantry-nginx-").tempdir().unwrap();
        let port = free_port();
        let example = fs::read_to_string(deploy().join("nginx.conf")).unwrap();
        let line = "server 127.0.0.1:8090 max_fails=1 fail_timeout=1s;";
        let servers: String =
            gateways.iter().map(|port| format!("{}\n", line.replace("8090", &port.to_string()))).collect();
        let site = [
            (line, servers.as_str()),
            ("server 127.0.0.1:3000;", &format!("server 127.0.0.1:{application};")),
            ("listen 127.0.0.1:8000;", &format!("listen 127.0.0.1:{port};")),
        ]
        .into_iter()
        .fold(example, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path tmp-{name};\n"))
            .concat();
        // One process: of a master that is killed the workers would stay behind.
        let main = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\nevents {{ worker_connections 512; }}\n\
             http {{\n{temporary}access_log access.log;\ninclude site.conf;\n}}\n"
        );
        fs::write(directory.path().join("nginx.conf"), main).unwrap();
        fs::write(directory.path().join("site.conf"), site).unwrap();
        fs::copy(deploy().join("identity.conf"), directory.path().join("identity.conf")).unwrap();
        // With its parent it ends, should the test be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "nginx", "-e", "stderr", "-c", "nginx.conf", "-p"]);
        command.arg(directory.path()).env("PATH", "/usr/sbin:/usr/bin:/bin");
        let mut process = Process::spawn(&mut command);
        wait::until("nginx listens", async || {
            assert!(process.ended().is_none(), "{}", process.err());
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { _process: process, directory, port }
    }

    pub async fn get(&self, target: &str, token: &str) -> Answer {
        raw::request(self.port, &format!("GET {target}"), &[&bearer(token)]).await
    }

    /// Until the answer is this; before it there is only 503, from a gateway that is not sure.
    pub async fn settles(&self, target: &str, token: &str, wanted: u16) {
        wait::until(format_args!("{target} is answered {wanted}"), async || {
            let status = self.get(target, token).await.status;
            assert!([wanted, 503].contains(&status), "{target}: {status}, not {wanted}");
            (status == wanted).then_some(())
        })
        .await;
    }

    pub fn access_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("access.log")).unwrap()
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("deploy/gateway")
}

/// One of everything.
pub struct Stage {
    pub issuer: Issuer,
    pub gateway: Gateway,
    pub upstream: Upstream,
    pub nginx: Nginx,
}

/// Of gateways whose test is not about the bound: a machine that stands still for a moment is no failure there.
pub const PATIENT: &str = "proxy = \"nginx\"\nmax_staleness = \"30s\"";
/// The bound is 1s.
pub const BOUNDED: &str = "proxy = \"nginx\"";

impl Stage {
    pub async fn start() -> Self {
        Self::with(PATIENT).await
    }

    pub async fn with(settings: &str) -> Self {
        let issuer = Issuer::start().await;
        let gateway = Gateway::ready(&issuer, settings).await;
        let upstream = Upstream::start().await;
        let nginx = Nginx::start(&[gateway.port], upstream.port).await;
        Self { issuer, gateway, upstream, nginx }
    }
}
