//! Read-only maps of files: the crate's only unsafe code.

use std::fs::File;
use std::io;
use std::ops::Deref;

/// The first bytes of a file, mapped read-only.
pub struct DiskMap(memmap2::Mmap);

impl DiskMap {
    /// Maps the first `len` bytes of `file`, which must have that many and keep them.
    #[allow(unsafe_code)]
    pub(super) fn new(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: a map is undefined behaviour if its bytes change under it. Only index entries that were already
        // written are mapped; they are never written again, the owner of an index drops its map before cutting the
        // file, and the data directory's lock keeps other processes of ours away.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file)? };
        Ok(Self(map))
    }
}

impl Deref for DiskMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
