use async_trait::async_trait;
use grantry_protocol::{
    Epoch, Grant, GrantId, Position, Seen, SessionId, SlotKey, StatusIndex, Subject, Timestamp, TokenId,
};
use grantry_store::{GrantRotation, Grants, Result, StoredGrant, judge_unstored_grant};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::columns::{
    Coded, checked, from_json, id_below, optional_timestamp, saturating, timestamp, to_json,
};
use crate::readers::Snapshot;
use crate::rows::{Rows, judge_grant};

#[async_trait]
impl Grants for SqliteStore {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        self.readers.run(move |snapshot| judged(snapshot, grant_select(snapshot, id)?)).await
    }

    async fn grant_judge_unstored(&self, grant: Grant) -> Result<StoredGrant> {
        self.readers.run(move |snapshot| judge_unstored_grant(&mut Rows(snapshot), &grant)).await
    }

    async fn grant_find_by_slot(&self, slot: SlotKey) -> Result<Option<StoredGrant>> {
        self.readers.run(move |snapshot| judged(snapshot, slots_grant_select(snapshot, slot)?)).await
    }

    async fn grant_list(
        &self,
        subject: &Subject,
        before: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<StoredGrant>> {
        let subject = subject.clone();
        self.readers
            .run(move |snapshot| {
                let grants = grants_select(snapshot, &subject, before, saturating(limit))?;
                grants.into_iter().map(|stored| judge_grant(snapshot, stored)).collect()
            })
            .await
    }

    async fn grant_count(&self) -> Result<u64> {
        self.readers.run(|snapshot| grants_count(snapshot)).await
    }

    async fn grant_last_expiry(&self) -> Result<Option<Timestamp>> {
        self.readers.run(|snapshot| last_expiry_select(snapshot)).await
    }
}

fn judged(snapshot: &Snapshot<'_>, stored: Option<StoredGrant>) -> rusqlite::Result<Option<StoredGrant>> {
    stored.map(|stored| judge_grant(snapshot, stored)).transpose()
}

macro_rules! select_stored {
    ($where:literal) => {
        concat!(
            "SELECT id, slot, client_id, subject, subject_kind, scope, audience, session_id, seen_epoch,
                    seen_position, created_at, expires_at, idle_expires_at, counter, rotated_at, access_token,
                    ended_at, status_index
             FROM grants ",
            $where
        )
    };
}

const GRANT_SELECT: &str = select_stored!("WHERE id = ?1");

pub fn grant_select(connection: &Connection, id: GrantId) -> rusqlite::Result<Option<StoredGrant>> {
    connection.prepare_cached(GRANT_SELECT)?.query_row([id.as_bytes()], stored_grant).optional()
}

const SLOTS_GRANT_SELECT: &str = select_stored!("WHERE slot = ?1 AND is_last_of_slot = 1");

pub fn slots_grant_select(connection: &Connection, slot: SlotKey) -> rusqlite::Result<Option<StoredGrant>> {
    connection.prepare_cached(SLOTS_GRANT_SELECT)?.query_row([slot.as_bytes()], stored_grant).optional()
}

const GRANTS_SELECT: &str = select_stored!("WHERE subject = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");

fn grants_select(
    connection: &Connection,
    subject: &Subject,
    before: Option<GrantId>,
    limit: i64,
) -> rusqlite::Result<Vec<StoredGrant>> {
    let before = id_below(before.as_ref().map(GrantId::as_bytes));
    let mut statement = connection.prepare_cached(GRANTS_SELECT)?;
    statement.query_map(params![subject.as_str(), before, limit], stored_grant)?.collect()
}

/// All but what the rules say.
fn stored_grant(row: &Row<'_>) -> rusqlite::Result<StoredGrant> {
    let grant = Grant {
        id: GrantId::from_bytes(row.get(0)?),
        slot: row.get::<_, Option<_>>(1)?.map(SlotKey::from_bytes),
        client_id: checked(row, 2)?,
        subject: checked(row, 3)?,
        subject_kind: Coded::of_column(row, 4)?,
        scope: checked(row, 5)?,
        audience: from_json(row, 6)?,
        session: row.get::<_, Option<_>>(7)?.map(SessionId::from_bytes),
        seen: Seen { epoch: Epoch(row.get(8)?), position: Position(row.get(9)?) },
        created_at: timestamp(row, 10)?,
        expires_at: timestamp(row, 11)?,
        idle_expires_at: timestamp(row, 12)?,
        counter: row.get(13)?,
        rotated_at: timestamp(row, 14)?,
        access_token: TokenId::from_bytes(row.get(15)?),
        status_index: row.get::<_, Option<_>>(17)?.map(StatusIndex),
    };
    Ok(StoredGrant { grant, ended_at: optional_timestamp(row, 16)?, ended_by_rule: false })
}

