//! What old segments go by `retention.ms` and `retention.bytes` (`org.apache.kafka.storage.internals.log.UnifiedLog`,
//! `deleteRetentionMsBreachedSegments` and `deleteRetentionSizeBreachedSegments`).
//!
//! One decision over a snapshot of the segments: nothing is read, nothing is deleted here.

/// What is to be known of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentAge {
    /// The offset behind its last record, and where the next segment begins.
    pub end_offset: i64,
    /// Bytes of its batches.
    pub size: u64,
    /// The largest timestamp of its records; where they have none, when it was last written to. Milliseconds since 1970.
    pub largest_timestamp_ms: i64,
}

/// How much is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `retention.ms`; negative for ever. Milliseconds.
    pub ms: i64,
    /// `retention.bytes`; negative for all. Bytes.
    pub bytes: i64,
}

/// Which segments go: so many, from the oldest on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// Because without them there is still as much as `retention.bytes`.
    pub by_size: usize,
    /// Because all their records are older than `retention.ms`.
    pub by_time: usize,
    /// Bytes in all of these.
    pub bytes: u64,
}

impl Due {
    /// How many segments go.
    pub fn segments(&self) -> usize {
        self.by_size + self.by_time
    }
}

/// Decides which segments go; the last one of them is the active one, and may be among these. Only records below the
/// high watermark may be deleted. A record with a timestamp in the future keeps its segment, and all behind it, until
/// `now_ms` is past it.
pub fn due(segments: &[SegmentAge], retention: Retention, high_watermark: i64, now_ms: i64) -> Due {
    let mut due = Due::default();
    let last = segments.len().saturating_sub(1);
    // An empty active segment stays: there is always one.
    let may_go = |index: usize, segment: &SegmentAge| {
        segment.end_offset <= high_watermark && (index < last || segment.size > 0)
    };
    if let Ok(kept) = u64::try_from(retention.bytes) {
        let total: u64 = segments.iter().map(|segment| segment.size).sum();
        let mut surplus = total.saturating_sub(kept);
        for (index, segment) in segments.iter().enumerate() {
            if surplus == 0 || segment.size > surplus || !may_go(index, segment) {
                break;
            }
            surplus -= segment.size;
            due.by_size += 1;
            due.bytes += segment.size;
        }
    }
    if retention.ms >= 0 {
        for (index, segment) in segments.iter().enumerate().skip(due.by_size) {
            let age_ms = now_ms.saturating_sub(segment.largest_timestamp_ms);
            if age_ms <= retention.ms || !may_go(index, segment) {
                break;
            }
            due.by_time += 1;
            due.bytes += segment.size;
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: Retention = Retention { ms: -1, bytes: -1 };

    /// Segments of 10 records and 100 bytes each, the first of time 0, each next 1,000 ms later.
    fn segments(count: i64) -> Vec<SegmentAge> {
        let segment = |index| SegmentAge {
            end_offset: 10 * (index + 1),
            size: 100,
            largest_timestamp_ms: 1000 * index,
        };
        (0..count).map(segment).collect()
    }

    fn counts(due: Due) -> (usize, usize, u64) {
        (due.by_size, due.by_time, due.bytes)
    }

    #[test]
    fn segments_go_when_all_their_records_are_older_than_is_kept() {
        let by_time = |ms, now_ms| counts(due(&segments(4), Retention { ms, ..FOREVER }, 40, now_ms));
        assert_eq!(by_time(1000, 2000), (0, 1, 100), "exactly as old as is kept is not too old");
        assert_eq!(by_time(1000, 2001), (0, 2, 200));
        assert_eq!(by_time(0, 1), (0, 1, 100));
        assert_eq!(by_time(1000, 1_000_000), (0, 4, 400), "the active one too");
        assert_eq!(by_time(-1, i64::MAX), (0, 0, 0));
        assert_eq!(by_time(i64::MAX, i64::MAX), (0, 0, 0));
        assert_eq!(by_time(0, i64::MIN), (0, 0, 0), "a clock far behind deletes nothing");
    }

    #[test]
    fn a_segment_from_the_future_keeps_all_behind_it() {
        let mut segments = segments(4);
        segments[1].largest_timestamp_ms = 1_000_000;
        assert_eq!(counts(due(&segments, Retention { ms: 10, ..FOREVER }, 40, 500_000)), (0, 1, 100));
    }

    #[test]
    fn segments_go_while_as_much_as_is_kept_is_left_without_them() {
        let by_size = |bytes| counts(due(&segments(4), Retention { bytes, ..FOREVER }, 40, 0));
        assert_eq!(by_size(400), (0, 0, 0));
        assert_eq!(by_size(301), (0, 0, 0));
        assert_eq!(by_size(300), (1, 0, 100));
        assert_eq!(by_size(150), (2, 0, 200));
        assert_eq!(by_size(0), (4, 0, 400));
        assert_eq!(by_size(-1), (0, 0, 0));
    }

    #[test]
    fn size_goes_first_and_time_takes_from_what_is_left() {
        let retention = Retention { ms: 1000, bytes: 350 };
        assert_eq!(counts(due(&segments(4), retention, 40, 2500)), (0, 2, 200));
        let retention = Retention { ms: 1000, bytes: 300 };
        assert_eq!(counts(due(&segments(4), retention, 40, 2500)), (1, 1, 200));
    }

    #[test]
    fn nothing_goes_past_the_high_watermark() {
        let all = Retention { ms: 0, bytes: 0 };
        for high_watermark in 0..=40 {
            let due = due(&segments(4), all, high_watermark, i64::MAX);
            assert_eq!(due.segments(), usize::try_from(high_watermark / 10).unwrap());
        }
    }

    #[test]
    fn an_empty_active_segment_stays() {
        let mut segments = segments(2);
        segments.push(SegmentAge { end_offset: 20, size: 0, largest_timestamp_ms: 0 });
        let all = Retention { ms: 0, bytes: 0 };
        assert_eq!(counts(due(&segments, all, 20, i64::MAX)), (2, 0, 200));
        assert_eq!(counts(due(&segments[2..], all, 20, i64::MAX)), (0, 0, 0));
    }
}
