//! Whether a failover can lose what was acknowledged, from what the server says of itself. It is asked over a link like
//! those that write: `synchronous_commit` may differ from role to role and from database to database.

use std::time::Duration;

use async_trait::async_trait;
use grantry_store::{Replication, ReplicationMode, ReplicationState, Result as StoreResult, Standby};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::columns::get;
use crate::errors::Result;
use crate::link::Link;
use crate::statement::Statement;
use crate::store::reading;

#[async_trait]
impl Replication for PostgresStore {
    async fn replication_state(&self) -> StoreResult<Option<ReplicationState>> {
        reading!(self, |link| {
            let settings = durability_select(link).await?;
            Ok(Some(judge(&settings, standbys_select(link).await?)))
        })
    }
}

/// What decides which commits survive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Durability {
    synchronous_standby_names: String,
    synchronous_commit: String,
    fsync: bool,
    full_page_writes: bool,
    /// Of the session.
    role: String,
}

pub const DURABILITY_SELECT: Statement = Statement {
    name: "durability_select",
    sql: "SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
                 current_setting('fsync')::boolean, current_setting('full_page_writes')::boolean, current_user::text",
    types: &[],
};

async fn durability_select(link: &Link) -> Result<Durability> {
    let row = link.query_one(&DURABILITY_SELECT, &[]).await?;
    Ok(Durability {
        synchronous_standby_names: get(&row, 0)?,
        synchronous_commit: get(&row, 1)?,
        fsync: get(&row, 2)?,
        full_page_writes: get(&row, 3)?,
        role: get(&row, 4)?,
    })
}

/// Neither base backups nor subscribers of single tables stand in for the primary.
pub const STANDBYS_SELECT: Statement = Statement {
    name: "standbys_select",
    sql: "SELECT application_name, state, sync_state IN ('sync', 'quorum'),
                 (extract(epoch FROM replay_lag) * 1000000)::bigint
          FROM pg_stat_replication r
          WHERE state IS DISTINCT FROM 'backup' AND NOT EXISTS (
              SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
          ORDER BY application_name, pid",
    types: &[],
};

async fn standbys_select(link: &Link) -> Result<Vec<Standby>> {
    link.query(&STANDBYS_SELECT, &[]).await?.iter().map(standby).collect()
}

/// A role that is no member of `pg_monitor` sees that there are some, and nothing of them.
fn standby(row: &Row) -> Result<Standby> {
    let micros: Option<i64> = get(row, 3)?;
    Ok(Standby {
        name: get(row, 0)?,
        state: get(row, 1)?,
        is_synchronous: get(row, 2)?,
        replay_lag: micros.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros),
    })
}

fn judge(settings: &Durability, standbys: Vec<Standby>) -> ReplicationState {
    let required = required(&settings.synchronous_standby_names);
    let waits = !matches!(settings.synchronous_commit.as_str(), "off" | "local");
    let mode = match required {
        1.. if waits => ReplicationMode::Synchronous { required },
        _ if required == 0 && standbys.is_empty() => ReplicationMode::Single,
        _ => ReplicationMode::Asynchronous,
    };
    let mut state = ReplicationState { mode, standbys, warnings: Vec::new() };
    state.warnings = [of_mode(&state, settings), of_crashes(settings)].concat();
    state
}

/// What is wrong between the primary and its standbys.
fn of_mode(state: &ReplicationState, settings: &Durability) -> Vec<String> {
    let commit = &settings.synchronous_commit;
    let lost = "a failover loses the last commits: tokens that were answered become unknown, and revocations that were \
                acknowledged are undone unless a node had applied them";
    let is_hidden = state.standbys.iter().any(|standby| standby.is_synchronous.is_none());
    let mut warnings = Vec::new();
    match state.mode {
        ReplicationMode::Single => {}
        ReplicationMode::Asynchronous if settings.synchronous_standby_names.trim().is_empty() => {
            warnings.push(format!(
                "PostgreSQL replicates asynchronously: {lost}; name the standbys in synchronous_standby_names"
            ));
        }
        ReplicationMode::Asynchronous => warnings.push(format!(
            "synchronous_commit is {commit} in PostgreSQL, so no commit waits for the standbys of \
             synchronous_standby_names: {lost}; set it to on for the role {}",
            settings.role
        )),
        ReplicationMode::Synchronous { required } => match state.synchronous() {
            Some(connected) if connected < required => warnings.push(format!(
                "synchronous_standby_names asks for {required} of PostgreSQL's standbys and {connected} of them \
                 {} connected: every commit waits, and what has to be written is answered 503 meanwhile",
                if connected == 1 { "is" } else { "are" }
            )),
            _ => {}
        },
    }
    if is_hidden {
        warnings.push(format!(
            "the role {0} may not see how PostgreSQL's standbys are doing: GRANT pg_monitor TO {0}",
            settings.role
        ));
    }
    warnings
}

