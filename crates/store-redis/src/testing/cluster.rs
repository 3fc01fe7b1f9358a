use super::process::{arguments, free_port, wait_until};
use super::server::{COMMON, Server};
use super::talk::ask;

const SLOTS: usize = 16_384;
pub const PRIMARIES: usize = 3;

/// Primaries with equal shares of the hash slots, the first replica of each after all of them, and so on. A member that says
/// nothing for a second is taken for dead.
pub struct Cluster {
    pub members: Vec<Server>,
}

impl Cluster {
    /// Three primaries, each with so many replicas. Returns once all agree that all is well.
    pub fn start(replicas_each: usize) -> Self {
        let buses: Vec<u16> = (0..PRIMARIES * (1 + replicas_each)).map(|_| free_port()).collect();
        let members: Vec<Server> = buses.iter().map(|bus| member(*bus)).collect();
        let ports: Vec<u16> = members.iter().map(Server::port).collect();
        assemble(&ports, &buses);
        let cluster = Self { members };
        for (index, replica) in cluster.members.iter().enumerate().skip(PRIMARIES) {
            let id = cluster.members[index % PRIMARIES].ask(&["CLUSTER", "MYID"]);
            done(replica.port(), &["CLUSTER", "REPLICATE", &id]);
            wait_until("the replica follows", || replica.info("replication", "master_link_status") == "up");
        }
        cluster.wait_for_roles();
        cluster
    }

    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(Server::url).collect()
    }

    /// The member that has the key, of those that are primaries when the cluster starts.
    pub fn primary_of(&self, key: &str) -> usize {
        let slot: usize = self.members[0].ask(&["CLUSTER", "KEYSLOT", key]).parse().unwrap();
        (0..PRIMARIES).find(|index| slot < (index + 1) * SLOTS / PRIMARIES).unwrap()
    }

    /// Waits until this member is a primary.
    pub fn wait_for_promotion(&self, member: usize) {
        wait_until("the replica is promoted", || {
            self.members[member].info("replication", "role") == "master" && self.is_well(member)
        });
    }

    fn is_well(&self, member: usize) -> bool {
        is_well(self.members[member].port(), self.members.len())
    }

    /// Each member has heard which of the others are replicas.
    fn wait_for_roles(&self) {
        let replicas = self.members.len() - PRIMARIES;
        wait_until("all know who is a replica", || {
            self.members.iter().all(|member| {
                let nodes = member.ask(&["CLUSTER", "NODES"]);
                nodes.lines().filter(|line| line.contains("slave")).count() == replicas
            })
        });
    }
}

fn member(bus: u16) -> Server {
    Server::with(&cluster_settings(&bus.to_string()))
}

/// With which a server is a member; the others reach it through `bus`.
pub fn settings_of_member(bus: u16) -> Vec<String> {
    let bus = bus.to_string();
    arguments(&[&COMMON, &cluster_settings(&bus)[..]].concat())
}

fn cluster_settings(bus: &str) -> [(&'static str, &str); 4] {
    [
        ("cluster-enabled", "yes"),
        ("cluster-node-timeout", "1000"),
        ("cluster-replica-validity-factor", "0"),
        ("cluster-port", bus),
    ]
}

/// The first few get the hash slots. Returns once all agree that all is well.
pub fn assemble(ports: &[u16], buses: &[u16]) {
    for (index, port) in ports.iter().take(PRIMARIES).enumerate() {
        let (first, end) = (index * SLOTS / PRIMARIES, (index + 1) * SLOTS / PRIMARIES);
        done(*port, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]);
    }
    for (index, (port, bus)) in ports.iter().zip(buses).enumerate() {
        done(*port, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        let (port, bus) = (port.to_string(), bus.to_string());
        done(ports[0], &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }
    wait_until("the cluster is well", || ports.iter().all(|port| is_well(*port, ports.len())));
}

fn is_well(port: u16, members: usize) -> bool {
    let state = ask(port, &["CLUSTER", "INFO"]).unwrap_or_default();
    let has = |line: &str| state.lines().any(|present| present.trim() == line);
    has("cluster_state:ok") && has(&format!("cluster_known_nodes:{members}"))
}

fn done(port: u16, command: &[&str]) {
    assert_eq!(ask(port, command).unwrap(), "OK", "{command:?}");
}
