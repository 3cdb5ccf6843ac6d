//! A partition's directory that Apache Kafka wrote (`data/README.md`), opened as our own.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Batch, NOW, append, everything, offsets_read};
use taffrail_log::names::SegmentFile;
use taffrail_log::{
    FileStorage, Finding, Log, LogConfig, LogDir, LogDirError, MetaProperties, OpenMode, RecoveryReport,
};
use taffrail_protocol::Uuid;
use taffrail_protocol::record_batch::{BatchView, Batches, Compression};

const SEGMENTS: [i64; 7] = [0, 12, 24, 36, 48, 60, 68];
const CLEAN: OpenMode = OpenMode { clean: true, recovery_point: 71, log_start_offset: 0 };

fn captured() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captured-0")
}

fn copy() -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("captured-0")).unwrap();
    for entry in fs::read_dir(captured()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join("captured-0").join(entry.file_name())).unwrap();
    }
    to
}

fn config() -> LogConfig {
    // What was captured is years away from the tests' clock.
    LogConfig { index_interval_bytes: 200, producer_id_expiration_ms: i64::MAX / 2, ..LogConfig::default() }
}

fn open(dir: &tempfile::TempDir, mode: OpenMode) -> (Log<FileStorage>, RecoveryReport) {
    Log::open(FileStorage::default(), dir.path().join("captured-0"), config(), mode, NOW).unwrap()
}

fn all_bytes() -> Vec<u8> {
    SEGMENTS.iter().flat_map(|base| fs::read(SegmentFile::Log.path(&captured(), *base)).unwrap()).collect()
}

#[test]
fn it_opens_clean_and_reads_byte_for_byte() {
    let dir = copy();
    let (mut log, report) = open(&dir, CLEAN);
    assert_eq!(report, RecoveryReport::default());
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segment_count()), (0, 71, 7));
    assert_eq!(log.topic_id().unwrap().to_string(), "1HbJRIEFSZWLrq29psToyA");
    assert_eq!(log.latest_epoch(), Some(0));
    assert_eq!(log.last_stable_offset(71), 71, "all transactions are over");
    assert_eq!(log.producer_count(), 7);
    assert_eq!(everything(&mut log), all_bytes());
    assert_eq!(offsets_read(&mut log, 32, 1, 71), [29]);
    assert_eq!(offsets_read(&mut log, 59, 1, 71), [58]);
}

#[test]
fn its_records_are_those_that_were_produced_with_every_codec() {
    let dir = copy();
    let (mut log, _) = open(&dir, CLEAN);
    let bytes = everything(&mut log);
    let mut values = Vec::new();
    let mut codecs = Vec::new();
    for view in Batches::new(&bytes) {
        let view = view.unwrap();
        view.verify_crc().unwrap();
        codecs.push(view.header().compression().unwrap());
        if !view.header().is_control() {
            let records = view.records(1 << 20).unwrap();
            for record in records.iter() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
    }
    let mut expected = Vec::new();
    for codec in Compression::ALL {
        assert!(codecs.contains(&codec), "{codec:?}");
        expected.extend((1..=12).map(|i| format!("{}-value-{i}-abcabcabcabcabcabc", codec.name())));
    }
    assert_eq!(values[..60], expected);
    assert_eq!(values[66..], ["last-1", "last-2", "last-3"]);
}

#[test]
fn its_producers_go_on_where_they_were() {
    let dir = copy();
    let (mut log, _) = open(&dir, CLEAN);
    // The last batch, sent again.
    let bytes = fs::read(SegmentFile::Log.path(&captured(), 68)).unwrap();
    let header = *BatchView::new(&bytes).unwrap().header();
    let again = log
        .append_as_leader(&mut bytes.clone(), &header, 0, taffrail_log::AppendOrigin::Client, NOW)
        .unwrap();
    assert!(again.duplicate);
    assert_eq!((again.base_offset, again.last_offset), (68, 70));
    let next = append(&mut log, &Batch::of(2).producer(6, 0, 3));
    assert_eq!(next.base_offset, 71);
    assert!(common::try_append(&mut log, &Batch::of(2).producer(4, 0, 13), 0).is_err());
    append(&mut log, &Batch::of(2).producer(4, 0, 12));
}

#[test]
fn a_full_check_finds_nothing_and_the_same_producers() {
    let dir = copy();
    for base in SEGMENTS {
        let _ = fs::remove_file(SegmentFile::ProducerSnapshot.path(&dir.path().join("captured-0"), base));
    }
    fs::remove_file(SegmentFile::ProducerSnapshot.path(&dir.path().join("captured-0"), 71)).unwrap();
    let (mut log, report) = open(&dir, OpenMode::UNKNOWN);
    assert_eq!(report.findings, []);
    assert_eq!(report.scanned_segments, 7);
    assert_eq!(everything(&mut log), all_bytes());
    log.close(NOW).unwrap();
    // What the batches tell of the producers is what Apache Kafka had written down.
    let read = |dir: &Path| {
        let bytes = fs::read(SegmentFile::ProducerSnapshot.path(dir, 71)).unwrap();
        let mut entries = taffrail_log::producer_snapshot::decode(&bytes).unwrap();
        entries.sort_by_key(|entry| entry.producer_id);
        entries
    };
    assert_eq!(read(&dir.path().join("captured-0")), read(&captured()));
}

#[test]
fn indexes_written_anew_are_the_same_bytes() {
    for (kind, mode) in [
        (SegmentFile::OffsetIndex, CLEAN),
        (SegmentFile::TimeIndex, CLEAN),
        (SegmentFile::TimeIndex, OpenMode::UNKNOWN),
    ] {
        let dir = copy();
        for base in SEGMENTS {
            fs::remove_file(kind.path(&dir.path().join("captured-0"), base)).unwrap();
        }
        let (mut log, report) = open(&dir, mode);
        assert!(!mode.clean || report.found(Finding::MissingIndex));
        log.close(NOW).unwrap();
        for base in &SEGMENTS[..6] {
            for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
                let name = kind.name(*base);
                let written = fs::read(dir.path().join("captured-0").join(&name)).unwrap();
                assert_eq!(written, fs::read(captured().join(&name)).unwrap(), "{name}");
            }
        }
    }
}