const SLOTS_GRANT_DISPLACE: &str =
    "UPDATE grants SET is_last_of_slot = 0 WHERE slot = ?1 AND is_last_of_slot = 1";

pub fn slots_grant_displace(connection: &Connection, slot: SlotKey) -> rusqlite::Result<()> {
    connection.prepare_cached(SLOTS_GRANT_DISPLACE)?.execute([slot.as_bytes()])?;
    Ok(())
}

const GRANT_INSERT: &str = "
    INSERT INTO grants (id, slot, is_last_of_slot, client_id, subject, subject_kind, scope, audience, session_id,
                        seen_epoch, seen_position, created_at, expires_at, idle_expires_at, counter, rotated_at,
                        access_token, status_index)
    VALUES (?1, ?2, ?2 IS NOT NULL, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

pub fn grant_insert(connection: &Connection, grant: &Grant) -> rusqlite::Result<()> {
    connection.prepare_cached(GRANT_INSERT)?.execute(params![
        grant.id.as_bytes(),
        grant.slot.as_ref().map(SlotKey::as_bytes),
        grant.client_id.as_str(),
        grant.subject.as_str(),
        grant.subject_kind.code(),
        grant.scope.as_str(),
        to_json(&grant.audience)?,
        grant.session.as_ref().map(SessionId::as_bytes),
        grant.seen.epoch.0,
        grant.seen.position.0,
        grant.created_at.as_millis(),
        grant.expires_at.as_millis(),
        grant.idle_expires_at.as_millis(),
        grant.counter,
        grant.rotated_at.as_millis(),
        grant.access_token.as_bytes(),
        grant.status_index.map(|index| saturating(index.0)),
    ])?;
    Ok(())
}

/// Nobody spends a refresh token twice, whatever was read before.
const GRANT_ROTATE: &str = "
    UPDATE grants SET counter = ?3, rotated_at = ?4, idle_expires_at = ?5, access_token = ?6
    WHERE id = ?1 AND counter = ?2 AND ended_at IS NULL AND expires_at > ?7 AND idle_expires_at > ?7";

pub fn grant_rotate(
    connection: &Connection,
    id: GrantId,
    from: u32,
    to: &GrantRotation,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let row = params![
        id.as_bytes(),
        from,
        to.counter,
        to.rotated_at.as_millis(),
        to.idle_expires_at.as_millis(),
        to.access_token.as_bytes(),
        now.as_millis(),
    ];
    changed_one(connection.prepare_cached(GRANT_ROTATE)?.execute(row)?)
}

const GRANT_END: &str = "UPDATE grants SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL";

pub fn grant_end(connection: &Connection, id: GrantId, now: Timestamp) -> rusqlite::Result<()> {
    changed_one(connection.prepare_cached(GRANT_END)?.execute(params![id.as_bytes(), now.as_millis()])?)
}

/// It was decided under the same lock, so the row is as it was read.
fn changed_one(changed: usize) -> rusqlite::Result<()> {
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
}

const GRANTS_COUNT: &str = "SELECT count(*) FROM grants";

fn grants_count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached(GRANTS_COUNT)?.query_row([], |row| row.get(0))
}

const LAST_EXPIRY_SELECT: &str = "SELECT max(expires_at) FROM grants";

fn last_expiry_select(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection.prepare_cached(LAST_EXPIRY_SELECT)?.query_row([], |row| optional_timestamp(row, 0))
}

#[cfg(test)]
pub const HOT: [&str; 7] = [
    GRANT_SELECT,
    SLOTS_GRANT_SELECT,
    GRANTS_SELECT,
    SLOTS_GRANT_DISPLACE,
    GRANT_INSERT,
    GRANT_ROTATE,
    GRANT_END,
];
