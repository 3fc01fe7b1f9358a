//! Entries of the revocation log that end many things at once. They have indexes of their own, which revoking single
//! tokens does not touch.

use grantry_protocol::{Epoch, LogKind, Position, RuleKeys, Seen};
use rusqlite::{Connection, OptionalExtension, params};

/// Whether a rule ends what has these keys. Most things have seen the last one, and then there is nothing to look for.
pub fn is_ended_by_rule(
    connection: &Connection,
    keys: &RuleKeys<'_>,
    last_rule: Option<Seen>,
) -> rusqlite::Result<bool> {
    if last_rule.is_none_or(|rule| rule <= keys.seen) {
        return Ok(false);
    }
    for (kind, key) in keys.iter() {
        if rule_exists(connection, kind, key, keys.seen)? {
            return Ok(true);
        }
    }
    Ok(false)
}

const LAST_RULE_SELECT: &str = "
    SELECT epoch, position FROM revocation_log INDEXED BY rules_by_position
    WHERE kind IN (2, 3, 4, 5, 7, 8) ORDER BY epoch DESC, position DESC LIMIT 1";

/// What has seen this one is ended by none.
pub fn last_rule_select(connection: &Connection) -> rusqlite::Result<Option<Seen>> {
    let seen =
        |row: &rusqlite::Row<'_>| Ok(Seen { epoch: Epoch(row.get(0)?), position: Position(row.get(1)?) });
    connection.prepare_cached(LAST_RULE_SELECT)?.query_row([], seen).optional()
}

/// The planner takes the partial index only for its own condition.
const RULE_EXISTS: &str = "
    SELECT 1 FROM revocation_log
    WHERE kind IN (2, 3, 4, 5, 7, 8) AND kind = ?1 AND key = ?2 AND (epoch, position) > (?3, ?4)
    LIMIT 1";

/// Whether there is such a rule that `seen` is less than.
fn rule_exists(connection: &Connection, kind: LogKind, key: &[u8], seen: Seen) -> rusqlite::Result<bool> {
    let rule = params![kind.code(), key, seen.epoch.0, seen.position.0];
    connection.prepare_cached(RULE_EXISTS)?.exists(rule)
}

#[cfg(test)]
pub const HOT: [&str; 2] = [RULE_EXISTS, LAST_RULE_SELECT];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_rule_is_in_the_condition_of_the_indexes() {
        let codes: Vec<_> = (0..=u8::MAX)
            .filter_map(LogKind::from_code)
            .filter(|kind| kind.is_rule())
            .map(|kind| kind.code().to_string())
            .collect();
        let condition = format!("kind IN ({})", codes.join(", "));
        assert!(HOT.iter().all(|statement| statement.contains(&condition)), "{condition}");
    }
}
