//! What of a log can be compacted, whether it is worth it, and which segments become one
//! (`org.apache.kafka.storage.internals.log.LogCleanerManager`, `LogToClean`, `Cleaner.groupSegmentsBySize`).
//!
//! Decisions over a snapshot of the segments: nothing is read here.

/// What is to be known of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentState {
    /// Its first offset.
    pub base_offset: i64,
    /// Bytes of its batches.
    pub size: u64,
    /// Entries of its offset index.
    pub offset_entries: u64,
    /// Entries of its time index.
    pub time_entries: u64,
}

/// When records of a segment were made. Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentTimes {
    /// The largest timestamp of its first batch, or -1.
    pub first_ms: i64,
    /// The largest timestamp; where records have none, when the segment was last written to.
    pub largest_ms: i64,
}

/// How long records wait for compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// `min.compaction.lag.ms`: so long at least. Milliseconds.
    pub min_ms: i64,
    /// `max.compaction.lag.ms`: so long at most. Milliseconds.
    pub max_ms: i64,
}

/// A log that can be compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanable {
    /// Records from here on are new since the last compaction.
    pub first_dirty: i64,
    /// Records from here on stay as they are: where a segment begins.
    pub first_uncleanable: i64,
    /// Bytes of the segments that begin before `first_dirty`.
    pub clean_bytes: u64,
    /// Bytes of the segments from there on.
    pub dirty_bytes: u64,
    /// Records have waited longer than `max.compaction.lag.ms`.
    pub overdue: bool,
}

impl Cleanable {
    /// Which share of the log is new.
    pub fn dirty_ratio(&self) -> f64 {
        self.dirty_bytes as f64 / (self.clean_bytes + self.dirty_bytes).max(1) as f64
    }

    /// Whether it is to be compacted, where so large a share has to be new (`min.cleanable.dirty.ratio`).
    pub fn is_due(&self, min_dirty_ratio: f64) -> bool {
        self.dirty_bytes > 0 && (self.overdue || self.dirty_ratio() > min_dirty_ratio)
    }
}

/// What can be compacted of a log with these segments, the active one last. `cleaned_to` is where the last compaction
/// ended; records from `stable` on may still change, or be lost. `times` tells of the segment with that number.
pub fn cleanable<E>(
    segments: &[SegmentState],
    cleaned_to: i64,
    stable: i64,
    lag: Lag,
    now_ms: i64,
    mut times: impl FnMut(usize) -> Result<SegmentTimes, E>,
) -> Result<Option<Cleanable>, E> {
    let Some((_, sealed)) = segments.split_last() else { return Ok(None) };
    let floor =
        |offset: i64| segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1);
    let first_dirty_segment = floor(cleaned_to);
    let mut end = floor(stable).min(sealed.len());
    let mut overdue = false;
    for index in first_dirty_segment..end {
        let times = times(index)?;
        if lag.min_ms > 0 && times.largest_ms > now_ms.saturating_sub(lag.min_ms) {
            end = index;
            break;
        }
        overdue |= times.first_ms > 0 && times.first_ms < now_ms.saturating_sub(lag.max_ms);
    }
    if end <= first_dirty_segment {
        return Ok(None);
    }
    let bytes = |segments: &[SegmentState]| segments.iter().map(|segment| segment.size).sum();
    let clean = segments.partition_point(|segment| segment.base_offset < cleaned_to);
    Ok(Some(Cleanable {
        first_dirty: cleaned_to,
        first_uncleanable: segments[end].base_offset,
        clean_bytes: bytes(&segments[..clean]),
        dirty_bytes: bytes(&segments[first_dirty_segment..end]),
        overdue,
    }))
}

/// How large a segment may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLimits {
    /// `segment.bytes`.
    pub bytes: u64,
    /// Entries of the offset index (`segment.index.bytes`).
    pub offset_entries: u64,
    /// Entries of the time index.
    pub time_entries: u64,
}

/// More segments than this do not become one at a time: their files are renamed while the partition waits.
const MOST_IN_GROUP: usize = 128;

