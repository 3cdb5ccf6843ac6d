//! Idempotent producers: duplicates, gaps, fencing, and their state across rolls, truncations and restarts.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{Batch, NOW, append, config, create, dir, open, reopen, try_append};
use taffrail_log::names::SegmentFile;
use taffrail_log::{
    AppendError, AppendOrigin, Finding, Log, LogConfig, MemoryStorage, OpenMode, ProducerError, Storage,
};
use taffrail_protocol::record_batch::{BatchBuilder, BatchView, Compression};

const CLEAN: OpenMode = OpenMode { clean: true, recovery_point: 0, log_start_offset: 0 };

/// Three records of producer 7, from that sequence on.
fn three(sequence: i32) -> Batch {
    Batch::of(3).producer(7, 0, sequence)
}

fn refused(log: &mut Log<MemoryStorage>, batch: &Batch) -> ProducerError {
    let end = log.log_end_offset();
    match try_append(log, batch, 0) {
        Err(AppendError::Producer(error)) => {
            assert_eq!(log.log_end_offset(), end);
            error
        }
        other => panic!("{other:?}"),
    }
}

fn is_gap(log: &mut Log<MemoryStorage>, batch: &Batch) -> bool {
    matches!(refused(log, batch), ProducerError::OutOfOrderSequence { .. })
}

#[test]
fn each_of_the_last_five_batches_sent_again_gets_its_first_answer() {
    let mut log = create(&MemoryStorage::new(), config());
    append(&mut log, &Batch::of(1));
    for index in 0..6 {
        assert!(!append(&mut log, &three(3 * index)).duplicate);
    }
    for index in 1..6 {
        let again = append(&mut log, &three(3 * index));
        assert!(again.duplicate);
        assert_eq!((again.base_offset, again.last_offset), (1 + 3 * index as i64, 3 + 3 * index as i64));
    }
    assert_eq!(log.log_end_offset(), 19);
    assert!(is_gap(&mut log, &three(0)), "older ones are forgotten");
    assert!(is_gap(&mut log, &three(16)), "part of one is none");
}

#[test]
fn a_gap_is_refused_and_a_producer_nothing_is_known_of_may_start_anywhere() {
    let mut log = create(&MemoryStorage::new(), config());
    append(&mut log, &three(100));
    assert!(is_gap(&mut log, &three(104)));
    append(&mut log, &three(103));
}

#[test]
fn sequences_wrap_after_the_largest() {
    let mut log = create(&MemoryStorage::new(), config());
    append(&mut log, &three(i32::MAX - 1));
    append(&mut log, &three(1));
    assert!(append(&mut log, &three(i32::MAX - 1)).duplicate);
    let mut log = create(&MemoryStorage::new(), config());
    append(&mut log, &three(i32::MAX - 2));
    append(&mut log, &three(0));
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
    let mut log = create(&MemoryStorage::new(), config());
    append(&mut log, &three(0));
    let next = |sequence| Batch::of(3).producer(7, 1, sequence);
    assert!(is_gap(&mut log, &next(3)));
    append(&mut log, &next(0));
    let error = refused(&mut log, &three(3));
    assert_eq!(error, ProducerError::InvalidEpoch { producer_id: 7, epoch: 0, current: 1 });
    assert!(append(&mut log, &next(0)).duplicate);
}

#[test]
fn a_coordinator_is_not_asked_for_sequences() {
    let mut log = create(&MemoryStorage::new(), config());
    append(&mut log, &three(0));
    let mut bytes = Batch::of(1).producer(7, 0, 50).build();
    let header = *BatchView::new(&bytes).unwrap().header();
    log.append_as_leader(&mut bytes, &header, 0, AppendOrigin::Coordinator, NOW).unwrap();
}

