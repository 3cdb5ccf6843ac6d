//! The producers' part of recovery: the youngest snapshot that can be read, and the batches behind it.

use std::io;

use super::{Doing, Failure, Finding, Recovery};
use crate::config::LogConfig;
use crate::log::marker_of;
use crate::names::{PartitionFile, SegmentFile};
use crate::producer_snapshot;
use crate::producer_state::ProducerStates;
use crate::scan::{Check, Scan};
use crate::segment::{Home, Segment};
use crate::storage::{Storage, StorageFile};
use crate::transaction_index::{self, AbortedTransaction};

/// The producers' state, and how it was found.
pub(crate) struct Rebuilt {
    pub producers: ProducerStates,
    /// The offset of the youngest snapshot on disk, or -1.
    pub snapshot_offset: i64,
    /// Snapshots that could not be read and were removed.
    pub unreadable: Vec<i64>,
    /// Segments whose transaction index was written anew.
    pub rebuilt_indexes: Vec<i64>,
}

/// Of which part of a log the producers' state is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplayBounds {
    pub log_end_offset: i64,
    /// From which segment on transaction indexes are not to be believed; `i64::MAX` for none.
    pub indexed_from: i64,
}

/// The offsets of all producer snapshots, rising.
pub(crate) fn list_snapshots<S: Storage>(home: &Home<S>) -> io::Result<Vec<i64>> {
    let entries = home.storage.list(&home.dir)?;
    let mut offsets: Vec<i64> = entries
        .iter()
        .filter_map(|entry| match PartitionFile::parse(&entry.name) {
            PartitionFile::Live(SegmentFile::ProducerSnapshot, offset) => Some(offset),
            _ => None,
        })
        .collect();
    offsets.sort_unstable();
    Ok(offsets)
}

impl<S: Storage> Recovery<'_, S> {
    /// Removes snapshots that are of no use: ahead of the log, or neither a segment's nor the youngest.
    pub(super) fn sort_snapshots(
        &mut self,
        segments: &[Segment<S>],
        log_end_offset: i64,
    ) -> Result<(), Failure> {
        let snapshots = list_snapshots(self.home).doing("listing producer snapshots")?;
        let of_segment =
            |offset| segments.binary_search_by_key(&offset, |segment| segment.base_offset).is_ok();
        // What lies between an older one and the first segment is gone, the ends of transactions among it.
        let first = segments.first().map_or(0, |segment| segment.base_offset);
        let usable = first..=log_end_offset;
        let youngest = snapshots.iter().rfind(|offset| usable.contains(offset)).copied();
        for offset in snapshots {
            let name = SegmentFile::ProducerSnapshot.name(offset);
            if offset > log_end_offset {
                self.remove(Finding::SnapshotAhead, &name)?;
            } else if Some(offset) != youngest && !of_segment(offset) {
                self.remove(Finding::StraySnapshot, &name)?;
            }
        }
        if self.report.found(Finding::SnapshotAhead) {
            // It must not come back after a power cut, when other records have been appended in the place of those that
            // it remembers.
            self.home.storage.sync_dir(&self.home.dir).doing("syncing the directory")?;
        }
        Ok(())
    }
}

/// Finds the producers' state at `log_end_offset`. The transaction indexes of the segments that begin at `indexed_from` or
/// behind are made to tell what the batches tell; they may be ahead of those, or behind.
pub(crate) fn load_producers<S: Storage>(
    home: &Home<S>,
    config: &LogConfig,
    segments: &mut [Segment<S>],
    bounds: ReplayBounds,
    now_ms: i64,
) -> io::Result<Rebuilt> {
    let ReplayBounds { log_end_offset, indexed_from } = bounds;
    let mut rebuilt = Rebuilt {
        producers: ProducerStates::default(),
        snapshot_offset: -1,
        unreadable: Vec::new(),
        rebuilt_indexes: Vec::new(),
    };
    // Batches before the log's start count too, as long as they are there: they may end what a snapshot tells of.
    let (mut from, mut youngest) = (segments.first().map_or(0, |first| first.base_offset), None);
    let usable = from..=log_end_offset;
    for offset in list_snapshots(home)?.into_iter().rev().filter(|offset| usable.contains(offset)) {
        let path = home.path(SegmentFile::ProducerSnapshot, offset);
        let bytes = home.storage.read_small(&path, producer_snapshot::MAX_BYTES)?.unwrap_or_default();
        match producer_snapshot::decode(&bytes) {
            Ok(entries) => {
                let producers = ProducerStates::from_snapshot(&entries);
                rebuilt.snapshot_offset = rebuilt.snapshot_offset.max(offset);
                if offset <= indexed_from {
                    rebuilt.producers = producers;
                    from = from.max(offset);
                    break;
                }
                youngest.get_or_insert((offset, producers));
            }
            Err(_) => {
                home.storage.remove_file(&path)?;
                rebuilt.unreadable.push(offset);
            }
        }
    }
    let first = segments.partition_point(|segment| segment.base_offset <= from).saturating_sub(1);
    for segment in &mut segments[first..] {
        // It may remember more than the batches before it tell.
        if let Some((_, producers)) = youngest.take_if(|(offset, _)| *offset == segment.base_offset) {
            rebuilt.producers = producers;
        }
        let aborted = replay(home, config, segment, from, &mut rebuilt.producers)?;
        if segment.base_offset >= indexed_from
            && transaction_index::replace(&home.storage, &home.dir, segment.base_offset, &aborted)?
        {
            rebuilt.rebuilt_indexes.push(segment.base_offset);
        }
    }
    rebuilt.producers.expire(now_ms, config);
    Ok(rebuilt)
}

/// Takes in the batches of a segment from an offset on; returns the transactions that were aborted in it.
fn replay<S: Storage>(
    home: &Home<S>,
    config: &LogConfig,
    segment: &mut Segment<S>,
    from: i64,
    producers: &mut ProducerStates,
) -> io::Result<Vec<AbortedTransaction>> {
    let mut aborted = Vec::new();
    let start = match segment.locate(home, from)? {
        Ok(Some(found)) => found.position,
        Ok(None) => return Ok(aborted),
        Err(_) => 0,
    };
    segment.unmap();
    let file = segment.reader(home)?;
    let mut scan = Scan::new(&*file, start, segment.size, Check::Header);
    while let Ok(Some(found)) = scan.next()? {
        let header = &found.header;
        if header.last_offset() < from || !header.has_producer_id() {
            continue;
        }
        if header.is_control() {
            // The size was checked against the file's.
            let mut bytes = vec![0; found.size as usize];
            let read = file.read_at(&mut bytes, found.position)?;
            if let Ok(Some(marker)) = marker_of(&bytes[..read], header) {
                aborted.extend(producers.apply_marker(header, marker, config));
            }
        } else {
            producers.apply(header, config);
        }
    }
    Ok(aborted)
}
