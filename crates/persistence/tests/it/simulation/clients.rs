//! The clients, and what their requests do at a node: what the layer above does with the persister, and no more.

use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::{Opened, Persisted, Persistence, PersistenceError};
use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Authority, Clock, Grant, GrantId, Lifetime,
    PersistenceMode, Rule, ScopeSet, Seen, Slot, TimeOrderedIds,
};
use grantry_store::{
    AuditEntry, Clients, Grants, Issue, Opening, Revocations, RevokeOutcome, Rotation, RotationOutcome,
    RuleAppend, StoredToken, Unwritten,
};

use super::clock::SkewedClock;
use super::model::{Model, Origin};
use super::network::Link;
use super::random::Random;

pub const MIN_LIFE: Duration = Duration::from_secs(10);
pub const GRACE: Duration = Duration::from_secs(30);
const GRANT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
const RETENTION: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, PartialEq, Eq)]
pub struct ClientKind {
    pub name: &'static str,
    pub mode: PersistenceMode,
    pub policy: ActiveTokenPolicy,
    /// Seconds.
    pub lifetime: u64,
    /// Its tokens come from a grant, which is found by the slot and refreshed.
    pub has_grant: bool,
}

const fn client(
    name: &'static str,
    mode: PersistenceMode,
    policy: ActiveTokenPolicy,
    lifetime: u64,
    has_grant: bool,
) -> ClientKind {
    ClientKind { name, mode, policy, lifetime, has_grant }
}

pub const CLIENTS: [ClientKind; 8] = {
    use ActiveTokenPolicy::{Multiple, Replace, Reuse};
    use PersistenceMode::{Async, Sync};
    [
        client("sync", Sync, Reuse, 60, false),
        client("short", Async, Reuse, 30, false),
        client("long", Async, Reuse, 7200, false),
        client("longer", Async, Reuse, 20_000, false),
        client("replacing", Async, Replace, 600, false),
        client("multiple", Async, Multiple, 600, false),
        client("bearer", Async, Reuse, 600, true),
        client("replacing bearer", Sync, Replace, 600, true),
    ]
};

impl ClientKind {
    pub fn slot(&self) -> Slot {
        let scope = ScopeSet::parse("read").unwrap();
        let (client, format) = (self.name.parse().unwrap(), AccessTokenFormat::Opaque);
        if self.has_grant {
            Slot::of_user(client, "somebody".parse().unwrap(), scope, Audience::default(), format)
        } else {
            Slot::of_client(client, scope, Audience::default(), format)
        }
    }

    pub fn of(token: &AccessToken) -> &'static Self {
        CLIENTS.iter().find(|client| client.name == token.client_id.as_str()).unwrap()
    }
}

/// One run of a node, as its requests see it.
#[derive(Clone)]
pub struct Process {
    pub node: usize,
    pub run: u32,
    pub store: Arc<Link>,
    pub persistence: Arc<Persistence>,
    pub clock: Arc<SkewedClock>,
    pub ids: Arc<TimeOrderedIds>,
    pub random: Arc<Random>,
    pub model: Arc<Model>,
}

type Done = Result<(), PersistenceError>;

impl Process {
    /// Client credentials, or a pair of a grant that is found by its slot.
    pub async fn issue(&self, client: &'static ClientKind) -> Done {
        let id = client.name.parse().unwrap();
        let seen = self.store.client_find(&id).await?.seen;
        if !client.has_grant {
            let token = self.obtain(client, seen.into()).await?;
            return self.give(&token);
        }
        let slot = client.slot().key();
        let grant = self.store.grant_find_by_slot(slot).await?;
        match grant.filter(|stored| stored.is_active(self.clock.now())) {
            Some(stored) => {
                let token = self.obtain(client, stored.grant.authority()).await?;
                self.give_pair(&token, stored.grant.id, stored.grant.counter)
            }
            None => self.open(client, seen).await,
        }
    }

