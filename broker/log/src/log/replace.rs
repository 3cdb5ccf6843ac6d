//! Putting segments that were written anew in the place of those they were made of: by compaction
//! ([`crate::cleaner`]), or from what another replica has ([`crate::repair`]).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Log;
use crate::cleaner::plan::SegmentState;
use crate::error::Poisoned;
use crate::names::{SWAP_SUFFIX, SegmentFile};
use crate::rewritten;
use crate::segment::{Home, Segment};
use crate::storage::Storage;

/// Segments of a log are being written anew. There is one of a log at a time, as they write files of the same names.
#[derive(Clone)]
pub(crate) struct Rewrite {
    claim: Arc<()>,
    /// Where it writes.
    dir: PathBuf,
    /// The log's when it began.
    generation: u64,
    /// Whether records are lost by it, as the topic wants it to be.
    compacts: bool,
}

/// Some segments and what is to take their place: one, which waits under `.swap`.
pub struct Replacement<S: Storage> {
    pub(crate) sources: Vec<SegmentState>,
    /// `None` where nothing is left of them.
    pub(crate) segment: Option<Segment<S>>,
    pub(crate) rewrite: Rewrite,
}

/// What became of a [`Replacement`].
#[must_use = "what is not wanted has to be removed"]
pub enum Replaced<S: Storage> {
    /// It is in place. The names become durable when the directory is synced.
    InPlace,
    /// The log has changed meanwhile.
    Unwanted(Unwanted<S>),
}

/// What was written for a log that has changed meanwhile.
pub struct Unwanted<S: Storage> {
    storage: S,
    dir: PathBuf,
    base_offset: i64,
}

impl<S: Storage> Unwanted<S> {
    /// Removes it, without holding the log. Blocks.
    pub fn discard(self) {
        rewritten::discard(&self.storage, &self.dir, self.base_offset);
    }
}

impl<S: Storage> Log<S> {
    /// Claims the writing anew of segments; `None` while somebody else has it.
    pub(super) fn begin_rewrite(&mut self, compacts: bool) -> Option<Rewrite> {
        if self.rewrite.strong_count() > 0 {
            return None;
        }
        let claim = Arc::new(());
        self.rewrite = Arc::downgrade(&claim);
        Some(Rewrite { claim, dir: self.home.dir.clone(), generation: self.generation, compacts })
    }

    /// Whether the log is the one that `rewrite` began with, and nothing was taken back from it since.
    fn is_current(&self, rewrite: &Rewrite) -> bool {
        let is_its_own = std::ptr::eq(self.rewrite.as_ptr(), Arc::as_ptr(&rewrite.claim));
        // A topic that keeps all records by now loses none any more.
        let is_wanted = self.config.compact || !rewrite.compacts;
        is_its_own && is_wanted && rewrite.generation == self.generation
    }

    /// Puts a segment in the place of those it was made of, unless any of them has changed or gone meanwhile.
    ///
    /// The order, so that a crash at any point leaves either the old segments or the new one: it waits under `.swap`, which
    /// is durable; those behind the first go; it takes the first one's name. Recovery does what is left of these.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn replace_segments(&mut self, replacement: Replacement<S>) -> Result<Replaced<S>, Poisoned> {
        self.check_writable()?;
        let Replacement { sources, segment, rewrite } = replacement;
        let base_offset = sources[0].base_offset;
        let first = self.segments.iter().position(|segment| segment.base_offset == base_offset);
        let unchanged = first.filter(|first| {
            let present = self.segments.iter().skip(*first).map(Segment::state);
            let is_sealed = first + sources.len() < self.segments.len();
            is_sealed && present.take(sources.len()).eq(sources.iter().copied())
        });
        let Some(first) = unchanged.filter(|_| self.is_current(&rewrite)) else {
            let (storage, dir) = (self.home.storage.clone(), rewrite.dir);
            return Ok(Replaced::Unwanted(Unwanted { storage, dir, base_offset }));
        };
        if !rewrite.compacts {
            // What another replica's compaction has forgotten must not stay in a copy without what it was deleted by.
            self.note_cut(base_offset);
        }
        let replaced = first..first + sources.len();
        let base_offsets = sources.iter().map(|source| source.base_offset);
        let Some(segment) = segment else {
            self.give_up(base_offsets)?;
            self.segments.drain(replaced);
            self.assert_order();
            return Ok(Replaced::InPlace);
        };
        self.give_up(base_offsets.skip(1))?;
        let swap = Home { suffix: SWAP_SUFFIX, ..self.home.clone() };
        let log = |home: &Home<S>| home.path(SegmentFile::Log, base_offset);
        let renamed = self.home.storage.rename(&log(&swap), &log(&self.home));
        self.guard("putting a segment that was written anew in place", renamed)?;
        // From here on the file of that name is the new one.
        self.segments.splice(replaced, [segment]);
        self.mapped.retain(|mapped| *mapped != base_offset);
        self.changes += 1;
        let renamed = self.take_names_beside(&swap, base_offset);
        self.guard("putting the index of a segment that was written anew in place", renamed)?;
        self.assert_order();
        Ok(Replaced::InPlace)
    }

    /// Renames the files beside a segment's `.log` from `.swap` to their own names. Its producer snapshot goes: it may tell
    /// of an open transaction whose marker the segment has lost. What the batches tell without it is whole.
    fn take_names_beside(&self, swap: &Home<S>, base_offset: i64) -> io::Result<()> {
        let storage = &self.home.storage;
        storage.remove_file(&self.home.path(SegmentFile::ProducerSnapshot, base_offset))?;
        for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex] {
            match storage.rename(&swap.path(kind, base_offset), &self.home.path(kind, base_offset)) {
                // Most segments have no transaction index.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
        }
        Ok(())
    }
}