/// Which neighbouring segments become one: how many, group by group, of those that begin before `end`. Records from
/// `end` on are somebody else's.
pub fn groups(segments: &[SegmentState], limits: SegmentLimits, end: i64) -> Vec<usize> {
    let mut groups = Vec::new();
    let mut rest = segments;
    while let Some(first) = rest.first() {
        let (mut size, mut offsets, mut times) = (first.size, first.offset_entries, first.time_entries);
        let mut count = 1;
        while let Some(next) = rest.get(count) {
            size += next.size;
            offsets += next.offset_entries;
            times += next.time_entries;
            let behind = rest.get(count + 1).map_or(end, |behind| behind.base_offset);
            let fits = size <= limits.bytes
                && offsets <= limits.offset_entries
                && times <= limits.time_entries
                && (next.size == 0 || behind - 1 - first.base_offset <= i64::from(i32::MAX));
            if !fits || count == MOST_IN_GROUP {
                break;
            }
            count += 1;
        }
        groups.push(count);
        rest = &rest[count..];
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const NEVER: Lag = Lag { min_ms: 0, max_ms: i64::MAX };

    /// Segments of 10 offsets and 100 bytes each.
    fn segments(count: i64) -> Vec<SegmentState> {
        let segment =
            |index| SegmentState { base_offset: 10 * index, size: 100, offset_entries: 3, time_entries: 2 };
        (0..count).map(segment).collect()
    }

    /// The segment of number n holds records of the time 1,000 n to 1,000 n + 500.
    fn found(cleaned_to: i64, stable: i64, lag: Lag, now_ms: i64) -> Option<Cleanable> {
        let times = |index: usize| {
            let first_ms = 1000 * index as i64;
            Ok::<_, Infallible>(SegmentTimes { first_ms, largest_ms: first_ms + 500 })
        };
        cleanable(&segments(4), cleaned_to, stable, lag, now_ms, times).unwrap()
    }

    fn range(found: Option<Cleanable>) -> Option<(i64, i64, u64, u64)> {
        found.map(|found| (found.first_dirty, found.first_uncleanable, found.clean_bytes, found.dirty_bytes))
    }

    #[test]
    fn the_active_segment_and_what_may_change_stay_as_they_are() {
        assert_eq!(range(found(0, 40, NEVER, 9000)), Some((0, 30, 0, 300)));
        assert_eq!(range(found(10, 40, NEVER, 9000)), Some((10, 30, 100, 200)));
        assert_eq!(range(found(0, 29, NEVER, 9000)), Some((0, 20, 0, 200)), "a segment goes as a whole");
        assert_eq!(range(found(0, 9, NEVER, 9000)), None);
        assert_eq!(range(found(30, 40, NEVER, 9000)), None);
        assert_eq!(range(found(15, 40, NEVER, 9000)), Some((15, 30, 200, 200)), "one is clean in part");
    }

    #[test]
    fn young_segments_wait_and_all_behind_them() {
        let lag = Lag { min_ms: 1000, ..NEVER };
        assert_eq!(range(found(0, 40, lag, 2499)), Some((0, 10, 0, 100)));
        assert_eq!(range(found(0, 40, lag, 2500)), Some((0, 20, 0, 200)));
        assert_eq!(range(found(0, 40, lag, 1000)), None);
    }

    #[test]
    fn a_log_is_due_when_enough_is_new_or_something_has_waited_too_long() {
        let at = |cleaned_to, max_ms, now_ms| found(cleaned_to, 40, Lag { max_ms, ..NEVER }, now_ms).unwrap();
        assert!(at(0, i64::MAX, 9000).is_due(0.99));
        assert!(!at(10, i64::MAX, 9000).is_due(0.7) && at(10, i64::MAX, 9000).is_due(0.6));
        assert!(!at(20, 7000, 9000).is_due(0.5), "records of the time 2,000 have waited for just so long");
        assert!(at(20, 6999, 9000).is_due(0.5));
    }

    #[test]
    fn neighbours_become_one_while_they_fit() {
        let limits = SegmentLimits { bytes: 250, offset_entries: 100, time_entries: 100 };
        assert_eq!(groups(&segments(5), limits, 50), [2, 2, 1]);
        assert_eq!(
            groups(&segments(5), SegmentLimits { offset_entries: 9, bytes: 1000, ..limits }, 50),
            [3, 2]
        );
        assert_eq!(
            groups(&segments(5), SegmentLimits { time_entries: 2, bytes: 1000, ..limits }, 50),
            [1; 5]
        );
        assert_eq!(groups(&segments(5), SegmentLimits { bytes: 10, ..limits }, 50), [1; 5]);
        assert_eq!(groups(&[], limits, 0), [0; 0]);
    }

    #[test]
    fn no_segment_reaches_farther_than_its_index_can_tell() {
        let limits = SegmentLimits { bytes: 1000, offset_entries: 100, time_entries: 100 };
        let mut far = segments(3);
        far[2].base_offset = i64::from(i32::MAX) + 1;
        assert_eq!(groups(&far, limits, far[2].base_offset + 5), [2, 1]);
        far[2].base_offset += 1;
        assert_eq!(groups(&far, limits, far[2].base_offset + 5), [1, 2]);
        far[1].size = 0;
        assert_eq!(groups(&far, limits, far[2].base_offset + 5)[0], 2, "an empty one takes no room");
    }
}
