use super::*;
use grantry_store::{AuditTrail, Keys};

const SIGNING: KeyPurpose = KeyPurpose::Signing;
const MAC: KeyPurpose = KeyPurpose::TokenMac;
const SECRETS: KeyPurpose = KeyPurpose::ClientSecret;

fn named(purpose: KeyPurpose, version: u8) -> KeyName {
    KeyName::Version(purpose, version)
}

#[tokio::test]
async fn a_new_signing_key_is_published_before_it_signs_and_the_old_one_until_its_last_token_has_expired() {
    let deployment = Deployment::new();
    let (node, other) = (deployment.node().await, deployment.node().await);
    let before = deployment.make(&node).await;
    let old = kid_of(&before.jwt);
    let new = node.key_rotate(SIGNING, None, &actor()).await.unwrap();
    assert_eq!((new.state, new.algorithm), (KeyState::Pending, Some(Algorithm::EdDsa)));
    let kid = new.kid.clone().unwrap();
    other.keys.reload().await.unwrap();
    for node in [&node, &other] {
        assert!(published(node).contains(&kid) && published(node).contains(&old));
        assert_eq!(kid_of(&deployment.make(node).await.jwt), old, "nobody may have fetched the new one yet");
    }
    assert_eq!(new.active_from, START + MAX_AGE + Duration::from_secs(2));
    deployment.clock.set(new.active_from);
    assert_eq!(kid_of(&deployment.make(&other).await.jwt), kid);
    assert_eq!(before.taken_by(&other), [true; 3]);

    // Whatever the old key signed in its last moment has expired by then.
    let until = key(&node, SIGNING, 1).await.needed_until.unwrap();
    assert!(until >= new.active_from + RETENTION);
    deployment.clock.set(until.saturating_sub(Duration::from_millis(1)));
    assert!(before.taken_by(&node)[1] && published(&node).contains(&old));
    deployment.clock.set(until);
    assert_eq!(before.taken_by(&node), [true, false, true]);
    assert!(!published(&node).contains(&old));
    assert_eq!(key(&node, SIGNING, 1).await.state, KeyState::Retired);
}

#[tokio::test]
async fn a_key_of_token_macs_is_honoured_as_long_as_the_longest_refresh_token_lives() {
    let deployment = Deployment::new();
    let (node, other) = (deployment.node().await, deployment.node().await);
    let before = deployment.make(&node).await;
    let new = node.key_rotate(MAC, None, &actor()).await.unwrap();
    assert_eq!(new.active_from, START + Duration::from_secs(5));
    other.keys.reload().await.unwrap();
    assert_eq!(version_of(&deployment.make(&other).await.opaque), 1);
    deployment.clock.set(new.active_from);
    let after = deployment.make(&other).await;
    assert_eq!((version_of(&after.opaque), version_of(&after.refresh)), (2, 2));
    assert_eq!((before.taken_by(&other), after.taken_by(&node)), ([true; 3], [true; 3]));
    let until = key(&node, MAC, 1).await.needed_until.unwrap();
    assert!(until >= new.active_from + REFRESH_LIFETIME);
    deployment.clock.set(until);
    assert_eq!(before.taken_by(&node), [false, true, false]);
    assert_eq!(after.taken_by(&node), [true; 3]);
}

#[tokio::test]
async fn a_token_from_times_of_longer_lifetimes_outlives_no_key() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    let long = deployment.token(AccessTokenFormat::Jwt, 400 * Duration::from_secs(86_400));
    deployment.keep(long.clone()).await;
    for purpose in [SIGNING, MAC] {
        node.key_rotate(purpose, None, &actor()).await.unwrap();
        assert!(key(&node, purpose, 1).await.needed_until.unwrap() > long.expires_at);
    }
}

#[tokio::test]
async fn secrets_that_were_hashed_with_an_earlier_key_stay() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    let (id, secret) = ("client".parse().unwrap(), Secret::new("secret"));
    let before = node.keys.hash_client_secret(&id, &secret);
    let new = node.key_rotate(SECRETS, None, &actor()).await.unwrap();
    deployment.clock.set(new.active_from + 100 * REFRESH_LIFETIME);
    let after = node.keys.hash_client_secret(&id, &secret);
    assert_eq!((before.key_version, after.key_version), (1, 2));
    assert!(node.keys.check_client_secret("client", "secret", Some(before)));
    assert!(node.keys.check_client_secret("client", "secret", Some(after)));
    assert_eq!(key(&node, SECRETS, 1).await.needed_until, None);
}

