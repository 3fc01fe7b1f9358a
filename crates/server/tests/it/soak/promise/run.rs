//! A run: one fault after the other, drawn from a seed, while callers end tokens and go on to ask.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::callers::Scene;
use super::faults::Fault;
use super::{MAX_STALENESS, NODES, pass, percent_of_bound};
use crate::soak::random::Random;
use crate::wait;

/// From this many revocations on a run is there to measure, and has the machine to itself.
const LONG: u32 = 1000;
/// From one fault to the next.
const LEAST_REST: Duration = Duration::from_millis(300);
const LONGEST_REST_LONG: Duration = Duration::from_millis(6000);
/// How long a fault is in force in a long run, in percent of the bound.
const MOST_LENGTH_LONG: u32 = 400;
/// Within so many bounds after a fault every node answers again.
const BOUNDS_UNTIL_BACK: u32 = 2;
/// How long a process is stopped, in bounds.
const BOUNDS_STOPPED: u32 = 2;

/// What is there, and what can be done to it.
pub trait Stage {
    type Scene: Scene;
    /// The longest from one fault to the next in a short run.
    const LONGEST_REST: Duration;
    /// How long a fault is in force in a short run, in percent of the bound.
    const LENGTH: [u32; 2];

    /// The fault, from its beginning to its end.
    async fn last(&mut self, fault: FaultOf<Self>, length: Duration, scene: &Arc<Self::Scene>);

    /// All is as before again.
    async fn settle(&mut self, _fault: FaultOf<Self>) {}
}

pub type FaultOf<S> = <<S as Stage>::Scene as Scene>::Fault;

/// How much is wanted, and who is asked for it.
pub struct Run {
    name: &'static str,
    revocations: u32,
    pub is_long: bool,
}

impl Run {
    pub fn new(name: &'static str, revocations: u32) -> Self {
        Self { name, revocations, is_long: revocations >= LONG }
    }

    /// Each kind once, in another order every time, until so many revocations were acknowledged.
    pub async fn faults<S: Stage>(
        &self,
        stage: &mut S,
        scene: &Arc<S::Scene>,
        kinds: &[<FaultOf<S> as Fault>::Kind],
        random: &mut Random,
    ) {
        loop {
            let mut kinds = kinds.to_vec();
            random.shuffle(&mut kinds);
            for kind in kinds {
                self.fault(stage, scene, Fault::draw(kind, random), random).await;
            }
            if scene.record().tally().revoked() >= self.revocations as usize {
                return;
            }
        }
    }

    /// After a time without one, in which everything has to succeed.
    pub async fn fault<S: Stage>(
        &self,
        stage: &mut S,
        scene: &Arc<S::Scene>,
        fault: FaultOf<S>,
        random: &mut Random,
    ) {
        let longest = if self.is_long { LONGEST_REST_LONG } else { S::LONGEST_REST };
        // wait: for a time without a fault.
        sleep(random.between(LEAST_REST, longest)).await;
        let begun = Instant::now();
        let back = self.happen(stage, scene, fault, random).await;
        let faults = &scene.record().faults;
        let (from, until) = (faults.at(begun), faults.at(Instant::now()));
        eprintln!("{}: {from} to {until}: {fault}; back after {back:?}", self.name);
        scene.record().tally().add_fault(fault.kind(), back);
    }

    /// The fault from its beginning to the moment when all is as before; how long after its end every node answered again.
    async fn happen<S: Stage>(
        &self,
        stage: &mut S,
        scene: &Arc<S::Scene>,
        fault: FaultOf<S>,
        random: &mut Random,
    ) -> Duration {
        let [least, most] = S::LENGTH;
        let most = if self.is_long { MOST_LENGTH_LONG } else { most };
        let length = random.between(percent_of_bound(least), percent_of_bound(most));
        scene.record().faults.begin(fault);
        stage.last(fault, length, scene).await;
        let end = Instant::now();
        for node in 0..NODES {
            wait::until(format_args!("node {node} answers again after: {fault}"), async || {
                scene.answers(node).await.then_some(())
            })
            .await;
        }
        let back = end.elapsed();
        // A short run shares the machine with other tests.
        assert!(
            !self.is_long || back <= MAX_STALENESS * BOUNDS_UNTIL_BACK,
            "after the end of this, {back:?} went by until every node answered: {fault}"
        );
        for node in 0..NODES {
            wait::until(format_args!("new tokens can be had at node {node} after: {fault}"), async || {
                scene.issues(node).await.then_some(())
            })
            .await;
        }
        scene.record().faults.end();
        stage.settle(fault).await;
        back
    }
}

/// For as long as a process is stopped.
pub async fn stand_still() {
    pass(MAX_STALENESS * BOUNDS_STOPPED).await;
}