    async fn obtain(
        &self,
        client: &'static ClientKind,
        authority: Authority,
    ) -> Result<AccessToken, PersistenceError> {
        let holder = match client.policy {
            ActiveTokenPolicy::Reuse => self.persistence.find_holder(client.slot().key()).await?,
            _ => None,
        };
        let observed = match holder {
            Some(holder) if holder.is_reusable(self.clock.now(), MIN_LIFE, authority.grant) => {
                self.model.knowledge().counts.reused += 1;
                return Ok(holder.token);
            }
            holder => holder.map(|holder| holder.token.id),
        };
        let token = self.new_token(client, authority, Origin::Issued { observed });
        let issue = Arc::new(Issue { token, policy: client.policy, observed, min_life: MIN_LIFE });
        Ok(match self.persistence.issue(Arc::clone(&issue), client.mode).await? {
            Persisted::Issued { deferred_by } => AccessToken { deferred_by, ..issue.token.clone() },
            Persisted::Winner(winner) => winner.token,
        })
    }

    async fn open(&self, client: &'static ClientKind, seen: Seen) -> Done {
        let now = self.clock.now();
        let id = self.ids.grant(now, self.random.as_ref());
        let token =
            self.new_token(client, Authority { seen, grant: Some(id), session: None }, Origin::Opened);
        let grant = Grant {
            id,
            slot: Some(token.slot),
            client_id: token.client_id.clone(),
            subject: token.subject.clone(),
            subject_kind: token.subject_kind,
            scope: token.scope.clone(),
            audience: token.audience.clone(),
            session: None,
            seen,
            created_at: now,
            expires_at: now + GRANT_LIFETIME,
            idle_expires_at: now + GRANT_LIFETIME,
            counter: 0,
            rotated_at: now,
            access_token: token.id,
            status_index: None,
        };
        let opening = Arc::new(Opening { grant, token, is_stored: true, policy: client.policy });
        match self.persistence.open(Arc::clone(&opening), MIN_LIFE).await? {
            Opened::New => self.give_pair(&opening.token, id, 0),
            Opened::Joined { grant, token } => self.give_pair(&token, grant.grant.id, grant.grant.counter),
        }
    }

    /// `counter` is that of the refresh token that the client has.
    pub async fn refresh(&self, id: GrantId, counter: u32) -> Done {
        let Some(stored) = self.store.grant_find(id).await? else { return Ok(()) };
        let client = CLIENTS.iter().find(|client| client.name == stored.grant.client_id.as_str()).unwrap();
        let token = self.new_token(client, stored.grant.authority(), Origin::Refreshed);
        let policy = match client.policy {
            ActiveTokenPolicy::Replace => ActiveTokenPolicy::Replace,
            ActiveTokenPolicy::Reuse | ActiveTokenPolicy::Multiple => ActiveTokenPolicy::Multiple,
        };
        let rotation = Arc::new(Rotation {
            grant: id,
            origin: None,
            presented: counter,
            advance: true,
            grace: GRACE,
            idle: GRANT_LIFETIME,
            token,
            is_stored: true,
            policy,
            token_life: RETENTION,
            keep_until: self.clock.now() + GRANT_LIFETIME,
            reuse_audit: self.audit("grant.reuse"),
        });
        let was_over = self.is_grant_over(id);
        let outcome = self.persistence.rotate(Arc::clone(&rotation)).await?;
        self.note(|| format!("refresh of {id} with {counter}: {outcome:?}"));
        let (next, token) = match outcome {
            RotationOutcome::Refreshed { counter } => (counter, rotation.token.clone()),
            RotationOutcome::Repeated { counter, token } => (counter, token.token),
            RotationOutcome::Reused => {
                self.model.knowledge().grants.entry(id).or_default().over = true;
                return Ok(());
            }
            RotationOutcome::Ahead | RotationOutcome::Unknown => {
                self.model.violation(format!("a refresh token of {id} with {counter} was never given out"));
                return Ok(());
            }
            RotationOutcome::TooSlow | RotationOutcome::Over => return Ok(()),
        };
        if was_over {
            self.model.violation(format!("{id} was refreshed after its end was answered"));
        }
        if next != counter + 1 {
            self.model.violation(format!("the successor of {counter} of {id} is {next}"));
        }
        self.model.knowledge().grants.entry(id).or_default().spent.entry(counter).or_default().push(token.id);
        self.give_pair(&token, id, next)
    }

