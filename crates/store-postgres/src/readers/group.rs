use grantry_protocol::{Client, ClientId, SlotKey};
use grantry_store::{DeferredToken, Observed, StoreError, StoredGrant, StoredToken};
use uuid::Uuid;

use super::{Ask, Link, Reply, Result};
use crate::clients::clients_find;
use crate::columns::uuid;
use crate::errors::{Cause, Error};
use crate::grants::{grants_find, slots_grants_find};
use crate::named::keys;
use crate::pipeline::pipelined;
use crate::tokens::{holders_find, tokens_find, tokens_find_deferred};

/// Reads of each kind, and who waits for them.
#[derive(Default)]
pub struct Group {
    tokens: Asked<Uuid, Option<StoredToken>>,
    deferred: Asked<(Uuid, i16), DeferredToken>,
    holders: Asked<SlotKey, Option<StoredToken>>,
    clients: Asked<ClientId, Observed<Option<Client>>>,
    grants: Asked<Uuid, Option<StoredGrant>>,
    slots_grants: Asked<SlotKey, Option<StoredGrant>>,
}

struct Asked<K, T> {
    keys: Vec<K>,
    replies: Vec<Reply<T>>,
}

impl<K, T> Default for Asked<K, T> {
    fn default() -> Self {
        Self { keys: Vec::new(), replies: Vec::new() }
    }
}

/// What was found, by the place among those that asked.
#[derive(Default)]
pub struct Found {
    tokens: Vec<(usize, StoredToken)>,
    deferred: Vec<(usize, DeferredToken)>,
    holders: Vec<(usize, StoredToken)>,
    clients: Vec<(usize, Observed<Option<Client>>)>,
    grants: Vec<(usize, StoredGrant)>,
    slots_grants: Vec<(usize, StoredGrant)>,
}

impl FromIterator<Ask> for Group {
    fn from_iter<I: IntoIterator<Item = Ask>>(asks: I) -> Self {
        let mut group = Self::default();
        for ask in asks {
            match ask {
                Ask::Token(id, reply) => group.tokens.push(uuid(id.as_bytes()), reply),
                Ask::Deferred(id, by, reply) => {
                    group.deferred.push((uuid(id.as_bytes()), by.get().into()), reply);
                }
                Ask::Holder(slot, reply) => group.holders.push(slot, reply),
                Ask::Client(id, reply) => group.clients.push(id, reply),
                Ask::Grant(id, reply) => group.grants.push(uuid(id.as_bytes()), reply),
                Ask::SlotsGrant(slot, reply) => group.slots_grants.push(slot, reply),
            }
        }
        group
    }
}

impl Group {
    pub fn len(&self) -> usize {
        self.tokens.keys.len()
            + self.deferred.keys.len()
            + self.holders.keys.len()
            + self.clients.keys.len()
            + self.grants.keys.len()
            + self.slots_grants.keys.len()
    }

    /// One statement a kind, in one round trip; each sees what was committed before it began.
    pub async fn read(&self, link: &Link) -> Result<Found> {
        let (deferred, by): (Vec<Uuid>, Vec<i16>) = self.deferred.keys.iter().copied().unzip();
        let clients: Vec<&str> = self.clients.keys.iter().map(ClientId::as_str).collect();
        let (holders, slots_grants) = (keys(&self.holders.keys), keys(&self.slots_grants.keys));
        let (tokens, deferred, holders, clients, grants, slots_grants) = pipelined!(
            unless_empty(&self.tokens.keys, tokens_find(link, &self.tokens.keys)),
            unless_empty(&deferred, tokens_find_deferred(link, &deferred, &by)),
            unless_empty(&holders, holders_find(link, &holders)),
            unless_empty(&clients, clients_find(link, &clients)),
            unless_empty(&self.grants.keys, grants_find(link, &self.grants.keys)),
            unless_empty(&slots_grants, slots_grants_find(link, &slots_grants)),
        )?;
        Ok(Found { tokens, deferred, holders, clients, grants, slots_grants })
    }

    pub fn reply(self, found: Found) {
        self.tokens.reply_if_any(found.tokens);
        self.holders.reply_if_any(found.holders);
        self.grants.reply_if_any(found.grants);
        self.slots_grants.reply_if_any(found.slots_grants);
        self.deferred.reply_all(found.deferred);
        self.clients.reply_all(found.clients);
    }

    pub fn fail(self, error: &StoreError) {
        self.tokens.fail(error);
        self.deferred.fail(error);
        self.holders.fail(error);
        self.clients.fail(error);
        self.grants.fail(error);
        self.slots_grants.fail(error);
    }
}

async fn unless_empty<K, T>(keys: &[K], read: impl Future<Output = Result<Vec<T>>>) -> Result<Vec<T>> {
    if keys.is_empty() { Ok(Vec::new()) } else { read.await }
}

impl<K, T> Asked<K, T> {
    /// Nobody waits for the answer of a closed one any more.
    fn push(&mut self, key: K, reply: Reply<T>) {
        if !reply.is_closed() {
            self.keys.push(key);
            self.replies.push(reply);
        }
    }

    fn fail(self, error: &StoreError) {
        self.replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
    }

    /// For reads that always find something.
    fn reply_all(self, found: Vec<(usize, T)>) {
        let missing = StoreError::from(Error::new(Cause::Corrupt, "a read was not answered"));
        let answers = placed(self.replies.len(), found);
        for (reply, answer) in self.replies.into_iter().zip(answers) {
            let _ = reply.send(answer.ok_or_else(|| missing.clone()));
        }
    }
}

impl<K, T> Asked<K, Option<T>> {
    fn reply_if_any(self, found: Vec<(usize, T)>) {
        let answers = placed(self.replies.len(), found);
        for (reply, answer) in self.replies.into_iter().zip(answers) {
            let _ = reply.send(Ok(answer));
        }
    }
}

fn placed<T>(count: usize, found: Vec<(usize, T)>) -> Vec<Option<T>> {
    let mut answers: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
    for (place, value) in found {
        if let Some(answer) = answers.get_mut(place) {
            *answer = Some(value);
        }
    }
    answers
}
