use super::*;
use crate::keys::Masters;

#[tokio::test]
async fn a_master_key_that_does_not_fit_is_refused() {
    let deployment = Deployment::new();
    assert!(master(8).opens(deployment.store.as_ref()).await.unwrap(), "a store without keys takes any");
    deployment.node().await;
    let refused = deployment.node_with(&master(8)).await.err();
    assert!(matches!(refused, Some(KeyRingError::WrongMasterKey { .. })));
    assert!(!master(8).opens(deployment.store.as_ref()).await.unwrap());
    assert!(master(7).opens(deployment.store.as_ref()).await.unwrap());
}

#[tokio::test]
async fn with_another_master_key_all_tokens_stay() {
    let deployment = Deployment::new();
    let node = deployment.node().await;
    let before = deployment.make(&node).await;
    node.key_rotate(KeyPurpose::Signing, None, &actor()).await.unwrap();
    node.key_reseal(&master(8), &actor()).await.unwrap();
    assert_eq!(before.taken_by(&node), [true; 3]);
    assert!(matches!(
        deployment.node_with(&master(7)).await.err(),
        Some(KeyRingError::WrongMasterKey { .. })
    ));
    let restarted = deployment.node_with(&master(8)).await.unwrap();
    assert_eq!(before.taken_by(&restarted), [true; 3]);
    assert_eq!(restarted.key_list().await.unwrap(), node.key_list().await.unwrap());
    // And it is the new one that seals from now on.
    node.key_rotate(KeyPurpose::TokenMac, None, &actor()).await.unwrap();
    assert!(master(8).opens(deployment.store.as_ref()).await.unwrap());
}

#[tokio::test]
async fn a_running_node_looks_for_the_new_master_key_and_keeps_the_old_keys_until_it_finds_it() {
    let deployment = Deployment::new();
    let (node, other) = (deployment.node().await, deployment.node().await);
    let offered = Arc::new(std::sync::Mutex::new(Vec::new()));
    let masters: Masters = {
        let offered = offered.clone();
        Arc::new(move || offered.lock().unwrap().clone())
    };
    other.keys.start_reload(masters).abort();
    let before = deployment.make(&other).await;
    node.key_reseal(&master(8), &actor()).await.unwrap();
    node.key_revoke(&KeyName::Version(KeyPurpose::Signing, 1), false, &actor()).await.unwrap();

    let failed = other.keys.reload().await;
    assert!(matches!(failed, Err(KeyRingError::WrongMasterKey { .. })));
    assert_eq!(before.taken_by(&other), [true; 3], "the keys from before stay");
    let refused = other.key_rotate(KeyPurpose::Signing, None, &actor()).await;
    assert!(refused.is_err(), "and are not written over those of the store");

    offered.lock().unwrap().extend([master(9), master(8)]);
    other.keys.reload().await.unwrap();
    assert_eq!(before.taken_by(&other), [true, false, true]);
    other.key_rotate(KeyPurpose::Signing, None, &actor()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_on_one_node_is_heard_by_the_others_within_a_second() {
    let deployment = Deployment::new();
    let (node, other) = (deployment.node().await, deployment.node().await);
    let reloading = other.keys.start_reload(Arc::new(Vec::new));
    let before = deployment.make(&other).await;
    node.key_revoke(&KeyName::Version(KeyPurpose::TokenMac, 1), false, &actor()).await.unwrap();
    // wait: the reload's own interval, on a clock that jumps.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(before.taken_by(&other), [false, true, false]);
    reloading.abort();
}

#[tokio::test]
async fn an_outage_leaves_the_keys_as_they_are_and_is_over_when_it_is_over() {
    let deployment = Deployment::new();
    let (node, other) = (deployment.node().await, deployment.node().await);
    let before = deployment.make(&other).await;
    node.key_revoke(&KeyName::Version(KeyPurpose::TokenMac, 1), false, &actor()).await.unwrap();
    deployment.store.fail_reads(Some(outage()));
    assert!(other.keys.reload().await.is_err());
    assert_eq!(before.taken_by(&other), [true; 3]);
    deployment.store.fail_reads(None);
    other.keys.reload().await.unwrap();
    assert_eq!(before.taken_by(&other), [false, true, false]);
}
