//! What a caller holds.

/// The access tokens of one grant that are looked at again: the first, and the latest.
const MOST_ACCESS_TOKENS: usize = 4;

#[derive(Debug, Clone)]
pub struct Held {
    /// Which of the clients.
    pub client: usize,
    /// Of one that is its own subject: what its token is for, which makes its slot.
    pub about: String,
    pub access: Vec<String>,
    /// Absent where there is no grant.
    pub refresh: Option<String>,
    /// How many tokens had been issued before: for a person who looks for what went wrong.
    pub number: usize,
}

impl Held {
    /// After a refresh.
    pub fn take(&mut self, access: String, refresh: String) {
        if self.access.len() == MOST_ACCESS_TOKENS {
            self.access.remove(1);
        }
        self.access.push(access);
        self.refresh = Some(refresh);
    }

    /// Each text that has to be active, or, once it was revoked, refused.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        self.access.iter().chain(&self.refresh)
    }

    /// What its client revokes to end all of it (RFC 7009 §2.1).
    pub fn root(&self) -> &str {
        self.refresh.as_ref().unwrap_or(&self.access[0])
    }
}
