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

/// The producers' state, and how it was found.
pub(crate) struct Rebuilt {
    pub producers: ProducerStates,
    /// The offset of the youngest snapshot on disk, or -1.
    pub snapshot_offset: i64,
    /// Snapshots that could not be read and were removed.
    pub unreadable: Vec<i64>,
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
        let youngest = snapshots.iter().rfind(|offset| **offset <= log_end_offset).copied();
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

/// Finds the producers' state at `log_end_offset`.
pub(crate) fn load_producers<S: Storage>(
    home: &Home<S>,
    config: &LogConfig,
    segments: &mut [Segment<S>],
    log_start_offset: i64,
    log_end_offset: i64,
    now_ms: i64,
) -> io::Result<Rebuilt> {
    let mut rebuilt =
        Rebuilt { producers: ProducerStates::default(), snapshot_offset: -1, unreadable: Vec::new() };
    let mut from = log_start_offset;
    for offset in list_snapshots(home)?.into_iter().rev() {
        if offset > log_end_offset {
            continue;
        }
        let path = home.path(SegmentFile::ProducerSnapshot, offset);
        let bytes = home.storage.read_small(&path, producer_snapshot::MAX_BYTES)?.unwrap_or_default();
        match producer_snapshot::decode(&bytes) {
            Ok(entries) => {
                rebuilt.producers = ProducerStates::from_snapshot(&entries);
                rebuilt.snapshot_offset = offset;
                from = from.max(offset);
                break;
            }
            Err(_) => {
                home.storage.remove_file(&path)?;
                rebuilt.unreadable.push(offset);
            }
        }
    }
    replay(home, config, segments, from, log_end_offset, &mut rebuilt.producers)?;
    rebuilt.producers.expire(now_ms, config);
    Ok(rebuilt)
}

/// Takes in the batches between two offsets.
fn replay<S: Storage>(
    home: &Home<S>,
    config: &LogConfig,
    segments: &mut [Segment<S>],
    from: i64,
    to: i64,
    producers: &mut ProducerStates,
) -> io::Result<()> {
    if from >= to {
        return Ok(());
    }
    let first = segments.partition_point(|segment| segment.base_offset <= from).saturating_sub(1);
    for segment in &mut segments[first..] {
        let start = match segment.locate(home, from)? {
            Ok(Some(found)) => found.position,
            Ok(None) => continue,
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
                    producers.apply_marker(header, marker, config);
                }
            } else {
                producers.apply(header, config);
            }
        }
    }
    Ok(())
}
