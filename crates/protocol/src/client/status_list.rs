use super::{
    AccessTokenFormat, ActiveTokenPolicy, ClientMetadata, InvalidMetadata, MetadataRules, PersistenceMode,
    refuse,
};

const FIELD: &str = "status_list";

impl ClientMetadata {
    pub(super) fn validate_status_list(&self, rules: &MetadataRules) -> Result<(), InvalidMetadata> {
        if !self.status_list {
            return Ok(());
        }
        if self.access_token_format != AccessTokenFormat::Jwt {
            return refuse(
                FIELD,
                "only a JWT can say where its status is told: set access_token_format to \"jwt\", or leave status_list \
                 out"
                    .to_owned(),
            );
        }
        let mode = self.persistence.unwrap_or(rules.persistence);
        let policy = self.active_token_policy.unwrap_or(rules.active_token_policy);
        if (mode, policy) == (PersistenceMode::None, ActiveTokenPolicy::Replace) {
            return refuse(
                FIELD,
                "with persistence \"none\" all access tokens of a grant share a place in the list, so none of them can be \
                 ended alone, as active_token_policy \"replace\" wants it: choose another policy, or persistence \
                 \"sync\" or \"async\""
                    .to_owned(),
            );
        }
        Ok(())
    }
}
