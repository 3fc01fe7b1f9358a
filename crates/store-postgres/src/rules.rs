//! Entries of the revocation log that end many things at once. Of each name the last one has a row of its own.

use std::collections::{HashMap, HashSet};

use grantry_protocol::{LogKind, Rule, RuleKeys, Seen};
use tokio_postgres::types::Type;

use crate::columns::{get, log_kind, saturating, seen};
use crate::errors::Result;
use crate::link::Link;
use crate::statement::Statement;

/// Whether a rule ends the row of the alias `$row`, a token or a grant with the id in `$grant`: a column of a select
/// over `log_head h`. What has seen the last rule is ended by none, and most have. Each look-up names the row's own
/// `seen`, which keeps the planner from reading all rules of a kind beforehand.
macro_rules! ended_by_rule {
    ($row:literal, $grant:literal) => {
        concat!(
            "coalesce((h.last_rule_epoch, h.last_rule_position) > (",
            $row,
            ".seen_epoch, ",
            $row,
            ".seen_position), false) AND (",
            crate::rules::rule_exists!("2", $row, $row, ".slot"),
            " OR ",
            crate::rules::rule_exists!("3", $row, "convert_to(", $row, ".client_id, 'UTF8')"),
            " OR ",
            crate::rules::rule_exists!("4", $row, "convert_to(", $row, ".subject, 'UTF8')"),
            " OR ",
            crate::rules::rule_exists!("5", $row, "''::bytea"),
            " OR ",
            crate::rules::rule_exists!("7", $row, "uuid_send(", $row, $grant, ")"),
            " OR ",
            crate::rules::rule_exists!("8", $row, "uuid_send(", $row, ".session_id)"),
            ")"
        )
    };
}

macro_rules! rule_exists {
    ($kind:literal, $row:literal, $($key:literal),+) => {
        concat!(
            "EXISTS (SELECT FROM rules r WHERE r.kind = ", $kind, " AND r.key = ", $($key),+,
            " AND (r.epoch, r.position) > (", $row, ".seen_epoch, ", $row, ".seen_position))"
        )
    };
}

pub(crate) use {ended_by_rule, rule_exists};

/// The last rule of each name that there is one of.
pub type Rules = HashMap<(LogKind, Vec<u8>), Seen>;

pub fn is_ended(rules: &Rules, keys: &RuleKeys<'_>) -> bool {
    !rules.is_empty()
        && keys.iter().any(|(kind, key)| rules.get(&(kind, key.to_vec())).is_some_and(|at| *at > keys.seen))
}

/// Nothing is looked for where all have seen the last rule.
pub const RULES_SELECT: Statement = Statement {
    name: "rules_select",
    sql: "SELECT r.kind, r.key, r.epoch, r.position
          FROM log_head h
          CROSS JOIN unnest($1::smallint[], $2::bytea[]) AS w(kind, key)
          CROSS JOIN LATERAL (SELECT * FROM rules r WHERE r.kind = w.kind AND r.key = w.key LIMIT 1) r
          WHERE (h.last_rule_epoch, h.last_rule_position) > ($3::bigint, $4::bigint)",
    types: &[Type::INT2_ARRAY, Type::BYTEA_ARRAY, Type::INT8, Type::INT8],
};

/// The rules that may end any of these.
pub async fn rules_select(link: &Link, of: &[RuleKeys<'_>]) -> Result<Rules> {
    let Some(least_seen) = of.iter().map(|keys| keys.seen).min() else { return Ok(Rules::new()) };
    let names: HashSet<(i16, &[u8])> =
        of.iter().flat_map(RuleKeys::iter).map(|(kind, key)| (kind.code().into(), key)).collect();
    let (kinds, keys): (Vec<i16>, Vec<&[u8]>) = names.into_iter().unzip();
    let (epoch, position) = (saturating(least_seen.epoch.0), saturating(least_seen.position.0));
    let rows = link.query(&RULES_SELECT, &[&kinds, &keys, &epoch, &position]).await?;
    rows.iter().map(|row| Ok(((log_kind(row, 0)?, get(row, 1)?), seen(row, 2)?))).collect()
}

/// Whether there is one of this very name.
pub async fn rules_contain(link: &Link, rule: &Rule) -> Result<bool> {
    let names: (&[i16], &[&[u8]]) = (&[rule.kind().code().into()], &[rule.key()]);
    Ok(!link.query(&RULES_SELECT, &[&names.0, &names.1, &0i64, &0i64]).await?.is_empty())
}

/// Those that may be forgotten and were made before anything that is stored. The end of a single grant stands in the
/// grant's own row, so that no grant keeps it.
pub const RULES_SWEEP: Statement = Statement {
    name: "rules_sweep",
    sql: "DELETE FROM rules WHERE (kind, key) IN (
              SELECT kind, key FROM rules
              WHERE keep_until <= $1 AND logged_at < $2 AND (kind = 7 OR logged_at < $3)
              ORDER BY keep_until LIMIT $4 FOR UPDATE SKIP LOCKED)",
    types: &[Type::INT8, Type::INT8, Type::INT8, Type::INT8],
};
