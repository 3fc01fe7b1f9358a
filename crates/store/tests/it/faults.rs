use std::sync::Arc;

use grantry_protocol::{Seen, TokenState};
use grantry_store::conformance::{Harness, issue};
use grantry_store::{Fault, FaultyStore, NodeId, Outage, Probe, Store, StoreError, TokenWrite, WriteOutcome};

use super::memory;

fn faulty() -> (Harness, Arc<FaultyStore>) {
    let harness = memory();
    let faults = Arc::new(FaultyStore::new(Arc::clone(&harness.store)));
    let store = Arc::clone(&faults) as Arc<dyn Store>;
    (harness.decorated(|_| store), faults)
}

fn outage() -> StoreError {
    StoreError::unavailable(Outage::Io, "injected")
}

#[tokio::test]
async fn a_fault_before_keeps_the_write_from_the_store() {
    let (harness, faults) = faulty();
    let token = harness.token("billing");
    faults.fail_writes([Some(Fault::Before(outage()))]);
    assert_eq!(harness.store.token_write(vec![issue(&token)]).await, Err(outage()));
    assert_eq!(harness.store.token_find(token.id).await, Ok(None));
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
}

#[tokio::test]
async fn a_fault_after_loses_the_answer_but_not_the_write() {
    let (harness, faults) = faulty();
    let token = harness.token("billing");
    faults.fail_writes([Some(Fault::After(outage()))]);
    assert_eq!(harness.store.token_write(vec![issue(&token)]).await, Err(outage()));
    assert_eq!(harness.state(token.id).await, TokenState::Active);
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    assert_eq!(harness.store.token_count().await, Ok(1));
}

#[tokio::test]
async fn faults_are_met_in_order_and_a_gap_lets_a_write_pass() {
    let (harness, faults) = faulty();
    faults.fail_writes([None, Some(Fault::Before(outage()))]);
    harness.issued("a").await;
    assert_eq!(harness.store.token_write(vec![issue(&harness.token("b"))]).await, Err(outage()));
    harness.issued("c").await;
}

#[tokio::test]
async fn a_poisoned_token_fails_its_whole_batch_and_no_other() {
    let (harness, faults) = faulty();
    let (poison, other) = (harness.token("poison"), harness.token("other"));
    faults.poison(poison.id);
    let refused = harness.store.token_write(vec![issue(&other), issue(&poison)]).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))));
    assert_eq!(harness.store.token_count().await, Ok(0));
    assert_eq!(harness.issue(&other).await, WriteOutcome::Issued);
}

#[tokio::test]
async fn reads_fail_until_they_are_healed_while_writes_go_on() {
    let (harness, faults) = faulty();
    faults.fail_reads(Some(outage()));
    let token = harness.token("billing");
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    assert_eq!(harness.store.token_find(token.id).await, Err(outage()));
    assert_eq!(harness.store.revocation_head().await, Err(outage()));
    faults.fail_reads(None);
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}

#[tokio::test]
async fn every_call_is_counted_whether_it_fails_or_not() {
    let (harness, faults) = faulty();
    let id = harness.token("billing").id;
    faults.fail_writes([Some(Fault::Before(outage()))]);
    let _ = harness.store.token_write(vec![TokenWrite::Revoke { id, unwritten: None, audit: None }]).await;
    let _ = harness.store.token_find(id).await;
    harness.insert(&harness.client("billing")).await;
    assert_eq!(faults.calls(), 3);
}

#[tokio::test]
async fn a_probe_meets_what_reads_and_the_next_write_meet_and_leaves_it_to_them() {
    let (harness, faults) = faulty();
    let probe = Probe { node: NodeId([1; 16]), applied: Seen::NOTHING, limit: 1 };
    let probed = async || harness.store.revocation_probe(probe).await.map(drop);
    let rows = async || harness.store.node_list().await.unwrap().len();
    faults.fail_reads(Some(outage()));
    assert_eq!(probed().await, Err(outage()));
    faults.fail_reads(None);
    faults.fail_writes([Some(Fault::Before(outage())), Some(Fault::After(outage()))]);
    assert_eq!((probed().await, rows().await), (Err(outage()), 0));
    let token = harness.token("billing");
    assert_eq!(harness.store.token_write(vec![issue(&token)]).await, Err(outage()));
    assert_eq!((probed().await, rows().await), (Err(outage()), 1), "only the answer is lost");
    assert_eq!(harness.store.token_write(vec![issue(&token)]).await, Err(outage()));
    assert_eq!(probed().await, Ok(()));
    assert_eq!(faults.probes(), 4);
}
