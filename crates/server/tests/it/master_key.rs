use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::home::{Home, text};

const KEY: &str = "grantry-data/master.key";
/// Base64 of 32 times 7.
const ANOTHER: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

async fn home_with_a_store() -> Home {
    let home = Home::new();
    home.start().await.stop().await;
    home
}

/// What `serve` says when it refuses to start.
fn refusal(home: &Home, variables: &[(&str, &str)]) -> String {
    let output = home.serve().envs(variables.iter().copied()).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[tokio::test]
async fn a_key_that_does_not_fit_the_store_is_refused() {
    let home = home_with_a_store().await;
    let said = refusal(&home, &[("GRANTRY_MASTER_KEY", ANOTHER)]);
    assert!(said.contains("the master key does not fit this store"), "{said}");
    let output =
        home.grantry(&["clients", "list", "--offline"]).env("GRANTRY_MASTER_KEY", ANOTHER).output().unwrap();
    assert!(text(&output).contains("the master key does not fit this store"), "{}", text(&output));
}

#[tokio::test]
async fn a_missing_key_is_not_made_anew_for_a_store_that_has_keys() {
    let home = home_with_a_store().await;
    fs::remove_file(home.path(KEY)).unwrap();
    let said = refusal(&home, &[]);
    assert!(said.contains("the store has keys") && said.contains(KEY) && said.contains("backup"), "{said}");
    assert!(!home.path(KEY).exists());
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused_with_the_command_to_type() {
    let home = home_with_a_store().await;
    fs::set_permissions(home.path(KEY), fs::Permissions::from_mode(0o644)).unwrap();
    let said = refusal(&home, &[]);
    assert!(said.contains(&format!("chmod 600 {KEY}")), "{said}");
}

#[tokio::test]
async fn a_key_of_the_wrong_length_is_refused_before_the_store_is_touched() {
    let home = Home::new();
    let said = refusal(&home, &[("GRANTRY_MASTER_KEY", "c2hvcnQ=")]);
    assert!(said.contains("GRANTRY_MASTER_KEY does not hold the base64 of 32 bytes"), "{said}");
    assert!(!said.contains("c2hvcnQ="), "a key is never shown");
}

#[tokio::test]
async fn a_key_from_the_environment_goes_before_the_file_and_none_is_written() {
    let home = Home::new();
    let server = home.start_with(|command| command.env("GRANTRY_MASTER_KEY", ANOTHER)).await;
    let admin = home.first_client();
    let token = server.token(&admin, &[]).await;
    assert!(!home.path(KEY).exists());
    server.stop().await;
    let server = home.start_with(|command| command.env("GRANTRY_MASTER_KEY", ANOTHER)).await;
    assert_eq!(server.token(&admin, &[]).await, token);
}

#[tokio::test]
async fn the_file_is_the_base64_of_32_bytes_and_fits_after_a_move() {
    let home = home_with_a_store().await;
    let key = fs::read_to_string(home.path(KEY)).unwrap();
    fs::remove_file(home.path(KEY)).unwrap();
    let server = home.start_with(|command| command.env("GRANTRY_MASTER_KEY", key.trim())).await;
    server.token(&home.first_client(), &[]).await;
}
