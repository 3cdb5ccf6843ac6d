//! The note in a log directory that tells at the next start whether the page cache survived (REPLICATION.md, rules 16
//! and 28): the boot and the mount under which the directory was last served, and by which incarnation.
//!
//! Replaced in one piece and synced after each registration, before anything is served. A boot id or mount that differs
//! at the next start means that unsynced writes may be gone.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use taffrail_log::{FileStorage, Storage};

/// The note's name in the log directory.
const NAME: &str = "taffrail.note";
/// More than any note has.
const MAX_BYTES: u64 = 4096;
/// Linux draws it anew at every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the note says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskNote {
    /// The kernel's boot id; empty where it cannot be told, which equals nothing.
    boot_id: String,
    /// The device that the directory is mounted from.
    device: u64,
    /// The incarnation that serves the directory.
    pub incarnation: u64,
}

/// A note could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the note {NAME} in {dir}: {source}")]
pub struct DiskNoteError {
    action: &'static str,
    dir: String,
    source: std::io::Error,
}

impl DiskNote {
    /// The note for `incarnation` on this boot.
    ///
    /// # Errors
    /// [`DiskNoteError`] when the directory cannot be looked at.
    pub fn of_today(dir: &Path, incarnation: u64) -> Result<Self, DiskNoteError> {
        let device = std::fs::metadata(dir).map_err(|source| failed("make", dir, source))?.dev();
        let boot_id = std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        Ok(Self { boot_id, device, incarnation })
    }

    /// Whether the directory was last served on this boot and from this mount.
    pub fn is_same_boot(&self, today: &Self) -> bool {
        !self.boot_id.is_empty() && self.boot_id == today.boot_id && self.device == today.device
    }

    /// Reads the directory's note. One that cannot be understood counts as none: the logs are then checked.
    ///
    /// # Errors
    /// [`DiskNoteError`] when the disk fails.
    pub fn read(storage: &FileStorage, dir: &Path) -> Result<Option<Self>, DiskNoteError> {
        let bytes =
            storage.read_small(&dir.join(NAME), MAX_BYTES).map_err(|source| failed("read", dir, source))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Puts the note in place, durably.
    ///
    /// # Errors
    /// [`DiskNoteError`] when the disk fails.
    pub fn write(&self, storage: &FileStorage, dir: &Path) -> Result<(), DiskNoteError> {
        let bytes = serde_json::to_vec(self).map_err(|error| failed("make", dir, error.into()))?;
        storage.replace_small(&dir.join(NAME), &bytes).map_err(|source| failed("write", dir, source))
    }
}

fn failed(action: &'static str, dir: &Path, source: std::io::Error) -> DiskNoteError {
    DiskNoteError { action, dir: dir.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_damage_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let storage = FileStorage::default();
        assert_eq!(DiskNote::read(&storage, dir.path()).unwrap(), None);
        let note = DiskNote::of_today(dir.path(), 7).unwrap();
        note.write(&storage, dir.path()).unwrap();
        assert_eq!(DiskNote::read(&storage, dir.path()).unwrap(), Some(note.clone()));
        assert!(note.is_same_boot(&DiskNote::of_today(dir.path(), 8).unwrap()));
        let other = DiskNote { boot_id: "another".to_owned(), ..note.clone() };
        assert!(!other.is_same_boot(&note));
        let unknown = DiskNote { boot_id: String::new(), ..note };
        assert!(!unknown.is_same_boot(&unknown), "an unknown boot equals nothing");
        std::fs::write(dir.path().join(NAME), "{").unwrap();
        assert_eq!(DiskNote::read(&storage, dir.path()).unwrap(), None);
    }
}
