//! What a log does when the disk fails.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{Batch, NOW, append, config, create, everything, reopen, try_append};
use taffrail_log::storage::{Access, Effect, Fault, Operation};
use taffrail_log::{AppendError, Finding, HealError, LogConfig, MemoryStorage, Storage, StorageFile};

fn fault(operation: Operation, name: &str, effect: Effect) -> Fault {
    Fault { operation, after: 0, name_ends_with: name.to_owned(), effect }
}

#[test]
fn a_full_disk_poisons_the_log_which_goes_on_serving_reads_and_heals_when_opened_anew() {
    for torn in [0, 1, 12, 50, 70] {
        let storage = MemoryStorage::new();
        let mut log = create(&storage, config());
        append(&mut log, &Batch::of(2));
        let before = everything(&mut log);
        let used = storage_bytes(&storage, before.len());
        storage.set_capacity(Some(used + torn));
        let Err(AppendError::Poisoned(first)) = try_append(&mut log, &Batch::of(5), 0) else {
            panic!("no room")
        };
        assert!(first.is_out_of_space());
        assert_eq!(log.log_end_offset(), 2);
        assert_eq!(everything(&mut log), before);
        storage.set_capacity(None);
        let Err(AppendError::Poisoned(second)) = try_append(&mut log, &Batch::of(1), 0) else {
            panic!("poisoned")
        };
        assert_eq!(second.to_string(), first.to_string(), "the first reason is kept");
        assert!(
            log.flush(NOW).is_err()
                && log.truncate_to(0, NOW).is_err()
                && log.assign_leader_epoch(9).is_err()
        );
        assert!(log.set_log_start_offset(1).is_err() && log.delete_old_segments().is_err());
        assert_eq!(everything(&mut log), before);
        assert!(log.close(NOW).is_err());
        let (mut log, report) = reopen(&storage, config(), 0);
        assert_eq!(report.found(Finding::TornTail), torn > 0);
        assert_eq!(everything(&mut log), before);
        append(&mut log, &Batch::of(5));
    }
}

#[test]
fn a_log_that_ran_out_of_space_heals_in_place_with_what_it_had_and_nothing_of_what_it_refused() {
    // The file that finds no room: the segment, its index when the batch is there already, what a new segment needs.
    for (name, at_roll) in [(".log", false), (".index", false), (".snapshot", true), (".timeindex", true)] {
        for after in 0..2 {
            let storage = MemoryStorage::new();
            let config = LogConfig { segment_bytes: 400, index_interval_bytes: 1, ..config() };
            let mut log = create(&storage, config);
            let mut refused = None;
            for value in 0..40 {
                if value == 9 {
                    storage.inject(Fault { after, ..fault(Operation::Write, name, Effect::NoSpace) });
                }
                let before = (everything(&mut log), log.log_end_offset());
                if try_append(&mut log, &Batch::of(2).value(value), 0).is_err() {
                    refused = Some(before);
                    break;
                }
            }
            let (bytes, end) = refused.unwrap_or_else(|| panic!("nothing failed: {name}, {at_roll}"));
            assert!(log.poisoned().unwrap().lost_nothing());
            log.heal(NOW).unwrap().unwrap();
            assert_eq!((log.log_end_offset(), everything(&mut log) == bytes), (end, true), "{name} {after}");
            append(&mut log, &Batch::of(3));
            assert!(log.heal(NOW).unwrap().is_none(), "nothing is wrong with it");
            let all = everything(&mut log);
            drop(log);
            assert_eq!(everything(&mut reopen(&storage, common::config(), 0).0), all);
        }
    }
}

#[test]
fn a_log_whose_sync_failed_or_that_lacks_records_does_not_heal_in_place() {
    for effect in [Effect::IoError, Effect::NoSpace] {
        let storage = MemoryStorage::new();
        let mut log = create(&storage, config());
        append(&mut log, &Batch::of(2));
        storage.inject(fault(Operation::Sync, ".log", effect));
        assert!(!log.flush(NOW).unwrap_err().lost_nothing());
        assert!(matches!(log.heal(NOW), Err(HealError::NotHealable(_))));
    }
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    append(&mut log, &Batch::of(2));
    storage.inject(fault(Operation::Write, ".log", Effect::NoSpace));
    assert!(try_append(&mut log, &Batch::of(2), 0).is_err());
    let segment = storage.open(&common::dir().join("00000000000000000000.log"), Access::Write).unwrap();
    segment.set_len(10).unwrap();
    assert!(matches!(log.heal(NOW), Err(HealError::Short { log_end_offset: 2, recovered_end: 0, .. })));
    assert!(log.poisoned().is_some());
}

