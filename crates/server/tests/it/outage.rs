//! The store fails while the server runs, in ways that stores really fail.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use reqwest::StatusCode;
use rusqlite::Connection;
use serde_json::Value;

use crate::home::{Home, in_the_place_of, text};
use crate::process::Process;
use crate::test_server::{Credentials, TestServer};

/// Of nobody, who owns nothing.
const NOBODY: u32 = 65_534;

/// Asks for tokens of ever new slots until the server cannot, and gives its answer.
async fn first_refusal(server: &TestServer, client: &Credentials, most: u32) -> reqwest::Response {
    for n in 0..most {
        let answer = server.token_answer(client, &[("resource", &format!("https://api.example/{n}"))]).await;
        if answer.status() != 200 {
            return answer;
        }
    }
    panic!("{most} tokens were issued, though the store cannot be written");
}

/// RFC 6749 has no better word for it, and a caller must be told to come back.
async fn assert_temporarily_unavailable(answer: reqwest::Response) {
    assert_eq!(answer.status(), 503);
    let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds > 0);
    let json: Value = answer.json().await.unwrap();
    assert_eq!(json["error"], "temporarily_unavailable");
}

#[tokio::test]
async fn while_another_program_locks_the_database_it_is_503_and_afterwards_all_is_well() {
    let home = Home::with_config("[store]\nbusy_timeout = \"200ms\"\n");
    let server = home.start().await;
    let admin = home.first_client();
    let earlier = server.token(&admin, &[]).await;

    let other = Connection::open(home.database_path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let fresh = [("resource", "https://api.example/")];
    assert_temporarily_unavailable(server.token_answer(&admin, &fresh).await).await;
    let revocation = server.post("/oauth2/revoke", &admin, &[("token", &earlier)]).send().await.unwrap();
    assert_temporarily_unavailable(revocation).await;
    server.wait_for_readiness(StatusCode::SERVICE_UNAVAILABLE).await;
    // Reading goes on: the token is known, and handed out again.
    assert!(server.is_active(&admin, &earlier).await);
    assert_eq!(server.token(&admin, &[]).await, earlier);

    other.execute_batch("ROLLBACK").unwrap();
    server.wait_for_readiness(StatusCode::OK).await;
    let token = server.token(&admin, &fresh).await;
    assert!(server.is_active(&admin, &token).await);
    let answer = server.post("/oauth2/revoke", &admin, &[("token", &earlier)]).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!server.is_active(&admin, &earlier).await);
}

/// A file system of its own for the server alone, gone with it: `mount` in a namespace, with the rights that a user has
/// over a namespace of his own when the tests do not run as root.
fn on_a_small_disk(home: &Home, megabytes: u32) -> Command {
    let serve = home.serve();
    let script = "mount -t tmpfs -o size=$1m,mode=0700 small grantry-data && exec \"$2\" serve";
    let mut small = Command::new("unshare");
    if user() != 0 {
        small.args(["--user", "--map-root-user"]);
    }
    small.args(["--mount", "sh", "-c", script, "sh", &megabytes.to_string()]).arg(serve.get_program());
    fs::create_dir(home.path("grantry-data")).unwrap();
    in_the_place_of(&serve, small)
}

/// Whom the tests run as.
fn user() -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid()
}

#[tokio::test]
async fn on_a_full_disk_it_is_503_and_once_there_is_room_all_is_well() {
    let home = Home::new();
    let bootstrap = [
        ("GRANTRY_BOOTSTRAP_CLIENT_ID", "admin"),
        ("GRANTRY_BOOTSTRAP_CLIENT_SECRET", "not written to the disk"),
    ];
    let process = Process::spawn(on_a_small_disk(&home, 8).envs(bootstrap));
    // The server's own view of its directory; from outside, the mount is not there.
    let inside: PathBuf =
        format!("/proc/{}/root{}", process.id(), home.path("grantry-data").canonicalize().unwrap().display())
            .into();
    let server = TestServer::ready(process).await;
    let admin = bootstrap.map(|(_, value)| value.to_owned()).into();
    let earlier = server.token(&admin, &[]).await;

    fill(&inside.join("filler"));
    let refusal = first_refusal(&server, &admin, 5_000).await;
    assert_temporarily_unavailable(refusal).await;
    server.wait_for_readiness(StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(server.is_active(&admin, &earlier).await);

    fs::remove_file(inside.join("filler")).unwrap();
    server.wait_for_readiness(StatusCode::OK).await;
    let fresh = server.token(&admin, &[("resource", "https://api.example/room")]).await;
    assert!(server.is_active(&admin, &fresh).await);
    assert!(server.is_active(&admin, &earlier).await);
    let database = Connection::open(inside.join("grantry.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// Writes until nothing more goes in.
fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for size in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[tokio::test]
async fn when_nobody_takes_its_log_any_more_the_server_goes_on() {
    let home = Home::new();
    let serve = home.serve();
    let mut deaf = Command::new("bash");
    deaf.args(["-c", "exec \"$1\" serve 2> >(exit 0)", "bash"]).arg(serve.get_program());
    let mut deaf = in_the_place_of(&serve, deaf);
    let server = TestServer::ready(Process::spawn(deaf.env("GRANTRY_LOG", "trace"))).await;
    server.token(&home.first_client(), &[]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_an_error_at_the_start_that_names_it() {
    let home = Home::new();
    home.start().await.stop().await;
    let mut command = home.serve();
    if user() == 0 {
        // Root may write everything, so somebody else has to try, who may not even be let into the build's directory.
        fs::copy(command.get_program(), home.path("grantry")).unwrap();
        let mut copy = Command::new(home.path("grantry"));
        copy.arg("serve").uid(NOBODY).gid(NOBODY);
        command = in_the_place_of(&command, copy);
        for file in ["grantry-data/master.key", "grantry-data/first-client"] {
            chown(home.path(file), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::set_permissions(home.root(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(home.database_path(), fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(home.path("grantry-data"), fs::Permissions::from_mode(0o555)).unwrap();
    let output = command.output().unwrap();
    fs::set_permissions(home.path("grantry-data"), fs::Permissions::from_mode(0o755)).unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("grantry-data/grantry.db cannot be written"), "{said}");
}
