use std::sync::Arc;

use tokio::sync::watch;

/// What a store rings when the revocation log may have grown. Any number may listen; several rings that nobody has
/// looked at yet are one.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<watch::Sender<u64>>);

impl Bell {
    pub fn ring(&self) {
        self.0.send_modify(|rung| *rung = rung.wrapping_add(1));
    }

    /// Hears what is rung from now on.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
