//! The segments' part of recovery: unfinished compactions, indexes, and the end of the log.

use std::collections::{BTreeMap, BTreeSet};

use super::{Doing, Failure, Finding, Recovery};
use crate::error::OpenError;
use crate::names::{PartitionFile, SWAP_SUFFIX, SegmentFile};
use crate::scan::{Check, Damage, Scan};
use crate::segment::Segment;
use crate::storage::{Access, Storage, StorageFile};
use crate::{offset_index, time_index, transaction_index};

impl<S: Storage> Recovery<'_, S> {
    /// Ends what a compaction began: removes its results where some are missing, puts them in place where all are there.
    pub(super) fn finish_swaps(&mut self, names: Vec<String>) -> Result<Vec<String>, Failure> {
        let first_cleaned = names.iter().filter_map(|name| match PartitionFile::parse(name) {
            PartitionFile::Cleaned(_, offset) => Some(offset),
            _ => None,
        });
        let first_cleaned = first_cleaned.min().unwrap_or(i64::MAX);
        let mut kept = BTreeSet::new();
        let mut swaps: BTreeMap<i64, BTreeSet<SegmentFile>> = BTreeMap::new();
        for name in names {
            match PartitionFile::parse(&name) {
                PartitionFile::Cleaned(..) => self.remove(Finding::CleanedFile, &name)?,
                PartitionFile::Swap(_, offset) if offset >= first_cleaned => {
                    self.remove(Finding::UnfinishedSwap, &name)?;
                }
                PartitionFile::Swap(kind, offset) => {
                    swaps.entry(offset).or_default().insert(kind);
                }
                _ => {
                    kept.insert(name);
                }
            }
        }
        for (offset, kinds) in swaps {
            let counts = if kinds.contains(&SegmentFile::Log) {
                self.clear_for_swap(offset, &mut kept)?
            } else {
                // The log is in its place already; what belongs beside it follows.
                kept.contains(&SegmentFile::Log.name(offset))
            };
            if counts {
                for kind in kinds {
                    self.take_name(kind, offset)?;
                    kept.insert(kind.name(offset));
                }
            } else {
                // The log last: without it the others would be taken for those of the segment that is there.
                for kind in kinds.into_iter().rev() {
                    self.remove(Finding::UnfinishedSwap, &swap_name(kind, offset))?;
                }
            }
        }
        Ok(kept.into_iter().collect())
    }

    /// Removes what a `.log.swap` stands for. False when it is damaged: its segments are still there then.
    fn clear_for_swap(&mut self, offset: i64, names: &mut BTreeSet<String>) -> Result<bool, Failure> {
        let storage = &self.home.storage;
        let path = self.home.dir.join(swap_name(SegmentFile::Log, offset));
        let size = storage.len_of(&path).doing("reading a swap file")?.unwrap_or(0);
        let file = storage.open(&path, Access::Read).doing("opening a swap file")?;
        let mut scan = Scan::new(&file, 0, size, Check::Checksum);
        let mut end = offset;
        loop {
            match scan.next().doing("reading a swap file")? {
                Ok(Some(found)) => end = found.header.next_offset(),
                Ok(None) => break,
                Err(_) => return Ok(false),
            }
        }
        let replaced = |name: &String| match PartitionFile::parse(name) {
            PartitionFile::Live(SegmentFile::ProducerSnapshot, _) => false,
            PartitionFile::Live(_, base) => base >= offset && (base < end || base == offset),
            _ => false,
        };
        for name in names.extract_if(.., replaced) {
            storage.remove_file(&self.home.dir.join(&name)).doing(&format!("removing {name}"))?;
        }
        Ok(true)
    }

    /// Puts a `.swap` file in its place.
    fn take_name(&mut self, kind: SegmentFile, offset: i64) -> Result<(), Failure> {
        let swap = swap_name(kind, offset);
        let (from, to) = (self.home.dir.join(&swap), self.home.path(kind, offset));
        self.home.storage.rename(&from, &to).doing("renaming a swap file")?;
        self.report.note(Finding::FinishedSwap, swap);
        Ok(())
    }

    /// Opens the segments, and sees to it that each has indexes that fit it.
    pub(super) fn open_segments(&mut self, names: &[String]) -> Result<Vec<Segment<S>>, Failure> {
        let live: BTreeSet<(SegmentFile, i64)> = names
            .iter()
            .filter_map(|name| match PartitionFile::parse(name) {
                PartitionFile::Live(kind, offset) => Some((kind, offset)),
                _ => None,
            })
            .collect();
        for &(kind, offset) in &live {
            let index = matches!(
                kind,
                SegmentFile::OffsetIndex | SegmentFile::TimeIndex | SegmentFile::TransactionIndex
            );
            if index && !live.contains(&(SegmentFile::Log, offset)) {
                self.remove(Finding::OrphanIndex, &kind.name(offset))?;
            }
        }
        let mut segments = Vec::new();
        for &(kind, offset) in &live {
            if kind == SegmentFile::Log {
                segments.push(self.open_segment(offset, &live)?);
            }
        }
        self.remove_empty(&mut segments)?;
        let checked_from = self.checked_from(&segments);
        for segment in &mut segments[..checked_from] {
            let missing = [SegmentFile::OffsetIndex, SegmentFile::TimeIndex]
                .into_iter()
                .find(|kind| !live.contains(&(*kind, segment.base_offset)));
            self.check_indexes(segment, missing)?;
        }
        Ok(segments)
    }

    fn open_segment(&self, offset: i64, live: &BTreeSet<(SegmentFile, i64)>) -> Result<Segment<S>, Failure> {
        let len = |kind| {
            if !live.contains(&(kind, offset)) {
                return Ok(0);
            }
            let len = self.home.storage.len_of(&self.home.path(kind, offset));
            len.doing("asking for a file's size").map(|len| len.unwrap_or(0))
        };
        let size = len(SegmentFile::Log)?;
        let offset_entries = len(SegmentFile::OffsetIndex)? / offset_index::ENTRY_BYTES as u64;
        let time_entries = len(SegmentFile::TimeIndex)? / time_index::ENTRY_BYTES as u64;
        Ok(Segment::new(offset, size, offset_entries, time_entries, self.now_ms))
    }

    /// The number of the first segment whose batches are checked one by one.
    pub(super) fn checked_from(&self, segments: &[Segment<S>]) -> usize {
        if self.mode.clean {
            return segments.len();
        }
        let bases: Vec<i64> = segments.iter().map(|segment| segment.base_offset).collect();
        super::checked_from(&bases, self.mode.recovery_point)
    }

    /// Where not everything was synced, an empty segment may be one whose bytes were lost, and what is behind it lacks
    /// records: it is left for [`Self::check_segments`].
    fn remove_empty(&mut self, segments: &mut Vec<Segment<S>>) -> Result<(), Failure> {
        let last = segments.last().map_or(0, |segment| segment.base_offset);
        let was_synced = |base_offset| self.mode.clean || base_offset < self.mode.recovery_point;
        let goes = |segment: &mut Segment<S>| {
            segment.size == 0 && segment.base_offset != last && was_synced(segment.base_offset)
        };
        for segment in segments.extract_if(.., goes) {
            let name = SegmentFile::Log.name(segment.base_offset);
            segment.remove(self.home).doing(&format!("removing {name}"))?;
            self.report.note(Finding::EmptySegment, name);
        }
        Ok(())
    }

    /// Rebuilds the indexes of a segment whose batches are not checked, if they do not fit it.
    fn check_indexes(
        &mut self,
        segment: &mut Segment<S>,
        missing: Option<SegmentFile>,
    ) -> Result<(), Failure> {
        let finding = match missing {
            Some(kind) => Some((Finding::MissingIndex, kind)),
            None => self.index_finding(segment)?,
        };
        if let Some((finding, kind)) = finding {
            self.report.note(finding, kind.name(segment.base_offset));
            self.rebuild(segment, Check::Header)?;
            segment.seal(self.home).doing("writing an index")?;
            // It is believed from now on, as what is before the recovery point.
            for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
                let file = self.home.storage.open(&self.home.path(kind, segment.base_offset), Access::Read);
                file.and_then(|file| file.sync()).doing("syncing an index")?;
            }
        }
        let path = self.home.path(SegmentFile::TransactionIndex, segment.base_offset);
        if let Some(len) = self.home.storage.len_of(&path).doing("asking for a file's size")? {
            self.check_transaction_index(segment, &path, len)?;
        }
        Ok(())
    }

    fn index_finding(&self, segment: &mut Segment<S>) -> Result<Option<(Finding, SegmentFile)>, Failure> {
        let (storage, base) = (&self.home.storage, segment.base_offset);
        for (kind, bytes) in [
            (SegmentFile::OffsetIndex, offset_index::ENTRY_BYTES as u64),
            (SegmentFile::TimeIndex, time_index::ENTRY_BYTES as u64),
        ] {
            let len = storage.len_of(&self.home.path(kind, base)).doing("asking for a file's size")?;
            if len.unwrap_or(0) % bytes != 0 {
                return Ok(Some((Finding::CorruptIndex, kind)));
            }
        }
        let path = self.home.path(SegmentFile::OffsetIndex, base);
        let last = segment.offsets.last(storage, &path).doing("reading an index")?;
        if let Some(last) = last {
            // The first batch of a segment never has an entry.
            let fits = last.offset > base && u64::from(last.position) < segment.size;
            if !fits {
                return Ok(Some((Finding::CorruptIndex, SegmentFile::OffsetIndex)));
            }
        } else if self.wants_entries(segment)? {
            return Ok(Some((Finding::EmptyIndex, SegmentFile::OffsetIndex)));
        }
        let path = self.home.path(SegmentFile::TimeIndex, base);
        let last = segment.times.last(storage, &path).doing("reading an index")?;
        if last.is_some_and(|last| last.offset < base || last.timestamp < 0) {
            return Ok(Some((Finding::CorruptIndex, SegmentFile::TimeIndex)));
        }
        segment.unmap();
        Ok(None)
    }

    /// Whether a segment has a batch that its offset index should name.
    fn wants_entries(&self, segment: &Segment<S>) -> Result<bool, Failure> {
        let interval = u64::from(self.config.index_interval_bytes);
        if segment.size <= interval {
            return Ok(false);
        }
        let file = segment.reader(self.home).doing("opening a segment")?;
        let mut scan = Scan::new(&*file, 0, segment.size, Check::Header);
        while let Ok(Some(found)) = scan.next().doing("reading a segment")? {
            if found.position > interval {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check_transaction_index(
        &mut self,
        segment: &Segment<S>,
        path: &std::path::Path,
        len: u64,
    ) -> Result<(), Failure> {
        let bytes = self.home.storage.read_small(path, len.min(transaction_index::MAX_BYTES));
        let bytes = bytes.doing("reading a transaction index")?.unwrap_or_default();
        if transaction_index::decode(&bytes, segment.base_offset).is_err() {
            // Kept as far as it is sound: entries are whole from the start on.
            let sound = sound_transactions(&bytes, segment.base_offset);
            let file = self.home.storage.open(path, Access::Write).doing("opening a transaction index")?;
            file.set_len(sound).doing("cutting a transaction index")?;
            let name = SegmentFile::TransactionIndex.name(segment.base_offset);
            self.report.note(Finding::CorruptTransactionIndex, name);
        }
        Ok(())
    }

    fn rebuild(&mut self, segment: &mut Segment<S>, check: Check) -> Result<(i64, Option<Damage>), Failure> {
        let (dir, base) = (self.home.dir.clone(), segment.base_offset);
        let size = segment.size;
        // A file of another age must not lose its index to the discovery: looked at before anything is changed.
        let file = segment.reader(self.home).doing("opening a segment")?;
        if let Err(Damage { old_format: Some(magic), .. }) =
            Scan::new(&*file, 0, size, Check::Header).next().doing("reading a segment")?
        {
            return Err(Failure::Open(OpenError::OldFormat { dir, offset: base, magic }));
        }
        let rebuilt = segment.rebuild(self.home, self.config, check).doing("checking a segment")?;
        if let (offset, Some(Damage { old_format: Some(magic), .. })) = rebuilt {
            return Err(Failure::Open(OpenError::OldFormat { dir, offset, magic }));
        }
        self.report.scanned_segments += 1;
        self.report.scanned_bytes += size;
        (self.checked)(size);
        Ok(rebuilt)
    }

    /// Checks what may be damaged, and cuts it off. Returns the offset where the log ends.
    pub(super) fn check_segments(&mut self, segments: &mut Vec<Segment<S>>) -> Result<i64, Failure> {
        if self.mode.clean {
            return self.check_tail(segments);
        }
        let mut index = self.checked_from(segments);
        let mut log_end_offset = self.mode.log_start_offset.max(0);
        let mut previous_end = None;
        while index < segments.len() {
            let base = segments[index].base_offset;
            if let Some(end) = previous_end
                && base != end
            {
                let gap = base > end && !self.config.compact;
                let finding = if gap { Finding::GapBetweenSegments } else { Finding::OverlappingSegment };
                if gap || base < end {
                    return self.drop_from(segments, index, finding).map(|()| end);
                }
            }
            let segment = &mut segments[index];
            let size = segment.size;
            let (end, damage) = self.rebuild(segment, Check::Checksum)?;
            index += 1;
            log_end_offset = end;
            if let Some(damage) = damage {
                self.truncate(&mut segments[index - 1], size, damage)?;
                self.drop_from(segments, index, Finding::BehindTornTail)?;
                break;
            }
            if end == base && index < segments.len() {
                self.report.truncation_reason =
                    Some(format!("the segment {base} is empty, and there are more"));
                self.drop_from(segments, index, Finding::BehindTornTail)?;
                break;
            }
            if index < segments.len() {
                segments[index - 1].seal(self.home).doing("writing an index")?;
            }
            previous_end = Some(end);
        }
        Ok(log_end_offset)
    }

    /// A log that was closed in good order: only the end of its last segment is read.
    fn check_tail(&mut self, segments: &mut [Segment<S>]) -> Result<i64, Failure> {
        let Some(last) = segments.last_mut() else { return Ok(self.mode.log_start_offset.max(0)) };
        let size = last.size;
        let damage = match last.read_tail(self.home, self.config).doing("reading the end of the log")? {
            Ok(end) => return Ok(end),
            Err(damage) => damage,
        };
        if let Some(magic) = damage.old_format {
            let (dir, offset) = (self.home.dir.clone(), last.base_offset);
            return Err(Failure::Open(OpenError::OldFormat { dir, offset, magic }));
        }
        last.size = size;
        let (end, damage) = self.rebuild(last, Check::Checksum)?;
        if let Some(damage) = damage {
            self.truncate(last, size, damage)?;
        } else {
            let name = SegmentFile::OffsetIndex.name(last.base_offset);
            self.report.note(Finding::CorruptIndex, name);
        }
        Ok(end)
    }

    fn truncate(&mut self, segment: &mut Segment<S>, size: u64, damage: Damage) -> Result<(), Failure> {
        segment.cut(self.home).doing("cutting off a torn batch")?;
        self.report.truncated_bytes += size - segment.size;
        self.report.truncation_reason = Some(damage.reason);
        self.report.lost_whole_batches |= !damage.cut_short;
        self.report.note(Finding::TornTail, SegmentFile::Log.name(segment.base_offset));
        Ok(())
    }

    fn drop_from(
        &mut self,
        segments: &mut Vec<Segment<S>>,
        index: usize,
        finding: Finding,
    ) -> Result<(), Failure> {
        // From the end on: whenever this stops, what is left has no hole.
        for segment in segments.drain(index..).rev() {
            let name = SegmentFile::Log.name(segment.base_offset);
            self.report.truncated_bytes += segment.size;
            self.report.lost_whole_batches |= finding == Finding::BehindTornTail && segment.size > 0;
            segment.remove(self.home).doing(&format!("removing {name}"))?;
            self.report.note(finding, name);
        }
        Ok(())
    }
}

fn swap_name(kind: SegmentFile, offset: i64) -> String {
    kind.name(offset) + SWAP_SUFFIX
}

/// Bytes of the entries from the first on that are whole and rise.
fn sound_transactions(bytes: &[u8], base_offset: i64) -> u64 {
    let size = transaction_index::ENTRY_BYTES;
    let whole = bytes.len() / size;
    let sound = (0..=whole)
        .rev()
        .find(|count| transaction_index::decode(&bytes[..count * size], base_offset).is_ok());
    (sound.unwrap_or(0) * size) as u64
}
