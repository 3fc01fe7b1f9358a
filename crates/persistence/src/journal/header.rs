//! The name of a segment's file and the header that it begins with: `magic | version u32 | node [u8; 16] | first u64 |
//! checksum u32`, little-endian.

use grantry_store::NodeId;

const MAGIC: [u8; 8] = *b"grantryj";
pub const VERSION: u32 = 1;
pub const HEADER: usize = 40;

const SUFFIX: &str = ".journal";
const DIGITS: usize = 20;
const ASIDE: &str = ".torn-";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub version: u32,
    pub node: NodeId,
    /// The number of the first record; no record of an earlier segment has it or a higher one.
    pub first: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.node.0);
        bytes[28..36].copy_from_slice(&self.first.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` for what is not a header, or not a whole one. The version may be one that is not known here.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        let (content, checksum) = header.split_last_chunk::<4>()?;
        let (magic, content) = content.split_first_chunk::<8>()?;
        let (version, content) = content.split_first_chunk::<4>()?;
        let (node, first) = content.split_first_chunk::<16>()?;
        let whole =
            *magic == MAGIC && crc32fast::hash(&header[..HEADER - 4]) == u32::from_le_bytes(*checksum);
        whole.then_some(Self {
            version: u32::from_le_bytes(*version),
            node: NodeId(*node),
            first: u64::from_le_bytes(*first.first_chunk()?),
        })
    }
}

/// The number of its first record, with as many zeros in front as sort the names like the numbers.
pub fn segment_name(first: u64) -> String {
    format!("{first:0DIGITS$}{SUFFIX}")
}

/// `None` for a file that is no segment.
pub fn first_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let all_digits = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok())?
}

/// The name for the end of `segment` that is set aside; `copy` tells apart what would have the same name.
pub fn aside_name(segment: &str, offset: u64, copy: u32) -> String {
    match copy {
        0 => format!("{segment}{ASIDE}{offset}"),
        copy => format!("{segment}{ASIDE}{offset}.{copy}"),
    }
}

/// The number of the segment of which this was set aside; `None` for any other file.
pub fn first_of_aside(name: &str) -> Option<u64> {
    first_of_name(name.split_once(ASIDE)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_written_and_no_flipped_bit_passes() {
        let header = SegmentHeader { version: VERSION, node: NodeId([7; 16]), first: 42 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&bytes[..HEADER - 1]), None);
    }

    #[test]
    fn names_sort_like_their_numbers_and_nothing_else_is_one() {
        assert_eq!(segment_name(1), "00000000000000000001.journal");
        assert_eq!(first_of_name(&segment_name(u64::MAX)), Some(u64::MAX));
        assert!(segment_name(9) < segment_name(10));
        for name in
            ["1.journal", "lock", "node", "0000000000000000000x.journal", "99999999999999999999.journal"]
        {
            assert_eq!(first_of_name(name), None, "{name}");
        }
        let aside = aside_name(&segment_name(7), 40, 0);
        assert_eq!((first_of_name(&aside), first_of_aside(&aside)), (None, Some(7)));
        assert_eq!(first_of_aside(&aside_name(&segment_name(7), 40, 2)), Some(7));
    }
}
