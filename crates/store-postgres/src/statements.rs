//! All statements, for tests of their plans.

pub use crate::prepared::PREPARED;
use crate::statement::Statement;
use crate::{
    assertions, audit, clients, early_ends, grants, keys, nodes, retention, revocations, rules, settings,
    slots, status_lists, tokens, turns,
};

/// Those that run now and then, and whose plan nobody waits for.
pub const OCCASIONAL: &[&Statement] = &[
    &assertions::ASSERTIONS_SWEEP,
    &audit::AUDIT_INSERT,
    &audit::AUDIT_SELECT,
    &clients::ADMINISTRATOR_EXISTS,
    &clients::CLIENTS_SELECT,
    &clients::CLIENT_DELETE,
    &clients::CLIENT_INSERT,
    &clients::CLIENT_UPDATE,
    &clients::CLIENT_VERSION,
    &clients::ORIGINS_DELETE,
    &clients::ORIGINS_INSERT,
    &clients::ORIGIN_EXISTS,
    &early_ends::EARLY_ENDS_SWEEP,
    &grants::GRANTS_COUNT,
    &grants::GRANTS_LAST_EXPIRY,
    &grants::GRANTS_LIST,
    &grants::GRANTS_SWEEP,
    &keys::KEYS_DELETE,
    &keys::KEYS_INSERT,
    &keys::KEYS_SELECT,
    &nodes::NODES_SELECT,
    &nodes::NODES_SWEEP,
    &nodes::NODE_NUMBER,
    &nodes::NODE_REGISTER,
    &retention::OLDEST_SELECT,
    &revocations::EPOCH_RAISE,
    &rules::RULES_SWEEP,
    &settings::CLUSTER_SELECT,
    &settings::SETTINGS_SELECT,
    &settings::SETTINGS_UPDATE,
    &slots::SLOTS_SWEEP,
    &status_lists::HEAD_ADVANCE,
    &status_lists::HEAD_LOCK,
    &status_lists::HEAD_UPDATE,
    &status_lists::LISTS_IN_USE,
    &status_lists::LIST_ENDED,
    &tokens::LAST_AMONG,
    &tokens::TOKENS_COUNT,
    &tokens::TOKENS_LAST_EXPIRY,
    &tokens::TOKENS_LIST,
    &tokens::TOKENS_NEWEST,
    &turns::TURN_TAKE,
];
