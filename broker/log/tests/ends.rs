//! Both ends of a log: truncation, epochs, the log's start, followers' appends and flushes under way.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{Batch, NOW, append, config, create, everything, offsets_read, open, try_append};
use taffrail_log::{AppendError, EpochEntry, LogConfig, MemoryStorage, OpenMode, TimestampType};
use taffrail_protocol::record_batch::BatchView;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 400, ..config() }
}

#[test]
fn a_follower_holds_the_same_bytes_and_epochs_as_its_leader() {
    let (leader, follower) = (MemoryStorage::new(), MemoryStorage::new());
    let (mut leader, mut follower) = (create(&leader, small()), create(&follower, small()));
    for epoch in [0, 0, 2, 2, 2, 5] {
        let sequence = leader.log_end_offset() as i32;
        try_append(&mut leader, &Batch::of(3).producer(1, 0, sequence), epoch).unwrap();
    }
    let bytes = everything(&mut leader);
    let first = BatchView::first_in(&bytes).unwrap().bytes().len();
    // The second batch is cut off, and comes whole with the next fetch.
    let info = follower.append_as_follower(&bytes[..first + 40], NOW).unwrap().unwrap();
    assert_eq!((info.base_offset, info.last_offset), (0, 2));
    assert_eq!(follower.append_as_follower(&bytes[first..first + 40], NOW).unwrap(), None);
    follower.append_as_follower(&bytes[first..], NOW).unwrap();
    assert_eq!(everything(&mut follower), bytes);
    assert_eq!(follower.leader_epochs(), leader.leader_epochs());
    assert_eq!(follower.producer_count(), 1);
    let again = follower.append_as_follower(&bytes[..first], NOW);
    assert!(
        matches!(again, Err(AppendError::UnexpectedOffset { base_offset: 0, log_end_offset: 18 })),
        "{again:?}"
    );
    let mut flipped = Batch::of(1).build();
    flipped[..8].copy_from_slice(&18i64.to_be_bytes());
    *flipped.last_mut().unwrap() ^= 1;
    let corrupt = follower.append_as_follower(&flipped, NOW);
    assert!(matches!(corrupt, Err(AppendError::Corrupt { .. })), "{corrupt:?}");
    assert_eq!(follower.log_end_offset(), 18);
}

#[test]
fn a_followers_segment_begins_where_its_first_batch_does() {
    let mut log = create(&MemoryStorage::new(), LogConfig { segment_bytes: 100, ..config() });
    for base in [10i64, 3_000_000_000] {
        let mut bytes = Batch::of(1).build();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        log.append_as_follower(&bytes, NOW).unwrap();
    }
    assert_eq!(log.segment_base_offsets().collect::<Vec<_>>(), [0, 3_000_000_000]);
    assert_eq!(offsets_read(&mut log, 11, 1000, i64::MAX), [3_000_000_000], "a gap is passed over");
}

#[test]
fn a_segment_begins_behind_a_hole_where_records_were_taken_back() {
    let storage = MemoryStorage::new();
    let config = LogConfig { segment_bytes: 100, compact: true, ..config() };
    let mut log = create(&storage, config.clone());
    for _ in 0..10 {
        append(&mut log, &Batch::of(1));
    }
    log.flush(NOW).unwrap();
    log.truncate_to(4, NOW).unwrap();
    let mut bytes = Batch::of(1).build();
    bytes[..8].copy_from_slice(&7i64.to_be_bytes());
    // The checkpoint may tell the recovery point of before, so the segment that ends is synced at once.
    log.append_as_follower(&bytes, NOW).unwrap();
    assert_eq!((log.recovery_point(), log.log_end_offset()), (4, 8));
    storage.crash(5);
    let (mut log, _) =
        open(&storage, config, OpenMode { clean: false, recovery_point: 10, log_start_offset: 0 });
    for offset in 0..4 {
        assert_eq!(offsets_read(&mut log, offset, 10_000, 4), [offset]);
    }
}

#[test]
fn a_follower_may_begin_inside_of_a_batch_whose_first_records_were_deleted() {
    let at = |base: i64, records| {
        let mut bytes = Batch::of(records).build();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes
    };
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    log.truncate_fully_and_start_at(7, NOW).unwrap();
    assert!(log.append_as_follower(&at(4, 3), NOW).is_err(), "it ends where the log begins");
    log.append_as_follower(&at(5, 4), NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (7, 9));
    assert!(log.append_as_follower(&at(8, 4), NOW).is_err(), "only the first batch may begin before the end");
    log.append_as_follower(&at(9, 1), NOW).unwrap();
    assert_eq!(offsets_read(&mut log, 7, 1000, i64::MAX), [5, 9]);
    assert!(log.read(6, 1000, true, i64::MAX).is_err());
    log.flush(NOW).unwrap();
    storage.crash(3);
    let mode = OpenMode { clean: false, recovery_point: 0, log_start_offset: 7 };
    let (mut log, _) = open(&storage, config(), mode);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (7, 10));
    assert_eq!(offsets_read(&mut log, 7, 1000, i64::MAX), [5, 9]);
}

