//! Files that are entries of one size: read in pieces, so that the file's length does not matter.

use crate::dump::Failure;
use crate::dump::output::Output;
use crate::storage::{DiskFile, StorageFile};

/// Entries read at once.
const ENTRIES_PER_READ: usize = 4096;

/// Calls `visit` with each whole entry and its place, until it answers false or the file ends. Bytes at the end that
/// are no whole entry are damage.
pub(super) fn for_each<const N: usize>(
    file: &DiskFile,
    output: &mut Output<'_>,
    mut visit: impl FnMut(&mut Output<'_>, u64, &[u8; N]) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut buffer = vec![0; N * ENTRIES_PER_READ];
    let mut position = 0;
    loop {
        let read = file.read_at(&mut buffer, position).map_err(Failure::Read)?;
        let (entries, rest) = buffer[..read].as_chunks::<N>();
        for (entry, index) in entries.iter().zip(position / N as u64..) {
            if !visit(output, index, entry)? {
                return Ok(());
            }
        }
        if !rest.is_empty() {
            let reason = format!("the last {} bytes are no whole entry of {N}", rest.len());
            return output.damage(Some(position + (read - rest.len()) as u64), &reason);
        }
        if read < buffer.len() {
            return Ok(());
        }
        position += read as u64;
    }
}

/// Whether all bytes from `position` on are zero, as in the part of an index that Apache Kafka preallocates.
pub(super) fn rest_is_zero(file: &DiskFile, mut position: u64) -> Result<bool, Failure> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read_at(&mut buffer, position).map_err(Failure::Read)?;
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read < buffer.len() {
            return Ok(true);
        }
        position += read as u64;
    }
}

/// Ends an index at an entry of zeros: what follows must be the unused part of a preallocated file.
pub(super) fn end_at_zeros(file: &DiskFile, output: &mut Output<'_>, position: u64) -> Result<(), Failure> {
    if rest_is_zero(file, position)? {
        output.note(&format!("the file is preallocated and unused from position {position} on"))
    } else {
        output.damage(Some(position), "an entry of zeros is followed by others")
    }
}
