use std::fmt;
use std::num::NonZeroU8;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid, Variant};

use crate::{Rng, Timestamp};

/// The longest client id or subject, in bytes (OpenID Connect Core §2 bounds `sub` at 255).
const MAX_ID_LEN: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {MAX_ID_LEN} printable ASCII characters")]
pub struct InvalidId {
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be a UUID")]
pub struct InvalidUuid {
    what: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                let legal = !text.is_empty()
                    && text.len() <= MAX_ID_LEN
                    && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
                if legal { Ok(Self(text)) } else { Err(InvalidId { what: $what }) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A client's id (RFC 6749 §2.2; its characters: appendix A.1).
    ClientId,
    "client_id"
);
text_id!(
    /// Whom a token speaks for: the `sub` of RFC 9068 §2.2.
    Subject,
    "subject"
);

impl Subject {
    /// With client credentials the client is its own subject (RFC 9068 §2.2).
    pub fn of_client(client: &ClientId) -> Self {
        Self(client.as_str().to_owned())
    }
}

/// A user and a client may bear the same name; their tokens must not be taken for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    Client,
    User,
}

macro_rules! time_ordered_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub const LEN: usize = 16;

            pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
                self.0.as_bytes()
            }

            /// When it was made (RFC 9562 §5.7); `None` for a UUID of another kind, which anybody may send as one of ours.
            pub fn time(&self) -> Option<Timestamp> {
                let is_ours = self.0.get_version_num() == 7 && self.0.get_variant() == Variant::RFC4122;
                is_ours.then(|| made_at(self.as_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidUuid;

            fn from_str(text: &str) -> Result<Self, InvalidUuid> {
                text.parse().map(Self).map_err(|_| InvalidUuid { what: $what })
            }
        }
    };
}

time_ordered_id!(
    /// An access token's id, a UUIDv7 (RFC 9562 §5.7): it sorts by the time it was made, so the newest tokens lie
    /// together in every index and the oldest leave together.
    TokenId,
    "token id"
);
time_ordered_id!(
    /// One authorization of one client by one subject, a UUIDv7 too.
    GrantId,
    "grant id"
);
time_ordered_id!(
    /// One sitting of one person at one browser; every grant that it gives carries it.
    SessionId,
    "session id"
);

impl TokenId {
    /// The smallest id that can have been made at `at`: every id below it is older.
    pub fn lower_bound(at: Timestamp) -> Self {
        let millis = u64::try_from(at.as_millis()).unwrap_or(0);
        let mut bytes = [0; Self::LEN];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Self::from_bytes(bytes)
    }

    /// When it was made: the first 48 bits (RFC 9562 §5.7).
    pub fn made_at(&self) -> Timestamp {
        made_at(self.as_bytes())
    }
}

fn made_at(id: &[u8; TokenId::LEN]) -> Timestamp {
    Timestamp::from_millis(id[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte)))
}

impl GrantId {
    /// The smallest id that can have been made at `at`.
    pub fn lower_bound(at: Timestamp) -> Self {
        Self(TokenId::lower_bound(at).0)
    }
}

/// Makes ids that rise strictly within a process, even within a millisecond and when its clock goes back: the
/// 12 bits after the time are a counter (RFC 9562 §6.2, method 1).
#[derive(Debug, Default)]
pub struct TimeOrderedIds {
    last: Mutex<Tick>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tick {
    millis: u64,
    counter: u16,
}

impl Tick {
    const COUNTER_MAX: u16 = 0x0fff;

    /// A new millisecond starts its counter in the lower half; one that runs out of numbers borrows from the next.
    fn following(self, now: u64, random: u16) -> Self {
        let start = random & (Self::COUNTER_MAX >> 1);
        if now > self.millis {
            Self { millis: now, counter: start }
        } else if self.counter < Self::COUNTER_MAX {
            Self { millis: self.millis, counter: self.counter + 1 }
        } else {
            Self { millis: self.millis + 1, counter: start }
        }
    }
}

impl TimeOrderedIds {
    pub fn token(&self, now: Timestamp, rng: &dyn Rng) -> TokenId {
        TokenId(self.next(now, rng))
    }

