//! Whether what was answered keeps the promise.

use std::time::Duration;

use tokio::time::Instant;

/// Of a server to an introspection, or of a gateway to a request with the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Or let in.
    Active,
    /// Or 401.
    Inactive,
    /// 503: the node does not say.
    Unavailable,
    /// The connection was refused or ended, as that of a node that is dead.
    Nothing,
}

/// A request, by the clock of whoever asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub node: usize,
    pub sent: Instant,
    pub answered: Instant,
    pub answer: Answer,
}

/// What should never have been answered: `active`, to a request that was sent later than `max_staleness` after the
/// revocation was acknowledged.
pub fn violations(
    acknowledged: Instant,
    max_staleness: Duration,
    asked: &[Asked],
) -> impl Iterator<Item = &Asked> {
    asked
        .iter()
        .filter(move |asked| is_bound(acknowledged, max_staleness, asked) && asked.answer == Answer::Active)
}

/// Whether the promise covers the request.
pub fn is_bound(acknowledged: Instant, max_staleness: Duration, asked: &Asked) -> bool {
    asked.sent > acknowledged + max_staleness
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(1);

    #[test]
    fn only_active_to_a_request_that_was_sent_after_the_bound_breaks_the_promise() {
        let acknowledged = Instant::now() + Duration::from_secs(60);
        // When it was sent and answered, in milliseconds after the acknowledgement.
        let table = [
            (-500, 10, Answer::Active, false),
            (0, 10, Answer::Active, false),
            (1000, 1010, Answer::Active, false),
            // A request that was sent in time may be answered at any time.
            (999, 5000, Answer::Active, false),
            (1001, 1002, Answer::Active, true),
            (1001, 9000, Answer::Active, true),
            (1001, 1002, Answer::Inactive, false),
            (1001, 1002, Answer::Unavailable, false),
            (1001, 1002, Answer::Nothing, false),
        ];
        let at = |millis: i64| {
            let span = Duration::from_millis(millis.unsigned_abs());
            if millis < 0 { acknowledged - span } else { acknowledged + span }
        };
        for (sent, answered, answer, is_violation) in table {
            let asked = [Asked { node: 0, sent: at(sent), answered: at(answered), answer }];
            let found = violations(acknowledged, BOUND, &asked).count();
            assert_eq!(found, usize::from(is_violation), "{sent} {answered} {answer:?}");
        }
    }

    #[test]
    fn each_violation_of_many_answers_is_found() {
        let acknowledged = Instant::now();
        let sent = acknowledged + 2 * BOUND;
        let answers = [Answer::Active, Answer::Inactive, Answer::Active, Answer::Unavailable];
        let asked: Vec<_> = (0..answers.len())
            .map(|node| Asked { node, sent, answered: sent, answer: answers[node] })
            .collect();
        let nodes: Vec<_> = violations(acknowledged, BOUND, &asked).map(|asked| asked.node).collect();
        assert_eq!(nodes, [0, 2]);
    }
}
