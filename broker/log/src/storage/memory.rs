//! Files in memory that fail on command, deterministically.
//!
//! [`MemoryStorage::crash`] is a power cut: bytes that were not synced are lost from some point on (the last write that
//! survives may be torn, and what lies behind it may read as zeros), and names that were not synced with their directory may be lost.
//! What exactly is lost follows from the seed alone.

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Access, DirEntry, DiskSpace, Storage, StorageFile};

/// What a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening or making a file.
    Open,
    /// Reading or mapping.
    Read,
    /// Writing.
    Write,
    /// Cutting a file.
    SetLen,
    /// Syncing a file or a directory.
    Sync,
    /// Renaming.
    Rename,
    /// Removing a file or a directory.
    Remove,
}

/// What happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// ENOSPC; nothing is done.
    NoSpace,
    /// EIO; nothing is done.
    IoError,
    /// EIO after the first so many bytes of a write were done.
    TornWrite(usize),
}

/// A fault that is waiting for its operation. It strikes once.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The operation it strikes.
    pub operation: Operation,
    /// How many such operations go well before.
    pub after: u64,
    /// Only files whose name ends so; an empty string means all.
    pub name_ends_with: String,
    /// What happens.
    pub effect: Effect,
}

/// Files in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<PathBuf, Node>,
    /// What [`MemoryStorage::crash`] may fall back to: the names of files as of their directory's last sync.
    /// Directories themselves are durable at once.
    synced: BTreeMap<PathBuf, Node>,
    locks: Vec<PathBuf>,
    faults: Vec<Fault>,
    capacity: Option<u64>,
    operations: u64,
    halts_at: Option<u64>,
    now_ms: i64,
}

impl State {
    fn used_bytes(&self) -> u64 {
        let files = self.nodes.values().filter_map(|node| match node {
            Node::File(inode) => Some(inode.lock().data.len() as u64),
            Node::Dir => None,
        });
        files.sum()
    }
}

#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<Mutex<Inode>>),
}

#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    modified_ms: i64,
    /// How to take back what was done since the last sync, oldest first.
    undo: Vec<Undo>,
}

