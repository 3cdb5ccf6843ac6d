//! A data directory: its owner, its lock, its checkpoints and the marker of a clean stop.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::collections::BTreeMap;

use std::path::{Path, PathBuf};

use common::{Batch, NOW, append, config, everything};
use taffrail_log::offset_checkpoint::Offsets;
use taffrail_log::storage::Access;
use taffrail_log::{
    DirState, FileStorage, LogDir, LogDirError, MemoryStorage, MetaProperties, OpenMode, Storage,
    StorageFile, TopicPartition, inspect, remove_dir,
};
use taffrail_protocol::Uuid;

fn ours() -> MetaProperties {
    MetaProperties { cluster_id: "cluster".into(), node_id: 1, directory_id: Uuid([3; 16]) }
}

fn data() -> PathBuf {
    PathBuf::from("/data")
}

fn open(storage: &MemoryStorage) -> LogDir<MemoryStorage> {
    LogDir::open(storage.clone(), data(), ours()).unwrap()
}

fn t(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

#[test]
fn a_new_directory_is_marked_as_ours_and_keeps_its_id() {
    let storage = MemoryStorage::new();
    assert_eq!(inspect(&storage, &data()).unwrap(), DirState::Fresh);
    drop(open(&storage));
    assert_eq!(inspect(&storage, &data()).unwrap(), DirState::Ours(ours()));
    let other_id = MetaProperties { directory_id: Uuid([4; 16]), ..ours() };
    let dir = LogDir::open(storage.clone(), data(), other_id).unwrap();
    assert_eq!(dir.properties(), &ours());
    drop(dir);
    for (other, key) in [
        (MetaProperties { node_id: 2, ..ours() }, "node.id 1"),
        (MetaProperties { cluster_id: "x".into(), ..ours() }, "cluster.id cluster"),
    ] {
        let refused = LogDir::open(storage.clone(), data(), other).err().unwrap();
        assert!(matches!(refused, LogDirError::OtherOwner { .. }));
        assert!(refused.to_string().contains(key), "{refused}");
    }
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_dropped() {
    let storage = MemoryStorage::new();
    let first = open(&storage);
    let refused = LogDir::open(storage.clone(), data(), ours()).err().unwrap();
    assert!(matches!(refused, LogDirError::InUse { .. }));
    drop(first);
    drop(open(&storage));
    // The same on real files.
    let dir = tempfile::tempdir().unwrap();
    let first = LogDir::open(FileStorage::default(), dir.path().to_owned(), ours()).unwrap();
    let refused = LogDir::open(FileStorage::default(), dir.path().to_owned(), ours()).err().unwrap();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    drop(first);
    LogDir::open(FileStorage::default(), dir.path().to_owned(), ours()).unwrap();
}

#[test]
fn a_clean_stop_is_trusted_once() {
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    assert!(!dir.was_clean());
    let mut logs: Vec<_> =
        (0..3).map(|p| dir.create_log(&t(p), Uuid([5; 16]), config(), NOW).unwrap()).collect();
    for log in &mut logs {
        append(log, &Batch::of(4));
    }
    let contents: Vec<_> = logs.iter_mut().map(everything).collect();
    for log in &mut logs {
        log.begin_close().unwrap();
    }
    dir.sync_all().unwrap();
    for log in &mut logs {
        log.finish_close(NOW).unwrap();
        assert_eq!(log.recovery_point(), 4);
    }
    dir.write_recovery_points(&(0..3).map(|p| (t(p), 4)).collect()).unwrap();
    dir.write_high_watermarks(&(0..3).map(|p| (t(p), 3)).collect()).unwrap();
    dir.write_log_starts(&Offsets::from([(t(1), 2)])).unwrap();
    dir.mark_clean(77).unwrap();
    drop((logs, dir));
    storage.crash(1);
    let dir = open(&storage);
    assert!(dir.was_clean());
    assert_eq!(dir.previous_broker_epoch(), Some(77));
    assert_eq!(dir.partitions(), [t(0), t(1), t(2)]);
    assert_eq!((dir.high_watermark(&t(2)), dir.high_watermark(&t(9))), (3, 0));
    assert_eq!(dir.open_mode(&t(1)), OpenMode { clean: true, recovery_point: 4, log_start_offset: 2 });
    for (partition, content) in contents.iter().enumerate() {
        let (mut log, report) = dir.open_log(&t(partition as i32), config(), NOW).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.scanned_segments, 0);
        if partition != 1 {
            assert_eq!(everything(&mut log), *content);
        } else {
            assert_eq!(log.log_start_offset(), 2);
        }
    }
    drop(dir);
    storage.crash(2);
    let dir = open(&storage);
    assert!(!dir.was_clean(), "logs are believed unseen in one start only");
    assert!(dir.was_closed() && dir.previous_broker_epoch() == Some(77), "nothing was written since");
    dir.forget_closed().unwrap();
    drop(dir);
    assert!(!open(&storage).was_closed());
}

#[test]
fn a_log_that_was_deleted_is_a_leftover_and_one_set_aside_is_kept() {
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let mut log = dir.create_log(&t(0), Uuid([5; 16]), config(), NOW).unwrap();
    append(&mut log, &Batch::of(1));
    drop(dir.create_log(&t(1), Uuid([5; 16]), config(), NOW).unwrap());
    let gone = log.rename_for_deletion(Uuid([6; 16])).unwrap();
    assert!(gone.to_string_lossy().ends_with("/t-0.06060606060606060606060606060606-delete"), "{gone:?}");
    let stray = dir.set_aside(&t(1), Uuid([7; 16]), 500).unwrap();
    drop((log, dir));
    let dir = open(&storage);
    assert_eq!(dir.partitions(), []);
    assert_eq!(dir.leftovers(), std::slice::from_ref(&gone));
    for leftover in dir.leftovers() {
        remove_dir(&storage, leftover).unwrap();
    }
    assert!(storage.list(&gone).is_err());
    assert_eq!(dir.strays(), std::slice::from_ref(&stray));
    assert_eq!(dir.topic_id_in(&stray).unwrap(), Some(Uuid([5; 16])));
    assert_eq!(dir.set_aside_since(&stray, 900).unwrap(), 500);
    assert_eq!(dir.set_aside_since(&stray, 400).unwrap(), 400, "a clock that was set back begins anew");
    assert_eq!(dir.set_aside_since(&stray, 900).unwrap(), 400);
    dir.create_log(&t(0), Uuid([8; 16]), config(), NOW).unwrap();
    assert!(!dir.has(&t(1)).unwrap());
    dir.take_back(&stray, &t(1)).unwrap();
    assert!(dir.has(&t(1)).unwrap());
    assert!(storage.list(Path::new("/data/t-1")).unwrap().iter().all(|e| e.name != "taffrail.set-aside"));
    drop(dir);
    storage.crash(3);
    assert_eq!(open(&storage).strays(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn what_the_checkpoints_tell_of_a_name_is_forgotten_before_another_log_gets_it() {
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let offsets: BTreeMap<_, _> = [(t(0), 7), (t(1), 8)].into();
    dir.write_recovery_points(&offsets).unwrap();
    dir.write_log_starts(&offsets).unwrap();
    dir.write_high_watermarks(&offsets).unwrap();
    dir.forget_checkpoints(&t(0)).unwrap();
    let before = storage.operations();
    dir.forget_checkpoints(&t(0)).unwrap();
    assert_eq!(storage.operations(), before, "there is nothing to forget any more");
    drop(dir);
    storage.crash(5);
    let dir = open(&storage);
    let told = |partition| (dir.high_watermark(&t(partition)), dir.open_mode(&t(partition)));
    let none = OpenMode { clean: false, recovery_point: 0, log_start_offset: 0 };
    assert_eq!(told(0), (0, none));
    assert_eq!(told(1), (8, OpenMode { recovery_point: 8, log_start_offset: 8, ..none }));
    dir.forget_checkpoints(&t(1)).unwrap();
    drop(dir);
    assert_eq!(open(&storage).high_watermark(&t(1)), 0, "what an earlier process wrote is forgotten too");
}

#[test]
fn a_damaged_checkpoint_is_an_error_that_names_it() {
    let storage = MemoryStorage::new();
    drop(open(&storage));
    for name in
        ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint"]
    {
        let path = Path::new("/data").join(name);
        storage.open(&path, Access::Replace).unwrap().write_all_at(b"0\n5\n", 0).unwrap();
        let error = LogDir::open(storage.clone(), data(), ours()).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("0 of the 5"), "{error}");
        storage.remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_left_to_recover_is_counted_before_and_falls_with_each_log() {
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let small = taffrail_log::LogConfig { segment_bytes: 300, ..config() };
    for partition in 0..2 {
        let mut log = dir.create_log(&t(partition), Uuid([9; 16]), small.clone(), NOW).unwrap();
        for _ in 0..9 {
            append(&mut log, &Batch::of(2));
        }
    }
    // All of the first log's segments but the last two were synced, and nothing of the second's.
    let bases: Vec<i64> = {
        let (log, _) = dir.open_log(&t(0), small.clone(), NOW).unwrap();
        log.segment_base_offsets().collect()
    };
    let point = bases[bases.len() - 2];
    dir.write_recovery_points(&Offsets::from([(t(0), point + 1)])).unwrap();
    drop(dir);
    let dir = open(&storage);
    dir.count_recovery();
    let (total, segments) = (dir.progress().total(), bases.len() as u64);
    assert_eq!((total.logs, total.segments), (2, segments + 2));
    let (_, report) = dir.open_log(&t(0), small.clone(), NOW).unwrap();
    assert_eq!(report.scanned_segments, 2);
    let left = dir.progress().left();
    assert_eq!((left.logs, left.segments, left.bytes), (1, segments, total.bytes - report.scanned_bytes));
    dir.open_log(&t(1), small, NOW).unwrap();
    assert_eq!(dir.progress().left(), taffrail_log::Workload::default());
    assert_eq!(dir.progress().total(), total);
}
