//! The tail of the revocation log: a node's index of what has been ended, and the proof that it is complete.
//!
//! 1. A probe notes the time, then commits a write of the node's own and reads how the log goes on.
//! 2. What it has read goes into the index. Once the index has all of it, the node is fresh for `max_staleness`, less a
//!    margin, counted from the time that was noted first.
//! 3. The next probe is sent after a quarter of that time, after a few milliseconds when the store's bell rings or there was
//!    something new, which others may wait to hear of, and at once when a request waits.
//! 4. A probe that hangs is given up, and with it its connection; it proves nothing.
//! 5. A log that does not go on from what is known is read anew. What the node knows and the log has lost is given back
//!    to it, and the epoch is raised, so that what was made under the lost entries is not taken for later than what
//!    takes their place.

mod proof;
mod recent;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use grantry_protocol::{BootClock, Clock, Epoch, LogEntry, LogHead, LogKind, Moment, Position, Seen};
use grantry_revocation::{Followed, Freshness, Index, Interrupted, Reading};
use grantry_store::{LogView, Merge, MergeOutcome, NodeId, Outage, Probe, Result, Store, StoreError};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::recent::LastEntries;
pub use self::recent::{Following, Recent};

/// The most entries that are read, or given back, at a time.
const PAGE: usize = 4096;
/// From one probe to the next where the log grows and nobody waits: each is a commit.
const GAP: Duration = Duration::from_millis(5);
/// After a failure, however many wait.
const BREATH: Duration = Duration::from_millis(20);

/// What an answer has to wait for, and how long it may be out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coherence {
    /// For a probe that begins after the request has arrived.
    Strict,
    /// For nothing, as long as the last probe is younger than the bound.
    Bounded,
    /// For nothing ever: a node that cannot follow the log goes on with what it knows.
    None,
}

/// The moment from which a node's knowledge of the log dates. What was looked up under it may be answered while it is
/// fresh.
#[derive(Debug, Clone, Copy)]
pub struct Pass(Option<Moment>);

/// How far the probes have come. They are numbered from 1.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    begun: u64,
    completed: u64,
    /// When the last one that was completed was sent.
    proved: Option<Moment>,
}

pub struct Tail {
    store: Arc<dyn Store>,
    node: NodeId,
    coherence: Coherence,
    freshness: Freshness,
    clock: Arc<dyn Clock>,
    boot: Arc<dyn BootClock>,
    /// Absent until the log was read for the first time.
    index: RwLock<Option<Index>>,
    recent: Recent,
    progress: watch::Sender<Progress>,
    /// The last entry about a client, and about the settings; where the log was read anew, its head.
    clients_changed: watch::Sender<Seen>,
    settings_changed: watch::Sender<Seen>,
    wanted: Notify,
    meters: Meters,
}