    pub fn grant(&self, now: Timestamp, rng: &dyn Rng) -> GrantId {
        GrantId(self.next(now, rng))
    }

    fn next(&self, now: Timestamp, rng: &dyn Rng) -> Uuid {
        let mut random = [0; 10];
        rng.fill(&mut random);
        let tick = {
            let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let now = u64::try_from(now.as_millis()).unwrap_or(0);
            *last = last.following(now, u16::from_be_bytes([random[0], random[1]]));
            *last
        };
        random[..2].copy_from_slice(&tick.counter.to_be_bytes());
        Builder::from_unix_timestamp_millis(tick.millis, &random).into_uuid()
    }
}

/// A node as tokens name it in one byte: which node answered them before their row was written. From 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeNumber(NonZeroU8);

impl NodeNumber {
    /// `None` for 0, which stands for no node.
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one request in the log and in its answer, so that an operator finds the one from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    process: u64,
    number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.process, self.number)
    }
}

/// Makes request ids: a random half for the process and a count, which costs a request less than randomness does. They
/// are names, not secrets.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    number: AtomicU64,
}

impl RequestIds {
    pub fn new(rng: &dyn Rng) -> Self {
        let mut process = [0; 8];
        rng.fill(&mut process);
        Self { process: u64::from_be_bytes(process), number: AtomicU64::new(1) }
    }

    pub fn next(&self) -> RequestId {
        RequestId { process: self.process, number: self.number.fetch_add(1, Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Rng for Fixed {
        fn fill(&self, dest: &mut [u8]) {
            dest.fill(self.0);
        }
    }

    #[test]
    fn ids_keep_their_order_when_the_clock_goes_back() {
        let ids = TimeOrderedIds::default();
        let first = ids.token(Timestamp::from_millis(2_000), &Fixed(0));
        let second = ids.token(Timestamp::from_millis(1_000), &Fixed(1));
        assert!(first < second);
    }

    #[test]
    fn ids_rise_within_a_millisecond_even_when_its_counter_runs_out() {
        let ids = TimeOrderedIds::default();
        let made: Vec<TokenId> =
            (0..10_000).map(|_| ids.token(Timestamp::from_millis(7), &Fixed(0xff))).collect();
        assert!(made.is_sorted_by(|left, right| left < right));
    }

    #[test]
    fn the_lower_bound_of_a_time_is_below_its_ids_and_above_all_older_ones() {
        let ids = TimeOrderedIds::default();
        let older = ids.token(Timestamp::from_millis(4_999), &Fixed(0xff));
        let made = ids.token(Timestamp::from_millis(5_000), &Fixed(0));
        let bound = TokenId::lower_bound(Timestamp::from_millis(5_000));
        assert!(older < bound && bound <= made);
        assert_eq!(made.made_at(), Timestamp::from_millis(5_000));
    }

    #[test]
    fn only_a_uuid_of_our_kind_says_when_it_was_made() {
        let time = |text: &str| text.parse::<TokenId>().unwrap().time();
        let made = Some(Timestamp::from_millis(0x0192_0000_0001));
        assert_eq!(time("01920000-0001-7000-8000-000000000000"), made);
        assert_eq!(time("01920000-0001-7fff-bfff-ffffffffffff"), made);
        assert_eq!(time("01920000-0001-4000-8000-000000000000"), None, "another version");
        assert_eq!(time("01920000-0001-7000-c000-000000000000"), None, "another variant");
        assert_eq!(time("00000000-0000-0000-0000-000000000000"), None);
    }

    #[test]
    fn an_id_is_printable_ascii_of_bounded_length() {
        for wrong in ["", "a\0b", "a\nb", "é", &"x".repeat(256)] {
            assert!(wrong.parse::<ClientId>().is_err(), "{wrong:?}");
        }
        assert!("x".repeat(255).parse::<ClientId>().is_ok());
    }
}
