//! `deploy/plain/run`, as an operator starts it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::home::text;
use crate::process::Process;
use crate::test_server::{Credentials, client};
use crate::wait;

struct Deployment {
    run: Process,
    balancer: u16,
    nodes: [u16; 3],
    admins: [u16; 3],
    http: Client,
    directory: TempDir,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Free when they were asked for, and different.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn words(ports: [u16; 3]) -> String {
    ports.map(|port| port.to_string()).join(" ")
}

impl Deployment {
    async fn start() -> Self {
        let [balancer, one, two, three, admin_one, admin_two, admin_three, postgres, redis] = free_ports();
        let (nodes, admins) = ([one, two, three], [admin_one, admin_two, admin_three]);
        let directory = tempfile::Builder::new().prefix("grantry-deploy-").tempdir().unwrap();
        // With its parent it ends all that it has started, should this process be killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM"])
            .arg(repository().join("deploy/plain/run"))
            .arg(directory.path());
        command.env("GRANTRY", env!("CARGO_BIN_EXE_grantry")).env("BALANCER_PORT", balancer.to_string());
        command.env("NODE_PORTS", words(nodes)).env("ADMIN_PORTS", words(admins));
        command.env("POSTGRES_PORT", postgres.to_string()).env("REDIS_PORT", redis.to_string());
        let mut run = Process::spawn(&mut command);
        let started = wait::until("all is started", async || {
            let ended = run.ended();
            (run.out().contains("Stop all with ^C") || ended.is_some()).then_some(ended.is_none())
        })
        .await;
        assert!(started, "{}", run.err());
        Self { run, balancer, nodes, admins, http: client(), directory }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn first_client(&self) -> Credentials {
        let text = fs::read_to_string(self.path("first-client")).unwrap();
        let (id, secret) = text.trim_end().split_once(':').unwrap();
        (id.to_owned(), secret.to_owned())
    }

    /// Of the public endpoints at this port.
    async fn post(
        &self,
        port: u16,
        path: &str,
        who: &Credentials,
        form: &[(&str, &str)],
    ) -> (StatusCode, Value) {
        let request = self.http.post(format!("http://127.0.0.1:{port}{path}"));
        let answer = request.basic_auth(&who.0, Some(&who.1)).form(form).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    async fn token(&self, who: &Credentials, more: &[(&str, &str)]) -> String {
        let form = [&[("grant_type", "client_credentials")], more].concat();
        let (status, json) = self.post(self.balancer, "/oauth2/token", who, &form).await;
        assert_eq!(status, 200, "{json}");
        json["access_token"].as_str().unwrap().to_owned()
    }

    async fn is_active(&self, port: u16, who: &Credentials, token: &str) -> bool {
        let (status, json) = self.post(port, "/oauth2/introspect", who, &[("token", token)]).await;
        assert_eq!(status, 200, "{json}");
        json["active"] == true
    }

    /// New tokens, through the balancer.
    async fn assert_all_answer(&self, who: &Credentials, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let resource = format!("https://api.example/{number}");
            let token = self.token(who, &[("resource", &resource)]).await;
            assert!(self.is_active(self.balancer, who, &token).await);
        }
    }

    async fn create_client(&self) -> Credentials {
        let bearer = self.token(&self.first_client(), &[("scope", "grantry:admin")]).await;
        let request = self.http.post(format!("http://127.0.0.1:{}/admin/v1/clients", self.admins[0]));
        let answer = request.bearer_auth(bearer).json(&json!({ "scope": "read" })).send().await.unwrap();
        let json: Value = answer.json().await.unwrap();
        let text = |field: &str| json[field].as_str().unwrap().to_owned();
        (text("client_id"), text("client_secret"))
    }

    /// A command of the operator, where the first node runs.
    fn grantry(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grantry"));
        command.arg("--config").arg(repository().join("deploy/plain/grantry.toml"));
        command.args(args).current_dir(self.path("node-1"));
        command.args(["--server-url", &format!("http://127.0.0.1:{}", self.nodes[0])]);
        command.args(["--admin-url", &format!("http://127.0.0.1:{}", self.admins[0])]);
        command.output().unwrap()
    }

    fn status(&self) -> Value {
        let output = self.grantry(&["cluster", "status", "--json"]);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn live_nodes(&self) -> usize {
        self.status()["nodes"].as_array().unwrap().iter().filter(|node| node["live"] == true).count()
    }

    fn pid(&self, name: &str) -> u32 {
        fs::read_to_string(self.path(&format!("{name}.pid"))).unwrap().trim().parse().unwrap()
    }

    fn signal(&self, name: &str, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.pid(name).to_string()]).status().unwrap();
        assert!(status.success(), "kill -s {signal}: {name}");
    }

