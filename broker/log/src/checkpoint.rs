//! The text form that Kafka's checkpoint files share: a version, a count, and one line for each entry
//! (`org.apache.kafka.server.common.CheckpointFile`).

use std::fmt::Write;

use crate::error::FormatError;

const VERSION: &str = "0";

/// No checkpoint can be meant to be larger: 16 MiB are some 200,000 partitions.
pub(crate) const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Writes entries, each already without its line end.
pub(crate) fn encode(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("{VERSION}\n{}\n", lines.len());
    for line in lines {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Reads entries; every line counted must be there and no other, empty ones at the end aside.
pub(crate) fn decode<T>(
    bytes: &[u8],
    mut entry: impl FnMut(&str) -> Option<T>,
) -> Result<Vec<T>, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::new("is not text"))?;
    // The end of a number may be lost without a trace; the end of a line may not.
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(FormatError::new("ends inside of a line"));
    }
    let mut lines = text.lines();
    let version = lines.next().ok_or_else(|| FormatError::new("is empty"))?.trim();
    if version != VERSION {
        return Err(FormatError::new(format!("has version {version:?}, and only version 0 is known")));
    }
    let count = lines.next().and_then(|line| line.trim().parse::<usize>().ok());
    let count = count.ok_or_else(|| FormatError::new("has no count of entries in its second line"))?;
    let mut entries = Vec::new();
    for line in lines.by_ref() {
        if entries.len() == count {
            if line.trim().is_empty() {
                continue;
            }
            return Err(FormatError::new(format!("has more than the {count} entries it counts")));
        }
        let value = entry(line).ok_or_else(|| {
            let shown: String = line.chars().take(80).collect();
            FormatError::new(format!("has a malformed entry {shown:?}"))
        })?;
        entries.push(value);
    }
    if entries.len() < count {
        return Err(FormatError::new(format!("has {} of the {count} entries it counts", entries.len())));
    }
    Ok(entries)
}
