//! One record: `len u32 | sequence u64 | checksum u32 | payload`, little-endian. The checksum (CRC-32) is over all the
//! rest. It tells a record that was written whole from one that was not; it is no protection against forgery.

use crc32fast::Hasher;

/// Bytes in front of the payload.
pub const RECORD_HEADER: usize = 16;
/// Bytes of the largest payload.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Appends the record to `group`. The payload is at most [`MAX_PAYLOAD`] bytes.
pub fn encode(group: &mut Vec<u8>, sequence: u64, payload: &[u8]) {
    debug_assert!(payload.len() <= MAX_PAYLOAD);
    let len = (payload.len() as u32).to_le_bytes();
    let sequence = sequence.to_le_bytes();
    group.extend_from_slice(&len);
    group.extend_from_slice(&sequence);
    group.extend_from_slice(&checksum(len, sequence, payload).to_le_bytes());
    group.extend_from_slice(payload);
}

/// What stands in front of a payload. Nothing of it is to be believed before [`RecordHeader::fits`].
pub struct RecordHeader {
    len: [u8; 4],
    sequence: [u8; 8],
    checksum: [u8; 4],
}

impl RecordHeader {
    /// `None` when `bytes` are too few.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let checksum = rest.first_chunk()?;
        Some(Self { len: *len, sequence: *sequence, checksum: *checksum })
    }

    pub fn payload_len(&self) -> usize {
        u32::from_le_bytes(self.len) as usize
    }

    pub fn sequence(&self) -> u64 {
        u64::from_le_bytes(self.sequence)
    }

    pub fn fits(&self, payload: &[u8]) -> bool {
        checksum(self.len, self.sequence, payload) == u32::from_le_bytes(self.checksum)
    }
}

fn checksum(len: [u8; 4], sequence: [u8; 8], payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&len);
    hasher.update(&sequence);
    hasher.update(payload);
    hasher.finalize()
}
