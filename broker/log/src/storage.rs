//! The one door to the disk: a small trait, real files behind it, and files in memory that fail on command.
//!
//! Everything in this crate reads and writes through [`Storage`], so that every error path can be driven by a test.
//! All calls block. Paths are whole paths; a storage knows no current directory.

mod file;
mod map;
mod memory;

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use file::{DiskFile, DiskLock, FileStorage, LockHolder, lock_holder};
pub use map::DiskMap;
pub use memory::{Effect, Fault, MemoryFile, MemoryLock, MemoryMap, MemoryStorage, Operation};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// For reading and writing; made when it does not exist, kept as it is when it does.
    Write,
    /// For reading and writing, and empty, whatever was there before.
    Replace,
}

/// How full the disk below a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it. Bytes.
    pub total_bytes: u64,
    /// What can still be written. Bytes.
    pub free_bytes: u64,
    /// It takes no writes at all, as after a remount.
    pub read_only: bool,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name inside the directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
}

/// An open file. Reads and writes carry their position, so one handle serves any number of readers.
pub trait StorageFile: Send + Sync + 'static {
    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Reads at `offset` until `buf` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file off at `len` bytes, or fills it up with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file tell that it was last written to at this time. Milliseconds since 1970.
    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()>;

    /// Returns when the file's bytes and length would survive a power cut. Its name may not: see
    /// [`Storage::sync_dir`].
    fn sync(&self) -> io::Result<()>;
}

/// A place that holds directories and files.
pub trait Storage: Clone + Send + Sync + 'static {
    /// An open file.
    type File: StorageFile;
    /// The read-only bytes of a file.
    type Map: Deref<Target = [u8]> + Send + Sync + 'static;
    /// Held as long as the lock is.
    type Lock: Send + Sync + 'static;

    /// Opens one file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Self::File>;

    /// Opens a file for reading through the storage's bounded cache of open files. The file may be appended to, cut
    /// or removed while somebody holds it.
    fn open_cached(&self, path: &Path) -> io::Result<Arc<Self::File>>;

    /// The first `len` bytes of a file, which must be there and stay there.
    fn map(&self, path: &Path, len: u64) -> io::Result<Self::Map>;

    /// The length of a file, or `None` when there is none of that name.
    fn len_of(&self, path: &Path) -> io::Result<Option<u64>>;

    /// When a file was last written to, or `None` when there is none of that name. Milliseconds since 1970.
    fn modified_ms(&self, path: &Path) -> io::Result<Option<i64>>;

    /// Makes a directory and those above it, where they are missing.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// What a directory holds, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Gives a file or directory another name, in place of the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. One that is missing is no error.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all that is in it. One that is missing is no error.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Returns when the names in `dir` would survive a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a file, which is made if need be; `None` when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;

    /// Returns when all that was written anywhere in the storage that `lock` is in would survive a power cut. With many
    /// files it is much cheaper than to sync each.
    fn sync_all(&self, lock: &Self::Lock) -> io::Result<()>;

    /// How full the disk below `dir` is.
    fn space(&self, dir: &Path) -> io::Result<DiskSpace>;

    /// All bytes of a small file, or `None` when it does not exist. A file above `limit` bytes is an error.
    fn read_small(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.size()?;
        if len > limit {
            let text = format!("the file has {len} bytes, more than the {limit} that can be meant");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Puts a small file in place whole: written beside it, synced, renamed, and the directory synced. After a crash
    /// either the old or the new content is there (`org.apache.kafka.server.common.CheckpointFile`).
    fn replace_small(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace_small_unsynced_name(path, bytes)?;
        match path.parent() {
            Some(dir) => self.sync_dir(dir),
            None => Ok(()),
        }
    }

    /// As [`replace_small`](Self::replace_small), but the new name may be lost in a crash until the directory is
    /// synced; the old content is there then.
    fn replace_small_unsynced_name(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = PathBuf::from(path).into_os_string();
        temporary.push(crate::names::TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        let file = self.open(&temporary, Access::Replace)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        self.rename(&temporary, path)
    }
}