#[test]
fn a_flush_that_was_begun_before_a_log_healed_says_nothing_of_it() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    append(&mut log, &Batch::of(2));
    let flushed = log.begin_flush().unwrap().unwrap().run();
    storage.inject(fault(Operation::Write, ".log", Effect::NoSpace));
    assert!(try_append(&mut log, &Batch::of(2), 0).is_err());
    log.heal(NOW).unwrap();
    log.finish_flush(flushed, NOW).unwrap();
    assert_eq!(log.recovery_point(), 0);
}

#[test]
fn the_space_of_a_storage_with_a_bound_is_told() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    storage.set_capacity(Some(10_000));
    let before = storage.space(&common::dir()).unwrap();
    append(&mut log, &Batch::of(2));
    let after = storage.space(&common::dir()).unwrap();
    assert_eq!((before.total_bytes, after.total_bytes), (10_000, 10_000));
    assert!(after.free_bytes < before.free_bytes, "{before:?} {after:?}");
    assert!(storage.space(std::path::Path::new("/elsewhere")).is_err());
}

/// Bytes of all files of a log whose segment has so many, as its other files have been written by then.
fn storage_bytes(storage: &MemoryStorage, segment: usize) -> u64 {
    let entries = storage.list(&common::dir()).unwrap();
    let lens = entries.iter().map(|entry| storage.len_of(&common::dir().join(&entry.name)).unwrap().unwrap());
    let sum: u64 = lens.sum();
    assert!(sum > segment as u64);
    sum
}

#[test]
fn a_torn_write_is_invisible_now_and_after_a_restart() {
    for written in [0, 1, 30, 61, 90] {
        let storage = MemoryStorage::new();
        let mut log = create(&storage, config());
        append(&mut log, &Batch::of(2));
        let before = everything(&mut log);
        storage.inject(fault(Operation::Write, ".log", Effect::TornWrite(written)));
        assert!(try_append(&mut log, &Batch::of(5), 0).is_err());
        assert_eq!(everything(&mut log), before);
        let (mut log, _) = reopen(&storage, config(), 0);
        assert_eq!(everything(&mut log), before);
    }
}

#[test]
fn a_failed_sync_poisons_the_log_and_moves_no_recovery_point() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    append(&mut log, &Batch::of(2));
    log.flush(NOW).unwrap();
    append(&mut log, &Batch::of(2));
    storage.inject(fault(Operation::Sync, ".log", Effect::IoError));
    let poisoned = log.flush(NOW).unwrap_err();
    assert!(!poisoned.is_out_of_space());
    assert!(poisoned.to_string().contains("syncing"), "{poisoned}");
    assert_eq!(log.recovery_point(), 2);
    assert!(log.flush(NOW).is_err(), "a second try proves nothing");
}

