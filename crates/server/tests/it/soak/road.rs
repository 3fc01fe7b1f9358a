//! The way from one process to the servers that it relies on, on which things happen to packets. It is one network: whatever
//! happens on it happens to all connections, the ones that are made meanwhile included.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::soak::links::Links;

/// The longest packet, in bytes.
const PACKET: usize = 16 * 1024;
/// Packets that are on their way in one direction of a connection; more stay with whoever sends them.
const UNDER_WAY: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// No connection stands, and none is made.
    pub is_cut: bool,
    /// To the servers, and back.
    pub there: Way,
    pub back: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// How much later everything arrives.
    pub delay: Duration,
    /// Nothing arrives, and nobody is told. What was sent arrives once this is over, as TCP sends again.
    pub is_silent: bool,
}

impl Condition {
    pub fn cut() -> Self {
        Self { is_cut: true, ..Self::default() }
    }

    /// It takes so long there and back.
    pub fn slow(there: Duration, back: Duration) -> Self {
        let way = |delay| Way { delay, ..Way::default() };
        Self { there: way(there), back: way(back), ..Self::default() }
    }

    /// It loses everything on the way there, on the way back, or both.
    pub fn silent(there: bool, back: bool) -> Self {
        let way = |is_silent| Way { is_silent, ..Way::default() };
        Self { there: way(there), back: way(back), ..Self::default() }
    }
}

pub struct Road<const SERVERS: usize> {
    links: [Links; SERVERS],
    condition: watch::Sender<Condition>,
}

impl<const SERVERS: usize> Road<SERVERS> {
    /// To the servers on these ports.
    pub async fn build(to: [u16; SERVERS]) -> Self {
        let condition = watch::Sender::new(Condition::default());
        let relay = {
            let condition = condition.clone();
            move |client, server| relay(client, server, condition.subscribe())
        };
        let links = join_all(to.map(|port| Links::start(port, relay.clone()))).await;
        let links = links.try_into().unwrap_or_else(|_| unreachable!("as many as there are ports"));
        Self { links, condition }
    }

    /// In the order of the servers.
    pub fn ports(&self) -> [u16; SERVERS] {
        self.links.each_ref().map(Links::port)
    }

    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
        if condition.is_cut {
            self.links.iter().for_each(Links::drop_all);
        }
    }
}

async fn relay(client: TcpStream, server: TcpStream, road: watch::Receiver<Condition>) -> io::Result<()> {
    if road.borrow().is_cut {
        return Ok(());
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        ended = carry(from_client, to_server, road.clone(), |road| road.there) => ended,
        ended = carry(from_server, to_client, road, |road| road.back) => ended,
    }
}

/// In one direction, to the end and all that was sent before it.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    road: watch::Receiver<Condition>,
    way: fn(&Condition) -> Way,
) -> io::Result<()> {
    let (sent, mut under_way) = mpsc::channel(UNDER_WAY);
    let mut obstacles = road.clone();
    let take_in = async move {
        loop {
            let mut packet = Vec::with_capacity(PACKET);
            let length = from.read_buf(&mut packet).await?;
            let due = Instant::now() + way(&road.borrow()).delay;
            if sent.send((due, packet)).await.is_err() || length == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let hand_out = async move {
        while let Some((due, packet)) = under_way.recv().await {
            // wait: for the time that the packet takes, which is what is tested.
            sleep_until(due).await;
            // It ends with the road at the latest.
            let _ = obstacles.wait_for(|road| !way(road).is_silent).await;
            to.write_all(&packet).await?;
        }
        Ok(())
    };
    tokio::try_join!(take_in, hand_out).map(drop)
}
