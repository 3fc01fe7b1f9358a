//! What happens in a run, drawn event by event.

use std::time::Duration;

use grantry_persistence::PersistenceError;
use grantry_protocol::{AccessToken, Clock, GrantId};

use super::NODES;
use super::clients::{CLIENTS, ClientKind, Process};
use super::clock::pass;
use super::cluster::{Cluster, Death};

#[derive(Debug, Clone, Copy)]
enum Event {
    Issue,
    /// Several nodes are asked for the same at once.
    Race,
    Refresh,
    /// Somebody uses a refresh token that was spent.
    Replay,
    Revoke,
    RevokeGrant,
    Rule,
    Introspect,
    Heartbeat,
    Abandon,
    Kill,
    PowerLoss,
    Restart,
    Stop,
    Clock,
    Disk,
    Outage,
    /// A node is cut off, or takes tokens in that it cannot write, and the others are asked for them.
    Cut,
    Poison,
    /// A node takes tokens in that it cannot write, dies, and comes back an hour later.
    Hour,
}

const WEIGHTS: [(usize, Event); 20] = [
    (34, Event::Issue),
    (8, Event::Race),
    (9, Event::Refresh),
    (1, Event::Replay),
    (8, Event::Revoke),
    (1, Event::RevokeGrant),
    (2, Event::Rule),
    (16, Event::Introspect),
    (8, Event::Heartbeat),
    (1, Event::Abandon),
    (2, Event::Kill),
    (2, Event::PowerLoss),
    (5, Event::Restart),
    (1, Event::Stop),
    (2, Event::Clock),
    (2, Event::Disk),
    (1, Event::Outage),
    (4, Event::Cut),
    (1, Event::Poison),
    (1, Event::Hour),
];

/// How often a client tries before it gives up.
const ATTEMPTS: usize = 3;

impl Cluster {
    pub async fn play(&mut self, events: usize) {
        let wild_clocks = self.model.knowledge().wild_clocks;
        for _ in 0..events {
            let event = self.draw();
            self.model.note(|| format!("-- {event:?}"));
            match event {
                Event::Clock if wild_clocks => self.step_clock(Duration::from_secs(3600)),
                Event::Clock => self.step_clock(Duration::from_secs(1)),
                event => self.meet(event).await,
            }
            let pause = match self.random.below(20) {
                0 => Duration::from_secs(12),
                1..3 => Duration::from_millis(1_500),
                3..6 => Duration::from_millis(100),
                _ => Duration::from_millis(6),
            };
            pass(self.random.up_to(pause)).await;
        }
    }

    /// Faults end, all nodes are up, and everything that was under way has arrived.
    pub async fn heal(&mut self) {
        self.model.note(|| "-- heals".to_owned());
        self.far_end.weather.clear();
        for node in 0..NODES {
            self.nodes[node].disk.forget_faults();
            self.start_node(node).await;
        }
        self.finish_requests().await;
        pass(Duration::from_secs(6)).await;
        self.settle(Duration::from_secs(60)).await;
        // The mark stays a second behind the clock.
        pass(Duration::from_secs(3)).await;
        self.tell_marks().await;
    }

    /// Every node dies and comes back.
    pub async fn restart_all(&mut self) {
        for node in 0..NODES {
            let death = if self.random.percent(50) { Death::Kill } else { Death::PowerLoss };
            self.end_node(node, death).await;
            self.start_node(node).await;
        }
        self.settle(Duration::from_secs(60)).await;
        self.tell_marks().await;
    }

    pub async fn stop_all(&mut self) {
        for node in 0..NODES {
            self.stop_node(node).await;
        }
    }

    async fn tell_marks(&self) {
        for process in self.processes() {
            if let Err(error) = process.persistence.heartbeat().await {
                self.model.violation(format!("n{} cannot tell its mark: {error}", process.node));
            }
        }
    }

    fn draw(&self) -> Event {
        let mut number = self.random.below(WEIGHTS.iter().map(|(weight, _)| weight).sum());
        for (weight, event) in WEIGHTS {
            if number < weight {
                return event;
            }
            number -= weight;
        }
        Event::Issue
    }

    async fn meet(&mut self, event: Event) {
        let node = self.random.below(NODES);
        match event {
            Event::Issue => {
                let client = self.client();
                self.issue(node, client);
            }
            Event::Race => {
                let client = self.client();
                for node in 0..NODES {
                    self.issue(node, client);
                    self.issue(node, client);
                }
            }
            Event::Refresh => {
                if let Some((grant, counter)) = self.refresh_token(0) {
                    self.attempt(node, move |process| async move { process.refresh(grant, counter).await });
                }
            }
            Event::Replay => {
                if let Some((grant, counter)) = self.refresh_token(1 + self.random.below(2) as u32) {
                    self.request(node, |process| async move { process.refresh(grant, counter).await });
                }
            }
            Event::Revoke => {
                if let Some(token) = self.token() {
                    self.attempt(node, move |process| {
                        let token = token.clone();
                        async move { process.revoke(&token).await }
                    });
                }
            }
            Event::RevokeGrant => {
                if let Some((grant, _)) = self.refresh_token(0) {
                    self.request(node, |process| async move { process.revoke_grant(grant).await });
                }
            }
            Event::Rule => {
                let client = self.client();
                self.request(node, move |process| async move { process.rule(client).await });
            }
            Event::Introspect => {
                if let Some(token) = self.token() {
                    self.request(node, |process| async move { process.introspect(&token).await });
                }
            }
            Event::Heartbeat => {
                self.request(node, |process| async move { process.persistence.heartbeat().await });
            }
            Event::Abandon => self.abandon(node),
            other => self.suffer(other, node).await,
        }
    }

