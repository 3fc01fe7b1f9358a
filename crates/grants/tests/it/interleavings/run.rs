//! Does each step on two nodes and in the model, and compares.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use grantry_grants::{Actor, GrantError, RevocationTarget, TokenSettings};
use grantry_protocol::{Lifetime, ManualClock, Timestamp, TokenId, Wanted};
use grantry_store::{Fault, FaultyStore, Grants, MemoryStore, Outage, StoreError, Tokens};
use serde_json::json;

use super::model::{
    ACCESS_LIFETIME, CLIENTS, GrantModel, IDLE, LIFETIME, Model, REUSE_MINIMUM, SUBJECTS, SlotModel,
    TokenModel, Verdict,
};
use super::{Loss, Pick, Step};
use crate::mint;
use crate::world::{Answer, Pair, START, World, code, secret_of, settings, wanted};

pub struct Run {
    nodes: [World; 2],
    model: Model,
}

impl Run {
    pub async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new(clock.clone()))));
        let node = async |grace: Duration, seed| {
            let settings =
                TokenSettings { refresh_grace: Lifetime::from_secs(grace.as_secs()), ..settings() };
            World::node(store.clone(), clock.clone(), settings, seed).await
        };
        let nodes = [node(CLIENTS[0].grace, 2).await, node(CLIENTS[1].grace, 3).await];
        for client in &CLIENTS {
            let fields = json!({
                "refresh_token_rotation": if client.rotates { "always" } else { "never" },
                "slot_binding": if client.own_slots { "grant" } else { "none" },
                "active_token_policy": if client.replaces { "replace" } else { "reuse" },
            });
            nodes[0].client(client.name, fields).await;
        }
        Self { nodes, model: Model::default() }
    }

    pub async fn step(&mut self, step: &Step) {
        match *step {
            Step::Open { client, subject, loss } => self.open(client, subject, loss).await,
            Step::Refresh { pick, by, narrow, loss } => self.refresh(pick, by, narrow, loss).await,
            Step::Race { one, other } => self.race(one, other).await,
            Step::Ahead { grant, by } => self.ahead(grant, by).await,
            Step::Forged { pick, byte } => self.forged(pick, byte).await,
            Step::RevokeRefresh { pick, by, loss } => self.revoke_refresh(pick, by, loss).await,
            Step::RevokeAccess { token, by, loss } => self.revoke_access(token, by, loss).await,
            Step::Clock(millis) => {
                let now = self.now().as_millis();
                self.nodes[0].clock.set(Timestamp::from_millis(now + millis));
            }
            Step::EndGrant { grant } => {
                let Some(grant) = self.grant(grant) else { return };
                self.end(RevocationTarget::Grant(self.model.grants[grant].id)).await;
                self.model.end_grant(grant);
            }
            Step::EndToken { token } => {
                let Some(token) = self.token(token) else { return };
                self.end(RevocationTarget::Token(self.model.tokens[token].id)).await;
                self.model.end_token(token, self.now());
            }
            Step::EndSubject { subject } => {
                self.end(RevocationTarget::Subject(SUBJECTS[subject].parse().unwrap())).await;
                self.model.rule(|grant| grant.subject == subject);
            }
            Step::EndClient { client } => {
                self.end(RevocationTarget::Client(CLIENTS[client].name.parse().unwrap())).await;
                self.model.rule(|grant| grant.client == client);
            }
            Step::EndAll => {
                self.end(RevocationTarget::All).await;
                self.model.rule(|_| true);
            }
        }
    }

    async fn open(&mut self, client: usize, subject: usize, loss: Loss) {
        let now = self.now();
        let slot: SlotModel = (client, subject, false, None);
        let found = self.model.by_slot.get(&slot).copied();
        let found = found.filter(|grant| !CLIENTS[client].own_slots && self.model.is_active(*grant, now));
        // The first write is that of the assertion's jti.
        self.lose(loss);
        let node = self.node(client);
        let assertion = node.signer.sign(&node.claims(CLIENTS[client].name, SUBJECTS[subject]));
        let answer = node.bearer(CLIENTS[client].name, &assertion, Wanted::default()).await;
        if loss != Loss::None {
            return assert_unavailable(&answer);
        }
        let pair = answer.unwrap();
        let id = node.id_of(CLIENTS[client].name, &pair.access).await;
        let Some(grant) = found else { return self.opened(slot, id, &pair, now).await };
        let holder = self.model.holders.get(&slot).copied().filter(|holder| {
            let token = &self.model.tokens[*holder];
            self.model.is_honoured(*holder, now)
                && token.grant == grant
                && token.expires_at > now + REUSE_MINIMUM
        });
        match holder {
            Some(holder) => self.same_token(holder, id, &pair.access),
            None => drop(self.new_token(grant, slot, id, Some(&pair.access), now)),
        }
        let counter = self.model.grants[grant].counter;
        self.learn(grant, counter, &pair);
    }

    async fn opened(&mut self, slot: SlotModel, id: TokenId, pair: &Pair, now: Timestamp) {
        let (client, subject, ..) = slot;
        let stored = self.nodes[0].store.token_find(id).await.unwrap().unwrap();
        let grant = self.model.grants.len();
        let known = self.model.grants.iter().any(|known| Some(known.id) == stored.token.authority.grant);
        assert!(!known, "a grant that is over, or another one, was given for a new one");
        self.model.grants.push(GrantModel {
            id: stored.token.authority.grant.unwrap(),
            client,
            subject,
            counter: 0,
            rotations: 0,
            rotated_at: now,
            expires_at: now + LIFETIME,
            idle_expires_at: now + IDLE,
            over: false,
            texts: [].into(),
            last: 0,
        });
        let slot = self.model.slot(grant, false);
        self.model.by_slot.insert(slot, grant);
        self.model.grants[grant].last = self.new_token(grant, slot, id, Some(&pair.access), now);
        self.learn(grant, 0, pair);
    }

    async fn refresh(&mut self, pick: Pick, by: usize, narrow: bool, loss: Loss) {
        let Some((grant, presented, text)) = self.pick(pick) else { return };
        let owner = self.model.grants[grant].client;
        let (client, now) = ((owner + by) % CLIENTS.len(), self.now());
        let verdict = self.model.judge(grant, presented, narrow, now);
        let writes = client == owner && !self.model.grants[grant].over;
        let loss = match (verdict, loss) {
            _ if !writes => Loss::None,
            // Nobody could tell which token was made.
            (Verdict::RepeatWithNew, Loss::Answer) => Loss::Request,
            (_, loss) => loss,
        };
        self.lose(loss);
        let wish = if narrow { wanted("read", &[]) } else { Wanted::default() };
        let answer = self.node(client).refresh_for(CLIENTS[client].name, &text, wish).await;
        if client != owner {
            self.model.foreign.insert((grant, client));
            assert_eq!(code(answer), "invalid_grant");
            return;
        }
        match loss {
            Loss::Request => assert_unavailable(&answer),
            Loss::Answer => {
                assert_unavailable(&answer);
                self.lost(grant, verdict, narrow, now).await;
            }
            Loss::None => self.answered(grant, verdict, narrow, answer, now).await,
        }
    }

    async fn race(&mut self, one: Pick, other: Pick) {
        let (Some((grant, presented, text)), Some((grant_2, presented_2, text_2))) =
            (self.pick(one), self.pick(other))
        else {
            return;
        };
        let now = self.now();
        let (client, client_2) = (self.model.grants[grant].client, self.model.grants[grant_2].client);
        let (answer, answer_2) = tokio::join!(
            biased;
            self.node(client).refresh(CLIENTS[client].name, &text),
            self.node(client_2).refresh(CLIENTS[client_2].name, &text_2)
        );
        let verdict = self.model.judge(grant, presented, false, now);
        self.answered(grant, verdict, false, answer, now).await;
        let verdict = self.model.judge(grant_2, presented_2, false, now);
        self.answered(grant_2, verdict, false, answer_2, now).await;
    }

    async fn answered(
        &mut self,
        grant: usize,
        verdict: Verdict,
        narrow: bool,
        answer: Answer,
        now: Timestamp,
    ) {
        let pair = match verdict {
            Verdict::Refuse => return assert_eq!(code(answer), "invalid_grant"),
            Verdict::Reuse => {
                self.model.reuses += 1;
                self.model.grants[grant].over = true;
                return assert_eq!(code(answer), "invalid_grant");
            }
            Verdict::Refresh | Verdict::Repeat(_) | Verdict::RepeatWithNew => {
                answer.unwrap_or_else(|error| panic!("{verdict:?} was answered with {error}"))
            }
        };
        let slot = self.model.slot(grant, narrow);
        let id = self.id_of(&pair.access);
        match verdict {
            Verdict::Repeat(last) => self.same_token(last, id, &pair.access),
            _ => {
                let token = self.new_token(grant, slot, id, Some(&pair.access), now);
                if verdict == Verdict::Refresh {
                    self.model.refreshed(grant, token, now);
                }
            }
        }
        let counter = self.model.grants[grant].counter;
        self.learn(grant, counter, &pair);
    }

    /// It was done all the same, and what it made is found in the grant's row.
    async fn lost(&mut self, grant: usize, verdict: Verdict, narrow: bool, now: Timestamp) {
        match verdict {
            Verdict::Refresh => {
                let row = self.nodes[0].store.grant_find(self.model.grants[grant].id).await.unwrap().unwrap();
                let slot = self.model.slot(grant, narrow);
                let token = self.new_token(grant, slot, row.grant.access_token, None, now);
                self.model.refreshed(grant, token, now);
            }
            Verdict::Reuse => {
                self.model.reuses += 1;
                self.model.grants[grant].over = true;
            }
            Verdict::Repeat(_) | Verdict::RepeatWithNew | Verdict::Refuse => {}
        }
    }

    async fn ahead(&mut self, grant: usize, by: u32) {
        let Some(grant) = self.grant(grant) else { return };
        let GrantModel { id, client, counter, .. } = self.model.grants[grant];
        let name = CLIENTS[client].name;
        let token = mint::refresh_token(self.node(client), name, id, counter + by).await;
        assert_eq!(code(self.node(client).refresh(name, &token).await), "invalid_grant");
    }

    async fn forged(&mut self, pick: Pick, byte: usize) {
        let Some((grant, _, text)) = self.pick(pick) else { return };
        let name = CLIENTS[self.model.grants[grant].client].name;
        let mut bytes = text.into_bytes();
        bytes[byte] = if bytes[byte] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(bytes).unwrap();
        let before = self.nodes[0].store.calls();
        assert_eq!(code(self.node(0).refresh(name, &forged).await), "invalid_grant");
        assert_eq!(self.nodes[0].store.calls() - before, 1);
    }

    async fn revoke_refresh(&mut self, pick: Pick, by: usize, loss: Loss) {
        let Some((grant, _, text)) = self.pick(pick) else { return };
        let owner = self.model.grants[grant].client;
        if self.revoke(owner, by, &text, loss).await {
            self.model.end_grant(grant);
        }
    }

    async fn revoke_access(&mut self, token: usize, by: usize, loss: Loss) {
        let Some(token) = self.token(token) else { return };
        let Some(text) = self.model.tokens[token].text.clone() else { return };
        let owner = self.model.tokens[token].slot.0;
        if self.revoke(owner, by, &text, loss).await {
            self.model.end_token(token, self.now());
        }
    }

    /// Whether it was done.
    async fn revoke(&mut self, owner: usize, by: usize, text: &str, loss: Loss) -> bool {
        let client = (owner + by) % CLIENTS.len();
        let is_own = client == owner;
        self.lose(if is_own { loss } else { Loss::None });
        let (node, credentials) = (self.node(client), secret_of(CLIENTS[client].name));
        let answer = node.grants.revoke(&credentials, text, node.requests.next()).await;
        match loss {
            _ if !is_own => assert_eq!(code(answer), "unauthorized_client"),
            Loss::None => drop(answer.unwrap()),
            Loss::Request | Loss::Answer => assert!(matches!(answer, Err(GrantError::Unavailable(_)))),
        }
        is_own && loss != Loss::Request
    }

    async fn end(&self, target: RevocationTarget) {
        self.nodes[0].grants.revocation_create(target, &Actor::host()).await.unwrap();
    }

    /// The invariants, on what the store has.
    pub async fn check(&self) {
        let (store, now) = (&self.nodes[0].store, self.now());
        for (n, grant) in self.model.grants.iter().enumerate() {
            let stored = store.grant_find(grant.id).await.unwrap().unwrap();
            assert_eq!(stored.grant.counter, grant.counter, "grant {n}");
            assert_eq!(grant.counter, grant.rotations, "grant {n}: one rotation a number");
            assert_eq!(stored.is_active(now), self.model.is_active(n, now), "grant {n}");
            let is_over = stored.ended_at.is_some() || stored.ended_by_rule;
            assert_eq!(is_over, grant.over, "grant {n}: what is over stays over");
            for (counter, text) in grant.texts.iter().rev().take(3) {
                assert_eq!(
                    self.node(grant.client).is_active(CLIENTS[grant.client].name, text).await,
                    self.model.is_good(n, *counter, now),
                    "grant {n}, which is at {}, refresh token {counter}",
                    grant.counter
                );
            }
        }
        for (n, token) in self.model.tokens.iter().enumerate() {
            let stored = store.token_find(token.id).await.unwrap().unwrap();
            assert_eq!(stored.state(now).is_honoured(), self.model.is_honoured(n, now), "token {n}");
        }
    }

    /// The same on everything that a client was ever given, in the words of the endpoints.
    pub async fn check_every_token(&self) {
        let now = self.now();
        for (n, token) in self.model.tokens.iter().enumerate() {
            let client = token.slot.0;
            let Some(text) = &token.text else { continue };
            let is_active = self.node(client).is_active(CLIENTS[client].name, text).await;
            assert_eq!(is_active, self.model.is_honoured(n, now), "token {n}");
        }
        for (n, grant) in self.model.grants.iter().enumerate() {
            for (counter, text) in &grant.texts {
                let is_active = self.node(grant.client).is_active(CLIENTS[grant.client].name, text).await;
                assert_eq!(is_active, self.model.is_good(n, *counter, now), "grant {n}, token {counter}");
            }
        }
        assert_eq!(self.nodes[0].audit("grant.reuse").await.len(), self.model.reuses);
        // Each at least once, however often it came back within the hour.
        let foreign = self.nodes[0].audit("grant.foreign_client").await;
        let foreign: HashSet<_> = foreign.into_iter().map(|entry| (entry.target, entry.actor)).collect();
        assert_eq!(foreign.len(), self.model.foreign.len());
    }

    /// The good refresh token after an answer: the same text whenever it has this counter, and no other's.
    fn learn(&mut self, grant: usize, counter: u32, pair: &Pair) {
        let text = pair.refresh();
        for (n, other) in self.model.grants.iter().enumerate() {
            for (number, known) in &other.texts {
                assert_eq!(known == text, (n, *number) == (grant, counter), "grant {n}, token {number}");
            }
        }
        self.model.grants[grant].texts.insert(counter, text.to_owned());
    }

    fn same_token(&mut self, token: usize, id: TokenId, text: &str) {
        let known = &mut self.model.tokens[token];
        assert_eq!(known.id, id);
        assert_eq!(known.text.get_or_insert_with(|| text.to_owned()), text);
    }

    fn new_token(
        &mut self,
        grant: usize,
        slot: SlotModel,
        id: TokenId,
        text: Option<&str>,
        now: Timestamp,
    ) -> usize {
        assert!(self.model.tokens.iter().all(|known| known.id != id), "an old token was given for a new one");
        let expires_at = now.truncated_to_secs() + ACCESS_LIFETIME;
        let text = text.map(str::to_owned);
        self.model.insert(TokenModel { id, text, grant, slot, expires_at, ended: false }, now)
    }

    /// What an administrator reads from the text of an access token.
    fn id_of(&self, text: &str) -> TokenId {
        match self.nodes[0].grants.revocation_target(text) {
            Some(RevocationTarget::Token(id)) => id,
            other => panic!("no access token: {other:?}"),
        }
    }

    fn pick(&self, pick: Pick) -> Option<(usize, u32, String)> {
        let grant = self.grant(pick.grant)?;
        let counter = self.model.grants[grant].counter.checked_sub(pick.behind)?;
        Some((grant, counter, self.model.grants[grant].texts.get(&counter)?.clone()))
    }

    /// Rather a new one than an old one.
    fn grant(&self, n: usize) -> Option<usize> {
        let count = self.model.grants.len();
        let recent = count.min(if n.is_multiple_of(4) { count } else { 4 });
        (count > 0).then(|| count - 1 - n % recent)
    }

    fn token(&self, n: usize) -> Option<usize> {
        let count = self.model.tokens.len();
        (count > 0).then(|| count - 1 - n % count.min(8))
    }

    fn lose(&self, loss: Loss) {
        let outage = StoreError::unavailable(Outage::Io, "injected");
        match loss {
            Loss::None => {}
            Loss::Request => self.nodes[0].store.fail_writes([Some(Fault::Before(outage))]),
            Loss::Answer => self.nodes[0].store.fail_writes([Some(Fault::After(outage))]),
        }
    }

    fn node(&self, client: usize) -> &World {
        &self.nodes[CLIENTS[client].node]
    }

    fn now(&self) -> Timestamp {
        self.nodes[0].now()
    }
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert!(matches!(answer, Err(GrantError::Unavailable(_))), "{answer:?}");
}