#[tokio::test]
async fn nothing_that_a_revoked_key_made_is_taken_on_any_node() {
    let deployment = Deployment::new();
    let (node, other) = (deployment.node().await, deployment.node().await);
    let before = deployment.make(&other).await;
    let kid = kid_of(&before.jwt);

    let revoked = node.key_revoke(&KeyName::Kid(kid.clone()), false, &actor()).await.unwrap();
    assert_eq!((revoked.state, revoked.revoked_at), (KeyState::Revoked, Some(START)));
    assert_eq!(before.taken_by(&node), [true, false, true], "at once where it was revoked");
    other.keys.reload().await.unwrap();
    assert_eq!(before.taken_by(&other), [true, false, true]);
    assert!(!published(&other).contains(&kid));

    node.key_revoke(&named(MAC, 1), false, &actor()).await.unwrap();
    assert_eq!(before.taken_by(&node), [false; 3]);
    other.keys.reload().await.unwrap();
    assert_eq!(before.taken_by(&other), [false; 3]);

    // New ones stand in their places at once.
    for (maker, reader) in [(&node, &other), (&other, &node)] {
        let after = deployment.make(maker).await;
        assert_eq!(after.taken_by(reader), [true; 3]);
        assert_ne!(kid_of(&after.jwt), kid);
        assert_eq!(version_of(&after.opaque), 2);
        assert!(published(reader).contains(&kid_of(&after.jwt)));
    }
    assert!(matches!(
        node.key_revoke(&named(MAC, 1), false, &actor()).await,
        Err(KeyAdminError::RevokedAlready)
    ));
}

#[tokio::test]
async fn what_replaces_a_revoked_key_is_active_by_every_clock_by_which_that_one_was() {
    let deployment = Deployment::new();
    let (node, behind) = (deployment.node().await, deployment.node().await);
    deployment.clock.advance(Duration::from_secs(10));
    node.key_revoke(&named(MAC, 1), false, &actor()).await.unwrap();
    deployment.clock.set(START);
    behind.keys.reload().await.unwrap();
    assert_eq!(version_of(&deployment.make(&behind).await.opaque), 2);
}

#[tokio::test]
async fn a_revoked_key_that_was_only_waiting_leaves_the_one_before_it_in_use() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    node.key_rotate(SIGNING, None, &actor()).await.unwrap();
    deployment.clock.advance(Duration::from_secs(1));
    node.key_rotate(SIGNING, None, &actor()).await.unwrap();
    let (first, second) = (key(&node, SIGNING, 1).await, key(&node, SIGNING, 4).await);
    assert!(second.needed_until.unwrap() > first.needed_until.unwrap());
    // The first key now signs until the third takes over.
    node.key_revoke(&named(SIGNING, 4), false, &actor()).await.unwrap();
    assert_eq!(key(&node, SIGNING, 1).await.needed_until, second.needed_until);
    // And now for good.
    node.key_revoke(&named(SIGNING, 5), false, &actor()).await.unwrap();
    let first = key(&node, SIGNING, 1).await;
    assert_eq!((first.needed_until, first.state), (None, KeyState::Active));
    assert_eq!(node.key_list().await.unwrap().iter().filter(|key| key.purpose == SIGNING).count(), 5);
    deployment.clock.advance(10 * RETENTION);
    let made = deployment.make(&node).await;
    assert_eq!(made.taken_by(&node), [true; 3]);
}

#[tokio::test]
async fn a_key_of_client_secrets_is_revoked_only_when_that_is_confirmed() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    let (id, secret) = ("client".parse().unwrap(), Secret::new("secret"));
    let before = node.keys.hash_client_secret(&id, &secret);
    let refused = node.key_revoke(&named(SECRETS, 1), false, &actor()).await;
    assert!(matches!(refused, Err(KeyAdminError::NotConfirmed)));
    assert!(node.keys.check_client_secret("client", "secret", Some(before)));
    node.key_revoke(&named(SECRETS, 1), true, &actor()).await.unwrap();
    assert!(!node.keys.check_client_secret("client", "secret", Some(before)));
    let after = node.keys.hash_client_secret(&id, &secret);
    assert!(node.keys.check_client_secret("client", "secret", Some(after)));
}

#[tokio::test]
async fn an_imported_key_takes_over_and_does_not_come_back_after_it_was_revoked() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    let made = grantry_jose::SigningKey::generate_pkcs8(Algorithm::EdDsa).unwrap();
    let kid = grantry_jose::SigningKey::from_pkcs8(Algorithm::EdDsa, &made).unwrap().kid().to_owned();
    let text = base64_of(&made);
    let pem = Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"));
    let wrong = node.key_import(&pem, Some(Algorithm::Rs256), &actor()).await;
    assert!(matches!(wrong, Err(KeyAdminError::Invalid { field: "private_key_pem", .. })));
    let imported = node.key_import(&pem, None, &actor()).await.unwrap();
    assert_eq!((imported.kid.as_ref(), imported.state), (Some(&kid), KeyState::Pending));
    deployment.clock.set(imported.active_from);
    assert_eq!(kid_of(&deployment.make(&node).await.jwt), kid);
    assert!(matches!(node.key_import(&pem, None, &actor()).await, Err(KeyAdminError::AlreadyExists)));
    node.key_revoke(&imported.name(), false, &actor()).await.unwrap();
    assert!(matches!(node.key_import(&pem, None, &actor()).await, Err(KeyAdminError::AlreadyExists)));
    assert_ne!(kid_of(&deployment.make(&node).await.jwt), kid);
}