struct Undo {
    offset: usize,
    overwritten: Vec<u8>,
    len_before: usize,
    written: usize,
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let len_before = self.data.len();
        let end = offset + bytes.len();
        let overwritten = self.data.get(offset..end.min(len_before)).unwrap_or_default().to_vec();
        if end > len_before {
            self.data.resize(end, 0);
        }
        self.data[offset..end].copy_from_slice(bytes);
        self.undo.push(Undo { offset, overwritten, len_before, written: bytes.len() });
    }

    fn set_len(&mut self, len: usize) {
        let len_before = self.data.len();
        let overwritten = self.data.get(len..).unwrap_or_default().to_vec();
        self.data.resize(len, 0);
        self.undo.push(Undo { offset: len.min(len_before), overwritten, len_before, written: 0 });
    }

    fn take_back(&mut self) -> Option<Undo> {
        let undo = self.undo.pop()?;
        self.data.resize(undo.len_before, 0);
        self.data[undo.offset..undo.offset + undo.overwritten.len()].copy_from_slice(&undo.overwritten);
        Some(undo)
    }

    /// What is left after a power cut.
    fn after_crash(&mut self, random: &mut Random) -> Vec<u8> {
        let kept = random.below(self.undo.len() as u64 + 1) as usize;
        let mut torn = None;
        while self.undo.len() > kept {
            let Some(last) = self.undo.last() else { break };
            let written = self.data.get(last.offset..last.offset + last.written).unwrap_or_default().to_vec();
            torn = self.take_back().map(|undo| (undo.offset, written));
        }
        if let Some((offset, written)) = torn {
            let part = random.below(written.len() as u64 + 1) as usize;
            let zeros = if random.below(4) == 0 { written.len() } else { part };
            if part > 0 || zeros > 0 {
                let mut bytes = written[..part].to_vec();
                bytes.resize(zeros.max(part), 0);
                self.write(&bytes, offset);
            }
        }
        self.undo.clear();
        std::mem::take(&mut self.data)
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

impl MemoryStorage {
    /// An empty storage that never fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault to those that wait.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Forgets the faults that have not struck.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// From now on a write that would make all files together longer than `bytes` fails with ENOSPC, after as much of
    /// it was written as fits. `None` lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// From now on files that are written to tell this as the time of it. Milliseconds since 1970.
    pub fn set_time(&self, now_ms: i64) {
        self.state.lock().now_ms = now_ms;
    }

    /// How many operations were asked for so far; tells a test which numbers to make fail.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// After so many operations more every one fails: whoever drives this storage has died, and [`crash`](Self::crash) or
    /// `None` brings the next one.
    pub fn halt_after(&self, operations: Option<u64>) {
        let mut state = self.state.lock();
        state.halts_at = operations.map(|operations| state.operations + operations);
    }

    /// A power cut, after which this storage holds what survived. Files that are open now are cut off from it, locks
    /// are free again and faults forgotten.
    pub fn crash(&self, seed: u64) {
        let mut random = Random(seed);
        let mut state = self.state.lock();
        let mut survivors = BTreeMap::new();
        let dirs: Vec<PathBuf> = state
            .nodes
            .iter()
            .filter(|(_, node)| matches!(node, Node::Dir))
            .map(|(path, _)| path.clone())
            .collect();
        for dir in dirs {
            // All or nothing for each directory: what a journal gives, and renames stay whole.
            let names = if random.below(2) == 0 { &state.synced } else { &state.nodes };
            let files = children(names, &dir).filter_map(|(path, node)| match node {
                Node::File(inode) => Some((path.clone(), Arc::clone(inode))),
                Node::Dir => None,
            });
            for (path, inode) in files.collect::<Vec<_>>() {
                let mut inode = inode.lock();
                let (data, modified_ms) = (inode.after_crash(&mut random), inode.modified_ms);
                let inode = Arc::new(Mutex::new(Inode { data, modified_ms, undo: Vec::new() }));
                survivors.insert(path, Node::File(inode));
            }
            survivors.insert(dir, Node::Dir);
        }
        state.synced = survivors.clone();
        state.nodes = survivors;
        state.locks.clear();
        state.faults.clear();
        state.halts_at = None;
    }

    fn enter(&self, operation: Operation, path: &Path) -> io::Result<Option<usize>> {
        let mut state = self.state.lock();
        state.operations += 1;
        if state.halts_at.is_some_and(|at| state.operations > at) {
            return Err(io_error());
        }
        let name = path.to_string_lossy();
        let mut struck = None;
        for (index, fault) in state.faults.iter_mut().enumerate() {
            if fault.operation == operation && name.ends_with(&fault.name_ends_with) {
                if fault.after == 0 {
                    struck = Some(index);
                    break;
                }
                fault.after -= 1;
            }
        }
        let Some(index) = struck else { return Ok(None) };
        match state.faults.remove(index).effect {
            Effect::NoSpace => Err(no_space()),
            Effect::IoError => Err(io_error()),
            Effect::TornWrite(bytes) => Ok(Some(bytes)),
        }
    }

    fn inode(&self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        match self.state.lock().nodes.get(path) {
            Some(Node::File(inode)) => Ok(Arc::clone(inode)),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())
}

fn io_error() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

fn children<'a>(
    nodes: &'a BTreeMap<PathBuf, Node>,
    dir: &'a Path,
) -> impl Iterator<Item = (&'a PathBuf, &'a Node)> {
    let from = nodes.range::<Path, _>((std::ops::Bound::Excluded(dir), std::ops::Bound::Unbounded));
    from.take_while(move |(path, _)| path.starts_with(dir))
        .filter(move |(path, _)| path.parent() == Some(dir))
}

/// An open file in memory.
pub struct MemoryFile {
    storage: MemoryStorage,
    path: PathBuf,
    inode: Arc<Mutex<Inode>>,
}

impl StorageFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.inode.lock().data.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.storage.enter(Operation::Read, &self.path)?;
        let inode = self.inode.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.data.len());
        let read = buf.len().min(inode.data.len() - start);
        buf[..read].copy_from_slice(&inode.data[start..start + read]);
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let torn = self.storage.enter(Operation::Write, &self.path)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if let Some(part) = torn {
            self.inode.lock().write(&bytes[..part.min(bytes.len())], offset);
            return Err(io_error());
        }
        let state = self.storage.state.lock();
        self.inode.lock().modified_ms = state.now_ms;
        if let Some(capacity) = state.capacity {
            let len = self.inode.lock().data.len();
            let free = capacity.saturating_sub(state.used_bytes());
            let room = usize::try_from(free).unwrap_or(usize::MAX).saturating_add(len.saturating_sub(offset));
            if bytes.len() > room {
                self.inode.lock().write(&bytes[..room], offset);
                return Err(no_space());
            }
        }
        self.inode.lock().write(bytes, offset);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.enter(Operation::SetLen, &self.path)?;
        self.inode.lock().set_len(usize::try_from(len).map_err(io::Error::other)?);
        Ok(())
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.inode.lock().modified_ms = modified_ms;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.enter(Operation::Sync, &self.path)?;
        self.inode.lock().undo.clear();
        Ok(())
    }
}

/// The bytes of a file in memory as they were when it was mapped.
pub struct MemoryMap(Vec<u8>);