#[test]
fn state_survives_a_clean_stop_a_crash_and_rolls() {
    for segment_bytes in [200, 1 << 20] {
        for seed in 0..20 {
            let storage = MemoryStorage::new();
            let config = LogConfig { segment_bytes, ..config() };
            let mut log = create(&storage, config.clone());
            for index in 0..7 {
                append(&mut log, &three(3 * index));
                append(&mut log, &Batch::of(1).producer(8, 2, index));
                append(&mut log, &Batch::of(2));
            }
            let (mut log, report) = if seed == 0 {
                log.close(NOW).unwrap();
                open(&storage, config, CLEAN)
            } else {
                log.flush(NOW).unwrap();
                storage.crash(seed);
                reopen(&storage, config, 0)
            };
            assert!(!report.found(taffrail_log::Finding::TornTail), "{report:?}");
            assert_eq!(log.producer_count(), 2);
            assert!(append(&mut log, &three(18)).duplicate);
            assert!(is_gap(&mut log, &three(22)));
            append(&mut log, &three(21));
            append(&mut log, &Batch::of(1).producer(8, 2, 7));
        }
    }
}

#[test]
fn state_outlives_the_records_that_were_deleted_as_long_as_they_are_on_the_disk() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    for index in 0..3 {
        append(&mut log, &three(3 * index));
    }
    log.set_log_start_offset(9).unwrap();
    log.flush(NOW).unwrap();
    storage.crash(1);
    let mode = OpenMode { clean: false, recovery_point: 0, log_start_offset: 9 };
    let (mut log, _) = open(&storage, config(), mode);
    assert!(append(&mut log, &three(6)).duplicate);
    assert!(is_gap(&mut log, &three(12)));
    append(&mut log, &three(9));
}

#[test]
fn a_truncation_takes_state_back() {
    for segment_bytes in [200, 1 << 20] {
        let storage = MemoryStorage::new();
        let mut log = create(&storage, LogConfig { segment_bytes, ..config() });
        for index in 0..6 {
            append(&mut log, &three(3 * index));
        }
        assert_eq!(log.truncate_to(9, NOW).unwrap(), 9);
        assert!(append(&mut log, &three(6)).duplicate);
        assert_eq!(append(&mut log, &three(9)).base_offset, 9);
        log.truncate_fully_and_start_at(100, NOW).unwrap();
        assert_eq!(log.producer_count(), 0);
        assert_eq!(append(&mut log, &three(50)).base_offset, 100);
    }
}

/// What is removed from a directory may be back after a power cut.
#[test]
fn what_was_cut_off_is_not_remembered_after_a_power_cut_either() {
    let cut_off: [fn(&MemoryStorage) -> Log<MemoryStorage>; 2] = [
        |storage| {
            let (mut log, _) = open(storage, config(), CLEAN);
            log.truncate_to(3, NOW).unwrap();
            log
        },
        |storage| {
            // The file lost what was not synced, and recovery finds a snapshot behind its end.
            let path = dir().join(SegmentFile::Log.name(0));
            let kept = storage.read_small(&path, 1 << 20).unwrap().unwrap();
            storage.replace_small(&path, &kept[..kept.len() / 2]).unwrap();
            let (log, report) = reopen(storage, config(), 0);
            assert!(report.found(Finding::SnapshotAhead), "{report:?}");
            log
        },
    ];
    for cut_off in cut_off {
        let mut survived = 0;
        for seed in 0..50 {
            let storage = MemoryStorage::new();
            let mut log = create(&storage, config());
            append(&mut log, &three(0));
            append(&mut log, &three(3));
            log.close(NOW).unwrap();
            drop(log);
            let mut log = cut_off(&storage);
            assert_eq!(log.log_end_offset(), 3);
            try_append(&mut log, &Batch::of(5), 1).unwrap();
            drop(log);
            storage.crash(seed);
            let (mut log, _) = reopen(&storage, config(), 0);
            if log.latest_epoch() == Some(1) {
                survived += 1;
                assert!(!append(&mut log, &three(3)).duplicate, "seed {seed}");
            }
        }
        assert!(survived > 0);
    }
}

