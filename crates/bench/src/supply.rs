//! What the requests of a run are made of, obtained before it is measured.

use std::sync::Arc;

use crate::{
    bodies::Bodies,
    caller::Task,
    failure::Failure,
    grants::{GrantFacts, Grants},
    mix::Blend,
    pool,
    scenario::{Expected, Scenario, Spec},
};

#[derive(Clone)]
pub enum Supply {
    Bodies {
        bodies: Arc<Bodies>,
        expected: Expected,
        /// Tokens in the pool and how many of them are distinct.
        pool: Option<(u64, u64)>,
    },
    Grants(Grants),
    Mix(Arc<Blend>, Grants),
}

impl Supply {
    /// Issues the pool and obtains the grants, if the scenario needs them.
    pub async fn obtain(spec: &Spec) -> Result<Self, Failure> {
        match spec.scenario {
            Scenario::Issue | Scenario::Reuse => {
                let bodies = Arc::new(Bodies::of_form(&spec.form));
                Ok(Self::Bodies { bodies, expected: Expected::Token, pool: None })
            }
            Scenario::Introspect => Self::of_pool(spec, Bodies::Cycle, Expected::Active).await,
            Scenario::Revoke => Self::of_pool(spec, Bodies::Once, Expected::Anything).await,
            Scenario::Refresh => Ok(Self::Grants(grants(spec).await?)),
            Scenario::Mixed => {
                let grants = grants(spec).await?;
                Ok(Self::Mix(Arc::new(Blend::prepare(spec).await?), grants))
            }
        }
    }

    async fn of_pool(
        spec: &Spec,
        bodies: fn(Vec<bytes::Bytes>) -> Bodies,
        expected: Expected,
    ) -> Result<Self, Failure> {
        let tokens = pool::tokens(spec, &Bodies::of_form(&spec.form)).await?;
        let counts = (tokens.len() as u64, pool::distinct(&tokens));
        Ok(Self::Bodies {
            bodies: Arc::new(bodies(pool::bodies(&tokens, spec))),
            expected,
            pool: Some(counts),
        })
    }

    /// The same requests for a server that answers anything; the refresh tokens stay with the real one.
    pub fn likeness(&self) -> Self {
        match self {
            Self::Bodies { .. } => self.clone(),
            Self::Grants(grants) => Self::Grants(grants.likeness()),
            Self::Mix(blend, grants) => Self::Mix(blend.clone(), grants.likeness()),
        }
    }

    /// One for each connection; what was dealt is to be [taken back](Grants::take_back).
    pub fn tasks(&self, connections: usize) -> Vec<Task> {
        match self {
            Self::Bodies { bodies, expected, .. } => {
                let task = |_| Task::Bodies { bodies: bodies.clone(), expected: *expected };
                (0..connections).map(task).collect()
            }
            Self::Grants(grants) => grants.deal(connections).into_iter().map(Task::Refresh).collect(),
            Self::Mix(blend, grants) => {
                let shares = (0..).zip(grants.deal(connections));
                let mixer = |(number, share)| crate::mix::Mixer::new(blend.clone(), share, number);
                shares.map(|numbered| Task::Mixed(Box::new(mixer(numbered)))).collect()
            }
        }
    }

    /// The most requests that it is good for.
    pub fn limit(&self) -> Option<u64> {
        if let Self::Bodies { bodies, .. } = self { bodies.limit() } else { None }
    }

    pub fn pool(&self) -> Option<(u64, u64)> {
        if let Self::Bodies { pool, .. } = self { *pool } else { None }
    }

    pub fn grants(&self) -> Option<&Grants> {
        match self {
            Self::Bodies { .. } => None,
            Self::Grants(grants) | Self::Mix(_, grants) => Some(grants),
        }
    }

    pub fn grant_facts(&self) -> Option<GrantFacts> {
        self.grants().map(Grants::facts)
    }
}

async fn grants(spec: &Spec) -> Result<Grants, Failure> {
    let grants = spec.grants.clone();
    let grants = grants.ok_or_else(|| Failure::new("give --refresh-tokens or --subjects"))?;
    grants.check(spec.load.connections)?;
    grants.obtain(&spec.endpoints.token, &spec.load).await?;
    Ok(grants)
}
