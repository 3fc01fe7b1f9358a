use crate::failure::Failure;

/// How much memory a process has in use (its resident set), in bytes; Linux only.
///
/// # Errors
/// The process is gone, or the system does not say.
pub fn resident(process: u32) -> Result<u64, Failure> {
    let file = format!("/proc/{process}/status");
    let text = std::fs::read_to_string(&file);
    let text = text.map_err(|error| Failure::new(format!("{file} cannot be read: {error}")))?;
    resident_in(&text).ok_or_else(|| Failure::new(format!("{file} does not say how much memory is in use")))
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kibibytes * 1024)
}

/// How much a process has had written to disk, in bytes; Linux only.
///
/// # Errors
/// The process is gone, or the system does not say.
pub fn written(process: u32) -> Result<u64, Failure> {
    let file = format!("/proc/{process}/io");
    let text = std::fs::read_to_string(&file);
    let text = text.map_err(|error| Failure::new(format!("{file} cannot be read: {error}")))?;
    let written = text.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok());
    written.ok_or_else(|| Failure::new(format!("{file} does not say how much was written")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_set_is_read_in_bytes() {
        assert_eq!(resident_in("Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t  1234 kB\n"), Some(1_263_616));
        assert_eq!(resident_in("Name:\tx\n"), None);
        assert!(resident(std::process::id()).unwrap() > 100_000);
    }
}
