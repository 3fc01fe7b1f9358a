use async_trait::async_trait;
use grantry_protocol::{
    Epoch, Grant, GrantId, GrantState, LogKind, Position, Seen, SessionId, SlotKey, Subject, Timestamp,
    TokenId,
};
use grantry_store::{
    AuditEntry, Grants, OpenDecision, Opening, Result, RevokeOutcome, Rotation, RotationDecision,
    RotationOutcome, StoredGrant, StoredToken, WriteOutcome, decide_open, decide_rotation,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::audit::audit_insert;
use crate::columns::{
    Coded, checked, from_json, id_below, optional_timestamp, saturating, timestamp, to_json,
};
use crate::rules::{is_ended_by_rule, last_rule_select};
use crate::tokens::{displace_and_insert, token_exists, token_find};
use crate::writer::WriteTx;

#[async_trait]
impl Grants for SqliteStore {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        self.readers
            .run(move |snapshot| judged(snapshot, grant_select(snapshot, id)?, snapshot.last_rule()?))
            .await
    }

    async fn grant_find_by_slot(&self, slot: SlotKey) -> Result<Option<StoredGrant>> {
        self.readers
            .run(move |snapshot| judged(snapshot, slots_grant_select(snapshot, slot)?, snapshot.last_rule()?))
            .await
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
                let last_rule = snapshot.last_rule()?;
                let mut grants = grants_select(snapshot, &subject, before, saturating(limit))?;
                for stored in &mut grants {
                    judge(snapshot, stored, last_rule)?;
                }
                Ok(grants)
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

pub fn open(tx: &mut WriteTx<'_>, opening: &Opening) -> rusqlite::Result<WriteOutcome> {
    let grant = &opening.grant;
    let already_written = grant_exists(tx, grant.id)?;
    let holder = match grant.slot {
        Some(slot) => judged(tx, slots_grant_select(tx, slot)?, last_rule_select(tx)?)?,
        None => None,
    };
    match (decide_open(opening, already_written, holder.as_ref(), tx.now), holder) {
        (OpenDecision::AlreadyWritten, _) => return Ok(WriteOutcome::Opened),
        (OpenDecision::Yield, Some(holder)) => return Ok(WriteOutcome::GrantHeld(Box::new(holder))),
        (OpenDecision::Yield | OpenDecision::Open, _) => {}
    }
    if let Some(slot) = grant.slot {
        slots_grant_displace(tx, slot)?;
    }
    grant_insert(tx, grant)?;
    displace_and_insert(tx, &opening.token, opening.policy)?;
    Ok(WriteOutcome::Opened)
}

pub fn rotate(tx: &mut WriteTx<'_>, rotation: &Rotation) -> rusqlite::Result<RotationOutcome> {
    let Some(stored) = grant_find(tx, rotation.grant)? else { return Ok(RotationOutcome::Unknown) };
    let grant = &stored.grant;
    let mut counter = grant.counter;
    // An earlier attempt may have been committed and its answer lost.
    let is_written = token_exists(tx, rotation.token.id)?;
    match decide_rotation(rotation, &stored, tx.now) {
        RotationDecision::Over => return Ok(RotationOutcome::Over),
        RotationDecision::Ahead => return Ok(RotationOutcome::Ahead),
        RotationDecision::TooSlow => return Ok(RotationOutcome::TooSlow),
        RotationDecision::Reuse => {
            end(tx, rotation.grant, rotation.keep_until)?;
            audit_insert(tx, &rotation.reuse_audit)?;
            return Ok(RotationOutcome::Reused);
        }
        RotationDecision::Repeat => {
            if let Some(token) = given_before(tx, rotation, grant.access_token)? {
                return Ok(RotationOutcome::Repeated { counter, token: Box::new(token) });
            }
        }
        RotationDecision::Keep if is_written => {}
        RotationDecision::Keep => {
            grant_rotate(tx, rotation, counter, &Moved { counter, rotated_at: grant.rotated_at })?;
        }
        RotationDecision::Rotate { from } => {
            counter = from + 1;
            grant_rotate(tx, rotation, from, &Moved { counter, rotated_at: tx.now })?;
        }
    }
    if !is_written {
        displace_and_insert(tx, &rotation.token, rotation.policy)?;
    }
    Ok(RotationOutcome::Refreshed { counter })
}

/// What the same refresh gave before, if it is still good and what is asked for now, too.
fn given_before(
    tx: &WriteTx<'_>,
    rotation: &Rotation,
    access_token: TokenId,
) -> rusqlite::Result<Option<StoredToken>> {
    let given = token_find(tx, access_token)?;
    Ok(given.filter(|given| given.state(tx.now).is_honoured() && given.token.slot == rotation.token.slot))
}

pub fn revoke(
    tx: &mut WriteTx<'_>,
    id: GrantId,
    keep_until: Timestamp,
    audit: Option<&AuditEntry>,
) -> rusqlite::Result<RevokeOutcome> {
    match grant_find(tx, id)? {
        None => Ok(RevokeOutcome::Unknown),
        Some(stored) if stored.state(tx.now) == GrantState::Revoked => Ok(RevokeOutcome::AlreadyOver),
        Some(_) => {
            audit.map_or(Ok(()), |audit| audit_insert(tx, audit))?;
            end(tx, id, keep_until).map(RevokeOutcome::Revoked)
        }
    }
}

/// The rule in the log ends the tokens.
fn end(tx: &mut WriteTx<'_>, id: GrantId, keep_until: Timestamp) -> rusqlite::Result<Position> {
    grant_end(tx, id, tx.now)?;
    tx.announce(LogKind::Grant, id.as_bytes(), keep_until)
}

fn grant_find(tx: &WriteTx<'_>, id: GrantId) -> rusqlite::Result<Option<StoredGrant>> {
    judged(tx, grant_select(tx, id)?, last_rule_select(tx)?)
}

fn judged(
    connection: &Connection,
    mut stored: Option<StoredGrant>,
    last_rule: Option<Seen>,
) -> rusqlite::Result<Option<StoredGrant>> {
    if let Some(stored) = &mut stored {
        judge(connection, stored, last_rule)?;
    }
    Ok(stored)
}

/// Adds what the rules say.
fn judge(connection: &Connection, stored: &mut StoredGrant, last_rule: Option<Seen>) -> rusqlite::Result<()> {
    stored.ended_by_rule = is_ended_by_rule(connection, &(&stored.grant).into(), last_rule)?;
    Ok(())
}

macro_rules! select_stored {
    ($where:literal) => {
        concat!(
            "SELECT id, slot, client_id, subject, subject_kind, scope, audience, session_id, seen_epoch,
                    seen_position, created_at, expires_at, idle_expires_at, counter, rotated_at, access_token,
                    ended_at
             FROM grants ",
            $where
        )
    };
}

const GRANT_SELECT: &str = select_stored!("WHERE id = ?1");

fn grant_select(connection: &Connection, id: GrantId) -> rusqlite::Result<Option<StoredGrant>> {
    connection.prepare_cached(GRANT_SELECT)?.query_row([id.as_bytes()], stored_grant).optional()
}

const SLOTS_GRANT_SELECT: &str = select_stored!("WHERE slot = ?1 AND is_last_of_slot = 1");

fn slots_grant_select(connection: &Connection, slot: SlotKey) -> rusqlite::Result<Option<StoredGrant>> {
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
    };
    Ok(StoredGrant { grant, ended_at: optional_timestamp(row, 16)?, ended_by_rule: false })
}

const GRANT_EXISTS: &str = "SELECT 1 FROM grants WHERE id = ?1";

fn grant_exists(connection: &Connection, id: GrantId) -> rusqlite::Result<bool> {
    connection.prepare_cached(GRANT_EXISTS)?.exists([id.as_bytes()])
}

const SLOTS_GRANT_DISPLACE: &str =
    "UPDATE grants SET is_last_of_slot = 0 WHERE slot = ?1 AND is_last_of_slot = 1";

fn slots_grant_displace(connection: &Connection, slot: SlotKey) -> rusqlite::Result<()> {
    connection.prepare_cached(SLOTS_GRANT_DISPLACE)?.execute([slot.as_bytes()])?;
    Ok(())
}

const GRANT_INSERT: &str = "
    INSERT INTO grants (id, slot, is_last_of_slot, client_id, subject, subject_kind, scope, audience, session_id,
                        seen_epoch, seen_position, created_at, expires_at, idle_expires_at, counter, rotated_at,
                        access_token)
    VALUES (?1, ?2, ?2 IS NOT NULL, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

fn grant_insert(connection: &Connection, grant: &Grant) -> rusqlite::Result<()> {
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
    ])?;
    Ok(())
}

