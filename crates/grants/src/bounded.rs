use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use metrics::Gauge;

/// A map with room for a number of entries; the oldest makes room for a new one.
pub struct Bounded<K, V> {
    capacity: usize,
    entries: HashMap<K, V>,
    /// By age.
    order: VecDeque<K>,
    size: Gauge,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    /// `size` shows how many entries there are.
    pub fn new(capacity: usize, size: Gauge) -> Self {
        Self { capacity, entries: HashMap::new(), order: VecDeque::new(), size }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// Gives the value that was there. A value that takes another's place keeps that one's age.
    pub fn put(&mut self, key: K, value: V) -> Option<V> {
        let before = self.entries.insert(key.clone(), value);
        if before.is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.size.set(self.entries.len() as f64);
        before
    }
}

impl<K: Clone + Eq + Hash, V: Clone + Default> Bounded<K, V> {
    pub fn get_or_put_default(&mut self, key: K) -> V {
        if let Some(value) = self.entries.get(&key) {
            return value.clone();
        }
        let value = V::default();
        self.put(key, value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_the_oldest_makes_room() {
        let mut map = Bounded::new(100, Gauge::noop());
        for n in 0..100 {
            assert_eq!(map.put(n, n), None);
        }
        assert_eq!(map.put(0, 7), Some(0));
        assert_eq!((map.get(&0), map.entries.len()), (Some(&7), 100));
        map.put(100, 0);
        assert_eq!((map.get(&0), map.get(&1), map.entries.len()), (None, Some(&1), 100));
        assert_eq!(map.get_or_put_default(2), 2);
        assert_eq!(map.get_or_put_default(200), 0);
    }
}
