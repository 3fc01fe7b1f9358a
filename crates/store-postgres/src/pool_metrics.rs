use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// What the pool for one use (`read`, `write`, `probe` or `listen`) tells about itself.
///
/// | metric | kind | means |
/// |---|---|---|
/// | `grantry_store_links{use}` | gauge | connections to PostgreSQL that are open |
/// | `grantry_store_connects_total{use,outcome="ok"\|"failed"}` | counter | attempts to connect; after the first few, each is a reconnect |
pub struct PoolMetrics {
    links: Gauge,
    connected: Counter,
    failed: Counter,
}

impl PoolMetrics {
    pub fn new(used_for: &'static str) -> Self {
        describe_gauge!("grantry_store_links", "Connections to PostgreSQL that are open.");
        describe_counter!("grantry_store_connects_total", "Attempts to connect to PostgreSQL.");
        Self {
            links: gauge!("grantry_store_links", "use" => used_for),
            connected: counter!("grantry_store_connects_total", "use" => used_for, "outcome" => "ok"),
            failed: counter!("grantry_store_connects_total", "use" => used_for, "outcome" => "failed"),
        }
    }

    /// A link was made; it counts as long as the answer lives.
    pub fn opened(&self) -> OpenLink {
        self.connected.increment(1);
        self.links.increment(1.0);
        OpenLink(self.links.clone())
    }

    pub fn failed(&self) {
        self.failed.increment(1);
    }
}

pub struct OpenLink(Gauge);

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