struct Moved {
    counter: u32,
    rotated_at: Timestamp,
}

/// Nobody spends a refresh token twice, whatever was read before.
const GRANT_ROTATE: &str = "
    UPDATE grants SET counter = ?3, rotated_at = ?4, idle_expires_at = ?5, access_token = ?6
    WHERE id = ?1 AND counter = ?2 AND ended_at IS NULL AND expires_at > ?7 AND idle_expires_at > ?7";

fn grant_rotate(tx: &WriteTx<'_>, rotation: &Rotation, from: u32, to: &Moved) -> rusqlite::Result<()> {
    let row = params![
        rotation.grant.as_bytes(),
        from,
        to.counter,
        to.rotated_at.as_millis(),
        (tx.now + rotation.idle).as_millis(),
        rotation.token.id.as_bytes(),
        tx.now.as_millis(),
    ];
    changed_one(tx.prepare_cached(GRANT_ROTATE)?.execute(row)?)
}

const GRANT_END: &str = "UPDATE grants SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL";

fn grant_end(connection: &Connection, id: GrantId, now: Timestamp) -> rusqlite::Result<()> {
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
pub const HOT: [&str; 8] = [
    GRANT_SELECT,
    SLOTS_GRANT_SELECT,
    GRANTS_SELECT,
    GRANT_EXISTS,
    SLOTS_GRANT_DISPLACE,
    GRANT_INSERT,
    GRANT_ROTATE,
    GRANT_END,
];