    /// All that `run` has started.
    fn pids(&self) -> Vec<u32> {
        ["postgres", "redis", "node-1", "node-2", "node-3", "nginx"].map(|name| self.pid(name)).to_vec()
    }
}

impl Drop for Deployment {
    /// `run` ends all others when it is asked to, and cannot when it is killed.
    fn drop(&mut self) {
        if self.run.ended().is_none() {
            self.run.signal("TERM");
            while self.run.ended().is_none() {
                // wait: everything to stop
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

/// One that has ended may have nobody who takes notice of it.
fn runs(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[tokio::test]
async fn three_nodes_behind_a_balancer_are_one_server_and_go_on_when_one_is_killed() {
    let mut deployment = Deployment::start().await;
    let caller = deployment.create_client().await;
    let pids = deployment.pids();
    assert_eq!(deployment.live_nodes(), 3);

    let token = deployment.token(&caller, &[]).await;
    for _ in 0..6 {
        assert_eq!(deployment.token(&caller, &[]).await, token, "whichever node is asked");
    }
    for port in deployment.nodes {
        assert!(deployment.is_active(port, &caller, &token).await);
    }
    let (status, _) =
        deployment.post(deployment.balancer, "/oauth2/revoke", &caller, &[("token", &token)]).await;
    assert_eq!(status, 200);
    wait::seconds(1).await;
    for port in deployment.nodes {
        assert!(!deployment.is_active(port, &caller, &token).await, "cache.max_staleness is over");
    }
    let log = fs::read_to_string(deployment.path("nginx/access.log")).unwrap();
    for port in deployment.nodes {
        assert!(log.contains(&format!("127.0.0.1:{port} 200")), "each node had its share: {log}");
    }

    deployment.signal("node-2", "KILL");
    // What was under way at it is 503; from here on there is nothing more.
    wait::until("its end is said", async || {
        deployment.run.err().contains("node-2 has ended with status 137").then_some(())
    })
    .await;
    deployment.assert_all_answer(&caller, 0..30).await;
    wait::until("the others know that one is gone", async || (deployment.live_nodes() == 2).then_some(()))
        .await;
    let status = text(&deployment.grantry(&["cluster", "status"]));
    assert!(status.contains("one server, which nobody follows"), "{status}");
    assert!(status.contains("data space: in use"), "{status}");

    deployment.signal("redis", "KILL");
    deployment.assert_all_answer(&caller, 30..60).await;
    wait::until("the data space is said to be left out", async || {
        deployment.status()["data_space"]["failure"].is_string().then_some(())
    })
    .await;

    deployment.run.signal("INT");
    assert!(deployment.run.end().await.success(), "{}", deployment.run.err());
    assert!(!pids.iter().any(|pid| runs(*pid)), "{}", deployment.run.err());
}

#[tokio::test]
async fn when_the_database_is_gone_the_balancer_says_503_and_when_it_is_asked_to_stop_all_ends() {
    let mut deployment = Deployment::start().await;
    let caller = deployment.create_client().await;
    let token = deployment.token(&caller, &[]).await;
    let pids = deployment.pids();
    // As when its machine loses power.
    deployment.signal("postgres", "QUIT");
    wait::seconds(1).await;
    for _ in 0..3 {
        let (status, json) =
            deployment.post(deployment.balancer, "/oauth2/introspect", &caller, &[("token", &token)]).await;
        assert_eq!(
            (status, &json["error"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("temporarily_unavailable"))
        );
    }
    // Nobody can end them in order any more.
    deployment.run.kill();
    wait::until("all have ended with the script", async || {
        (!pids.iter().any(|pid| runs(*pid))).then_some(())
    })
    .await;
}
