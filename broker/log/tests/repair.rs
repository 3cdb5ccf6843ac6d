//! Segments that are written anew from what another replica has, wherever bits flipped and wherever it stops.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{Batch, NOW, append, config, create, dir, everything, open, try_append};
use proptest::prelude::*;
use taffrail_log::names::SegmentFile;
use taffrail_log::repair::{Repair, RepairError};
use taffrail_log::storage::{Access, Effect, Fault, Operation};
use taffrail_log::{AppendOrigin, Log, LogConfig, MemoryStorage, OpenMode, Replaced, Storage, StorageFile};
use taffrail_protocol::record_batch::{BatchBuilder, BatchView, Batches, Compression};

type MemoryLog = Log<MemoryStorage>;

/// Segments of some five batches.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 600, ..config() }
}

/// A leader's log of two epochs with transactions, every other one of them aborted; all its bytes.
fn leader() -> (MemoryLog, Vec<u8>) {
    let mut log = create(&MemoryStorage::new(), config());
    for round in 0..30usize {
        let (epoch, producer) = (3 + round as i32 / 20, 7 + round as i64 / 6);
        let batch = Batch::of(1 + round % 3).value(round).padding(10 * (round % 4));
        match round % 6 {
            0 => drop(try_append(&mut log, &batch.producer(producer, 0, 0).transactional(), epoch).unwrap()),
            5 => {
                let mut builder = BatchBuilder::new(Compression::None);
                builder.producer(producer, 0, -1).transactional().control();
                builder.append(NOW, Some(&[0, 0, 0, (producer % 2) as u8]), Some(&[0; 6]), &[]);
                let mut bytes = builder.build().unwrap();
                let header = *BatchView::new(&bytes).unwrap().header();
                log.append_as_leader(&mut bytes, &header, epoch, AppendOrigin::Coordinator, NOW).unwrap();
            }
            _ => drop(try_append(&mut log, &batch, epoch).unwrap()),
        }
    }
    let bytes = everything(&mut log);
    (log, bytes)
}

fn follower(config: LogConfig, bytes: &[u8]) -> (MemoryStorage, MemoryLog) {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, config);
    for batch in Batches::new(bytes).map(Result::unwrap) {
        log.append_as_follower(batch.bytes(), NOW).unwrap();
    }
    log.flush(NOW).unwrap();
    assert!(log.segment_count() > 4);
    (storage, log)
}

/// What the files tell of aborted transactions.
fn aborted(log: &MemoryLog, storage: &MemoryStorage) -> Vec<Option<Vec<u8>>> {
    let index = |base| SegmentFile::TransactionIndex.path(&dir(), base);
    log.segment_base_offsets().map(|base| storage.read_small(&index(base), 1 << 20).unwrap()).collect()
}