#[test]
fn a_failed_append_changes_no_state() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    append(&mut log, &three(0));
    storage.set_capacity(Some(0));
    assert!(matches!(try_append(&mut log, &three(3), 0), Err(AppendError::Poisoned(_))));
    storage.set_capacity(None);
    drop(log);
    let (mut log, _) = reopen(&storage, config(), 0);
    assert_eq!(append(&mut log, &three(3)).base_offset, 3);
}

#[test]
fn silent_producers_are_forgotten_and_their_number_is_bounded() {
    let storage = MemoryStorage::new();
    let mut log =
        create(&storage, LogConfig { producer_id_expiration_ms: 1000, max_producers: 80, ..config() });
    append(&mut log, &Batch::of(1).producer(1, 0, 0).timestamp(NOW));
    append(&mut log, &Batch::of(1).producer(2, 0, 0).timestamp(NOW + 500));
    append(&mut log, &Batch::of(1).producer(3, 0, 0).timestamp(NOW - 50_000).transactional());
    assert_eq!(log.remove_expired_producers(NOW + 1000), 1);
    assert_eq!(log.producer_count(), 2);
    for id in 10..1000 {
        append(&mut log, &Batch::of(1).producer(id, 0, 0).timestamp(NOW + id));
        assert!(log.producer_count() <= 80);
    }
    assert!(append(&mut log, &Batch::of(1).producer(999, 0, 0)).duplicate, "the last ones are remembered");
    assert_eq!(log.last_stable_offset(100), 2, "and those with an open transaction");
}

/// A transaction marker: key is version and type, value version and coordinator epoch.
fn marker(producer_id: i64, commit: bool, coordinator_epoch: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(producer_id, 0, -1).transactional().control();
    let mut value = vec![0, 0];
    value.extend_from_slice(&coordinator_epoch.to_be_bytes());
    builder.append(NOW, Some(&[0, 0, 0, u8::from(commit)]), Some(&value), &[]);
    builder.build().unwrap()
}

fn append_marker(
    log: &mut Log<MemoryStorage>,
    mut bytes: Vec<u8>,
) -> Result<taffrail_log::AppendInfo, AppendError> {
    let header = *BatchView::new(&bytes).unwrap().header();
    log.append_as_leader(&mut bytes, &header, 0, AppendOrigin::Coordinator, NOW)
}

#[test]
fn transactions_hold_the_last_stable_offset_until_their_marker() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config());
    append(&mut log, &three(0).transactional());
    append(&mut log, &Batch::of(1).producer(8, 0, 0).transactional());
    assert_eq!(log.last_stable_offset(4), 0);
    assert!(matches!(refused(&mut log, &three(3)), ProducerError::NotTransactional { producer_id: 7 }));
    append_marker(&mut log, marker(7, false, 5)).unwrap();
    assert_eq!(log.last_stable_offset(5), 3);
    let fenced = append_marker(&mut log, marker(7, false, 4));
    assert!(
        matches!(fenced, Err(AppendError::Producer(ProducerError::CoordinatorFenced { .. }))),
        "{fenced:?}"
    );
    let index = dir().join("00000000000000000000.txnindex");
    let bytes = taffrail_log::Storage::read_small(&storage, &index, 100).unwrap().unwrap();
    let aborted = taffrail_log::transaction_index::decode(&bytes, 0).unwrap();
    assert_eq!(aborted.len(), 1);
    assert_eq!((aborted[0].first_offset, aborted[0].last_offset, aborted[0].last_stable_offset), (0, 4, 3));
    drop(log);
    let (mut log, _) = reopen(&storage, config(), 0);
    assert_eq!(log.last_stable_offset(5), 3);
    append_marker(&mut log, marker(8, true, 5)).unwrap();
    assert_eq!(log.last_stable_offset(6), 6);
}
