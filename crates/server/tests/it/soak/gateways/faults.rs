//! What happens to the gateways, to the issuer, and between them.

use std::fmt;
use std::time::Duration;

use crate::soak::promise::faults::{describe_silence, draw_delays, draw_silence};
use crate::soak::promise::{NODES, faults, percent_of_bound};
use crate::soak::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    RoadCut,
    RoadSlow,
    RoadSilent,
    GatewayStopped,
    GatewayKilled,
    IssuerStopped,
    IssuerKilled,
}

/// How long the issuer is gone, in percent of the bound: the gateways may notice, or not.
const DOWN: [u32; 2] = [50, 150];

impl faults::Kind for Kind {
    const ALL: &'static [Self] = &[
        Self::RoadCut,
        Self::RoadSlow,
        Self::RoadSilent,
        Self::GatewayStopped,
        Self::GatewayKilled,
        Self::IssuerStopped,
        Self::IssuerKilled,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::RoadCut => "a gateway's link to the issuer is cut",
            Self::RoadSlow => "the link is slow: 50 to 700 ms each way",
            Self::RoadSilent => "the link loses everything, one way or both",
            Self::GatewayStopped => "SIGSTOP of a gateway for two bounds, SIGCONT",
            Self::GatewayKilled => "kill -9 of a gateway, restart",
            Self::IssuerStopped => "SIGSTOP of the issuer, SIGCONT",
            Self::IssuerKilled => "kill -9 of the issuer, restart",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    RoadCut {
        node: usize,
    },
    RoadSlow {
        node: usize,
        there: Duration,
        back: Duration,
    },
    RoadSilent {
        node: usize,
        there: bool,
        back: bool,
    },
    GatewayStopped {
        node: usize,
    },
    /// It comes back with its link cut, or whole.
    GatewayKilled {
        node: usize,
        is_cut_off: bool,
    },
    IssuerStopped,
    IssuerKilled {
        down: Duration,
    },
}

impl faults::Fault for Fault {
    type Kind = Kind;

    fn draw(kind: Kind, random: &mut Random) -> Self {
        let node = random.below(NODES);
        match kind {
            Kind::RoadCut => Self::RoadCut { node },
            Kind::RoadSlow => {
                let [there, back] = draw_delays(random);
                Self::RoadSlow { node, there, back }
            }
            Kind::RoadSilent => {
                let (there, back) = draw_silence(random);
                Self::RoadSilent { node, there, back }
            }
            Kind::GatewayStopped => Self::GatewayStopped { node },
            Kind::GatewayKilled => Self::GatewayKilled { node, is_cut_off: random.pick(&[true, false]) },
            Kind::IssuerStopped => Self::IssuerStopped,
            Kind::IssuerKilled => Self::IssuerKilled { down: percent_of_bound(random.pick(&DOWN)) },
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::RoadCut { .. } => Kind::RoadCut,
            Self::RoadSlow { .. } => Kind::RoadSlow,
            Self::RoadSilent { .. } => Kind::RoadSilent,
            Self::GatewayStopped { .. } => Kind::GatewayStopped,
            Self::GatewayKilled { .. } => Kind::GatewayKilled,
            Self::IssuerStopped => Kind::IssuerStopped,
            Self::IssuerKilled { .. } => Kind::IssuerKilled,
        }
    }

    fn concerns(self, node: usize) -> bool {
        match self {
            Self::RoadCut { node: its }
            | Self::RoadSlow { node: its, .. }
            | Self::RoadSilent { node: its, .. }
            | Self::GatewayStopped { node: its }
            | Self::GatewayKilled { node: its, .. } => its == node,
            Self::IssuerStopped | Self::IssuerKilled { .. } => true,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RoadCut { node } => write!(f, "the link of gateway {node} is cut"),
            Self::RoadSlow { node, there, back } => {
                write!(f, "the link of gateway {node} takes {there:?} there and {back:?} back")
            }
            Self::RoadSilent { node, there, back } => {
                let way = describe_silence(there, back, "the gateway", "the issuer");
                write!(f, "the link of gateway {node} loses everything {way}")
            }
            Self::GatewayStopped { node } => write!(f, "gateway {node} stands still"),
            Self::GatewayKilled { node, is_cut_off: true } => {
                write!(f, "gateway {node} is killed and starts with its link cut")
            }
            Self::GatewayKilled { node, is_cut_off: false } => write!(f, "gateway {node} is killed"),
            Self::IssuerStopped => write!(f, "the issuer stands still"),
            Self::IssuerKilled { down } => write!(f, "the issuer is killed and gone for {down:?}"),
        }
    }
}
