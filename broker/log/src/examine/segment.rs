//! One segment of a log that is verified: its batches, and its indexes beside them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use taffrail_protocol::record_batch::{BatchHeader, BatchView};

use super::batches::{Next, Part, Parts, checksum};
use super::entries::Entries;
use super::observation::{Observation, Severity, Symptom};
use super::offset_entries::{OffsetEntries, Wrongs};
use super::place::Surroundings;
use super::producers::Producers;
use super::time_entries::TimeEntries;
use super::verify::{Epochs, Verify};
use crate::names::SegmentFile;
use crate::scan::{Damage, Found};
use crate::storage::{Access, DiskFile, FileStorage, Storage, StorageFile};

/// Control batches are some hundred bytes.
const CONTROL_BATCH_BYTES: u64 = 64 * 1024;

/// A segment that is walked once.
pub(super) struct SegmentWalk {
    base_offset: i64,
    next_base: Option<i64>,
    /// The end may be written to meanwhile.
    in_motion: bool,
    /// The next start checks the segment and makes its indexes anew.
    rebuilt_at_start: bool,
    clean: bool,
    /// Every batch so far was sound.
    sound: bool,
    /// The offset that the next batch begins at, if none is missing.
    expected: i64,
    buffer: Vec<u8>,
}

impl SegmentWalk {
    pub fn new(base_offset: i64, next_base: Option<i64>, around: &Surroundings) -> Self {
        Self {
            base_offset,
            next_base,
            in_motion: next_base.is_none() && around.in_use,
            rebuilt_at_start: around.is_checked_at_start(next_base.unwrap_or(i64::MAX)),
            clean: around.clean,
            sound: true,
            expected: base_offset,
            buffer: Vec::new(),
        }
    }

    /// Walks the segment. An error is one of reading it.
    pub fn run(
        mut self,
        verify: &mut Verify<'_>,
        producers: &mut Producers<'_>,
        live: &BTreeSet<(SegmentFile, i64)>,
    ) -> io::Result<()> {
        let path = SegmentFile::Log.path(&verify.place.dir, self.base_offset);
        self.check_start(verify, producers, &path);
        let file = open(&path)?;
        let size = file.size()?;
        let mut index = |kind: SegmentFile| self.index(verify, kind, live);
        let mut offsets =
            OffsetEntries::new(Entries::new(index(SegmentFile::OffsetIndex)?)?, self.base_offset);
        let mut times = TimeEntries::new(Entries::new(index(SegmentFile::TimeIndex)?)?, self.base_offset);
        let (mut wrong_offsets, mut wrong_times) = (Wrongs::default(), Wrongs::default());
        let mut parts = Parts::new(&file, size, self.base_offset..self.next_base.unwrap_or(i64::MAX));
        verify.totals.segments += 1;
        let mut old_format = false;
        while let Some(part) = parts.next()? {
            match part {
                Part::Batch(found) => {
                    verify.totals.bytes += found.size;
                    offsets.batch(&found, &mut wrong_offsets)?;
                    if self.check_batch(verify, producers, &path, &file, &found)? {
                        times.batch(&found, &mut wrong_times)?;
                    } else {
                        producers.lost();
                        times.skip_to(self.expected)?;
                    }
                }
                Part::Broken { damage, next } => {
                    old_format |= damage.old_format.is_some();
                    offsets.skip_to(next.map_or(u64::MAX, |next| next.position))?;
                    times.skip_to(next.map_or(i64::MAX, |next| next.base_offset))?;
                    self.tell_broken(verify, producers, &path, size, &damage, next);
                }
            }
        }
        verify.end = Some(self.expected);
        if old_format {
            producers.lost();
            return Ok(());
        }
        let entries = offsets.end(self.in_motion, &mut wrong_offsets)?;
        self.tell_indexes(verify, SegmentFile::OffsetIndex, Symptom::CorruptOffsetIndex, wrong_offsets);
        let whole = self.sound && (self.next_base.is_some() || self.clean);
        times.end(self.in_motion, whole, &mut wrong_times)?;
        self.tell_indexes(verify, SegmentFile::TimeIndex, Symptom::CorruptTimeIndex, wrong_times);
        self.tell_empty_index(verify, live, entries, size);
        producers.check_transactions(self.base_offset, self.expected, self.in_motion, &mut verify.seen);
        Ok(())
    }

