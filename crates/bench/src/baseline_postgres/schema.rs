use std::time::Duration;

use uuid::Uuid;

use crate::{clock, failure::Failure, postgres::Session};

const SCHEMA: &str = include_str!("schema.sql");
/// The time that one partition holds, as the server has it for a retention time of a day.
const WIDTH: Duration = Duration::from_secs(3600);
/// Of which there are some for tokens to come.
const AHEAD: u32 = 24;

const IS_MISSING: &str = "SELECT (to_regclass('tokens') IS NULL)::int::bigint";

/// Makes the tables, with partitions for the next day.
pub async fn create_if_missing(session: &Session) -> Result<(), Failure> {
    if session.number(IS_MISSING).await? == 0 {
        return Ok(());
    }
    let now = clock::since_epoch();
    let begin = now - Duration::from_secs(now.as_secs() % WIDTH.as_secs());
    let partitions = (0..AHEAD).map(|number| partition(number, begin + WIDTH * number));
    session.run(&format!("{SCHEMA}\n{}", partitions.collect::<String>())).await
}

fn partition(number: u32, begin: Duration) -> String {
    let [from, to] = [begin, begin + WIDTH].map(first_id_at);
    format!("CREATE TABLE tokens_{number} PARTITION OF tokens FOR VALUES FROM ('{from}') TO ('{to}');\n")
}

/// The least time-ordered id (RFC 9562 §5.7) of a millisecond since 1970.
pub fn first_id_at(time: Duration) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&(time.as_millis() as u64).to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_time_are_not_below_its_first() {
        let time = Duration::from_millis(1_760_000_000_123);
        let made = |millis| uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
        assert!(first_id_at(time) <= made(1_760_000_000_123));
        assert!(first_id_at(time) > made(1_760_000_000_122));
    }
}