/// What a crash of the server alone can take.
fn of_crashes(settings: &Durability) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.synchronous_commit == "off" {
        warnings.push(
            "synchronous_commit is off in PostgreSQL: a crash of it, without any failover, loses the last commits, \
             acknowledged revocations included; set it to on"
                .to_owned(),
        );
    }
    for (name, is_on) in [("fsync", settings.fsync), ("full_page_writes", settings.full_page_writes)] {
        if !is_on {
            warnings.push(format!(
                "{name} is off in PostgreSQL: a crash of its machine can lose or damage all of the store; set it to on"
            ));
        }
    }
    warnings
}

/// How many standbys a commit waits for: `ANY 2 (a, b, c)`, `FIRST 2 (a, b)`, `2 (a, b)`, or a list, which asks for one.
fn required(names: &str) -> u32 {
    let names = names.trim();
    if names.is_empty() {
        return 0;
    }
    let Some((number, _)) = names.split_once('(') else { return 1 };
    let number = number.split_whitespace().next_back().unwrap_or_default();
    number.parse().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(names: &str, commit: &str) -> Durability {
        Durability {
            synchronous_standby_names: names.into(),
            synchronous_commit: commit.into(),
            fsync: true,
            full_page_writes: true,
            role: "grantry".into(),
        }
    }

    fn standby(is_synchronous: Option<bool>) -> Standby {
        Standby { name: None, state: None, is_synchronous, replay_lag: None }
    }

    #[test]
    fn how_many_standbys_are_asked_for_is_read_from_every_form_of_the_setting() {
        for (names, expected) in [
            ("", 0),
            ("  ", 0),
            ("*", 1),
            ("a", 1),
            ("a, b", 1),
            ("\"first\"", 1),
            ("2 (a, b, c)", 2),
            ("FIRST 2 (a, b, c)", 2),
            ("first 3(a, b, c)", 3),
            ("ANY 2 (a, b, c)", 2),
            ("any 1 (*)", 1),
        ] {
            assert_eq!(required(names), expected, "{names}");
        }
    }

    /// `synchronous_standby_names`, `synchronous_commit`, who is connected; what that is, and a part of each warning.
    type Case = (&'static str, &'static str, Vec<Standby>, ReplicationMode, &'static [&'static str]);

    #[test]
    fn each_set_up_is_told_from_the_others_and_what_it_can_lose_is_said() {
        use ReplicationMode::{Asynchronous, Single, Synchronous};
        let (sync, behind, hidden) = (standby(Some(true)), standby(Some(false)), standby(None));
        let table: [Case; 12] = [
            ("", "on", vec![], Single, &[]),
            ("", "off", vec![], Single, &["without any failover"]),
            ("", "local", vec![], Single, &[]),
            ("", "on", vec![behind.clone()], Asynchronous, &["replicates asynchronously"]),
            (
                "",
                "on",
                vec![hidden.clone()],
                Asynchronous,
                &["replicates asynchronously", "GRANT pg_monitor"],
            ),
            ("*", "on", vec![sync.clone()], Synchronous { required: 1 }, &[]),
            ("*", "remote_apply", vec![sync.clone(), behind.clone()], Synchronous { required: 1 }, &[]),
            ("*", "on", vec![], Synchronous { required: 1 }, &["and 0 of them are connected"]),
            ("ANY 2 (*)", "on", vec![sync.clone()], Synchronous { required: 2 }, &["1 of them is connected"]),
            ("*", "on", vec![hidden], Synchronous { required: 1 }, &["GRANT pg_monitor TO grantry"]),
            ("*", "local", vec![sync.clone()], Asynchronous, &["synchronous_commit is local"]),
            ("*", "off", vec![sync], Asynchronous, &["synchronous_commit is off", "without any failover"]),
        ];
        for (names, commit, standbys, mode, said) in table {
            let state = judge(&settings(names, commit), standbys);
            let case = format!("{names} {commit}: {:?}", state.warnings);
            assert_eq!(state.mode, mode, "{case}");
            assert_eq!(state.warnings.len(), said.len(), "{case}");
            assert!(state.warnings.iter().zip(said).all(|(warning, said)| warning.contains(said)), "{case}");
        }
    }

    #[test]
    fn settings_that_a_crash_of_the_machine_turns_into_loss_are_named() {
        let careless = Durability { fsync: false, full_page_writes: false, ..settings("", "on") };
        let warnings = judge(&careless, Vec::new()).warnings;
        assert!(
            warnings[0].starts_with("fsync is off") && warnings[1].starts_with("full_page_writes is off")
        );
    }
}
