//! The file `node`: which node the directory belongs to, so that a restart goes on under the same name. One line: the
//! id and its checksum, in hexadecimal.

use std::fmt::Write;
use std::io;

use grantry_store::NodeId;

use super::disk::{Disk, read_full};
use super::errors::JournalOpenError;

const FILE: &str = "node";
const NEW_FILE: &str = "node.new";
/// 16 and 4 bytes in hexadecimal, a space and a newline.
const LEN: usize = 42;

/// `None` when the directory has no node yet.
pub fn read(disk: &dyn Disk) -> Result<Option<NodeId>, JournalOpenError> {
    let file = match disk.open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(JournalOpenError::io(disk.directory(), FILE, "opened")(error)),
    };
    // A longer file is none of ours.
    let mut line = [0; LEN + 1];
    let len = read_full(file.as_ref(), 0, &mut line).map_err(JournalOpenError::io(
        disk.directory(),
        FILE,
        "read",
    ))?;
    decode(&line[..len])
        .map(Some)
        .ok_or_else(|| JournalOpenError::InvalidNode { path: disk.directory().join(FILE) })
}

/// A file beside it that takes its name, so that there is all of it or none after a crash.
pub fn write(disk: &dyn Disk, node: NodeId) -> Result<(), JournalOpenError> {
    // One of a process that was killed here; it was never in force.
    let _ = disk.remove(NEW_FILE);
    let write = || {
        let mut file = disk.create_new(NEW_FILE)?;
        file.write_all(encode(node).as_bytes())?;
        file.sync_data()?;
        disk.rename(NEW_FILE, FILE)?;
        disk.sync_directory()
    };
    write().map_err(JournalOpenError::io(disk.directory(), FILE, "written"))
}

pub fn hex(node: NodeId) -> String {
    format!("{:032x}", u128::from_be_bytes(node.0))
}

fn encode(node: NodeId) -> String {
    let mut line = hex(node);
    let _ = writeln!(line, " {:08x}", crc32fast::hash(&node.0));
    line
}

fn decode(line: &[u8]) -> Option<NodeId> {
    let digits = std::str::from_utf8(line.get(..32)?).ok()?;
    let node = NodeId(u128::from_str_radix(digits, 16).ok()?.to_be_bytes());
    // What does not read the same when it is written again is not what was written.
    (encode(node).as_bytes() == line).then_some(node)
}