#[test]
fn truncation_inside_a_batch_takes_the_whole_batch() {
    for config in [config(), small()] {
        let mut log = create(&MemoryStorage::new(), config);
        for _ in 0..10 {
            append(&mut log, &Batch::of(5));
        }
        log.flush(NOW).unwrap();
        assert_eq!(log.truncate_to(60, NOW).unwrap(), 50, "behind the end nothing happens");
        assert_eq!(log.truncate_to(23, NOW).unwrap(), 20);
        assert_eq!((log.log_end_offset(), log.recovery_point()), (20, 20));
        assert_eq!(offsets_read(&mut log, 19, 10_000, 50), [15]);
        assert_eq!(append(&mut log, &Batch::of(1)).base_offset, 20);
        assert_eq!(offsets_read(&mut log, 20, 10_000, 50), [20]);
        assert_eq!(log.offset_for_timestamp(NOW + 4).unwrap().unwrap().offset, 4);
    }
}

#[test]
fn epochs_follow_both_ends() {
    let mut log = create(&MemoryStorage::new(), small());
    for epoch in [0, 0, 3, 3, 6] {
        try_append(&mut log, &Batch::of(2), epoch).unwrap();
    }
    let end = |epoch, start_offset| Some(EpochEntry { epoch, start_offset });
    assert_eq!(log.end_offset_for_epoch(6), end(6, 10));
    assert_eq!(log.end_offset_for_epoch(4), end(3, 8));
    assert_eq!(log.end_offset_for_epoch(7), None);
    log.truncate_to(8, NOW).unwrap();
    assert_eq!(log.end_offset_for_epoch(3), end(3, 8));
    log.set_log_start_offset(5).unwrap();
    assert_eq!(log.leader_epochs(), [EpochEntry { epoch: 3, start_offset: 5 }]);
    log.assign_leader_epoch(9).unwrap();
    assert_eq!(log.latest_epoch(), Some(9));
    assert_eq!(log.end_offset_for_epoch(3), end(3, 8));
    log.truncate_to(8, NOW).unwrap();
    assert_eq!(log.latest_epoch(), Some(3), "an epoch that begins at the end goes when the end is confirmed");
}

#[test]
fn the_start_moves_up_only_and_frees_whole_segments() {
    let mut log = create(&MemoryStorage::new(), LogConfig { segment_bytes: 200, ..config() });
    for _ in 0..6 {
        append(&mut log, &Batch::of(2));
    }
    let segments = log.segment_count();
    assert!(log.set_log_start_offset(7).unwrap());
    assert!(!log.set_log_start_offset(3).unwrap());
    assert!(log.read(6, 100, true, 12).is_err());
    assert_eq!(offsets_read(&mut log, 7, 10_000, 12), [6]);
    let freed = log.delete_old_segments().unwrap();
    assert!(freed > 0);
    assert_eq!(log.segment_count(), segments - freed);
    assert_eq!(offsets_read(&mut log, 7, 10_000, 12), [6]);
    assert!(log.set_log_start_offset(99).unwrap());
    assert_eq!(log.log_start_offset(), 12);
}

#[test]
fn a_flush_covers_what_was_there_when_it_began() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, LogConfig { flush_messages: 3, flush_ms: 100, ..small() });
    append(&mut log, &Batch::of(2));
    assert!(!log.flush_due(NOW + 99) && log.flush_due(NOW + 100));
    append(&mut log, &Batch::of(2));
    assert!(log.flush_due(NOW));
    let flush = log.begin_flush().unwrap().unwrap();
    append(&mut log, &Batch::of(2));
    log.finish_flush(flush.run(), NOW).unwrap();
    assert_eq!(log.recovery_point(), 4);
    let flush = log.begin_flush().unwrap().unwrap();
    log.truncate_to(2, NOW).unwrap();
    append(&mut log, &Batch::of(2));
    append(&mut log, &Batch::of(2));
    log.finish_flush(flush.run(), NOW).unwrap();
    assert_eq!(log.recovery_point(), 2, "a flush from before a truncation proves nothing");
    log.flush(NOW).unwrap();
    assert_eq!(log.recovery_point(), 6);
    assert!(log.begin_flush().unwrap().is_none());
}

#[test]
fn the_brokers_time_is_stamped_where_the_topic_asks_for_it() {
    let mut log =
        create(&MemoryStorage::new(), LogConfig { timestamp_type: TimestampType::LogAppendTime, ..config() });
    let info = append(&mut log, &Batch::of(3).timestamp(5));
    assert_eq!(info.log_append_time_ms, NOW);
    let bytes = everything(&mut log);
    let header = *BatchView::first_in(&bytes).unwrap().header();
    assert_eq!((header.max_timestamp, header.timestamp_type()), (NOW, TimestampType::LogAppendTime));
    assert_eq!(log.offset_for_timestamp(NOW).unwrap().unwrap().offset, 0);
    assert_eq!(log.max_timestamp().unwrap().unwrap().offset, 0);
    assert_eq!(log.offset_for_timestamp(NOW + 1).unwrap(), None);
}

#[test]
fn the_first_record_with_the_largest_timestamp_is_found() {
    let mut log = create(&MemoryStorage::new(), small());
    assert_eq!(log.max_timestamp().unwrap(), None);
    for timestamp in [NOW, NOW + 500, NOW + 100, NOW + 502, NOW + 200] {
        append(&mut log, &Batch::of(3).timestamp(timestamp));
    }
    let found = log.max_timestamp().unwrap().unwrap();
    assert_eq!((found.timestamp, found.offset), (NOW + 504, 11));
    let found = log.offset_for_timestamp(NOW + 501).unwrap().unwrap();
    assert_eq!((found.timestamp, found.offset), (NOW + 501, 4));
}
