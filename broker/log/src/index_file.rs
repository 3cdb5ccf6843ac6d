//! What the offset index and the time index share: a file of entries of one size that only grows at its end.
//!
//! New entries gather in memory and are appended with plain writes, many at a time; nothing is preallocated and nothing
//! is written through a map. Entries that are in the file are looked up through a read-only map, made when first asked
//! for. An entry lost in a crash costs nothing but the time to find it again: recovery rebuilds indexes.

use std::io;
use std::path::Path;

use crate::storage::{Access, Storage, StorageFile};

/// How many entries gather before they are written: at the default interval, half a MiB of records.
const GATHER: usize = 128;

pub(crate) struct IndexFile<S: Storage, const N: usize> {
    /// Entries in the file.
    written: u64,
    /// Entries behind them that are not in the file yet.
    pending: Vec<[u8; N]>,
    /// Some of the written entries, from the first on.
    map: Option<S::Map>,
}

impl<S: Storage, const N: usize> IndexFile<S, N> {
    /// An index whose file holds `written` entries.
    pub fn new(written: u64) -> Self {
        Self { written, pending: Vec::new(), map: None }
    }

    /// Entries in all.
    pub fn len(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Adds an entry; returns whether it is time to [`write`](Self::write).
    pub fn push(&mut self, entry: [u8; N]) -> bool {
        self.pending.push(entry);
        self.pending.len() >= GATHER
    }

    /// Writes what has gathered.
    pub fn write(&mut self, storage: &S, path: &Path) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let file = storage.open(path, Access::Write)?;
        file.write_all_at(self.pending.as_flattened(), self.written * N as u64)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Gives back the memory of gathered entries, which must have been written, and unmaps the rest.
    pub fn release(&mut self) {
        debug_assert!(self.pending.is_empty(), "only a written index is released");
        self.pending = Vec::new();
        self.map = None;
    }

    /// Drops the map alone.
    pub fn unmap(&mut self) {
        self.map = None;
    }

    /// Cuts the file off behind the entries there are, written or gathered.
    pub fn trim(&mut self, storage: &S, path: &Path) -> io::Result<()> {
        let len = self.len() * N as u64;
        match storage.len_of(path)? {
            Some(present) if present > len => storage.open(path, Access::Write)?.set_len(len),
            Some(_) => Ok(()),
            None => storage.open(path, Access::Write).map(drop),
        }
    }

    /// Keeps the first `entries` entries.
    pub fn truncate(&mut self, storage: &S, path: &Path, entries: u64) -> io::Result<()> {
        if entries >= self.written {
            self.pending.truncate(usize::try_from(entries - self.written).unwrap_or(usize::MAX));
            return Ok(());
        }
        self.pending.clear();
        // A map must not outlive the bytes it shows.
        self.map = None;
        storage.open(path, Access::Write)?.set_len(entries * N as u64)?;
        self.written = entries;
        Ok(())
    }

    /// The entry of that number, from 0.
    pub fn get(&mut self, storage: &S, path: &Path, index: u64) -> io::Result<Option<[u8; N]>> {
        if let Some(pending) = index.checked_sub(self.written) {
            return Ok(self.pending.get(usize::try_from(pending).unwrap_or(usize::MAX)).copied());
        }
        let entries = self.mapped(storage, path)?;
        Ok(entries.get(usize::try_from(index).unwrap_or(usize::MAX)).copied())
    }

    /// How many entries from the first on satisfy `holds`, which must be all that do; and the last of them.
    pub fn floor(
        &mut self,
        storage: &S,
        path: &Path,
        holds: impl Fn(&[u8; N]) -> bool,
    ) -> io::Result<(u64, Option<[u8; N]>)> {
        if self.pending.first().is_some_and(&holds) {
            let count = self.pending.partition_point(&holds);
            return Ok((self.written + count as u64, Some(self.pending[count - 1])));
        }
        if self.written == 0 {
            return Ok((0, None));
        }
        let entries = self.mapped(storage, path)?;
        let count = entries.partition_point(holds);
        Ok((count as u64, count.checked_sub(1).map(|index| entries[index])))
    }

    fn mapped(&mut self, storage: &S, path: &Path) -> io::Result<&[[u8; N]]> {
        let len = self.written * N as u64;
        if self.map.as_ref().is_none_or(|map| (map.len() as u64) < len) {
            self.map = Some(storage.map(path, len)?);
        }
        let bytes = self.map.as_deref().unwrap_or_default();
        Ok(bytes.as_chunks().0)
    }
}
