//! Between a server and PostgreSQL: it understands just enough of the protocol to stop at the COMMIT of a transaction
//! that writes, and to hold it or cut the connection there.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use crate::soak::links::Links;

/// Where in a commit the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The database has the batch and not the COMMIT.
    Before,
    /// It has the first half of the COMMIT's bytes.
    Inside,
    /// It has committed and answered, and the answer is not delivered.
    After,
}

pub const CUTS: [Cut; 3] = [Cut::Before, Cut::Inside, Cut::After];

pub struct Proxy {
    links: Links,
    shared: Arc<Shared>,
}

struct Shared {
    /// Whether commits are held.
    held: watch::Sender<bool>,
    /// For the next commit.
    cut: Mutex<Option<Cut>>,
    cuts_made: AtomicU32,
    waiting: AtomicU32,
}

impl Proxy {
    /// In front of the server that listens on this port.
    pub async fn start(to: u16) -> Self {
        let shared = Arc::new(Shared {
            held: watch::Sender::new(false),
            cut: Mutex::default(),
            cuts_made: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
        });
        let its = Arc::clone(&shared);
        let links = Links::start(to, move |client, server| relay(client, server, Arc::clone(&its))).await;
        Self { links, shared }
    }

    pub fn port(&self) -> u16 {
        self.links.port()
    }

    /// From now on no commit of a write gets through.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Commits that are held at this moment.
    pub fn waiting(&self) -> u32 {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// Closes every connection, to both sides; what is held is never delivered.
    pub fn drop_links(&self) {
        self.links.drop_all();
    }

    /// Cuts the connection of the next commit.
    pub fn cut(&self, cut: Cut) {
        let before = lock(&self.shared.cut).replace(cut);
        assert_eq!(before, None, "the cut before was made");
    }

    pub fn cuts_made(&self) -> u32 {
        self.shared.cuts_made.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn relay(client: TcpStream, server: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let link = Link::default();
    tokio::select! {
        ended = forth(from_client, to_server, &shared, &link) => ended,
        ended = back(from_server, to_client, &link) => ended,
    }
}

/// What one direction of a connection tells the other.
#[derive(Default)]
struct Link {
    /// How often the database has said that it is ready for the next query.
    ready: watch::Sender<u64>,
    /// Whether its answers are kept from the server.
    withholds: AtomicBool,
}

/// To the database, message by message.
async fn forth(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    link: &Link,
) -> io::Result<()> {
    let mut frontend = Frontend::default();
    while from.read_buf(&mut frontend.received).await? > 0 {
        let mut passed = Vec::new();
        while let Some((message, commits)) = frontend.next_message() {
            if commits {
                to.write_all(&std::mem::take(&mut passed)).await?;
                let cut = lock(&shared.cut).take();
                if let Some(cut) = cut {
                    // The server has the answers to all that came before the COMMIT.
                    wait_for_answers(link, frontend.queries - 1).await;
                    return carry_out(cut, &message, &mut to, shared, link).await;
                }
                wait_while_held(shared).await;
            }
            passed.extend(message);
        }
        to.write_all(&passed).await?;
    }
    Ok(())
}

async fn carry_out(
    cut: Cut,
    commit: &[u8],
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    link: &Link,
) -> io::Result<()> {
    match cut {
        Cut::Before => {}
        Cut::Inside => to.write_all(&commit[..commit.len() / 2]).await?,
        Cut::After => {
            link.withholds.store(true, Ordering::SeqCst);
            let answers = *link.ready.borrow();
            to.write_all(commit).await?;
            wait_for_answers(link, answers + 1).await;
        }
    }
    shared.cuts_made.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

async fn wait_for_answers(link: &Link, count: u64) {
    // The sender lives as long as the connection.
    let _ = link.ready.subscribe().wait_for(|ready| *ready >= count).await;
}

async fn wait_while_held(shared: &Shared) {
    struct Waiting<'a>(&'a AtomicU32);
    impl Drop for Waiting<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    shared.waiting.fetch_add(1, Ordering::SeqCst);
    let _waiting = Waiting(&shared.waiting);
    // It ends with the proxy at the latest.
    let _ = shared.held.subscribe().wait_for(|held| !held).await;
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: &Link) -> io::Result<()> {
    let (mut received, mut unread) = (Vec::with_capacity(16 * 1024), Vec::new());
    while from.read_buf(&mut received).await? > 0 {
        unread.extend_from_slice(&received);
        if !link.withholds.load(Ordering::SeqCst) {
            to.write_all(&received).await?;
        }
        received.clear();
        while let Some(message) = take_message(&mut unread, 1) {
            if message[0] == READY_FOR_QUERY {
                link.ready.send_modify(|ready| *ready += 1);
            }
        }
    }
    Ok(())
}

/// A whole message from the front: its type in the first `type_len` bytes, then its length, type aside.
fn take_message(received: &mut Vec<u8>, type_len: usize) -> Option<Vec<u8>> {
    let length = received.get(type_len..type_len + 4)?;
    let end = type_len + u32::from_be_bytes(length.try_into().unwrap()) as usize;
    (received.len() >= end).then(|| received.drain(..end).collect())
}

const READY_FOR_QUERY: u8 = b'Z';
/// How transactions end that are to last.
const COMMIT: &[u8] = b"COMMIT\0";
/// How transactions begin that change something.
const WRITES: &[u8] = b"BEGIN ISOLATION LEVEL READ COMMITTED";

/// The stream of messages from a client of the database.
#[derive(Default)]
struct Frontend {
    received: Vec<u8>,
    is_started: bool,
    is_writing: bool,
    /// Messages so far after which the database says that it is ready again.
    queries: u64,
}

impl Frontend {
    /// A whole message, and whether it commits a transaction that writes.
    fn next_message(&mut self) -> Option<(Vec<u8>, bool)> {
        // The messages before the session begins have no type.
        let message = take_message(&mut self.received, usize::from(self.is_started))?;
        if !self.is_started {
            // The others ask for encryption, and are answered before the session begins.
            self.is_started = message[4..8] == [0, 3, 0, 0];
            self.queries += u64::from(self.is_started);
            return Some((message, false));
        }
        // A simple query, or the end of an extended one.
        self.queries += u64::from(matches!(message[0], b'Q' | b'S'));
        let query = message.strip_prefix(b"Q").map(|rest| &rest[4..]).unwrap_or_default();
        let commits = self.is_writing && query.ends_with(COMMIT);
        if query.starts_with(WRITES) {
            self.is_writing = true;
        } else if commits || query.starts_with(b"ROLLBACK") {
            self.is_writing = false;
        }
        Some((message, commits))
    }
}
