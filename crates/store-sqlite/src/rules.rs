//! Entries of the revocation log that end many tokens at once. They have indexes of their own, which revoking single
//! tokens does not touch.

use grantry_protocol::{AccessToken, Epoch, Position, Seen};
use rusqlite::{Connection, OptionalExtension, params};

const LAST_RULE_SELECT: &str = "
    SELECT epoch, position FROM revocation_log INDEXED BY rules_by_position
    WHERE kind IN (2, 3, 4, 5) ORDER BY epoch DESC, position DESC LIMIT 1";

/// What has seen this one is ended by none.
pub fn last_rule_select(connection: &Connection) -> rusqlite::Result<Option<Seen>> {
    let seen =
        |row: &rusqlite::Row<'_>| Ok(Seen { epoch: Epoch(row.get(0)?), position: Position(row.get(1)?) });
    connection.prepare_cached(LAST_RULE_SELECT)?.query_row([], seen).optional()
}

/// The key of a rule is what it names, as bytes. The planner takes the partial index only for its own condition.
const RULE_EXISTS: &str = "
    SELECT 1 FROM revocation_log
    WHERE kind IN (2, 3, 4, 5) AND kind = 2 AND key = ?1 AND (epoch, position) > (?4, ?5)
    UNION ALL
    SELECT 1 FROM revocation_log
    WHERE kind IN (2, 3, 4, 5) AND kind = 3 AND key = ?2 AND (epoch, position) > (?4, ?5)
    UNION ALL
    SELECT 1 FROM revocation_log
    WHERE kind IN (2, 3, 4, 5) AND kind = 4 AND key = ?3 AND (epoch, position) > (?4, ?5)
    UNION ALL
    SELECT 1 FROM revocation_log
    WHERE kind IN (2, 3, 4, 5) AND kind = 5 AND key = x'' AND (epoch, position) > (?4, ?5)
    LIMIT 1";

/// Whether a rule that the token has not seen names its slot, its client, its subject, or everything.
pub fn rule_exists(connection: &Connection, token: &AccessToken) -> rusqlite::Result<bool> {
    connection.prepare_cached(RULE_EXISTS)?.exists(params![
        token.slot.as_bytes(),
        token.client_id.as_str().as_bytes(),
        token.subject.as_str().as_bytes(),
        token.seen.epoch.0,
        token.seen.position.0,
    ])
}

#[cfg(test)]
pub const HOT: [&str; 2] = [RULE_EXISTS, LAST_RULE_SELECT];
