//! What a client gets that asks again while it has a token.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::{
    bodies::Bodies,
    failure::Failure,
    form::Param,
    grantry::{self, SCOPE, client_document},
    load::Load,
    scenario::{Endpoints, Expected, Scenario, Spec, token_form},
    supply::Supply,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    Reuse,
    Multiple,
    Replace,
}

pub const POLICIES: [Policy; 3] = [Policy::Reuse, Policy::Multiple, Policy::Replace];

impl Policy {
    /// As the server's `active_token_policy` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::Multiple => "multiple",
            Self::Replace => "replace",
        }
    }

    /// Of its own, whatever the server's default is.
    pub fn client(self) -> Value {
        let mut client = client_document(&self.client_id(), "opaque");
        client["active_token_policy"] = self.name().into();
        client
    }

    fn client_id(self) -> String {
        format!("bench-{}", self.name())
    }

    /// All in one slot with `reuse`; else in so many, in turn, so that requests at the same time are not for one slot.
    pub fn requests(self, endpoints: Endpoints, slots: u64, load: Load) -> Result<(Spec, Supply), Failure> {
        let credentials = grantry::credentials(&self.client_id());
        let resource = Param { name: "resource".into(), value: "https://bench.example/{n}".into() };
        let form = token_form(Some(SCOPE), &[resource], &credentials);
        let (scenario, bodies) = match self {
            Self::Reuse => (Scenario::Reuse, Bodies::Same(form.render(0))),
            Self::Multiple | Self::Replace => {
                (Scenario::Issue, Bodies::Cycle((0..slots).map(|slot| form.render(slot)).collect()))
            }
        };
        let spec = Spec { scenario, endpoints, credentials, form, pool: 0, grants: None, load };
        let supply = Supply::Bodies { bodies: Arc::new(bodies), expected: Expected::Token, pool: None };
        Ok((spec, supply))
    }
}