    pub async fn revoke(&self, token: &AccessToken) -> Done {
        self.model.knowledge().revoking.insert(token.id);
        let unwritten = token
            .deferred_by
            .map(|by| Unwritten { by: Some(by), expires_by: token.id.made_at() + RETENTION });
        match self.persistence.find_token(token.id, token.deferred_by).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.note(|| format!("no need to revoke {}", token.id));
                self.revoked(token);
                return Ok(());
            }
            Err(error) if error.is_unwritten() => {}
            Err(error) => return Err(error),
        }
        let outcome = self.persistence.revoke(token.id, unwritten, None).await?;
        self.note(|| format!("revoked {}: {outcome:?}", token.id));
        self.revoked(token);
        self.model.knowledge().counts.revoked += u64::from(matches!(outcome, RevokeOutcome::Revoked(_)));
        Ok(())
    }

    /// What has expired for the store is over without anybody's doing; a node whose clock is behind finds out later.
    fn revoked(&self, token: &AccessToken) {
        if token.expires_at > self.store.far_end.clock.now() {
            self.model.knowledge().revoked.insert(token.id);
        }
    }

    pub async fn revoke_grant(&self, id: GrantId) -> Done {
        self.persistence.revoke_grant(id, self.clock.now() + GRANT_LIFETIME, None).await?;
        self.note(|| format!("ended the grant {id}"));
        self.model.knowledge().grants.entry(id).or_default().over = true;
        Ok(())
    }

    pub async fn rule(&self, client: &ClientKind) -> Done {
        let rule = Rule::Client(client.name.parse().unwrap());
        let keep_until = self.clock.now() + GRANT_LIFETIME;
        let append = RuleAppend { rule, keep_until, audit: self.audit("revocation.create") };
        let seen = self.store.revocation_append(append).await?;
        self.note(|| format!("ended all of {} at {:?}", client.name, seen.position));
        self.model.knowledge().rules.push((client.name.parse().unwrap(), seen.position));
        Ok(())
    }

    pub async fn introspect(&self, token: &AccessToken) -> Done {
        let is_over = self.model.is_over(token);
        let found = self.persistence.find_token(token.id, token.deferred_by).await;
        self.note(|| format!("{} looks like {}", token.id, told(&found, self)));
        if found.as_ref().is_err_and(PersistenceError::is_unwritten) {
            self.model.knowledge().counts.unwritten += 1;
        }
        match found? {
            Some(stored) if stored.state(self.clock.now()).is_honoured() && is_over => {
                self.model
                    .violation(format!("n{} honours {} after its end was answered", self.node, token.id));
            }
            Some(_) => {}
            None if token.expires_at > self.store.far_end.clock.now() => {
                self.model.knowledge().absent.insert(token.id);
            }
            None => {}
        }
        Ok(())
    }

    fn new_token(&self, client: &ClientKind, authority: Authority, origin: Origin) -> AccessToken {
        let now = self.clock.now();
        let id = self.ids.token(now, self.random.as_ref());
        let token =
            AccessToken::issue(id, client.slot(), authority, now, Lifetime::from_secs(client.lifetime));
        self.note(|| format!("makes {id} for {} {origin:?}", client.name));
        self.model.made(&token, origin, (self.node, self.run));
        token
    }

    fn give(&self, token: &AccessToken) -> Done {
        self.model.answered(token, self.node);
        Ok(())
    }

    fn give_pair(&self, token: &AccessToken, grant: GrantId, counter: u32) -> Done {
        let mut known = self.model.knowledge();
        let model = known.grants.entry(grant).or_default();
        model.counter = model.counter.max(counter);
        drop(known);
        self.give(token)
    }

    fn is_grant_over(&self, id: GrantId) -> bool {
        self.model.knowledge().grants.get(&id).is_some_and(|grant| grant.over)
    }

    fn audit(&self, action: &'static str) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            actor: "simulation".to_owned(),
            action,
            target: String::new(),
            detail: serde_json::Value::Null,
            request_id: None,
        }
    }

    pub fn note(&self, line: impl FnOnce() -> String) {
        self.model.note(|| format!("n{}: {}", self.node, line()));
    }
}

fn told(found: &Result<Option<StoredToken>, PersistenceError>, process: &Process) -> String {
    match found {
        Ok(Some(stored)) => format!("{:?}", stored.state(process.clock.now())),
        Ok(None) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}
