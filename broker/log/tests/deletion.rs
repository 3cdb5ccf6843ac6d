//! Segments that retention gives up, from the decision to the last file.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::path::Path;

use common::{Batch, NOW, append, config, create, dir, everything, open};
use taffrail_log::storage::{Effect, Fault, Operation};
use taffrail_log::{Log, LogConfig, MemoryStorage, OpenMode, Storage};

/// Two batches in a segment, of 20 records each.
fn with_segments(storage: &MemoryStorage, count: usize) -> Log<MemoryStorage> {
    let batch = Batch::of(20);
    let config = LogConfig { segment_bytes: 2 * batch.build().len() as u32, retention_ms: 1000, ..config() };
    let mut log = create(storage, config);
    for index in 0..2 * count {
        append(&mut log, &batch.clone().timestamp(NOW + 500 * index as i64));
    }
    assert_eq!(log.segment_count(), count);
    log
}

fn names(storage: &MemoryStorage) -> Vec<String> {
    let mut names: Vec<String> = storage.list(&dir()).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

fn count(storage: &MemoryStorage, end: &str) -> usize {
    names(storage).iter().filter(|name| name.ends_with(end)).count()
}

#[test]
fn old_segments_are_renamed_at_once_and_removed_after_the_delay() {
    let storage = MemoryStorage::new();
    let mut log = with_segments(&storage, 5);
    // The second segment's last record is of NOW + 1,519, the third's of NOW + 2,519.
    let retained = log.retain(200, NOW + 3000).unwrap().unwrap();
    assert_eq!((retained.from, retained.to, retained.due.by_time, retained.due.by_size), (0, 80, 2, 0));
    assert_eq!(log.segment_count(), 5, "no file is touched before the start is on the disk");
    assert_eq!(log.delete_old_segments().unwrap(), 2);
    assert_eq!((log.segment_count(), count(&storage, ".log.deleted"), count(&storage, ".index")), (3, 2, 5));
    log.begin_sweep(NOW, false).unwrap().run().unwrap();
    assert_eq!((count(&storage, ".index.deleted"), count(&storage, ".index")), (2, 3));
    let delay_ms = log.config().file_delete_delay_ms;
    assert!(log.begin_sweep(NOW + delay_ms - 1, false).is_none());
    log.begin_sweep(NOW + delay_ms, false).unwrap().run().unwrap();
    assert_eq!(count(&storage, ".deleted"), 0);
    assert!(log.begin_sweep(NOW + delay_ms, true).is_none());
}

#[test]
fn a_disk_that_needs_room_gets_it_at_once() {
    let storage = MemoryStorage::new();
    let mut log = with_segments(&storage, 3);
    log.retain(120, NOW + 2600).unwrap().unwrap();
    log.delete_old_segments().unwrap();
    log.begin_sweep(NOW, false).unwrap().run().unwrap();
    assert!(count(&storage, ".deleted") > 0);
    log.begin_sweep(NOW, true).unwrap().run().unwrap();
    assert_eq!(count(&storage, ".deleted"), 0);
}

#[test]
fn where_all_is_old_a_new_segment_is_begun_and_offsets_go_on() {
    let storage = MemoryStorage::new();
    let mut log = with_segments(&storage, 3);
    let retained = log.retain(120, i64::MAX).unwrap().unwrap();
    assert_eq!((retained.to, retained.due.segments()), (120, 3));
    assert_eq!(log.delete_old_segments().unwrap(), 3);
    assert_eq!((log.segment_count(), log.size(), log.log_end_offset()), (1, 0, 120));
    assert!(log.retain(120, i64::MAX).unwrap().is_none());
    assert_eq!(append(&mut log, &Batch::of(1)).base_offset, 120);
}

#[test]
fn only_topics_that_delete_are_retained() {
    let mut log = with_segments(&MemoryStorage::new(), 3);
    log.update_config(LogConfig { delete: false, compact: true, ..log.config().clone() });
    assert!(log.retain(120, i64::MAX).unwrap().is_none());
}

#[test]
fn records_without_a_time_are_as_old_as_their_file() {
    let storage = MemoryStorage::new();
    storage.set_time(NOW);
    let batch = Batch::of(20);
    let bytes = 2 * batch.build().len() as u32;
    let config = LogConfig { segment_bytes: bytes, retention_ms: 1000, retention_bytes: -1, ..config() };
    let mut log = create(&storage, config);
    for index in 0..4 {
        storage.set_time(NOW + 100 * index);
        append(&mut log, &batch.clone().timestamp(-100));
    }
    assert!(log.retain(80, NOW + 1100).unwrap().is_none());
    assert_eq!(log.retain(80, NOW + 1101).unwrap().unwrap().to, 40);
}

/// Whatever fails, and wherever the power is cut, what is left has no hole and begins where it was said to.
#[test]
fn a_deletion_that_is_cut_short_leaves_a_log_without_a_hole() {
    for at in 0.. {
        let storage = MemoryStorage::new();
        let mut log = with_segments(&storage, 5);
        log.flush(NOW).unwrap();
        let all = everything(&mut log);
        let before = log.segment_count();
        let start = log.retain(200, NOW + 4000).unwrap().unwrap().to;
        storage.inject(Fault {
            operation: Operation::Rename,
            after: at,
            name_ends_with: String::new(),
            effect: Effect::IoError,
        });
        let deleted = log.delete_old_segments().is_ok();
        let swept = deleted && log.begin_sweep(NOW, true).is_none_or(|sweep| sweep.run().is_ok());
        assert!(deleted || log.poisoned().is_some());
        let kept = everything(&mut log);
        assert!(all.ends_with(&kept) && log.segment_count() < before);
        drop(log);
        storage.crash(at);
        let mode = OpenMode { clean: false, recovery_point: 200, log_start_offset: start };
        let (mut log, report) = open(&storage, config(), mode);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, 200), "{report:?}");
        assert_eq!(everything(&mut log), kept);
        log.delete_old_segments().unwrap();
        assert_eq!(log.segment_count(), 2);
        if swept {
            return;
        }
    }
}

