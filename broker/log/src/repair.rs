//! Writing a segment anew from what another replica has, as bits of it have flipped on the disk.
//!
//! ```text
//! log.seal_segment_of()     under the log's lock, if it is the active one; then it is synced
//! log.begin_repair()        under the lock: a [`Repair`]
//! repair.append()           takes the other replica's batches, into a file under .cleaned
//!   … until it is complete
//! repair.finish()           synced, and then .swap
//! log.replace_segments()    under the lock: renames, if the segment is still what it was
//! ```
//!
//! The log never ends earlier because of it, so whoever counted on its end may go on to do so. Only committed records are
//! taken from elsewhere: below the high watermark all replicas hold the same batches, unless compaction has thinned them out.
//! What a segment has behind that is kept as it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use taffrail_protocol::record_batch::{
    BatchError, BatchHeader, Batches, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, write_empty,
};

use crate::cleaner::plan::SegmentState;
use crate::config::LogConfig;
use crate::leader_epoch::LeaderEpochs;
use crate::log::{Replacement, Rewrite};
use crate::names::{CLEANED_SUFFIX, SegmentFile};
use crate::rewritten;
use crate::scan::{Check, Damage, Scan};
use crate::segment::{Home, Segment};
use crate::storage::{Storage, StorageFile};
use crate::transaction_index;

/// Why a segment could not be written anew. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A file cannot be read or written.
    #[error("{action} {} failed: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The other replica's batch is corrupt too.
    #[error("the other replica's batch at offset {offset} is corrupt: {source}")]
    Corrupt {
        /// The offset that was due.
        offset: i64,
        /// What is wrong.
        source: BatchError,
    },
    /// Records are missing there.
    #[error("the other replica lacks the records {from} to {to}")]
    Missing {
        /// The first of them.
        from: i64,
        /// The last of them.
        to: i64,
    },
    /// The other replica's batch reaches over an end of the segment.
    #[error("the other replica's batch of offsets {first} to {last} is partly in another segment")]
    Straddles {
        /// The batch's first offset.
        first: i64,
        /// Its last offset.
        last: i64,
    },
    /// The other replica has something else at this place.
    #[error(
        "the other replica's batch at offset {offset} is of leader epoch {found}, and this one's is of {expected:?}"
    )]
    Differs {
        /// The batch's first offset.
        offset: i64,
        /// Its leader epoch.
        found: i32,
        /// Which one is due there.
        expected: Option<i32>,
    },
    /// What is behind the committed records is corrupt too, and nobody else is known to have it.
    #[error("what is not committed yet is corrupt too: {reason}")]
    Behind {
        /// What is wrong with it.
        reason: String,
    },
    /// Which transactions were aborted would have to be found out, too.
    #[error(
        "a compacted log with transactions is not repaired (offset {offset}): have the replica made anew, by a \
         reassignment to another broker and back"
    )]
    Transactional {
        /// The first offset of a batch that belongs to one.
        offset: i64,
    },
}

/// The end of the segment as it is, which is not committed yet.
pub(crate) struct Rest<S: Storage> {
    pub file: Arc<S::File>,
    /// Where it begins in the file.
    pub position: u64,
}

/// A segment that is being written anew.
pub struct Repair<S: Storage> {
    pub(crate) home: Home<S>,
    pub(crate) config: LogConfig,
    pub(crate) source: SegmentState,
    /// Made with the first batch.
    pub(crate) segment: Option<Segment<S>>,
    /// Everything before is there, or was deleted.
    pub(crate) next_offset: i64,
    /// Up to here the other replica's batches are taken: where the segment ends, or what is committed of it.
    pub(crate) end: i64,
    /// What comes behind, which this replica keeps.
    pub(crate) rest: Option<Rest<S>>,
    /// Where the next segment begins.
    pub(crate) segment_end: i64,
    pub(crate) is_first: bool,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) rewrite: Rewrite,
    pub(crate) now_ms: i64,
}

impl<S: Storage> Repair<S> {
    /// The first offset that is needed next; `None` when all is there.
    pub fn next_offset(&self) -> Option<i64> {
        (self.next_offset < self.end).then_some(self.next_offset)
    }

    /// Where the segment ends.
    pub fn end_offset(&self) -> i64 {
        self.segment_end
    }

    /// Takes batches from [`Repair::next_offset`] on, as they are; a batch that is cut off at the end is left out, and so is
    /// what belongs to the next segment. Blocks on the disk.
    ///
    /// # Errors
    /// [`RepairError`] says why they are of no use. The repair is then to be [given up](Self::discard).
    pub fn append(&mut self, records: &[u8]) -> Result<(), RepairError> {
        let mut batches = Batches::new(records);
        let (mut headers, mut begin) = (Vec::new(), None);
        let mut end = 0;
        loop {
            let position = batches.position();
            let corrupt = |offset, source| RepairError::Corrupt { offset, source };
            let view = match batches.next() {
                None | Some(Err(BatchError::Truncated { .. })) => break,
                Some(view) => view.map_err(|source| corrupt(self.next_offset, source))?,
            };
            view.verify_crc().map_err(|source| corrupt(self.next_offset, source))?;
            let header = *view.header();
            // A fetch out of the middle of a batch is answered with all of it.
            if header.last_offset() < self.next_offset {
                continue;
            }
            self.check(&header)?;
            if header.base_offset >= self.end {
                self.next_offset = self.end;
                if self.is_first && self.segment.is_none() && headers.is_empty() {
                    return self.keep_place(&header);
                }
                break;
            }
            begin.get_or_insert(position);
            end = batches.position();
            self.next_offset = header.next_offset();
            headers.push(header);
        }
        self.write(&records[begin.unwrap_or(0)..end], &headers)
    }