    /// Whether the segment begins where the one before it ends.
    fn check_start(&mut self, verify: &mut Verify<'_>, producers: &mut Producers<'_>, path: &Path) {
        let Some(end) = verify.end else { return producers.reach(self.base_offset, &mut verify.seen) };
        let base = self.base_offset;
        if base > end && verify.place.around.clean_offset.is_none() {
            producers.lost();
            let text = format!(
                "the segment before it ends at offset {end}, so the records in between are missing (in a compacted log \
                 that would be in order, and nothing here says that it is one)"
            );
            let seen = Observation::of(Severity::Damage, Symptom::MissingOffsets, path.to_owned(), text);
            verify.seen.push(seen.offsets(end, base - 1));
        } else if base < end {
            let text = format!("the segment begins at offset {base}, and the one before it ends at {end}");
            verify.seen.damage(Symptom::OffsetsOutOfOrder, path, text);
        }
        producers.reach(base, &mut verify.seen);
    }

    /// Opens an index of the segment, if there is one.
    fn index(
        &self,
        verify: &mut Verify<'_>,
        kind: SegmentFile,
        live: &BTreeSet<(SegmentFile, i64)>,
    ) -> io::Result<Option<DiskFile>> {
        let path = kind.path(&verify.place.dir, self.base_offset);
        if live.contains(&(kind, self.base_offset)) {
            return open(&path).map(Some);
        }
        let severity = if self.rebuilt_at_start { Severity::Note } else { Severity::Damage };
        let text =
            "the file is missing; a start of the broker, or taffrail log rebuild-indexes, makes it anew";
        verify.seen.push(Observation::of(severity, Symptom::MissingIndex, path, text));
        Ok(None)
    }

    /// Checks one batch; whether its header can be believed.
    fn check_batch(
        &mut self,
        verify: &mut Verify<'_>,
        producers: &mut Producers<'_>,
        path: &Path,
        file: &DiskFile,
        found: &Found,
    ) -> io::Result<bool> {
        let header = &found.header;
        let told = |severity, symptom, text: String| {
            let seen = Observation::of(severity, symptom, path.to_owned(), text).at(found.position);
            seen.offsets(header.base_offset, header.last_offset())
        };
        let misplaced = self.misplaced(header);
        let placed = misplaced.is_none();
        if let Some(text) = misplaced {
            self.sound = false;
            verify.seen.push(told(Severity::Damage, Symptom::OffsetsOutOfOrder, text));
        } else {
            self.expected = header.next_offset();
        }
        let mut computed = checksum(file, found.position, found.size, &mut self.buffer)?;
        if computed != header.crc && self.in_motion {
            // It may have been cut off and written over since its header was read.
            computed = checksum(file, found.position, found.size, &mut self.buffer)?;
        }
        if computed != header.crc {
            self.sound = false;
            let text = format!(
                "a batch of {} bytes does not match its checksum: it has {:#010x}, and its bytes give {computed:#010x}",
                found.size, header.crc
            );
            verify.seen.push(told(Severity::Damage, Symptom::CorruptBatch, text));
            return Ok(false);
        }
        if !placed {
            // Its offset lies outside of the checksum, and is what is wrong.
            return Ok(false);
        }
        verify.totals.batches += 1;
        verify.totals.records += u64::try_from(header.record_count).unwrap_or(0);
        if matches!(verify.epochs, Epochs::Missing) && header.partition_leader_epoch >= 0 {
            verify.miss_epochs();
        }
        if let Some(text) = self.wrong_epoch(verify, header) {
            let checked = verify.place.around.is_checked_at_start(header.base_offset);
            let severity = if checked { Severity::Note } else { Severity::Damage };
            verify.seen.push(told(severity, Symptom::CorruptEpochs, text));
        }
        let records = if verify.options.deep { Wanted::Walk } else { Wanted::Marker };
        if let Some(text) = self.check_records(verify, file, found, records)? {
            verify.seen.push(told(Severity::Damage, Symptom::CorruptRecords, text));
        }
        let bytes = if header.is_control() { self.buffer.as_slice() } else { &[] };
        producers.batch(header, bytes, &mut verify.seen);
        Ok(true)
    }