#[test]
fn a_log_that_begins_anew_is_not_taken_for_what_was_deleted() {
    let storage = MemoryStorage::new();
    let mut log = with_segments(&storage, 5);
    log.retain(200, NOW + 3000).unwrap().unwrap();
    log.delete_old_segments().unwrap();
    let sweep = log.begin_sweep(NOW, true).unwrap();
    log.truncate_fully_and_start_at(40, NOW).unwrap();
    append(&mut log, &Batch::of(20));
    log.flush(NOW).unwrap();
    let all = everything(&mut log);
    sweep.run().unwrap();
    assert_eq!(count(&storage, ".deleted"), 0);
    let index = Path::new("00000000000000000040.index");
    assert!(storage.len_of(&dir().join(index)).unwrap().is_some(), "the new segment's index stays");
    assert_eq!(everything(&mut log), all);
}

#[test]
fn a_log_that_heals_in_place_has_what_is_left_of_deleted_segments_removed() {
    for swept in [false, true] {
        let storage = MemoryStorage::new();
        let mut log = with_segments(&storage, 3);
        log.retain(120, NOW + 2600).unwrap().unwrap();
        assert!(log.delete_old_segments().unwrap() > 0);
        if swept {
            log.begin_sweep(NOW, false).unwrap().run().unwrap();
        }
        let (bytes, start) = (everything(&mut log), log.log_start_offset());
        let (operation, effect) = (Operation::Write, Effect::NoSpace);
        storage.inject(Fault { operation, after: 0, name_ends_with: ".log".to_owned(), effect });
        let batch = Batch::of(1).timestamp(NOW + 3000);
        assert!(common::try_append(&mut log, &batch, 0).is_err());
        log.heal(NOW).unwrap().unwrap();
        assert_eq!((log.log_start_offset(), everything(&mut log)), (start, bytes));
        if let Some(sweep) = log.begin_sweep(NOW, true) {
            sweep.run().unwrap();
        }
        assert_eq!(count(&storage, ".deleted"), 0);
        let base_offsets = log.segment_base_offsets().count();
        assert_eq!(count(&storage, ".index"), base_offsets, "and no other's file is gone");
        append(&mut log, &batch);
    }
}
