//! What this node's file and environment say, as what operators change at run time stands over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use grantry_cache::{CachedStore, Capacities};
use grantry_grants::{CacheCapacities, FileSettings, RUNTIME_KEYS, TokenSettings};

use crate::config::{Cache, Loaded, Origin, key_paths};

/// `caches` follow the capacities that are in force.
pub fn of_file(loaded: &Loaded, tokens: TokenSettings, caches: Option<Arc<CachedStore>>) -> FileSettings {
    FileSettings {
        tokens,
        capacities: capacities(&loaded.config.cache),
        origins: origins(loaded),
        fixed: key_paths().into_iter().filter(|path| !RUNTIME_KEYS.contains(&path.as_str())).collect(),
        set_capacities: caches.map(|caches| {
            Box::new(move |capacities: CacheCapacities| {
                let CacheCapacities { tokens, token_owners, clients } = capacities;
                caches.set_capacities(Capacities { tokens, token_owners, clients });
            }) as _
        }),
    }
}

fn capacities(cache: &Cache) -> Option<CacheCapacities> {
    cache.enabled.then_some(CacheCapacities {
        tokens: cache.tokens.capacity,
        token_owners: cache.token_owners.capacity,
        clients: cache.clients.capacity,
    })
}

fn origins(loaded: &Loaded) -> BTreeMap<String, &'static str> {
    let named = |origin: &Origin| match origin {
        Origin::File { .. } => "file",
        Origin::Variable(_) => "environment",
    };
    loaded.origins.iter().map(|(path, origin)| (path.clone(), named(origin))).collect()
}