fn base64_of(bytes: &[u8]) -> String {
    // PEM has the other alphabet, and padding.
    let text = grantry_jose::base64url(bytes).replace('-', "+").replace('_', "/");
    format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))
}

#[tokio::test]
async fn rotations_at_the_same_time_all_find_their_place_in_the_line() {
    let deployment = Deployment::new();
    let (node, other) = (deployment.node().await, deployment.node().await);
    let actor = actor();
    let (left, right) = tokio::join!(node.key_rotate(MAC, None, &actor), other.key_rotate(MAC, None, &actor));
    let mut versions = [left.unwrap().version, right.unwrap().version];
    versions.sort_unstable();
    assert_eq!(versions, [2, 3]);
    for node in [&node, &other] {
        node.keys.reload().await.unwrap();
        let until = [key(node, MAC, 1).await, key(node, MAC, 2).await, key(node, MAC, 3).await]
            .map(|key| key.needed_until.is_some());
        assert_eq!(until, [true, true, false]);
    }
}

#[tokio::test]
async fn no_version_is_used_twice_and_the_last_few_are_kept_for_revocations() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    for expected in 2..=250 {
        assert_eq!(node.key_rotate(MAC, None, &actor()).await.unwrap().version, expected);
    }
    let refused = node.key_rotate(MAC, None, &actor()).await.unwrap_err();
    assert!(matches!(refused, KeyAdminError::NoVersionLeft("token_mac")));
    assert!(refused.to_string().contains("255"));
    deployment.clock.advance(RETENTION);
    for version in 250..255 {
        node.key_revoke(&named(MAC, version), false, &actor()).await.unwrap();
        assert_eq!(version_of(&deployment.make(&node).await.opaque), version + 1);
    }
    let refused = node.key_revoke(&named(MAC, 255), false, &actor()).await;
    assert!(matches!(refused, Err(KeyAdminError::NoVersionLeft(_))), "a line never runs out of keys");
    assert_eq!(version_of(&deployment.make(&node).await.opaque), 255);
}

#[tokio::test]
async fn every_change_is_in_the_audit_trail_and_none_without_it() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    node.key_rotate(SIGNING, Some(Algorithm::Es256), &actor()).await.unwrap();
    node.key_revoke(&named(SIGNING, 2), false, &actor()).await.unwrap();
    node.key_reseal(&master(8), &actor()).await.unwrap();
    let trail = deployment.store.audit_list(0, 10).await.unwrap();
    let said: Vec<(&str, &str, &str)> =
        trail.iter().map(|row| (row.actor.as_str(), row.action.as_str(), row.target.as_str())).collect();
    assert_eq!(
        said,
        [
            ("admin", "key.rotate", "signing/4"),
            ("admin", "key.revoke", "signing/2"),
            ("admin", "key.reseal", "master")
        ]
    );
    assert!(trail.iter().all(|row| row.request_id.as_deref() == Some("r")));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    let before = deployment.store.key_list().await.unwrap();
    let refused = node.key_rotate(MAC, Some(Algorithm::EdDsa), &actor()).await;
    assert!(matches!(refused, Err(KeyAdminError::Invalid { field: "algorithm", .. })));
    for name in [named(SIGNING, 9), KeyName::Kid("x".to_owned())] {
        assert!(matches!(node.key_revoke(&name, true, &actor()).await, Err(KeyAdminError::NotFound)));
    }
    let refused = node.key_import(&Secret::new("no key"), None, &actor()).await;
    assert!(matches!(refused, Err(KeyAdminError::Invalid { field: "private_key_pem", .. })));
    assert!(deployment.store.key_list().await.unwrap() == before);
    deployment.store.fail_reads(Some(outage()));
    let refused = node.key_rotate(MAC, None, &actor()).await;
    assert!(matches!(refused, Err(KeyAdminError::Failed(crate::GrantError::Unavailable(_)))));
}

#[tokio::test]
async fn a_key_whose_commit_took_long_is_put_off_by_as_much() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    let old = key(&node, MAC, 1).await;
    deployment.rng.seconds_to_seal.store(3, Ordering::Relaxed);
    let made = node.key_rotate(MAC, None, &actor()).await.unwrap();
    assert_eq!(made.created_at, START);
    assert_eq!(deployment.clock.now(), START + Duration::from_secs(3), "when it was committed");
    assert_eq!(made.active_from, START + Duration::from_secs(8));
    assert_eq!(key(&node, MAC, 2).await, made);
    let until = key(&node, MAC, 1).await.needed_until.unwrap();
    assert!(old.needed_until.is_none() && until >= made.active_from + REFRESH_LIFETIME);
    let actions: Vec<String> =
        deployment.store.audit_list(0, 10).await.unwrap().into_iter().map(|row| row.action).collect();
    assert_eq!(actions, ["key.rotate", "key.put_off"]);
}
