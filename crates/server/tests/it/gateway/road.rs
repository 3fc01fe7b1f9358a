//! The way from a gateway to the issuer, which can be taken away.

use std::io;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::soak::links::Links;

pub struct Road {
    links: Links,
    condition: watch::Sender<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Open,
    /// No connection stands, and none is made.
    Cut,
    /// Nothing arrives, and nobody is told.
    Silent,
}

impl Road {
    pub async fn to(port: u16) -> Self {
        let condition = watch::Sender::new(Condition::Open);
        let watched = condition.clone();
        let relay = move |gateway, issuer| relay(gateway, issuer, watched.subscribe());
        Self { links: Links::start(port, relay).await, condition }
    }

    pub fn port(&self) -> u16 {
        self.links.port()
    }

    /// What is silent or cut keeps no connection for later.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
        if condition != Condition::Silent {
            self.links.drop_all();
        }
    }
}

async fn relay(
    mut gateway: TcpStream,
    mut issuer: TcpStream,
    mut road: watch::Receiver<Condition>,
) -> io::Result<()> {
    let condition = *road.borrow_and_update();
    if condition == Condition::Open {
        tokio::select! {
            ended = copy_bidirectional(&mut gateway, &mut issuer) => return ended.map(drop),
            _ = road.wait_for(|condition| *condition != Condition::Open) => {}
        }
    }
    // Both ends stay as they are until the road ends all connections.
    let is_silent = *road.borrow() == Condition::Silent;
    if is_silent {
        let _ = road.wait_for(|condition| *condition != Condition::Silent).await;
    }
    Ok(())
}
