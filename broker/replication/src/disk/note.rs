//! The note in a log directory that tells at the next start whether the page cache survived (rules 16, 28): the boot and
//! the mount under which the directory was last served, and by which incarnation.
//!
//! Replaced in one piece and synced after each registration, before anything is served. A boot id or mount that differs
//! at the next start means that unsynced writes may be gone. The first write or sync that fails strikes the note out: the
//! kernel may have thrown away what it could not write, and a process that starts again on this boot would not notice.

use std::path::Path;

use serde::{Deserialize, Serialize};
use taffrail_log::Storage;

use super::DiskError;

/// The note's name in the log directory.
pub const NAME: &str = "taffrail.note";
/// More than any note has.
const MAX_BYTES: u64 = 4096;

/// Which page cache stands before a log directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel's boot id; empty where it cannot be told, which equals nothing.
    pub boot_id: String,
    /// The device that the directory is mounted from.
    pub device: u64,
}

impl Boot {
    /// Whether `self` and `other` are the same boot and mount for certain.
    pub fn is_same(&self, other: &Self) -> bool {
        !self.boot_id.is_empty() && self == other
    }
}

/// What the note says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskNote {
    /// Where the directory is served from.
    #[serde(flatten)]
    pub boot: Boot,
    /// The incarnation that serves it.
    pub incarnation: u64,
}

impl DiskNote {
    /// Reads the directory's note. One that cannot be understood counts as none: the disk is then not trusted.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read<S: Storage>(storage: &S, dir: &Path) -> Result<Option<Self>, DiskError> {
        let path = dir.join(NAME);
        let bytes = storage.read_small(&path, MAX_BYTES);
        let bytes = bytes.map_err(|source| DiskError { action: "read the note", path, source })?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Puts the note in place, durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write<S: Storage>(&self, storage: &S, dir: &Path) -> Result<(), DiskError> {
        let path = dir.join(NAME);
        let written = serde_json::to_vec(self).map_err(std::io::Error::from);
        let written = written.and_then(|bytes| storage.replace_small(&path, &bytes));
        written.map_err(|source| DiskError { action: "write the note", path, source })
    }
}

/// Takes the note away, durably: from now on this directory may lack what was written to it. Removing works on a full
/// disk too.
///
/// # Errors
/// When the disk fails.
pub fn strike_out<S: Storage>(storage: &S, dir: &Path) -> Result<(), DiskError> {
    let path = dir.join(NAME);
    let removed = storage.remove_file(&path).and_then(|()| storage.sync_dir(dir));
    removed.map_err(|source| DiskError { action: "strike out the note", path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_log::MemoryStorage;
    use taffrail_log::storage::{Effect, Fault, Operation};

    fn note(boot_id: &str, device: u64) -> DiskNote {
        DiskNote { boot: Boot { boot_id: boot_id.to_owned(), device }, incarnation: 7 }
    }

    fn storage() -> (MemoryStorage, &'static Path) {
        let (storage, dir) = (MemoryStorage::new(), Path::new("/data"));
        storage.create_dir_all(dir).unwrap();
        (storage, dir)
    }

    #[test]
    fn a_note_is_read_back_after_a_power_cut_and_damage_counts_as_none() {
        let (storage, dir) = storage();
        assert_eq!(DiskNote::read(&storage, dir).unwrap(), None);
        note("a", 1).write(&storage, dir).unwrap();
        for seed in 0..20 {
            storage.crash(seed);
            assert_eq!(DiskNote::read(&storage, dir).unwrap(), Some(note("a", 1)));
        }
        storage.replace_small(&dir.join(NAME), b"{").unwrap();
        assert_eq!(DiskNote::read(&storage, dir).unwrap(), None);
    }

    #[test]
    fn another_boot_another_mount_and_an_unknown_boot_are_not_the_same() {
        let (a, b, other_mount, unknown) = (note("a", 1), note("b", 1), note("a", 2), note("", 1));
        assert!(a.boot.is_same(&a.boot));
        for other in [&b, &other_mount, &unknown] {
            assert!(!a.boot.is_same(&other.boot), "{other:?}");
        }
        assert!(!unknown.boot.is_same(&unknown.boot), "an unknown boot equals nothing");
    }

    #[test]
    fn a_note_that_was_struck_out_on_a_full_disk_does_not_come_back() {
        let (storage, dir) = storage();
        note("a", 1).write(&storage, dir).unwrap();
        storage.set_capacity(Some(0));
        strike_out(&storage, dir).unwrap();
        for seed in 0..20 {
            storage.crash(seed);
            assert_eq!(DiskNote::read(&storage, dir).unwrap(), None);
        }
        strike_out(&storage, dir).unwrap();
    }

    #[test]
    fn failures_name_the_file() {
        let (storage, dir) = storage();
        let name_ends_with = String::new();
        storage.inject(Fault {
            operation: Operation::Sync,
            after: 0,
            name_ends_with,
            effect: Effect::IoError,
        });
        let error = note("a", 1).write(&storage, dir).unwrap_err().to_string();
        assert!(error.starts_with("cannot write the note /data/taffrail.note: "), "{error}");
    }
}
