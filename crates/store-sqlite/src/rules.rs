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

/// The same of the row of the alias `$row`, a token or a grant with the id in its column `$grant`, within a statement.
/// `$last` is the last rule there is: most rows have seen it.
macro_rules! ended_by_rule {
    ($row:literal, $grant:literal, $last:literal) => {
        concat!(
            $last,
            " > (",
            $row,
            ".seen_epoch, ",
            $row,
            ".seen_position) AND (",
            crate::rules::rule_about!("2", $row, $row, ".slot"),
            " OR ",
            crate::rules::rule_about!("3", $row, "CAST(", $row, ".client_id AS BLOB)"),
            " OR ",
            crate::rules::rule_about!("4", $row, "CAST(", $row, ".subject AS BLOB)"),
            " OR ",
            crate::rules::rule_about!("5", $row, "x''"),
            " OR ",
            crate::rules::rule_about!("7", $row, $row, ".", $grant),
            " OR ",
            crate::rules::rule_about!("8", $row, $row, ".session_id"),
            ")"
        )
    };
}

macro_rules! rule_about {
    ($kind:literal, $row:literal, $($key:literal),+) => {
        concat!(
            "EXISTS (SELECT 1 FROM revocation_log r
                     WHERE r.kind IN (2, 3, 4, 5, 7, 8) AND r.kind = ", $kind, " AND r.key = ", $($key),+,
            " AND (r.epoch, r.position) > (", $row, ".seen_epoch, ", $row, ".seen_position))"
        )
    };
}

pub(crate) use {ended_by_rule, rule_about};

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
pub fn rule_exists(connection: &Connection, kind: LogKind, key: &[u8], seen: Seen) -> rusqlite::Result<bool> {
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
