//! Which page cache stands before a directory (rule 16).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use taffrail_replication::disk::DiskError;
use taffrail_replication::disk::note::Boot;

/// Linux draws it anew at every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What became of a data directory cannot be found out.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The directory cannot be looked at.
    #[error("cannot find out which device {} is mounted from: {source}", dir.display())]
    Device {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its note cannot be read.
    #[error(transparent)]
    Note(#[from] DiskError),
}

/// The boot and mount of today.
///
/// # Errors
/// When the directory cannot be looked at.
pub fn of(dir: &Path) -> Result<Boot, BootError> {
    let metadata =
        std::fs::metadata(dir).map_err(|source| BootError::Device { dir: dir.to_owned(), source })?;
    let boot_id = std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
    Ok(Boot { boot_id, device: metadata.dev() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_on_the_same_boot_from_one_look_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let boot = of(dir.path()).unwrap();
        assert!(boot.is_same(&of(dir.path()).unwrap()), "{boot:?}");
    }
}
