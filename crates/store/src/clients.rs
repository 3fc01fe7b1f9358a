use async_trait::async_trait;
use grantry_protocol::{Client, ClientId, LogKind, Timestamp};

use crate::{AuditEntry, Observed, Result};

/// The entry in the revocation log that goes with a change of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// `Client` ends every token of it so far; `ClientChanged` ends nothing.
    pub kind: LogKind,
    pub keep_until: Timestamp,
}

/// The next version of a client. Applied only where the stored version is the one before.
#[derive(Debug, Clone)]
pub struct ClientChange {
    pub client: Client,
    pub announcement: Announcement,
    pub audit: AuditEntry,
}

#[derive(Debug, Clone)]
pub struct ClientDeletion {
    pub id: ClientId,
    /// Until when the rule that ends its tokens has to be remembered.
    pub keep_until: Timestamp,
    pub audit: AuditEntry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientOutcome {
    Done,
    /// Insert: the id is taken. Nothing was written.
    AlreadyExists,
    NotFound,
    /// Somebody else changed the client since it was read. Nothing was written.
    VersionConflict,
    /// Nobody could reach the admin API afterwards. Nothing was written.
    LastAdministrator,
    /// Insert of a first administrator: there is one. Nothing was written.
    AdministratorExists,
}

#[async_trait]
pub trait Clients: Send + Sync {
    async fn client_find(&self, id: &ClientId) -> Result<Observed<Option<Client>>>;

    /// At most `limit` clients with an id above `after`, in the order of their ids.
    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>>;

    /// Whether an enabled client has registered the origin among its `allowed_cors_origins`.
    async fn client_origin_exists(&self, origin: &str) -> Result<bool>;

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> Result<ClientOutcome>;

    /// The same, only while no client is an administrator: of nodes that start at once on an empty store one gets its own.
    async fn client_insert_first_administrator(
        &self,
        client: Client,
        audit: AuditEntry,
    ) -> Result<ClientOutcome>;

    async fn client_update(&self, change: ClientChange) -> Result<ClientOutcome>;

    /// Removes the client and, by a rule in the log, ends every token that it has had so far.
    async fn client_delete(&self, deletion: ClientDeletion) -> Result<ClientOutcome>;
}
