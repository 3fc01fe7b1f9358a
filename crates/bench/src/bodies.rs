use std::sync::Arc;

use bytes::Bytes;

use crate::{clock, form::Form};

/// The bodies of a run's requests.
#[derive(Clone)]
pub enum Bodies {
    /// A form in which the number differs from request to request.
    Numbered { form: Form, first: u64 },
    /// Always the same.
    Same(Bytes),
    /// One after the other and from the beginning again.
    Cycle(Vec<Bytes>),
    /// Each once.
    Once(Vec<Bytes>),
    /// What a function makes of the request's index.
    Made(Arc<dyn Fn(u64) -> Bytes + Send + Sync>),
}

impl Bodies {
    pub fn of_form(form: &Form) -> Self {
        if form.is_numbered() {
            Self::Numbered { form: form.clone(), first: first_number() }
        } else {
            Self::Same(form.render(0))
        }
    }

    /// `index` counts the requests of the run from 0; with [`Bodies::Once`] it is below [`Bodies::limit`].
    pub fn get(&self, index: u64) -> Bytes {
        match self {
            Self::Numbered { form, first } => form.render(first + index),
            Self::Same(body) => body.clone(),
            Self::Made(make) => make(index),
            Self::Cycle(bodies) | Self::Once(bodies) => {
                bodies[(index % bodies.len() as u64) as usize].clone()
            }
        }
    }

    /// The most requests that the bodies are good for.
    pub fn limit(&self) -> Option<u64> {
        match self {
            Self::Once(bodies) => Some(bodies.len() as u64),
            _ => None,
        }
    }
}

/// Microseconds since 1970: a later run begins above every number of an earlier one, as none sends a request a
/// microsecond.
fn first_number() -> u64 {
    u64::try_from(clock::since_epoch().as_micros()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_bodies_are_all_different() {
        let mut form = Form::new();
        form.push_numbered("resource", "{n}");
        let bodies = Bodies::of_form(&form);
        assert_ne!(bodies.get(0), bodies.get(1));
        assert_eq!(bodies.limit(), None);
    }

    #[test]
    fn a_pool_is_gone_through_in_turn() {
        let pool = vec![Bytes::from("a"), Bytes::from("b")];
        assert_eq!(Bodies::Cycle(pool.clone()).get(3), "b");
        assert_eq!(Bodies::Once(pool).limit(), Some(2));
    }
}
