//! A log as its owner sees it: append, read, roll, look up, truncate, close and open again.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{Batch, NOW, append, config, create, everything, offsets_read, open, reopen};
use taffrail_log::{
    AppendError, AppendOrigin, FileStorage, Log, MemoryStorage, OpenMode, ReadError, Storage,
};
use taffrail_protocol::Uuid;

#[test]
fn what_is_appended_is_read_back_also_after_closing_and_opening() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    for value in 0..10 {
        append(&mut log, &Batch::of(3).value(value));
    }
    assert_eq!(log.log_end_offset(), 30);
    let before = everything(&mut log);
    log.close(NOW).unwrap();
    let (mut log, report) =
        open(&storage, config(), OpenMode { clean: true, recovery_point: 30, log_start_offset: 0 });
    assert_eq!(report.findings, []);
    assert_eq!(report.scanned_segments, 0);
    assert_eq!(log.log_end_offset(), 30);
    assert_eq!(everything(&mut log), before);
    assert_eq!(log.topic_id(), Some(Uuid([9; 16])));
}

#[test]
fn the_same_on_real_files() {
    let dir = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(4);
    let path = dir.path().join("t-0");
    let small = taffrail_log::LogConfig { segment_bytes: 300, ..config() };
    let mut log = Log::create(storage.clone(), path.clone(), small.clone(), Uuid([9; 16]), NOW).unwrap();
    for value in 0..20 {
        append(&mut log, &Batch::of(2).value(value));
    }
    assert!(log.segment_count() > 5);
    let before = everything(&mut log);
    assert!(storage.cached_files() <= 4);
    log.close(NOW).unwrap();
    let mode = OpenMode { clean: true, recovery_point: 40, log_start_offset: 0 };
    let (mut log, report) = Log::open(storage.clone(), path.clone(), small.clone(), mode, NOW).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(everything(&mut log), before);
    drop(log);
    let (mut log, _) = Log::open(storage, path, small, OpenMode::UNKNOWN, NOW).unwrap();
    assert_eq!(everything(&mut log), before);
}

#[test]
fn a_read_begins_with_the_batch_that_has_the_offset() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    for _ in 0..5 {
        append(&mut log, &Batch::of(10));
    }
    assert_eq!(offsets_read(&mut log, 14, u32::MAX, 50), [10, 20, 30, 40]);
    assert_eq!(offsets_read(&mut log, 14, u32::MAX, 30), [10, 20], "nothing at the bound or behind it");
    assert_eq!(
        offsets_read(&mut log, 14, u32::MAX, 35),
        [10, 20],
        "nor a batch that the bound lies inside of"
    );
    assert_eq!(offsets_read(&mut log, 14, u32::MAX, 12), [0i64; 0]);
    assert_eq!(offsets_read(&mut log, 50, u32::MAX, 50), [0i64; 0]);
    for outside in [-1, 51] {
        assert!(matches!(log.read(outside, 1, true, 50), Err(ReadError::OutOfRange { .. })));
    }
    let first = log.read(0, u32::MAX, true, 50).unwrap().records.unwrap();
    let one = log.read(0, 1, true, 50).unwrap().records.unwrap();
    assert_eq!(one.len, first.first_batch_len);
    let cut = log.read(0, 1, false, 50).unwrap().records.unwrap();
    assert_eq!(cut.len, 1);
    assert!(log.read(0, 0, false, 50).unwrap().records.is_none());
}

#[test]
fn a_segment_ends_when_it_is_full_and_when_it_is_old() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, taffrail_log::LogConfig { segment_ms: 1000, ..config() });
    append(&mut log, &Batch::of(1).timestamp(NOW));
    append(&mut log, &Batch::of(1).timestamp(NOW + 1000));
    assert_eq!(log.segment_count(), 1);
    append(&mut log, &Batch::of(1).timestamp(NOW + 1001));
    assert_eq!(log.segment_base_offsets().collect::<Vec<_>>(), [0, 2]);
    log.update_config(taffrail_log::LogConfig { segment_bytes: 100, ..config() });
    append(&mut log, &Batch::of(1).timestamp(NOW + 1001));
    append(&mut log, &Batch::of(1).timestamp(NOW + 1001));
    assert_eq!(log.segment_base_offsets().collect::<Vec<_>>(), [0, 2, 3, 4]);
    assert_eq!(offsets_read(&mut log, 0, u32::MAX, 5), [0, 1], "a read ends with its segment");
    let mut large = Batch::of(1).value(1).padding(200).build();
    let header = *taffrail_protocol::record_batch::BatchView::new(&large).unwrap().header();
    let refused = log.append_as_leader(&mut large, &header, 0, AppendOrigin::Client, NOW);
    assert!(matches!(refused, Err(AppendError::LargerThanSegment { .. })), "{refused:?}");
}

#[test]
fn a_log_opened_after_a_crash_has_what_was_synced() {
    for seed in 0..50 {
        let storage = MemoryStorage::new();
        let mut log = create(&storage, config());
        append(&mut log, &Batch::of(3));
        log.flush(NOW).unwrap();
        append(&mut log, &Batch::of(4));
        let before = everything(&mut log);
        storage.crash(seed);
        let (mut log, _) = reopen(&storage, config(), 3);
        let after = everything(&mut log);
        assert!(log.log_end_offset() == 3 || log.log_end_offset() == 7, "seed {seed}");
        assert_eq!(before[..after.len()], after[..], "seed {seed}");
        append(&mut log, &Batch::of(1));
    }
}

#[test]
fn a_directory_that_has_a_log_is_not_made_into_another() {
    let storage = MemoryStorage::new();
    drop(create(&storage, config()));
    let again = Log::create(storage.clone(), common::dir(), config(), Uuid([1; 16]), NOW);
    assert!(matches!(again, Err(taffrail_log::OpenError::Exists { .. })));
    assert!(storage.len_of(&common::dir().join("partition.metadata")).unwrap().is_some());
}
