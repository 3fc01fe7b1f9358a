//! A place in the log as text: epoch and position with a dot between them.

use grantry_protocol::{Epoch, Position, Seen};
use serde::{Deserialize, Deserializer, Serializer};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPosition;

impl std::fmt::Display for InvalidPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("must be EPOCH.POSITION, two whole numbers")
    }
}

impl std::error::Error for InvalidPosition {}

pub fn position_text(seen: Seen) -> String {
    format!("{}.{}", seen.epoch.0, seen.position.0)
}

/// # Errors
/// For anything but what [`position_text`] writes.
pub fn parse_position(text: &str) -> Result<Seen, InvalidPosition> {
    let (epoch, position) = text.split_once('.').ok_or(InvalidPosition)?;
    Ok(Seen { epoch: Epoch(number(epoch)?), position: Position(number(position)?) })
}

/// Digits alone; `parse` takes a sign as well.
fn number(text: &str) -> Result<u64, InvalidPosition> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(InvalidPosition)
}

pub(super) fn serialize<S: Serializer>(seen: &Seen, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}.{}", seen.epoch.0, seen.position.0))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Seen, D::Error> {
    parse_position(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_text_and_nothing_else_is_read() {
        let seen = Seen { epoch: Epoch(3), position: Position(u64::MAX) };
        assert_eq!(parse_position(&position_text(seen)), Ok(seen));
        for wrong in ["", ".", "1", "1.", ".1", "+1.1", "1.-1", "1.1.1", " 1.1", "1.18446744073709551616"] {
            assert_eq!(parse_position(wrong), Err(InvalidPosition), "{wrong}");
        }
    }
}