#[test]
fn whichever_operation_fails_the_log_stays_in_order_and_opens_again() {
    let script = |storage: &MemoryStorage| {
        let config = LogConfig { segment_bytes: 300, index_interval_bytes: 50, ..config() };
        let mut acknowledged = Vec::new();
        let mut log = create(storage, config.clone());
        let mut run = || -> Result<(), AppendError> {
            for value in 0..12 {
                let batch = Batch::of(2).value(value);
                let info = try_append(&mut log, &batch, value as i32 / 4)?;
                acknowledged.push((info.base_offset, value));
                if value % 5 == 4 {
                    log.flush(NOW)?;
                }
            }
            log.truncate_to(15, NOW)?;
            acknowledged.retain(|(base, _)| *base < 14);
            log.set_log_start_offset(5)?;
            log.delete_old_segments()?;
            try_append(&mut log, &Batch::of(1), 7)?;
            Ok(())
        };
        let done = run().is_ok();
        let poisoned = log.poisoned().is_some();
        let start = log.log_start_offset();
        if poisoned {
            // Reads go on, of what is there.
            let _ = log.read(log.log_start_offset(), 1 << 20, true, i64::MAX);
        }
        drop(log);
        storage.clear_faults();
        let mode = taffrail_log::OpenMode { clean: false, recovery_point: 0, log_start_offset: start };
        let (mut log, _) = common::open(storage, config, mode);
        let bytes = everything(&mut log);
        let kept = acknowledged.iter().filter(|(base, _)| *base >= log.log_start_offset()).count();
        let batches = taffrail_protocol::record_batch::Batches::new(&bytes).count();
        (done, poisoned, kept, batches)
    };
    let (done, poisoned, ..) = script(&MemoryStorage::new());
    assert!(done && !poisoned);
    let mut struck = 0;
    for operation in [
        Operation::Open,
        Operation::Write,
        Operation::SetLen,
        Operation::Sync,
        Operation::Rename,
        Operation::Remove,
    ] {
        for after in 0..60 {
            for effect in [Effect::IoError, Effect::NoSpace, Effect::TornWrite(7)] {
                let storage = MemoryStorage::new();
                // The log is made first; the fault waits for what comes then.
                storage.inject(Fault { after: after + 6, ..fault(operation, "", effect) });
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| script(&storage)));
                let Ok((done, poisoned, kept, batches)) = outcome else {
                    panic!("{operation:?} {after} {effect:?}")
                };
                assert!(done != poisoned || done, "{operation:?} {after} {effect:?}: an error poisons");
                if !done {
                    struck += 1;
                    assert!(batches >= kept.saturating_sub(5), "{operation:?} {after} {effect:?}");
                }
            }
        }
    }
    assert!(struck > 100, "{struck}");
}

#[test]
fn a_truncation_that_failed_leaves_nothing_to_read_behind_the_end() {
    for failing in [Operation::SetLen, Operation::Sync] {
        let storage = MemoryStorage::new();
        let mut log = create(&storage, config());
        append(&mut log, &Batch::of(2));
        let before = everything(&mut log);
        append(&mut log, &Batch::of(3));
        storage.inject(fault(failing, ".log", Effect::IoError));
        assert!(log.truncate_to(2, NOW).is_err());
        assert_eq!(log.log_end_offset(), 2);
        assert_eq!(everything(&mut log), before);
    }
}

#[test]
fn a_truncation_that_found_no_room_ends_when_the_log_heals() {
    let mut struck = 0;
    for operation in [Operation::Write, Operation::Open, Operation::SetLen, Operation::Sync] {
        for (after, offset) in [(0, 3), (1, 3), (0, 4), (1, 4), (2, 4), (3, 4)] {
            let storage = MemoryStorage::new();
            let config = LogConfig { segment_bytes: 400, index_interval_bytes: 1, ..config() };
            let mut log = create(&storage, config);
            for value in 0..20 {
                append(&mut log, &Batch::of(2).value(value));
            }
            storage.inject(Fault { after, ..fault(operation, "", Effect::NoSpace) });
            if log.truncate_to(offset, NOW).is_ok() {
                continue;
            }
            storage.clear_faults();
            struck += 1;
            match log.heal(NOW) {
                Ok(healed) => assert!(healed.is_some()),
                Err(error) => {
                    assert!(matches!(error, HealError::NotHealable(_)), "{operation:?} {after}: {error}");
                    assert_eq!(operation, Operation::Sync);
                    continue;
                }
            }
            let end = log.log_end_offset();
            assert!((offset - 1..=offset).contains(&end), "{operation:?} {after}: {end}");
            let batches = taffrail_protocol::record_batch::Batches::new(&everything(&mut log)).count();
            assert_eq!(batches as i64, end / 2);
            append(&mut log, &Batch::of(2));
        }
    }
    assert!(struck > 8, "{struck}");
}

#[test]
fn a_log_that_was_to_begin_anew_and_found_no_room_does_not_heal_in_place() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    append(&mut log, &Batch::of(2));
    storage.inject(fault(Operation::Open, ".log", Effect::NoSpace));
    assert!(log.truncate_fully_and_start_at(9, NOW).is_err());
    assert!(matches!(log.heal(NOW), Err(HealError::NotHealable(_))));
}
