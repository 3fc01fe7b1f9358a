//! Callers who get a token, see it active at every node, revoke it, and go on to ask all nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::faults::Fault;
use super::tally::Revocation;
use super::verdict::{Answer, Asked};
use super::{MAX_STALENESS, NODES, Record};
use crate::soak::random::Random;

/// For so many bounds after the acknowledgement the nodes are asked.
const BOUNDS_ASKED: u32 = 3;
/// Between two requests for one token at one node: before the node has said `inactive`, and afterwards.
const BUSY: Duration = Duration::from_millis(2);
const CALM: Duration = Duration::from_millis(100);
/// A token is revoked so long after it was seen active, at the most; sooner after a fault has begun, so that there is
/// time left to see what becomes of it under the fault.
const LONGEST_HELD: Duration = Duration::from_millis(1000);
const LONGEST_HELD_IN_FAULT: Duration = Duration::from_millis(200);

/// Where the callers are: how a token is got, asked for and ended.
pub trait Scene: Send + Sync + 'static {
    type Fault: Fault;
    type Token: Send + Sync;

    fn record(&self) -> &Record<Self::Fault>;

    /// Never the same twice; `None` if there was no token in the answer.
    fn issue(&self, caller: usize, random: &mut Random) -> impl Future<Output = Option<Self::Token>> + Send;

    fn ask(&self, node: usize, token: &Self::Token) -> impl Future<Output = Asked> + Send;

    /// Whether the node lets in a token that is never revoked.
    fn answers(&self, node: usize) -> impl Future<Output = bool> + Send;

    /// Whether new tokens can be had there, or wherever this one's come from.
    fn issues(&self, node: usize) -> impl Future<Output = bool> + Send;

    /// When it was acknowledged; `None` if nobody knows whether it happened.
    fn revoke(&self, token: &Self::Token) -> impl Future<Output = Option<Instant>> + Send;

    /// For a record that a person reads: where it comes from, and how it is ended.
    fn describe(&self, token: &Self::Token) -> String;

    /// Whether a node that denies a token which nobody has revoked is right to do so, for now.
    fn may_deny(&self, _asked: &Asked) -> bool {
        false
    }
}

pub struct Callers {
    is_over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

impl Callers {
    pub fn start<S: Scene>(scene: &Arc<S>, count: usize, random: &mut Random) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let start = |caller| {
            let (scene, is_over, random) = (Arc::clone(scene), Arc::clone(&is_over), random.fork());
            tokio::spawn(async move { call(&*scene, caller, &is_over, random).await })
        };
        let callers = (0..count).map(start).collect();
        Self { is_over, callers }
    }

    /// Waits for what is under way.
    pub async fn finish(self) {
        self.is_over.store(true, Ordering::SeqCst);
        for caller in self.callers {
            caller.await.unwrap();
        }
    }
}

async fn call<S: Scene>(scene: &S, caller: usize, is_over: &AtomicBool, mut random: Random) {
    while !is_over.load(Ordering::SeqCst) {
        let Some(token) = scene.issue(caller, &mut random).await else {
            // wait: so that nodes that cannot are not asked without a pause.
            sleep(CALM).await;
            continue;
        };
        join_all((0..NODES).map(|node| see_active(scene, node, &token))).await;
        hold(scene, &mut random).await;
        let revocation = revoke(scene, &token).await;
        scene.record().tally().add(&revocation, &scene.record().faults);
    }
}

/// Until the node has answered so, or for no longer than the bound under a fault.
async fn see_active<S: Scene>(scene: &S, node: usize, token: &S::Token) {
    let record = scene.record();
    let seen = async {
        loop {
            let asked = scene.ask(node, token).await;
            match asked.answer {
                Answer::Active => return,
                Answer::Inactive if !scene.may_deny(&asked) => {
                    let denial = describe_denial(scene, token, &asked);
                    return record.tally().add_denial(denial);
                }
                Answer::Inactive | Answer::Unavailable | Answer::Nothing => {}
            }
            // wait: for a node that cannot answer yet, or reads from another database and has yet to find out.
            sleep(CALM).await;
        }
    };
    tokio::select! {
        () = seen => {}
        () = record.faults.wait_for_one() => {
            // wait: for a node that may be able to, in spite of the fault.
            sleep(MAX_STALENESS).await;
        }
    }
}

fn describe_denial<S: Scene>(scene: &S, token: &S::Token, asked: &Asked) -> String {
    let faults = &scene.record().faults;
    let Asked { node, sent, answered, .. } = *asked;
    format!(
        "{}: node {node} was asked at {} and denied it at {}, before it was revoked, under: {}",
        scene.describe(token),
        faults.at(sent),
        faults.at(answered),
        faults.describe(sent, answered)
    )
}

async fn hold<S: Scene>(scene: &S, random: &mut Random) {
    let mut up_to = |most| random.between(Duration::ZERO, most);
    let (held, held_in_fault) = (up_to(LONGEST_HELD), up_to(LONGEST_HELD_IN_FAULT));
    tokio::select! {
        // wait: so that a revocation comes at any time before a fault and after it.
        () = sleep(held) => {}
        () = scene.record().faults.wait_for_next() => {
            // wait: so that not all revocations come at the same moment.
            sleep(held_in_fault).await;
        }
    }
}

/// What is known of a revocation that the nodes are asked about.
#[derive(Clone, Copy)]
enum Outcome {
    UnderWay,
    Acknowledged(Instant),
    Unknown,
}

/// Revokes, while all nodes are asked from this moment on.
async fn revoke<S: Scene>(scene: &S, token: &S::Token) -> Revocation {
    let sent = Instant::now();
    let outcome = watch::Sender::new(Outcome::UnderWay);
    let revoking = async {
        let acknowledged = scene.revoke(token).await;
        outcome.send_replace(acknowledged.map_or(Outcome::Unknown, Outcome::Acknowledged));
        acknowledged
    };
    let asking = join_all((0..NODES).map(|node| ask(scene, node, token, outcome.subscribe())));
    let (acknowledged, asked) = tokio::join!(revoking, asking);
    Revocation { what: scene.describe(token), sent, acknowledged, asked: asked.concat() }
}

/// One request after the other, until the promise has held for long enough, or there was none.
async fn ask<S: Scene>(
    scene: &S,
    node: usize,
    token: &S::Token,
    outcome: watch::Receiver<Outcome>,
) -> Vec<Asked> {
    let mut all = Vec::new();
    loop {
        let asked = scene.ask(node, token).await;
        all.push(asked);
        match *outcome.borrow() {
            Outcome::Unknown => return all,
            Outcome::Acknowledged(at) if asked.answered > at + MAX_STALENESS * BOUNDS_ASKED => {
                return all;
            }
            Outcome::Acknowledged(_) | Outcome::UnderWay => {}
        }
        // wait: for the next request of a caller who asks at a steady pace.
        sleep(if asked.answer == Answer::Active { BUSY } else { CALM }).await;
    }
}