    fn misplaced(&self, header: &BatchHeader) -> Option<String> {
        let (first, last, expected) = (header.base_offset, header.last_offset(), self.expected);
        if first < expected {
            return Some(format!(
                "a batch begins at offset {first}, and the one before it ends at {expected}"
            ));
        }
        if let Some(next) = self.next_base.filter(|next| last >= *next) {
            return Some(format!("a batch has offsets up to {last}, and the next segment begins at {next}"));
        }
        (last - self.base_offset > i64::from(i32::MAX))
            .then(|| format!("a batch has offsets up to {last}, too far from the segment's first"))
    }

    fn wrong_epoch(&self, verify: &Verify<'_>, header: &BatchHeader) -> Option<String> {
        let (epoch, offset) = (header.partition_leader_epoch, header.base_offset);
        if epoch < 0 {
            return None;
        }
        let epochs = match &verify.epochs {
            Epochs::Known(epochs) => epochs,
            Epochs::Unknown | Epochs::Missing => return None,
        };
        let says = epochs.epoch_for_offset(offset);
        let newer = epochs.latest().is_none_or(|latest| epoch > latest.epoch);
        // Records before the log's start may be left, and what came since the file was read is not in it.
        let before = epochs.entries().first().is_some_and(|first| offset < first.start_offset);
        if says == Some(epoch) || before || newer && verify.place.around.in_use {
            return None;
        }
        let says = says.map_or("none".to_owned(), |epoch| epoch.to_string());
        Some(format!(
            "a batch has the leader epoch {epoch}, and leader-epoch-checkpoint says {says} for its offset"
        ))
    }

    /// Reads and checks what is wanted of a batch's records; what is wrong with them. The batch is in the buffer then, if
    /// it is a marker.
    fn check_records(
        &mut self,
        verify: &mut Verify<'_>,
        file: &DiskFile,
        found: &Found,
        wanted: Wanted,
    ) -> io::Result<Option<String>> {
        let header = &found.header;
        let (count, room) = (header.record_count, i64::from(header.last_offset_delta) + 1);
        if !(0..=room).contains(&i64::from(count)) {
            return Ok(Some(format!("the batch says that it has {count} records, and has {room} offsets")));
        }
        let limit = verify.options.max_batch_bytes;
        let held = match wanted {
            Wanted::Walk => found.size <= limit as u64,
            Wanted::Marker => header.is_control() && found.size <= CONTROL_BATCH_BYTES,
        };
        if !held {
            self.buffer.clear();
            if wanted == Wanted::Walk {
                let path = SegmentFile::Log.path(&verify.place.dir, self.base_offset);
                let text = format!(
                    "the records of a batch of {} bytes were not walked, as it is too large",
                    found.size
                );
                let seen =
                    Observation::of(Severity::Note, Symptom::NotChecked, path, text).at(found.position);
                verify.seen.push(seen);
            }
            return Ok(None);
        }
        self.buffer.resize(found.size as usize, 0);
        let read = file.read_at(&mut self.buffer, found.position)?;
        self.buffer.truncate(read);
        Ok(if wanted == Wanted::Walk { walk_records(&self.buffer, limit) } else { None })
    }

