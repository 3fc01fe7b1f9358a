//! What each setting of `[cache]` does, seen from outside: by requests and by `/metrics`.

mod coherence;
mod disk;
mod eviction;
mod loading;

use reqwest::StatusCode;

use crate::home::Home;
use crate::test_server::{Credentials, TestServer};

/// Where a token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Memory,
    Disk,
    Store,
}

/// A client that asks for tokens and for what they are. Nobody else asks for any, so that the counters are about these.
struct Caller {
    client: Credentials,
}

impl Caller {
    async fn register(home: &Home, server: &TestServer) -> Self {
        Self { client: server.plain_client(&home.first_client()).await }
    }

    /// A token of a slot of its own.
    async fn issue(&self, server: &TestServer, number: usize) -> String {
        let resource = format!("https://api.example/{number}");
        server.token(&self.client, &[("resource", &resource)]).await
    }

    async fn issue_all(&self, server: &TestServer, numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
        let mut tokens = Vec::new();
        for number in numbers {
            tokens.push(self.issue(server, number).await);
        }
        tokens
    }

    async fn is_active(&self, server: &TestServer, token: &str) -> bool {
        server.is_active(&self.client, token).await
    }

    async fn introspection_status(&self, server: &TestServer, token: &str) -> StatusCode {
        server.post("/oauth2/introspect", &self.client, &[("token", token)]).send().await.unwrap().status()
    }

    /// Introspects the token, which is active, and says where it was found.
    async fn source(&self, server: &TestServer, token: &str) -> Source {
        let before = lookups(server).await;
        assert!(self.is_active(server, token).await);
        let after = lookups(server).await;
        let moved: Vec<Source> = [Source::Memory, Source::Disk, Source::Store]
            .into_iter()
            .zip(before.into_iter().zip(after))
            .flat_map(|(source, (before, after))| std::iter::repeat_n(source, (after - before) as usize))
            .collect();
        let [source] = moved.as_slice() else { panic!("one introspection is one look-up: {moved:?}") };
        *source
    }

    async fn sources(&self, server: &TestServer, tokens: &[&String]) -> Vec<Source> {
        let mut sources = Vec::new();
        for token in tokens {
            sources.push(self.source(server, token).await);
        }
        sources
    }
}

/// How often tokens were found in memory, on disk and in the store.
async fn lookups(server: &TestServer) -> [f64; 3] {
    let hits = async |tier: &str| {
        let labels = format!("cache=\"tokens\",tier=\"{tier}\"");
        server.metric("grantry_cache_hits_total", &labels).await
    };
    let misses = server.metric("grantry_cache_misses_total", "cache=\"tokens\"").await;
    [hits("memory").await, hits("disk").await, misses]
}

/// A gauge or counter of the cache of tokens.
async fn of_tokens(server: &TestServer, name: &str) -> f64 {
    server.metric(name, "cache=\"tokens\"").await
}