#[test]
fn preallocated_indexes_of_a_broker_that_was_killed_are_no_obstacle() {
    let dir = copy();
    for (kind, len) in [(SegmentFile::OffsetIndex, 10_485_760), (SegmentFile::TimeIndex, 10_485_756)] {
        let path = kind.path(&dir.path().join("captured-0"), 68);
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
    }
    fs::remove_file(SegmentFile::ProducerSnapshot.path(&dir.path().join("captured-0"), 71)).unwrap();
    let (mut log, report) = open(&dir, OpenMode { clean: false, recovery_point: 60, log_start_offset: 0 });
    assert_eq!(report.findings, []);
    assert_eq!(everything(&mut log), all_bytes());
    assert_eq!(log.producer_count(), 7);
    let index = SegmentFile::OffsetIndex.path(log.dir(), 68);
    assert_eq!(fs::metadata(index).unwrap().len(), 0, "nothing is preallocated");
}

#[test]
fn offsets_are_found_by_the_time_of_their_records() {
    let dir = copy();
    let (mut log, _) = open(&dir, CLEAN);
    let bytes = everything(&mut log);
    let mut times = Vec::new();
    for view in Batches::new(&bytes) {
        let records = view.unwrap().records(1 << 20).unwrap();
        times.extend(
            records.iter().map(|record| record.unwrap()).map(|record| (record.timestamp, record.offset)),
        );
    }
    for (timestamp, _) in &times {
        for wanted in [*timestamp, timestamp + 1] {
            let first = times.iter().find(|(stamp, _)| *stamp >= wanted);
            let found =
                log.offset_for_timestamp(wanted).unwrap().map(|found| (found.timestamp, found.offset));
            assert_eq!(found, first.copied());
        }
    }
    let latest = times.iter().map(|(stamp, _)| *stamp).max().unwrap();
    let first = times.iter().find(|(stamp, _)| *stamp == latest).unwrap();
    let found = log.max_timestamp().unwrap().unwrap();
    assert_eq!((found.timestamp, found.offset), *first);
}

#[test]
fn a_whole_data_directory_of_kafkas_is_refused_and_left_alone() {
    let ours = MetaProperties { cluster_id: "c".into(), node_id: 1, directory_id: Uuid([1; 16]) };
    for (name, content) in [
        (
            "meta.properties",
            Some("#\n#Sat Nov 21 08:59:33 UTC 2026\nnode.id=1\ndirectory.id=x\nversion=1\ncluster.id=y\n"),
        ),
        ("bootstrap.checkpoint", Some("")),
        ("__cluster_metadata-0", None),
        ("captured-0", None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::create_dir(&path).unwrap(),
        }
        let refused =
            LogDir::open(FileStorage::default(), dir.path().to_owned(), ours.clone()).err().unwrap();
        if name == "captured-0" {
            assert!(matches!(refused, LogDirError::Unmarked { .. }), "{refused}");
        } else {
            assert!(refused.to_string().contains("belongs to Apache Kafka"), "{refused}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was added");
    }
}
