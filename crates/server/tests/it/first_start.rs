use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::home::{Home, text};
use crate::process::Process;
use crate::test_server::TestServer;
use crate::wait;

const BOOTSTRAP: [(&str, &str); 2] =
    [("GRANTRY_BOOTSTRAP_CLIENT_ID", "root"), ("GRANTRY_BOOTSTRAP_CLIENT_SECRET", "a secret of my own")];

/// Runs the line that the server printed, in a shell, as a person would.
fn paste_the_curl_line(home: &Home, server: &TestServer) -> Value {
    let out = server.process.out();
    let line = out.lines().find(|line| line.trim_start().starts_with("curl")).expect("a line with curl");
    let output = Command::new("bash").arg("-c").arg(line).current_dir(home.root()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

fn mode(home: &Home, path: &str) -> u32 {
    fs::metadata(home.path(path)).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn the_printed_curl_line_gives_a_token_when_it_is_pasted() {
    let home = Home::new();
    let server = home.start().await;
    let answer = paste_the_curl_line(&home, &server);
    let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(answer["scope"], "grantry:admin");
    assert!(server.is_active(&home.first_client(), token).await);
}

#[tokio::test]
async fn without_an_issuer_it_is_the_address_that_is_listened_on() {
    let home = Home::new();
    let server = home.start_with(|command| command.env_remove("GRANTRY_SERVER__ISSUER")).await;
    let url = format!("{}/.well-known/oauth-authorization-server", server.url);
    let metadata: Value = server.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["issuer"], server.url.as_str());
}

#[tokio::test]
async fn secrets_are_for_their_owner_alone() {
    let home = Home::new();
    let _server = home.start().await;
    assert_eq!(mode(&home, "grantry-data"), 0o700);
    for file in ["grantry-data/first-client", "grantry-data/master.key", "grantry-data/grantry.db"] {
        assert_eq!(mode(&home, file), 0o600, "{file}");
    }
}

#[tokio::test]
async fn after_kill_9_the_same_token_is_active_and_handed_out_again() {
    let home = Home::new();
    let mut server = home.start().await;
    let admin = home.first_client();
    let token = server.token(&admin, &[]).await;
    server.process.kill();

    let server = home.start().await;
    assert!(server.is_active(&admin, &token).await);
    assert_eq!(server.token(&admin, &[]).await, token);
    assert!(!server.process.out().contains("curl"), "a later start says nothing about the first client");
}

#[tokio::test]
async fn two_processes_that_start_at_once_make_one_administrator() {
    let home = Home::new();
    let processes = [home.serve(), home.serve()].map(|mut command| Process::spawn(&mut command));
    let [first, second] = processes.map(TestServer::ready);
    let (first, second) = tokio::join!(first, second);
    let admin = home.first_client();
    let token = first.token(&admin, &[]).await;
    assert_eq!(second.token(&admin, &[]).await, token);
    let clients: i64 =
        home.database().query_row("SELECT count(*) FROM clients", [], |row| row.get(0)).unwrap();
    assert_eq!(clients, 1);
}

#[tokio::test]
async fn two_processes_with_the_same_bootstrap_variables_agree() {
    let home = Home::new();
    let processes = [home.serve(), home.serve()].map(|mut command| Process::spawn(command.envs(BOOTSTRAP)));
    let [first, second] = processes.map(TestServer::ready);
    let (first, second) = tokio::join!(first, second);
    let admin = BOOTSTRAP.map(|(_, value)| value.to_owned()).into();
    assert_eq!(first.token(&admin, &[]).await, second.token(&admin, &[]).await);
}

#[tokio::test]
async fn bootstrap_variables_name_the_administrator_and_nothing_is_written() {
    let home = Home::new();
    let server = home.start_with(|command| command.envs(BOOTSTRAP)).await;
    server.token(&BOOTSTRAP.map(|(_, value)| value.to_owned()).into(), &[("scope", "grantry:admin")]).await;
    assert!(!home.path("grantry-data/first-client").exists());
    assert!(!server.process.out().contains("a secret of my own"));
}

#[tokio::test]
async fn a_bootstrap_secret_may_come_from_a_file() {
    let home = Home::new();
    fs::write(home.path("secret"), "from a file\n").unwrap();
    let server = home
        .start_with(|command| {
            command
                .env("GRANTRY_BOOTSTRAP_CLIENT_ID", "root")
                .env("GRANTRY_BOOTSTRAP_CLIENT_SECRET_FILE", "secret")
        })
        .await;
    server.token(&("root".to_owned(), "from a file".to_owned()), &[]).await;
}

#[tokio::test]
async fn bootstrap_variables_change_nothing_once_there_is_an_administrator() {
    let home = Home::new();
    home.start().await.stop().await;
    let server = home.start_with(|command| command.envs(BOOTSTRAP)).await;
    server.token(&home.first_client(), &[]).await;
    let stranger = BOOTSTRAP.map(|(_, value)| value.to_owned()).into();
    assert_eq!(server.token_answer(&stranger, &[]).await.status(), 401);
}

#[tokio::test]
async fn a_crash_between_the_file_and_the_client_loses_nothing() {
    let home = Home::new();
    fs::create_dir(home.path("grantry-data")).unwrap();
    fs::write(home.path("grantry-data/first-client"), "admin:what-was-written-before-the-crash\n").unwrap();
    fs::set_permissions(home.path("grantry-data/first-client"), fs::Permissions::from_mode(0o600)).unwrap();
    let server = home.start().await;
    assert_eq!(home.first_client().1, "what-was-written-before-the-crash");
    paste_the_curl_line(&home, &server)["access_token"].as_str().unwrap();
}

#[tokio::test]
async fn a_server_behind_a_proxy_that_it_does_not_know_says_whom_failed_attempts_count_against() {
    for (proxies, told) in [("", true), ("trusted_proxies = [\"10.0.0.0/8\"]\n", false)] {
        let home = Home::with_config(&format!("[server]\nbehind_tls_proxy = true\n{proxies}"));
        let server = home.start().await;
        let out = server.process.out();
        assert_eq!(out.contains("server.trusted_proxies is empty"), told, "{out}");
    }
}

#[tokio::test]
async fn a_store_in_memory_says_so_and_has_its_administrator_at_every_start() {
    let home = Home::with_config("[store]\nurl = \"memory:\"\n");
    for _ in 0..2 {
        let server = home.start().await;
        assert!(server.process.out().contains("NOTHING IS KEPT"), "{}", server.process.out());
        paste_the_curl_line(&home, &server)["access_token"].as_str().unwrap();
        server.stop().await;
    }
    assert!(!home.database_path().exists());
}

#[tokio::test]
async fn sigterm_lets_a_request_finish_that_is_under_way() {
    let home = Home::new();
    let mut server = home.start().await;
    let (id, secret) = home.first_client();
    let body = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let address = server.url.strip_prefix("http://").unwrap();
    // The administrator authenticates by Basic, so this is refused in the end; what counts is that it is answered.
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: grantry\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // The interim answer is how the server says that it is reading the body: the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));

    server.process.signal("TERM");
    wait::until("new connections are refused", async || TcpStream::connect(address).is_err().then_some(()))
        .await;
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let status = server.process.end().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let home = Home::new();
    let mut server = home.start().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = "POST /oauth2/token HTTP/1.1\r\nHost: grantry\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Expect: 100-continue\r\nContent-Length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 25]).unwrap();
    server.process.signal("TERM");
    wait::until("new connections are refused", async || TcpStream::connect(address).is_err().then_some(()))
        .await;
    server.process.signal("INT");
    assert!(server.process.end().await.success());
    assert!(server.process.err().contains("second signal"), "{}", server.process.err());
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key() {
    let home = Home::new();
    let server = home.start().await;
    let taken = server.url.strip_prefix("http://").unwrap();
    let output = home.serve().env("GRANTRY_SERVER__ADMIN_LISTEN", taken).output().unwrap();
    let said = text(&output);
    assert!(!output.status.success());
    assert!(
        said.contains("server.admin_listen") && said.contains(taken) && said.contains("another port"),
        "{said}"
    );
}
