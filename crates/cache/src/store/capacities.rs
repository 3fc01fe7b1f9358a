use super::CachedStore;

/// The most copies that each near cache may have in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacities {
    pub tokens: usize,
    pub token_owners: usize,
    pub clients: usize,
}

impl CachedStore {
    /// Copies beyond a smaller capacity make room at once, as if new ones had come.
    pub fn set_capacities(&self, capacities: Capacities) {
        let Some(near) = &self.near else { return };
        near.tokens.set_capacity(capacities.tokens);
        near.token_owners.set_capacity(capacities.token_owners);
        near.clients.set_capacity(capacities.clients);
    }
}
