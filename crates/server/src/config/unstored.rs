use std::time::Duration;

use super::Config;

/// A token that nobody stores is ended by a revocation that every verifier has to hear of, for as long as it lives.
const LONG: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// What tokens that are not stored promise less, or cost more, as they are configured.
    pub(super) fn unstored_risk(&self) -> Option<String> {
        let lifetime = self.tokens.access_token_lifetime;
        let is_long = !self.token_persistence.enable && lifetime.as_duration() > LONG;
        is_long.then(|| {
            format!(
                "tokens.access_token_lifetime is {lifetime} while token_persistence.enable is false: what ends such a token \
                 early has to be remembered by every server and gateway for as long as it would have lived; 24h or less is \
                 advisable"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use grantry_protocol::Lifetime;

    use super::*;

    #[test]
    fn a_long_lifetime_of_tokens_that_are_not_stored_is_warned_of() {
        let warns = |enable, hours: u64| {
            let mut config = Config::default();
            config.token_persistence.enable = enable;
            config.tokens.access_token_lifetime = Lifetime::from_secs(hours * 3600);
            config.risks().any(|risk| risk.contains("tokens.access_token_lifetime is"))
        };
        assert!(warns(false, 25));
        assert!(!warns(false, 24) && !warns(true, 25));
    }
}