impl Deref for MemoryMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A held lock; dropping it gives the lock back.
pub struct MemoryLock {
    storage: MemoryStorage,
    path: PathBuf,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.storage.state.lock().locks.retain(|held| *held != self.path);
    }
}

impl Storage for MemoryStorage {
    type File = MemoryFile;
    type Map = MemoryMap;
    type Lock = MemoryLock;

    fn open(&self, path: &Path, access: Access) -> io::Result<MemoryFile> {
        self.enter(Operation::Open, path)?;
        let inode = match (self.inode(path), access) {
            (Err(error), Access::Write | Access::Replace) if error.kind() == io::ErrorKind::NotFound => {
                let mut state = self.state.lock();
                if !path.parent().is_some_and(|dir| matches!(state.nodes.get(dir), Some(Node::Dir))) {
                    return Err(error);
                }
                let inode = Arc::new(Mutex::new(Inode::default()));
                state.nodes.insert(path.to_owned(), Node::File(Arc::clone(&inode)));
                inode
            }
            (inode, _) => inode?,
        };
        if access == Access::Replace {
            inode.lock().set_len(0);
        }
        Ok(MemoryFile { storage: self.clone(), path: path.to_owned(), inode })
    }

    fn open_cached(&self, path: &Path) -> io::Result<Arc<MemoryFile>> {
        self.open(path, Access::Read).map(Arc::new)
    }

    fn map(&self, path: &Path, len: u64) -> io::Result<MemoryMap> {
        self.enter(Operation::Read, path)?;
        let inode = self.inode(path)?;
        let inode = inode.lock();
        match inode.data.get(..usize::try_from(len).map_err(io::Error::other)?) {
            Some(bytes) => Ok(MemoryMap(bytes.to_vec())),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn len_of(&self, path: &Path) -> io::Result<Option<u64>> {
        match self.inode(path) {
            Ok(inode) => Ok(Some(inode.lock().data.len() as u64)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn modified_ms(&self, path: &Path) -> io::Result<Option<i64>> {
        match self.inode(path) {
            Ok(inode) => Ok(Some(inode.lock().modified_ms)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        for dir in dir.ancestors() {
            state.nodes.entry(dir.to_owned()).or_insert(Node::Dir);
            state.synced.entry(dir.to_owned()).or_insert(Node::Dir);
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state.lock();
        if !matches!(state.nodes.get(dir), Some(Node::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entries = children(&state.nodes, dir).filter_map(|(path, node)| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some(DirEntry { name, is_dir: matches!(node, Node::Dir) })
        });
        Ok(entries.collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(Operation::Rename, from)?;
        let mut state = self.state.lock();
        match state.nodes.remove(from) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(file @ Node::File(_)) => {
                state.nodes.insert(to.to_owned(), file);
                Ok(())
            }
            Some(Node::Dir) => {
                let state = &mut *state;
                for names in [&mut state.nodes, &mut state.synced] {
                    names.remove(from);
                    names.insert(to.to_owned(), Node::Dir);
                    let moved: Vec<PathBuf> =
                        names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                    for path in moved {
                        if let (Some(node), Ok(rest)) = (names.remove(&path), path.strip_prefix(from)) {
                            names.insert(to.join(rest), node);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.enter(Operation::Remove, path)?;
        self.state.lock().nodes.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.enter(Operation::Remove, dir)?;
        let mut state = self.state.lock();
        state.nodes.retain(|path, _| !path.starts_with(dir));
        state.synced.retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.enter(Operation::Sync, dir)?;
        let mut state = self.state.lock();
        let now: Vec<(PathBuf, Node)> =
            children(&state.nodes, dir).map(|(path, node)| (path.clone(), node.clone())).collect();
        state.synced.retain(|path, node| path.parent() != Some(dir) || matches!(node, Node::Dir));
        state.synced.extend(now);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<MemoryLock>> {
        self.open(path, Access::Write)?;
        let mut state = self.state.lock();
        if state.locks.iter().any(|held| held == path) {
            return Ok(None);
        }
        state.locks.push(path.to_owned());
        Ok(Some(MemoryLock { storage: self.clone(), path: path.to_owned() }))
    }

    fn sync_all(&self, lock: &MemoryLock) -> io::Result<()> {
        self.enter(Operation::Sync, &lock.path)?;
        let mut state = self.state.lock();
        for node in state.nodes.values() {
            if let Node::File(inode) = node {
                inode.lock().undo.clear();
            }
        }
        state.synced = state.nodes.clone();
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        let state = self.state.lock();
        if !matches!(state.nodes.get(dir), Some(Node::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let total_bytes = state.capacity.unwrap_or(u64::MAX);
        let free_bytes = total_bytes.saturating_sub(state.used_bytes());
        Ok(DiskSpace { total_bytes, free_bytes, read_only: false })
    }
}