    async fn suffer(&mut self, event: Event, node: usize) {
        let span = self.random.up_to(Duration::from_secs(8));
        match event {
            Event::Kill => self.end_node(node, Death::Kill).await,
            Event::PowerLoss => self.end_node(node, Death::PowerLoss).await,
            Event::Restart => self.start_node(node).await,
            Event::Stop => self.stop_node(node).await,
            Event::Disk => self.fail_disk(node),
            Event::Outage => self.far_end.weather.outage(span),
            Event::Cut => self.cut(node, span).await,
            Event::Poison => self.poison(node).await,
            Event::Hour => self.stay_away_for_an_hour(node).await,
            _ => {}
        }
    }

    async fn cut(&mut self, node: usize, span: Duration) {
        if self.random.percent(30) {
            return self.far_end.weather.cut(node, span);
        }
        self.far_end.weather.stick(node, span);
        for _ in 0..2 {
            let client = self.client();
            self.issue(node, client);
        }
        pass(self.random.up_to(Duration::from_millis(200))).await;
        for other in (0..NODES).filter(|other| *other != node) {
            let Some(token) = self.token_of(node) else { return };
            let revokes = self.random.percent(30);
            self.attempt(other, move |process| {
                let token = token.clone();
                async move {
                    if revokes { process.revoke(&token).await } else { process.introspect(&token).await }
                }
            });
        }
    }

    async fn poison(&mut self, node: usize) {
        self.far_end.weather.stick(node, Duration::from_millis(400));
        let client = self.client();
        self.issue(node, client);
        pass(self.random.up_to(Duration::from_millis(200))).await;
        if let Some(token) = self.token_of(node) {
            self.far_end.weather.poison(token.id);
            self.model.knowledge().poisoned += 1;
        }
    }

    async fn stay_away_for_an_hour(&mut self, node: usize) {
        self.far_end.weather.stick(node, Duration::from_secs(2));
        let client = &CLIENTS[2 + self.random.below(2)];
        self.issue(node, client);
        pass(Duration::from_millis(200)).await;
        self.end_node(node, Death::Kill).await;
        self.issue((node + 1) % NODES, client);
        self.finish_requests().await;
        pass(Duration::from_secs(3600)).await;
        self.issue((node + 2) % NODES, client);
        self.start_node(node).await;
    }

    fn issue(&mut self, node: usize, client: &'static ClientKind) {
        self.attempt(node, move |process| async move { process.issue(client).await });
    }

    /// A request that its client repeats where it is not answered.
    fn attempt<F>(&mut self, node: usize, request: impl Fn(Process) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), PersistenceError>> + Send + 'static,
    {
        let attempts = if self.random.percent(50) { ATTEMPTS } else { 1 };
        self.request(node, move |process| async move {
            for _ in 1..attempts {
                if request(process.clone()).await.is_ok() {
                    return Ok(());
                }
                pass(process.random.up_to(Duration::from_millis(300))).await;
            }
            request(process).await
        });
    }

    fn fail_disk(&self, node: usize) {
        let disk = &self.nodes[node].disk;
        match self.random.below(6) {
            0 => disk.fail_next_sync(),
            1 => disk.fail_next_write_after(self.random.below(300)),
            2 => disk.set_free_bytes(Some(self.random.below(2_000) as u64)),
            3 => disk.set_broken(true),
            _ => disk.forget_faults(),
        }
    }

    fn step_clock(&self, span: Duration) {
        let node = self.random.below(NODES);
        let clock = &self.nodes[node].clock;
        clock.step(self.random.around_zero(span));
        self.model.note(|| format!("n{node}: its clock says {:?}", clock.now()));
    }

    fn client(&self) -> &'static ClientKind {
        &CLIENTS[self.random.below(CLIENTS.len())]
    }

    /// One that a client has, rather a late one.
    fn token(&self) -> Option<AccessToken> {
        let known = self.model.knowledge();
        let late = known.answered.len().saturating_sub(1 + self.random.below(12));
        known.answered.values().nth(late).map(|answered| answered.token.clone())
    }

    /// The latest that the node has answered before it was written.
    fn token_of(&self, node: usize) -> Option<AccessToken> {
        let known = self.model.knowledge();
        let is_own = |token: &&AccessToken| {
            token.deferred_by.is_some()
                && known.made.get(&token.id).is_some_and(|made| made.process.0 == node)
        };
        known.answered.values().map(|answered| &answered.token).rfind(is_own).cloned()
    }

    /// One that a client has, or had some rotations ago.
    fn refresh_token(&self, ago: u32) -> Option<(GrantId, u32)> {
        let known = self.model.knowledge();
        let grants: Vec<_> = known.grants.iter().map(|(id, grant)| (*id, grant.counter)).collect();
        let (id, counter) = *self.random.pick(&grants)?;
        Some((id, counter.checked_sub(ago)?))
    }
}
