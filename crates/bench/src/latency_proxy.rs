//! Distance: a TCP proxy that hands on what it reads a while later. Only latency is added, not bandwidth taken: as
//! many packets as like are on their way at once.
//!
//! A thread keeps the time, because the runtime's own timers tick in whole milliseconds. All packets wait equally
//! long, so one queue in the order of arrival is all that it needs.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};

use crate::{clock, failure::Failure};

/// The longest packet, in bytes.
const PACKET: usize = 64 * 1024;
/// Packets on their way in one direction of a connection; more stay with the sender.
const UNDER_WAY: usize = 256;

pub struct LatencyProxy {
    address: SocketAddr,
    one_way: Arc<AtomicU64>,
    /// Ends the proxy with this value.
    _until: oneshot::Sender<()>,
}

/// What is on its way.
struct Packet {
    due: Instant,
    bytes: Bytes,
    to: mpsc::UnboundedSender<Arrived>,
    place: OwnedSemaphorePermit,
}

/// Its place is free again once it is written.
type Arrived = (Bytes, OwnedSemaphorePermit);

impl LatencyProxy {
    /// In front of `target`, on a free port of loopback, without any delay yet.
    pub fn start(target: SocketAddr) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(format!("the latency proxy does not start: {error}"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let one_way = Arc::new(AtomicU64::new(0));
        let (until, told_to_stop) = oneshot::channel();
        let (sky, under_way) = mpsc::unbounded_channel();
        let route = Route { target, one_way: one_way.clone(), sky };
        // A runtime of its own, so that a busy load generator does not add to the delay.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = route.serve(listener) => {}
                    _ = told_to_stop => {}
                }
            });
        };
        thread::Builder::new().name("latency-proxy".into()).spawn(serve).map_err(failed)?;
        let keep_time = move || deliver(under_way);
        thread::Builder::new().name("latency-clock".into()).spawn(keep_time).map_err(failed)?;
        Ok(Self { address, one_way, _until: until })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What every round trip takes longer from now on; half of it on each way.
    pub fn set_round_trip(&self, delay: Duration) {
        self.one_way.store(delay.as_nanos() as u64 / 2, Relaxed);
    }
}

/// Hands each packet over when it is due; ends with the last sender.
fn deliver(mut under_way: mpsc::UnboundedReceiver<Packet>) {
    while let Some(packet) = under_way.blocking_recv() {
        let wait = packet.due.saturating_duration_since(clock::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        // A connection that has ended meanwhile takes nothing.
        let _ = packet.to.send((packet.bytes, packet.place));
    }
}

#[derive(Clone)]
struct Route {
    target: SocketAddr,
    one_way: Arc<AtomicU64>,
    sky: mpsc::UnboundedSender<Packet>,
}

impl Route {
    async fn serve(self, listener: std::net::TcpListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (near, _) = listener.accept().await?;
            let route = self.clone();
            // Either side learns of a broken connection by its end.
            tokio::spawn(async move { drop(route.connect(near).await) });
        }
    }

    async fn connect(self, near: TcpStream) -> io::Result<()> {
        let far = TcpStream::connect(self.target).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (from_near, to_near) = near.into_split();
        let (from_far, to_far) = far.into_split();
        self.one_direction(from_near, to_far);
        self.one_direction(from_far, to_near);
        Ok(())
    }

    fn one_direction(&self, from: OwnedReadHalf, to: OwnedWriteHalf) {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        tokio::spawn(self.clone().take_in(from, arrivals));
        tokio::spawn(hand_out(arrived, to));
    }

    /// Reads until the end, no further ahead than there are places.
    async fn take_in(self, mut from: OwnedReadHalf, to: mpsc::UnboundedSender<Arrived>) {
        let places = Arc::new(Semaphore::new(UNDER_WAY));
        let mut buffer = vec![0; PACKET];
        while let Ok(place) = places.clone().acquire_owned().await
            && let Ok(length @ 1..) = from.read(&mut buffer).await
        {
            let due = clock::now() + Duration::from_nanos(self.one_way.load(Relaxed));
            let bytes = Bytes::copy_from_slice(&buffer[..length]);
            if self.sky.send(Packet { due, bytes, to: to.clone(), place }).is_err() {
                return;
            }
        }
    }
}

/// Ends, and closes the direction, when nothing more can arrive.
async fn hand_out(mut arrived: mpsc::UnboundedReceiver<Arrived>, mut to: OwnedWriteHalf) {
    while let Some((bytes, _place)) = arrived.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // The other side may have closed it already.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net,
    };

    use super::*;

    /// Sends everything back.
    fn echo() -> SocketAddr {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        address
    }

    fn connect(proxy: &LatencyProxy) -> net::TcpStream {
        net::TcpStream::connect(("127.0.0.1", proxy.port())).unwrap()
    }

    fn round_trip(stream: &mut net::TcpStream) -> Duration {
        let start = clock::now();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        start.elapsed()
    }

    #[test]
    fn a_round_trip_takes_as_much_longer_as_was_asked_for() {
        let proxy = LatencyProxy::start(echo()).unwrap();
        let mut stream = connect(&proxy);
        let delay = Duration::from_millis(300);
        assert!(round_trip(&mut stream) < delay);
        proxy.set_round_trip(delay);
        assert!(round_trip(&mut stream) >= delay);
        proxy.set_round_trip(Duration::ZERO);
        assert!(round_trip(&mut stream) < delay);
    }

    #[test]
    fn packets_are_under_way_at_the_same_time() {
        let proxy = LatencyProxy::start(echo()).unwrap();
        let delay = Duration::from_millis(200);
        proxy.set_round_trip(delay);
        let mut streams: Vec<_> = (0..10).map(|_| connect(&proxy)).collect();
        let start = clock::now();
        streams.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
        streams.iter_mut().for_each(|stream| stream.read_exact(&mut [0]).unwrap());
        assert!(
            (delay..5 * delay).contains(&start.elapsed()),
            "one after the other they take ten times the delay"
        );
    }

    #[test]
    fn what_is_sent_arrives_whole_and_in_order() {
        let proxy = LatencyProxy::start(echo()).unwrap();
        proxy.set_round_trip(Duration::from_millis(2));
        let mut stream = connect(&proxy);
        let sent: Vec<u8> = (0..10_000_000_u32).map(|number| (number % 251) as u8).collect();
        let mut reader = stream.try_clone().unwrap();
        let read = thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        stream.write_all(&sent).unwrap();
        stream.shutdown(net::Shutdown::Write).unwrap();
        assert!(read.join().unwrap() == sent);
    }
}