fn flip(storage: &MemoryStorage, base_offset: i64, position: u64) {
    let file = storage.open(&SegmentFile::Log.path(&dir(), base_offset), Access::Write).unwrap();
    let at = position % file.size().unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// The batches of `bytes` from the one with `offset` on, of at most `len` bytes.
fn fetch(bytes: &[u8], offset: i64, len: usize) -> Vec<u8> {
    let behind = Batches::new(bytes).map(Result::unwrap).skip_while(|b| b.header().last_offset() < offset);
    let all: Vec<u8> = behind.flat_map(|batch| batch.bytes().to_vec()).collect();
    all[..all.len().min(len)].to_vec()
}

fn fill(repair: &mut Repair<MemoryStorage>, bytes: &[u8], len: usize) -> Result<(), RepairError> {
    while let Some(offset) = repair.next_offset() {
        repair.append(&fetch(bytes, offset, len))?;
    }
    Ok(())
}

/// Repairs the segment of `offset` as far as it goes. Whether it went well.
fn repair(log: &mut MemoryLog, offset: i64, bytes: &[u8], len: usize) -> bool {
    for base_offset in log.segments_to_repair(offset) {
        let Ok(Some(mut repair)) = log.begin_repair(base_offset, i64::MAX, NOW) else { return false };
        if fill(&mut repair, bytes, len).is_err() {
            repair.discard();
            return false;
        }
        let Ok(replacement) = repair.finish() else { return false };
        match log.replace_segments(replacement) {
            Ok(Replaced::InPlace) => {}
            Ok(Replaced::Unwanted(_)) => panic!("nothing else touches the log"),
            Err(_) => return false,
        }
    }
    true
}

fn is_sound(log: &mut MemoryLog) -> bool {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    (start..end).all(|offset| log.check_batch(offset).unwrap().is_none())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_log_is_as_its_leaders_again_wherever_bits_flip_and_a_repair_stops(
        at in 0..1000usize,
        position in 0..10_000u64,
        len in 300..3000usize,
        fault in proptest::option::of((0..7usize, 0..12u64, any::<bool>())),
    ) {
        let (leader, bytes) = leader();
        let (storage, mut log) = follower(small(), &bytes);
        let before = aborted(&log, &storage);
        let bases: Vec<i64> = log.segment_base_offsets().collect();
        let base = bases[at % (bases.len() - 1)];
        flip(&storage, base, position);
        if let Some((operation, after, power_cut)) = fault {
            let operations = [
                Operation::Open, Operation::Read, Operation::Write, Operation::SetLen, Operation::Sync,
                Operation::Rename, Operation::Remove,
            ];
            let operation = operations[operation];
            storage.inject(Fault { operation, after, name_ends_with: String::new(), effect: Effect::IoError });
            repair(&mut log, base, &bytes, len);
            storage.clear_faults();
            let mode = OpenMode {
                clean: false, recovery_point: log.recovery_point(), log_start_offset: log.log_start_offset(),
            };
            drop(log);
            if power_cut {
                storage.crash(position);
            }
            log = open(&storage, small(), mode).0;
        }
        prop_assert_eq!(log.log_end_offset(), leader.log_end_offset());
        repair(&mut log, base, &bytes, len);
        prop_assert!(is_sound(&mut log));
        prop_assert_eq!(everything(&mut log), bytes);
        prop_assert_eq!(aborted(&log, &storage), before);
        prop_assert_eq!(log.leader_epochs(), leader.leader_epochs());
        let left = storage.list(&dir()).unwrap();
        prop_assert!(!left.iter().any(|e| e.name.ends_with(".cleaned") || e.name.ends_with(".swap")), "{:?}", left);
    }
}

#[test]
fn the_active_segment_is_sealed_and_synced_first() {
    let (_, bytes) = leader();
    let (storage, mut log) = follower(config_of_one_more(), &bytes);
    append(&mut log, &Batch::of(1));
    let end = log.log_end_offset();
    let base = log.segment_base_offsets().last().unwrap();
    flip(&storage, base, 100);
    assert!(log.begin_repair(base, end, NOW).unwrap().is_none(), "it is written to");
    assert!(log.seal_segment_of(base, NOW).unwrap() && !log.seal_segment_of(base, NOW).unwrap());
    assert!(log.begin_repair(base, end, NOW).unwrap().is_none(), "it is not on the disk");
    log.flush(NOW).unwrap();
    assert!(log.begin_repair(base, base, NOW).unwrap().is_none(), "nothing of it is committed");
    let repair = log.begin_repair(base, end, NOW).unwrap().unwrap();
    assert!(log.begin_repair(base, end, NOW).unwrap().is_none(), "somebody is at it");
    repair.discard();
    assert!(log.begin_repair(base, end, NOW).unwrap().is_some());
}

fn config_of_one_more() -> LogConfig {
    LogConfig { segment_bytes: 500, ..config() }
}

#[test]
fn what_is_not_committed_is_kept_as_it_is() {
    let (_, bytes) = leader();
    for flipped_at in [70, 470] {
        let (storage, mut log) = follower(small(), &bytes);
        let base = log.segment_base_offsets().nth(1).unwrap();
        let next = log.segment_base_offsets().nth(2).unwrap();
        let second = BatchView::first_in(&fetch(&bytes, base, usize::MAX)).unwrap().header().next_offset();
        assert!(second < next, "there is more in it");
        flip(&storage, base, flipped_at);
        let is_behind = log.check_batch(base).unwrap().is_none();
        assert_eq!(is_behind, flipped_at == 470);
        let mut repair = log.begin_repair(base, second, NOW).unwrap().unwrap();
        fill(
            &mut repair,
            &fetch(&bytes, 0, bytes.len() - fetch(&bytes, second, usize::MAX).len()),
            usize::MAX,
        )
        .unwrap();
        assert_eq!(repair.end_offset(), next);
        match repair.finish() {
            Ok(replacement) => {
                assert!(matches!(log.replace_segments(replacement), Ok(Replaced::InPlace)));
                assert_eq!(everything(&mut log), bytes);
            }
            Err(error) => assert!(is_behind && matches!(error, RepairError::Behind { .. }), "{error}"),
        }
        assert_eq!(is_sound(&mut log), !is_behind);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_changed() {
    let (_, bytes) = leader();
    let (storage, mut log) = follower(small(), &bytes);
    let base = log.segment_base_offsets().nth(2).unwrap();
    let at = |offset| fetch(&bytes, offset, usize::MAX);
    let refused = |log: &mut MemoryLog, records: &[u8]| {
        let mut repair = log.begin_repair(base, i64::MAX, NOW).unwrap().unwrap();
        let refused = repair.append(records).unwrap_err();
        repair.discard();
        refused
    };
    let hole = refused(&mut log, &at(base + 3));
    assert!(matches!(hole, RepairError::Missing { from, .. } if from == base), "{hole:?}");
    let mut flipped = at(base);
    flipped[70] ^= 1;
    assert!(matches!(refused(&mut log, &flipped), RepairError::Corrupt { offset, .. } if offset == base));
    let mut foreign = at(base);
    // The epoch is outside of the checksum.
    foreign[15] ^= 1;
    assert!(matches!(refused(&mut log, &foreign), RepairError::Differs { found: 2, expected: Some(3), .. }));
    let mut wide = at(base);
    wide[..8].copy_from_slice(&(base - 1).to_be_bytes());
    assert!(matches!(refused(&mut log, &wide), RepairError::Straddles { .. } | RepairError::Missing { .. }));
    assert_eq!(everything(&mut log), bytes);
    assert_eq!(storage.list(&dir()).unwrap().iter().filter(|e| e.name.ends_with(".cleaned")).count(), 0);
}

#[test]
fn what_the_disk_cannot_read_counts_as_corrupt() {
    let (_, bytes) = leader();
    let (storage, mut log) = follower(small(), &bytes);
    let base = log.segment_base_offsets().nth(1).unwrap();
    for after in 0..2 {
        let (operation, name_ends_with) = (Operation::Read, ".log".to_owned());
        storage.inject(Fault { operation, after, name_ends_with, effect: Effect::IoError });
        let batch = log.check_batch(base).unwrap().expect("one of its reads fails");
        assert_eq!((batch.base_offset, batch.file), (base, SegmentFile::Log.path(&dir(), base)));
        assert!(batch.reason.starts_with("it cannot be read: "), "{}", batch.reason);
    }
    storage.inject(Fault {
        operation: Operation::Read,
        after: 0,
        name_ends_with: ".log".to_owned(),
        effect: Effect::IoError,
    });
    assert_eq!(log.begin_check(base).unwrap().unwrap().run(), Some(base));
    assert_eq!(log.begin_check(base).unwrap().unwrap().run(), None);
    flip(&storage, base, 400);
    assert!(log.begin_check(base).unwrap().unwrap().run().is_some_and(|offset| offset > base));
    assert!(log.begin_check(base + 1).unwrap().is_none(), "no segment begins there");
}

/// Records of the keys `k0` to `k3`; a tombstone where `values` has none.
fn keyed(log: &mut MemoryLog, values: &[(u8, Option<&[u8]>)]) {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in values {
        builder.append(NOW, Some(&[b'k', *key]), *value, &[]);
    }
    let mut bytes = builder.build().unwrap();
    let header = *BatchView::new(&bytes).unwrap().header();
    log.append_as_leader(&mut bytes, &header, 3, AppendOrigin::Client, NOW).unwrap();
}

#[test]
fn a_compacted_log_takes_all_up_to_the_damage_from_the_leader() {
    let filler: &[u8] = &[b'.'; 120];
    let mut leader = create(&MemoryStorage::new(), LogConfig { compact: true, ..config() });
    keyed(&mut leader, &[(0, Some(filler)), (1, Some(filler))]);
    keyed(&mut leader, &[(0, None)]);
    for _ in 0..8 {
        keyed(&mut leader, &[(2, Some(filler)), (3, Some(filler))]);
    }
    let all = everything(&mut leader);
    let (storage, mut log) = follower(LogConfig { compact: true, ..small() }, &all);
    // The leader's compaction has forgotten the tombstone with what it deletes, and all of k1 but nothing else.
    let mut batches: Vec<Vec<u8>> = Batches::new(&all).map(|batch| batch.unwrap().bytes().to_vec()).collect();
    batches.drain(..2);
    let compacted = batches.concat();
    let tombstone = 2;
    let bases = log.segments_to_repair(tombstone);
    assert_eq!(bases[0], 0, "all before it are replaced");
    flip(&storage, *bases.last().unwrap(), 80);
    log.set_cleaned_to(3);
    assert!(repair(&mut log, tombstone, &compacted, 700));
    assert!(is_sound(&mut log));
    let records = |log: &mut MemoryLog| {
        let all = everything(log);
        let batches = Batches::new(&all).map(Result::unwrap).filter(|batch| batch.header().record_count > 0);
        batches.flat_map(|batch| batch.bytes().to_vec()).collect::<Vec<u8>>()
    };
    assert_eq!(records(&mut log), compacted, "no record of k0 is left without its tombstone");
    assert_eq!(log.cleaned_to(), 0, "what the leader has not compacted is not either");
    let mode = OpenMode { clean: false, recovery_point: log.recovery_point(), log_start_offset: 0 };
    let end = log.log_end_offset();
    drop(log);
    let (mut log, _) = open(&storage, LogConfig { compact: true, ..small() }, mode);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, end));
    assert_eq!(records(&mut log), compacted);
}
