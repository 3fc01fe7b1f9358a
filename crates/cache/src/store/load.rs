//! Filling the near caches at the start, beside the requests: nobody waits for it.

use grantry_protocol::{ClientId, TokenId};
use grantry_store::{Observed, Result};
use metrics::{counter, histogram};

use super::clients::ClientCopy;
use super::{CachedStore, Near, is_over};

impl CachedStore {
    /// Brings the newest tokens and the first clients in, `batch_size` at a time, until the caches are full or there are no
    /// more.
    pub async fn load(&self, batch_size: usize) {
        let Some(near) = &self.near else { return };
        let (tokens, clients) =
            tokio::join!(self.load_tokens(near, batch_size), self.load_clients(near, batch_size));
        match (tokens, clients) {
            (Ok(tokens), Ok(clients)) => tracing::info!(tokens, clients, "the near caches are loaded"),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "the near caches were not loaded to the end; they fill as requests come");
            }
        }
    }

    async fn load_tokens(&self, near: &Near, batch_size: usize) -> Result<usize> {
        let (mut before, mut loaded) = (None::<TokenId>, 0);
        let count = counter!("grantry_cache_loaded_total", "cache" => "tokens");
        let batch = histogram!("grantry_cache_load_batch_size", "cache" => "tokens");
        while loaded < near.tokens.capacity() {
            let wanted = batch_size.min(near.tokens.capacity() - loaded);
            let page = self.inner.token_newest(before, wanted).await?;
            batch.record(page.len() as f64);
            let now = self.clock.now();
            before = page.last().map(|stored| stored.token.id);
            let is_last = page.len() < wanted;
            for stored in page.into_iter().filter(|stored| stored.token.expires_at > now && !is_over(stored))
            {
                loaded += 1;
                count.increment(1);
                if near.tokens.get(&stored.token.id).is_none() {
                    near.keep_holder(stored);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(loaded)
    }

    async fn load_clients(&self, near: &Near, batch_size: usize) -> Result<usize> {
        let (mut after, mut loaded) = (None::<ClientId>, 0);
        let count = counter!("grantry_cache_loaded_total", "cache" => "clients");
        let batch = histogram!("grantry_cache_load_batch_size", "cache" => "clients");
        while loaded < near.clients.capacity() {
            let wanted = batch_size.min(near.clients.capacity() - loaded);
            // Before the page is read: whatever is in it came no earlier.
            let seen = self.inner.revocation_head().await?.seen();
            let page = self.inner.client_list(after.as_ref(), wanted).await?;
            batch.record(page.len() as f64);
            after = page.last().map(|client| client.id.clone());
            let is_last = page.len() < wanted;
            for client in page {
                loaded += 1;
                count.increment(1);
                near.clients.insert(client.id.clone(), ClientCopy::of(Observed { seen, value: client }));
            }
            if is_last {
                break;
            }
        }
        Ok(loaded)
    }
}
