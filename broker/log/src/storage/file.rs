//! Real files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType};

use super::{Access, DirEntry, DiskMap, DiskSpace, Storage, StorageFile};

/// The files of this machine, with a bounded cache of those that are open for reading.
///
/// Clones share the cache. A file that is removed or renamed leaves it, so that its space is freed as soon as the last
/// reader is done.
#[derive(Clone)]
pub struct FileStorage {
    cache: Arc<Mutex<Cache>>,
}

struct Cache {
    capacity: usize,
    clock: u64,
    /// Ordered, so that the files of one directory stand together.
    files: BTreeMap<PathBuf, Cached>,
}

struct Cached {
    file: Arc<DiskFile>,
    used: u64,
}

impl FileStorage {
    /// A storage that keeps at most `open_files` files open for readers (at least one). Files that a log writes to are
    /// not counted: one for each partition that was written to.
    pub fn new(open_files: usize) -> Self {
        let cache = Cache { capacity: open_files.max(1), clock: 0, files: BTreeMap::new() };
        Self { cache: Arc::new(Mutex::new(cache)) }
    }

    /// How many files the cache holds open.
    pub fn cached_files(&self) -> usize {
        self.cache.lock().files.len()
    }
}

impl Default for FileStorage {
    fn default() -> Self {
        Self::new(1024)
    }
}

impl Cache {
    fn get(&mut self, path: &Path) -> Option<Arc<DiskFile>> {
        self.clock += 1;
        let cached = self.files.get_mut(path)?;
        cached.used = self.clock;
        Some(Arc::clone(&cached.file))
    }

    fn insert(&mut self, path: &Path, file: &Arc<DiskFile>) {
        if self.files.len() >= self.capacity {
            self.evict();
        }
        self.files.insert(path.to_owned(), Cached { file: Arc::clone(file), used: self.clock });
    }

    /// Closes the older half at once: a search for the oldest is then paid once in many insertions.
    fn evict(&mut self) {
        let mut ages: Vec<u64> = self.files.values().map(|cached| cached.used).collect();
        let middle = ages.len() / 2;
        let (_, &mut pivot, _) = ages.select_nth_unstable(middle);
        self.files.retain(|_, cached| cached.used > pivot);
    }

    /// Forgets a file, or all files of a directory.
    fn forget(&mut self, path: &Path) {
        let below = self.files.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        let gone: Vec<PathBuf> =
            below.map(|(cached, _)| cached).take_while(|cached| cached.starts_with(path)).cloned().collect();
        for path in gone {
            self.files.remove(&path);
        }
    }
}

/// An open file of this machine. Its descriptor is there for `sendfile`.
#[derive(Debug)]
pub struct DiskFile(File);

impl AsFd for DiskFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl StorageFile for DiskFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        let since_1970 = Duration::from_millis(u64::try_from(modified_ms).unwrap_or(0));
        self.0.set_modified(UNIX_EPOCH + since_1970)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A held file lock; dropping it gives the lock back.
#[derive(Debug)]
pub struct DiskLock(File);

/// Who holds a file's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockHolder {
    /// The process, where it is one that can be seen from here.
    pub pid: Option<i32>,
}

/// The process that holds the lock of a file which must be there, without taking it even for a moment: a broker that starts
/// meanwhile would think that it is not alone. Not for a process that holds the lock itself: it would not see that, and lose it.
pub fn lock_holder(path: &Path) -> io::Result<Option<LockHolder>> {
    let file = File::open(path)?;
    let asked = Flock::from(FlockType::WriteLock);
    let held = rustix::process::fcntl_getlk(&file, &asked)?;
    Ok(held.map(|held| LockHolder { pid: held.pid.map(rustix::process::Pid::as_raw_pid) }))
}

impl Storage for FileStorage {
    type File = DiskFile;
    type Map = DiskMap;
    type Lock = DiskLock;

    fn open(&self, path: &Path, access: Access) -> io::Result<DiskFile> {
        let mut options = OpenOptions::new();
        options.read(true);
        match access {
            Access::Read => {}
            Access::Write => {
                options.write(true).create(true).truncate(false);
            }
            Access::Replace => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(DiskFile(options.open(path)?))
    }

    fn open_cached(&self, path: &Path) -> io::Result<Arc<DiskFile>> {
        if let Some(file) = self.cache.lock().get(path) {
            return Ok(file);
        }
        // Opened outside the lock: a slow disk holds up nobody else.
        let file = Arc::new(self.open(path, Access::Read)?);
        self.cache.lock().insert(path, &file);
        Ok(file)
    }

    fn map(&self, path: &Path, len: u64) -> io::Result<DiskMap> {
        let file = File::open(path)?;
        let present = file.metadata()?.len();
        if present < len {
            let text =
                format!("{} has {present} bytes, fewer than the {len} that were written", path.display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        DiskMap::new(&file, usize::try_from(len).map_err(io::Error::other)?)
    }

    fn len_of(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn modified_ms(&self, path: &Path) -> io::Result<Option<i64>> {
        let modified = match fs::metadata(path) {
            Ok(metadata) => metadata.modified()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let since_1970 = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since_1970.as_millis()).ok())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                let kind = entry.file_type()?;
                let is_dir = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
                entries.push(DirEntry { name, is_dir });
            }
        }
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut cache = self.cache.lock();
        cache.forget(from);
        cache.forget(to);
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut cache = self.cache.lock();
        cache.forget(path);
        ignore_missing(fs::remove_file(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.cache.lock().forget(dir);
        ignore_missing(fs::remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // Java locks with fcntl, which does not see flock: both are taken, so that neither a second broker of ours
        // nor Apache Kafka gets in.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(DiskLock(file))),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_all(&self, lock: &DiskLock) -> io::Result<()> {
        // Through a descriptor that is open since the start, so that no error since then is missed.
        Ok(rustix::fs::syncfs(&lock.0)?)
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        let found = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(DiskSpace {
            total_bytes: bytes(found.f_blocks),
            free_bytes: bytes(found.f_bavail),
            read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        })
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