    /// Nothing is left of the log's first segment, and a log does not begin behind its start: a batch without records takes
    /// its place, in the manner of the one that is `next`.
    fn keep_place(&mut self, next: &BatchHeader) -> Result<(), RepairError> {
        let (base_offset, last) = (self.source.base_offset, self.end - 1);
        let place = BatchHeader {
            base_offset,
            last_offset_delta: i32::try_from(last - base_offset).unwrap_or(i32::MAX),
            partition_leader_epoch: self.epochs.epoch_for_offset(last).unwrap_or(next.partition_leader_epoch),
            attributes: 0,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            ..*next
        };
        let mut bytes = Vec::new();
        let written = write_empty(&place, &mut bytes);
        let header = written.map_err(|source| RepairError::Corrupt { offset: base_offset, source })?;
        self.write(&bytes, &[header])
    }

    fn check(&self, header: &BatchHeader) -> Result<(), RepairError> {
        let (first, last) = (header.base_offset, header.last_offset());
        if first > self.next_offset && !self.config.compact {
            return Err(RepairError::Missing { from: self.next_offset, to: first.min(self.end) - 1 });
        }
        if first >= self.end {
            return Ok(());
        }
        if first < self.source.base_offset || last >= self.end {
            return Err(RepairError::Straddles { first, last });
        }
        let (found, expected) = (header.partition_leader_epoch, self.epochs.epoch_for_offset(last));
        if expected.is_some_and(|expected| expected != found) {
            return Err(RepairError::Differs { offset: first, found, expected });
        }
        if self.config.compact && (header.is_transactional() || header.is_control()) {
            return Err(RepairError::Transactional { offset: first });
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], headers: &[BatchHeader]) -> Result<(), RepairError> {
        if headers.is_empty() {
            return Ok(());
        }
        let home = Home { suffix: CLEANED_SUFFIX, ..self.home.clone() };
        let (base_offset, config, now_ms) = (self.source.base_offset, &self.config, self.now_ms);
        let segment = &mut self.segment;
        let mut write = || -> io::Result<()> {
            let segment = match segment {
                Some(segment) => segment,
                None => segment.insert(Segment::create(&home, base_offset, now_ms)?),
            };
            segment.append(&home, bytes, headers.iter().copied(), config)
        };
        let path = || home.path(SegmentFile::Log, base_offset);
        write().map_err(|source| RepairError::Io { path: path(), action: "writing", source })
    }

    /// Makes what was written durable, ready to take the segment's place. Blocks.
    ///
    /// # Errors
    /// [`RepairError::Io`]. Nothing is left of it then.
    ///
    /// # Panics
    /// When it is not complete.
    pub fn finish(mut self) -> Result<Replacement<S>, RepairError> {
        assert!(self.next_offset >= self.end, "it lacks what is behind offset {}", self.next_offset);
        match self.copy_rest().and_then(|()| self.complete()) {
            Ok(segment) => Ok(Replacement { sources: vec![self.source], segment, rewrite: self.rewrite }),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Copies what is not committed yet out of the segment as it is.
    fn copy_rest(&mut self) -> Result<(), RepairError> {
        let Some(Rest { file, position }) = self.rest.take() else { return Ok(()) };
        let path = self.home.path(SegmentFile::Log, self.source.base_offset);
        let failed = |source| RepairError::Io { path: path.clone(), action: "reading", source };
        let mut scan = Scan::new(&*file, position, self.source.size, Check::Checksum);
        loop {
            let found = match scan.next().map_err(failed)? {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(()),
                Err(Damage { reason, .. }) => return Err(RepairError::Behind { reason }),
            };
            let mut bytes = vec![0; found.size as usize];
            let read = file.read_at(&mut bytes, found.position).map_err(failed)?;
            self.write(&bytes[..read], &[found.header])?;
        }
    }

    fn complete(&mut self) -> Result<Option<Segment<S>>, RepairError> {
        let Home { storage, dir, .. } = &self.home;
        let base_offset = self.source.base_offset;
        let path = |kind| self.home.path(kind, base_offset);
        let failed = |kind, action| {
            let path = path(kind);
            move |source| RepairError::Io { path, action, source }
        };
        let cleaned = Home { suffix: CLEANED_SUFFIX, ..self.home.clone() };
        let Some(mut segment) = self.segment.take() else { return Ok(None) };
        // The batches are the same, and so are the transactions.
        let index = path(SegmentFile::TransactionIndex);
        let bytes = storage.read_small(&index, transaction_index::MAX_BYTES);
        let bytes = bytes.map_err(failed(SegmentFile::TransactionIndex, "reading"))?;
        let aborted = transaction_index::decode(&bytes.unwrap_or_default(), base_offset)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            .map_err(failed(SegmentFile::TransactionIndex, "reading"))?;
        let modified_ms = storage.modified_ms(&path(SegmentFile::Log)).ok().flatten();
        rewritten::complete(&cleaned, &mut segment, &aborted, modified_ms)
            .map_err(failed(SegmentFile::Log, "completing what takes the place of"))?;
        rewritten::put_beside(storage, dir, base_offset)
            .map_err(failed(SegmentFile::Log, "renaming what takes the place of"))?;
        Ok(Some(segment))
    }

    /// Removes what was written. Blocks.
    pub fn discard(self) {
        rewritten::discard(&self.home.storage, &self.home.dir, self.source.base_offset);
    }
}
