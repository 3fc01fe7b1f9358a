//! Any interleaving of refreshes, lost answers, retries, replays, forgeries, revocations and steps of the clock, by three
//! clients on two nodes, keeps the invariants. A model says after every step what must be true; it knows the rules as
//! the design states them, and nothing of how a store keeps them.

mod model;
mod run;

use proptest::prelude::*;

use run::Run;

/// Which refresh token of a grant: the one that is this many behind the current one.
#[derive(Debug, Clone, Copy)]
pub struct Pick {
    grant: usize,
    behind: u32,
}

/// What the next write meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    None,
    /// The write does not reach the store.
    Request,
    /// It is done, and its answer is lost.
    Answer,
}

#[derive(Debug, Clone)]
pub enum Step {
    Open {
        client: usize,
        subject: usize,
        loss: Loss,
    },
    /// By the owner of the grant, or by the client that comes `by` after it.
    Refresh {
        pick: Pick,
        by: usize,
        narrow: bool,
        loss: Loss,
    },
    /// Two at once, by the owners.
    Race {
        one: Pick,
        other: Pick,
    },
    /// A refresh token that the store knows nothing of, with the right MAC.
    Ahead {
        grant: usize,
        by: u32,
    },
    /// One with a wrong MAC.
    Forged {
        pick: Pick,
        byte: usize,
    },
    RevokeRefresh {
        pick: Pick,
        by: usize,
        loss: Loss,
    },
    RevokeAccess {
        token: usize,
        by: usize,
        loss: Loss,
    },
    EndGrant {
        grant: usize,
    },
    EndToken {
        token: usize,
    },
    EndSubject {
        subject: usize,
    },
    EndClient {
        client: usize,
    },
    EndAll,
    /// Milliseconds.
    Clock(i64),
}

fn pick() -> impl Strategy<Value = Pick> {
    let behind = prop_oneof![10 => Just(0_u32), 5 => Just(1), 2 => Just(2), 1 => 3_u32..12];
    (0_usize..64, behind).prop_map(|(grant, behind)| Pick { grant, behind })
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![6 => Just(Loss::None), 1 => Just(Loss::Request), 2 => Just(Loss::Answer)]
}

/// Mostly the owner.
fn by() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0_usize), 1 => 1_usize..3]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3, 0_usize..2, loss()).prop_map(|(client, subject, loss)| Step::Open { client, subject, loss }),
        20 => (pick(), by(), any::<bool>(), loss())
            .prop_map(|(pick, by, narrow, loss)| Step::Refresh { pick, by, narrow, loss }),
        4 => (pick(), pick(), any::<bool>()).prop_map(|(one, mut other, same)| {
            if same {
                other.grant = one.grant;
            }
            Step::Race { one, other }
        }),
        1 => (0_usize..64, 1_u32..4).prop_map(|(grant, by)| Step::Ahead { grant, by }),
        1 => (pick(), 4_usize..50).prop_map(|(pick, byte)| Step::Forged { pick, byte }),
        1 => (pick(), by(), loss()).prop_map(|(pick, by, loss)| Step::RevokeRefresh { pick, by, loss }),
        2 => (0_usize..64, by(), loss()).prop_map(|(token, by, loss)| Step::RevokeAccess { token, by, loss }),
        1 => prop_oneof![
            4 => (0_usize..64).prop_map(|grant| Step::EndGrant { grant }),
            4 => (0_usize..64).prop_map(|token| Step::EndToken { token }),
            2 => (0_usize..2).prop_map(|subject| Step::EndSubject { subject }),
            1 => (0_usize..3).prop_map(|client| Step::EndClient { client }),
            1 => Just(Step::EndAll),
        ],
        // Around the graces of 5 and 30 seconds, and around the lifetimes.
        6 => prop_oneof![
            5 => 0_i64..6_000,
            2 => 20_000_i64..40_000,
            1 => 300_000_i64..700_000,
            1 => 3_000_000_i64..8_000_000,
            2 => -40_000_i64..0,
            1 => -700_000_i64..0,
        ].prop_map(Step::Clock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_breaks_an_invariant(steps in proptest::collection::vec(step(), 40..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::start().await;
            for step in steps {
                run.step(&step).await;
                run.check().await;
            }
            run.check_every_token().await;
        });
    }
}