impl Tail {
    /// Nothing is fresh before [`Tail::run`] has read the log.
    pub fn new(
        store: Arc<dyn Store>,
        node: NodeId,
        coherence: Coherence,
        freshness: Freshness,
        clock: Arc<dyn Clock>,
        boot: Arc<dyn BootClock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            node,
            coherence,
            freshness,
            clock,
            boot,
            index: RwLock::new(None),
            recent: Recent::new(),
            progress: watch::Sender::default(),
            clients_changed: watch::Sender::new(Seen::NOTHING),
            settings_changed: watch::Sender::new(Seen::NOTHING),
            wanted: Notify::new(),
            meters: Meters::new(),
        })
    }

    /// Follows the log until the handle is aborted; must be called inside a Tokio runtime.
    pub fn start(self: &Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(Arc::clone(self).run())
    }

    /// To be had before anything is looked up. Where the node is not fresh, it waits for a probe that begins now or later:
    /// reading the store instead would prove nothing, since a server that was deposed still answers reads.
    ///
    /// # Errors
    /// [`Outage::Stale`] if no such probe is completed within `max_staleness`.
    pub async fn pass(&self) -> Result<Pass> {
        match self.last_pass().filter(|pass| self.is_good(*pass)) {
            Some(pass) => Ok(pass),
            // Boxed, so that whoever need not wait does not carry the room for it.
            None => Box::pin(self.probed_from_now()).await,
        }
    }

    /// The pass of the last proof, which may be too old by now. `None` where a probe has to be waited for in any case.
    pub fn last_pass(&self) -> Option<Pass> {
        let proved = self.last_proof()?;
        match self.coherence {
            Coherence::Strict => None,
            Coherence::Bounded => Some(Pass(Some(proved))),
            Coherence::None => Some(Pass(None)),
        }
    }

    /// Whether what was looked up under the pass may be answered now: the last thing to ask.
    pub fn is_good(&self, pass: Pass) -> bool {
        pass.0.is_none_or(|proved| self.is_fresh(proved))
    }

    /// What this node knows; `None` before it has read the log.
    pub fn view(&self) -> Option<LogView> {
        let (head, proved) = (self.head()?, self.progress.borrow().proved?);
        let staleness = self.now().since(proved);
        Some(LogView { head, staleness, max_staleness: self.freshness.max_staleness() })
    }

    /// Where the log ends as far as this node knows; `None` before it was read.
    pub fn head(&self) -> Option<LogHead> {
        self.index().as_ref().map(Index::head)
    }

    /// How much of the log this node has applied; to be asked before anything is looked up.
    pub fn seen(&self) -> Seen {
        self.head().map_or(Seen::NOTHING, |head| head.seen())
    }

    /// Asks the index; `None` before the log was read.
    pub fn ask<T>(&self, question: impl FnOnce(&Index) -> T) -> Option<T> {
        self.index().as_ref().map(question)
    }

    /// What was read of clients when the log had not come to this is out of date; now and then for nothing.
    pub fn clients_changed(&self) -> watch::Receiver<Seen> {
        self.clients_changed.subscribe()
    }

    /// The same for the settings that operators change at run time.
    pub fn settings_changed(&self) -> watch::Receiver<Seen> {
        self.settings_changed.subscribe()
    }

    /// Returns once everything is in the index that was committed before the call, or after `max_staleness`, when no node
    /// relies on knowing less.
    pub async fn catch_up(&self) {
        let _ = self.probed_from_now().await;
    }

    /// A pass from a probe that begins now or later.
    ///
    /// # Errors
    /// [`Outage::Stale`] if none is completed within `max_staleness`.
    pub async fn probed_from_now(&self) -> Result<Pass> {
        let mut progress = self.progress.subscribe();
        let begun = progress.borrow().begun;
        self.wanted.notify_one();
        let later = progress.wait_for(|progress| progress.completed > begun);
        match timeout(self.freshness.max_staleness(), later).await {
            Ok(Ok(progress)) => Ok(Pass(progress.proved)),
            Ok(Err(_)) | Err(_) => {
                self.meters.refused.increment(1);
                Err(StoreError::unavailable(
                    Outage::Stale,
                    "this node cannot tell whether it knows every revocation",
                ))
            }
        }
    }

    fn is_fresh(&self, proved: Moment) -> bool {
        self.freshness.is_fresh(proved, self.now())
    }

    fn now(&self) -> Moment {
        Moment::now(self.clock.as_ref(), self.boot.as_ref())
    }

    fn index(&self) -> RwLockReadGuard<'_, Option<Index>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Option<Index>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>) {
        let mut bell = self.store.revocation_bell();
        let mut is_failing = false;
        loop {
            // 1.
            self.progress.send_modify(|progress| progress.begun += 1);
            let (number, sent, started) = (self.progress.borrow().begun, self.now(), Instant::now());
            bell.mark_unchanged();
            // 4.
            let probed = timeout(self.freshness.max_staleness(), self.probe()).await;
            let has_news = match probed.unwrap_or_else(|_| Err(self.no_answer())) {
                Ok(has_news) => {
                    // 2.
                    self.completed(number, sent, started);
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("the revocation log is followed again");
                    }
                    has_news
                }
                Err(error) => {
                    self.failed(&error, !std::mem::replace(&mut is_failing, true)).await;
                    false
                }
            };
            // 3.
            let next = if has_news { GAP } else { self.freshness.interval() };
            let rung = async {
                if bell.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                sleep_until(started + GAP).await;
            };
            tokio::select! {
                () = sleep_until(started + next) => {}
                () = self.wanted.notified() => {}
                () = rung => {}
            }
        }
    }

    fn completed(&self, number: u64, sent: Moment, started: Instant) {
        self.meters.seconds.record(started.elapsed());
        self.progress.send_modify(|progress| {
            progress.completed = number;
            progress.proved = Some(sent);
        });
    }

    async fn failed(&self, error: &StoreError, is_first: bool) {
        self.meters.failures.increment(1);
        if is_first {
            tracing::warn!(%error, "the revocation log cannot be followed; soon nothing is answered as valid");
        } else {
            tracing::debug!(%error, "the revocation log cannot be followed");
        }
        sleep(BREATH).await;
    }

    fn no_answer(&self) -> StoreError {
        let bound = self.freshness.max_staleness();
        StoreError::unavailable(Outage::Io, format!("a probe was not answered within {bound:?}"))
    }

    /// Whether there was anything new.
    async fn probe(&self) -> Result<bool> {
        let mut has_news = false;
        loop {
            let Some(head) = self.head() else {
                let (log, last) = self.read_all().await?;
                self.read_anew(log.head(), last);
                *self.index_mut() = Some(log);
                has_news = true;
                continue;
            };
            let page = self
                .store
                .revocation_probe(Probe { node: self.node, applied: head.seen(), limit: PAGE })
                .await?;
            has_news |= !page.entries.is_empty();
            let followed = match self.index_mut().as_mut() {
                Some(index) => {
                    let followed = index.follow(&page);
                    // Whatever is alive by one of the two clocks can still be asked for.
                    index.forget(page.now.min(self.clock.now()));
                    self.meters.look(index);
                    followed.inspect(|_| self.recent.learn(&page, index.seen()))
                }
                None => continue,
            };
            match followed {
                Ok(followed) => {
                    self.pass_on(&page.entries);
                    if followed == Followed::ToTheEnd {
                        return Ok(has_news);
                    }
                }
                Err(interrupted) => self.resume(interrupted).await?,
            }
        }
    }

    /// Tells those who keep something that was read before these entries.
    fn pass_on(&self, entries: &[LogEntry]) {
        for (kinds, changed) in [
            (&[LogKind::ClientChanged, LogKind::Client][..], &self.clients_changed),
            (&[LogKind::SettingsChanged], &self.settings_changed),
        ] {
            if let Some(last) = entries.iter().rev().find(|entry| kinds.contains(&entry.kind)) {
                changed.send_replace(last.seen());
            }
        }
    }

    /// Whatever was read before may be out of date: entries about it may be forgotten by now.
    fn read_anew(&self, head: LogHead, last: LastEntries) {
        for changed in [&self.clients_changed, &self.settings_changed] {
            changed.send_replace(head.seen());
        }
        self.recent.restart(head.seen(), last);
    }

    /// By probes, since head and entries that were read from two servers do not belong together. What the node has applied
    /// is of no epoch meanwhile, so that nobody takes it for the place where it reads.
    async fn read_all(&self) -> Result<(Index, LastEntries)> {
        let from =
            |position| Probe { node: self.node, applied: Seen { epoch: Epoch(0), position }, limit: PAGE };
        let mut page = self.store.revocation_probe(from(Position(0))).await?;
        let (mut reading, mut last) = (Reading::from(page.head), LastEntries::default());
        last.extend(&page.entries);
        while !reading.take(&page.entries) {
            page = self.store.revocation_probe(from(reading.after())).await?;
            last.extend(&page.entries);
        }
        Ok((reading.finish(), last))
    }

    // 5.
    async fn resume(&self, interrupted: Interrupted) -> Result<()> {
        tracing::warn!(
            ?interrupted,
            "the revocation log does not go on from what this node has read; it is read anew"
        );
        let (log, last) = self.read_all().await?;
        let now = self.clock.now();
        let missing = self.ask(|index| index.missing_from(&log, now)).unwrap_or_default();
        let mut from = log.head();
        // Somebody else may have raised it since.
        let is_behind = self.head().is_some_and(|head| log.head().epoch <= head.epoch);
        let mut raise_epoch = interrupted == Interrupted::Lost && is_behind;
        let mut rest = missing.as_slice();
        while raise_epoch || !rest.is_empty() {
            let (entries, others) = rest.split_at(rest.len().min(PAGE));
            let merge = Merge { from, raise_epoch, entries: entries.to_vec() };
            match self.store.revocation_merge(merge).await? {
                MergeOutcome::Merged(head) => from = head,
                // Somebody else was faster, or the log has just grown; the next probe finds out.
                MergeOutcome::Moved => return Ok(()),
            }
            tracing::warn!(
                entries = entries.len(),
                raise_epoch,
                "the revocation log was given back what it had lost"
            );
            (raise_epoch, rest) = (false, others);
        }
        self.read_anew(log.head(), last);
        if let Some(index) = self.index_mut().as_mut() {
            index.adopt(log, now);
        }
        Ok(())
    }
}

struct Meters {
    seconds: Histogram,
    failures: Counter,
    refused: Counter,
    position: Gauge,
    size: Gauge,
}

impl Meters {
    fn new() -> Self {
        Self {
            seconds: histogram!("grantry_revocation_probe_seconds"),
            failures: counter!("grantry_revocation_probe_failures_total"),
            refused: counter!("grantry_revocation_stale_refusals_total"),
            position: gauge!("grantry_revocation_position"),
            size: gauge!("grantry_revocation_index_size"),
        }
    }

    fn look(&self, index: &Index) {
        self.position.set(index.head().position.0 as f64);
        self.size.set(index.len() as f64);
    }
}