    /// Tells of bytes that are no batch.
    fn tell_broken(
        &mut self,
        verify: &mut Verify<'_>,
        producers: &mut Producers<'_>,
        path: &Path,
        size: u64,
        damage: &Damage,
        next: Option<Next>,
    ) {
        let seen = |severity, symptom, text: String| {
            Observation::of(severity, symptom, path.to_owned(), text).at(damage.position)
        };
        let rest = size - damage.position;
        let around = &verify.place.around;
        if let Some(magic) = damage.old_format {
            let text = format!(
                "a message of format {magic}, from before Apache Kafka 0.11, which is neither read nor checked; a log with \
                 such messages cannot be taken over"
            );
            return verify.seen.push(seen(Severity::Note, Symptom::OldFormat, text));
        }
        if let Some(next) = next {
            let text = format!(
                "{} bytes are no batch ({}); the next sound one begins at position {}",
                next.position - damage.position,
                damage.reason,
                next.position
            );
            let seen = seen(Severity::Damage, Symptom::NoBatch, text);
            verify.seen.push(seen.offsets(self.expected, (next.base_offset - 1).max(self.expected)));
            self.expected = self.expected.max(next.base_offset);
        } else if let Some(next) = self.next_base {
            let text = format!("{rest} bytes up to the end of the segment are no batch ({})", damage.reason);
            let seen = seen(Severity::Damage, Symptom::NoBatch, text);
            verify.seen.push(seen.offsets(self.expected, (next - 1).max(self.expected)));
            self.expected = self.expected.max(next);
        } else {
            let reason = &damage.reason;
            let (severity, text) = if self.in_motion {
                let text = format!(
                    "the last {rest} bytes are no whole batch yet ({reason}); the broker may be writing it"
                );
                (Severity::Note, text)
            } else if around.is_checked_at_start(self.expected) {
                let text = format!(
                    "the last {rest} bytes are no whole batch ({reason}), as a crash leaves them; the next start cuts them off"
                );
                (Severity::Note, text)
            } else {
                (Severity::Damage, format!("the last {rest} bytes are no whole batch ({reason})"))
            };
            let seen = seen(severity, Symptom::TornTail, text);
            verify.seen.push(seen.offsets(self.expected, self.expected));
            return;
        }
        self.sound = false;
        producers.lost();
    }

    fn tell_indexes(&self, verify: &mut Verify<'_>, kind: SegmentFile, symptom: Symptom, wrong: Wrongs) {
        let path: PathBuf = kind.path(&verify.place.dir, self.base_offset);
        for (position, mut text) in wrong.into_inner() {
            let mut severity = Severity::Damage;
            if self.rebuilt_at_start {
                severity = Severity::Note;
                text.push_str("; the next start makes the index anew");
            }
            verify.seen.push(Observation::of(severity, symptom, path.clone(), text).at(position));
        }
    }

    /// An offset index without an entry is true, and of no use. How far apart entries ought to be only the topic's
    /// configuration tells.
    fn tell_empty_index(
        &self,
        verify: &mut Verify<'_>,
        live: &BTreeSet<(SegmentFile, i64)>,
        entries: u64,
        size: u64,
    ) {
        const MANY_BYTES: u64 = 16 * 1024 * 1024;
        let kind = SegmentFile::OffsetIndex;
        if entries == 0
            && size > MANY_BYTES
            && self.next_base.is_some()
            && live.contains(&(kind, self.base_offset))
        {
            let path = kind.path(&verify.place.dir, self.base_offset);
            let text = "the index is empty, so reads walk the segment from its start on";
            verify.seen.note(Symptom::CorruptOffsetIndex, &path, text);
        }
    }
}

/// What is wanted of a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A transaction marker, if it is one.
    Marker,
    /// Each record.
    Walk,
}

fn walk_records(bytes: &[u8], limit: usize) -> Option<String> {
    let walked = BatchView::new(bytes).and_then(|view| {
        let (records, header) = (view.records(limit)?, *view.header());
        let mut expected = header.base_offset;
        for record in records.iter() {
            let offset = record?.offset;
            if offset < expected || offset > header.last_offset() {
                let (first, last) = (header.base_offset, header.last_offset());
                return Ok(Some(format!(
                    "a record has the offset {offset} where {expected} or more is due, in a batch of {first}..{last}"
                )));
            }
            expected = offset + 1;
        }
        Ok(None)
    });
    walked.unwrap_or_else(|error| Some(format!("the records of a batch cannot be read: {error}")))
}

fn open(path: &Path) -> io::Result<DiskFile> {
    FileStorage::new(1).open(path, Access::Read)
}
