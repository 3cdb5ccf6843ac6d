//! What is said about logs to those who look after a broker: a table of damages, each found and named, and indexes made anew.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Batch, NOW, append, try_append};
use taffrail_log::examine::verify::{Verified, VerifyOptions, verify};
use taffrail_log::examine::{
    ExamineError, Observation, Place, Severity, Symptom, discover, rebuild, segments,
};
use taffrail_log::names::SegmentFile;
use taffrail_log::offset_checkpoint::Offsets;
use taffrail_log::offset_index::OffsetPosition;
use taffrail_log::retention::Retention;
use taffrail_log::time_index::TimestampOffset;
use taffrail_log::transaction_index::AbortedTransaction;
use taffrail_log::{
    AppendOrigin, FileStorage, Log, LogConfig, LogDir, MetaProperties, TopicPartition, leader_epoch,
    producer_snapshot,
};
use taffrail_protocol::Uuid;
use taffrail_protocol::record_batch::{BatchBuilder, BatchHeader, BatchView, Compression, HEADER_SIZE};
use tempfile::TempDir;

/// The base offsets of the segments that [`broker`] makes.
const SEGMENTS: [i64; 3] = [0, 16, 29];
const END: i64 = 41;

fn config() -> LogConfig {
    LogConfig { index_interval_bytes: 100, segment_bytes: 900, ..LogConfig::default() }
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn ours() -> MetaProperties {
    MetaProperties { cluster_id: "c".into(), node_id: 1, directory_id: Uuid([3; 16]) }
}

fn open(dir: &TempDir) -> LogDir<FileStorage> {
    LogDir::open(FileStorage::default(), dir.path().to_owned(), ours()).unwrap()
}

fn marker(log: &mut Log<FileStorage>, producer_id: i64, commit: bool) {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(producer_id, 0, -1).transactional().control();
    builder.append(NOW, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0, 0, 0, 0, 0, 5]), &[]);
    let mut bytes = builder.build().unwrap();
    let header = *BatchView::new(&bytes).unwrap().header();
    log.append_as_leader(&mut bytes, &header, 0, AppendOrigin::Coordinator, NOW).unwrap();
}

/// Three segments with what a log may hold: producers, transactions that were aborted and committed, codecs, epochs.
fn fill(log: &mut Log<FileStorage>) {
    append(log, &Batch::of(2).producer(7, 0, 0));
    append(log, &Batch::of(2).timestamp(NOW + 50).compression(Compression::Lz4));
    append(log, &Batch::of(3).producer(8, 0, 0).transactional());
    append(log, &Batch::of(2).producer(7, 0, 2));
    marker(log, 8, false);
    while log.segment_count() < 2 {
        append(log, &Batch::of(2).timestamp(NOW + 10 * log.log_end_offset()).padding(20));
    }
    append(log, &Batch::of(2).producer(9, 0, 0).transactional());
    marker(log, 9, true);
    while log.segment_count() < 3 {
        let batch = Batch::of(2).timestamp(NOW + 10 * log.log_end_offset()).padding(20);
        try_append(log, &batch, 3).unwrap();
    }
    for _ in 0..5 {
        let batch = Batch::of(2).timestamp(NOW + 10 * log.log_end_offset()).padding(20);
        try_append(log, &batch, 4).unwrap();
    }
}

/// A data directory with one log, of a broker that stopped in good order.
fn broker() -> TempDir {
    let dir = TempDir::new().unwrap();
    let data = open(&dir);
    let mut log = data.create_log(&partition(), Uuid([9; 16]), config(), NOW).unwrap();
    fill(&mut log);
    assert_eq!(log.segment_base_offsets().collect::<Vec<_>>(), SEGMENTS);
    assert_eq!(log.log_end_offset(), END);
    log.close(NOW).unwrap();
    let offsets = Offsets::from([(partition(), END)]);
    data.write_recovery_points(&offsets).unwrap();
    data.write_high_watermarks(&offsets).unwrap();
    data.mark_clean(1).unwrap();
    dir
}

/// The same of one that was killed when everything before the last segment had been synced.
fn killed() -> TempDir {
    let dir = broker();
    fs::remove_file(dir.path().join(".kafka_cleanshutdown")).unwrap();
    let offsets = Offsets::from([(partition(), SEGMENTS[2])]);
    open(&dir).write_recovery_points(&offsets).unwrap();
    dir
}

fn file(dir: &Path, kind: SegmentFile, segment: usize) -> PathBuf {
    kind.path(&dir.join("t-0"), SEGMENTS[segment])
}

fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    with(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Where the batches of a segment begin.
fn batches(dir: &Path, segment: usize) -> Vec<(usize, BatchHeader)> {
    let bytes = fs::read(file(dir, SegmentFile::Log, segment)).unwrap();
    let mut position = 0;
    let mut found = Vec::new();
    while let Ok(header) = BatchHeader::parse(&bytes[position..]) {
        found.push((position, header));
        position += header.size_in_bytes();
    }
    found
}

fn change_entry<const N: usize>(path: &Path, index: usize, with: impl FnOnce([u8; N]) -> [u8; N]) {
    change(path, |bytes| {
        let entry: &mut [u8; N] = (&mut bytes[index * N..(index + 1) * N]).try_into().unwrap();
        *entry = with(*entry);
    });
}

struct Seen {
    all: Vec<Observation>,
    damaged: u64,
}

fn look(dir: &Path, options: VerifyOptions) -> Seen {
    let examined = discover(dir).unwrap();
    let mut seen = Seen { all: examined.observations, damaged: examined.damaged };
    for place in &examined.places {
        let verified = verify(place, &options);
        seen.all.extend(verified.observations);
        seen.damaged += verified.damaged;
    }
    seen
}

const DEEP: VerifyOptions = VerifyOptions { deep: true, max_batch_bytes: 1 << 20 };

fn verified(dir: &Path) -> Verified {
    let examined = discover(dir).unwrap();
    assert_eq!(examined.damaged, 0);
    verify(&examined.places[0], &DEEP)
}

fn damages(seen: &Seen) -> Vec<&Observation> {
    let damages: Vec<_> = seen.all.iter().filter(|seen| seen.severity == Severity::Damage).collect();
    assert_eq!(damages.len() as u64, seen.damaged, "{:#?}", seen.all);
    damages
}

#[test]
fn a_log_that_was_closed_is_sound_and_so_is_one_that_was_killed() {
    for dir in [broker(), killed()] {
        let verified = verified(dir.path());
        assert_eq!(verified.observations, []);
        assert_eq!((verified.base_offset, verified.log_end_offset, verified.segments), (0, END, 3));
        assert_eq!(verified.records, END as u64);
        let bytes: u64 =
            (0..3).map(|i| fs::metadata(file(dir.path(), SegmentFile::Log, i)).unwrap().len()).sum();
        assert_eq!(verified.bytes, bytes);
        let aborted = fs::read(file(dir.path(), SegmentFile::TransactionIndex, 0)).unwrap();
        assert_eq!(aborted.len(), 34, "there is something to check");
        let epochs = fs::read(dir.path().join("t-0/leader-epoch-checkpoint")).unwrap();
        assert!(leader_epoch::LeaderEpochs::decode(&epochs).unwrap().entries().len() > 2);
        for index in 0..3 {
            for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::Log] {
                assert!(fs::metadata(file(dir.path(), kind, index)).unwrap().len() > 16);
            }
        }
    }
}

/// What is done to a directory, and what is to be said of it.
type Row = (&'static str, Symptom, fn(&Path), &'static str, &'static str);

/// Each does one damage to a directory that was sound.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("a bit of a record flips", Symptom::CorruptBatch, |dir| {
        let (position, header) = batches(dir, 1)[2];
        change(&file(dir, SegmentFile::Log, 1), |bytes| bytes[position + header.size_in_bytes() - 3] ^= 4);
    }, "00000000000000000016.log", "does not match its checksum"),
    ("a bit of a batch's length flips", Symptom::NoBatch, |dir| {
        let (position, _) = batches(dir, 1)[1];
        change(&file(dir, SegmentFile::Log, 1), |bytes| bytes[position + 8] ^= 64);
    }, "00000000000000000016.log", "the next sound one begins at position"),
    ("a batch's length becomes a smaller one", Symptom::NoBatch, |dir| {
        let (position, _) = batches(dir, 0)[0];
        change(&file(dir, SegmentFile::Log, 0), |bytes| bytes[position + 11] = 3);
    }, "00000000000000000000.log", "the next sound one begins at position"),
    ("a batch's base offset falls", Symptom::OffsetsOutOfOrder, |dir| {
        let (position, _) = batches(dir, 2)[2];
        change(&file(dir, SegmentFile::Log, 2), |bytes| bytes[position + 7] = 1);
    }, "00000000000000000029.log", "begins at offset 1, and the one before it ends at 33"),
    ("a batch's base offset jumps", Symptom::OffsetsOutOfOrder, |dir| {
        let (position, _) = batches(dir, 0)[2];
        change(&file(dir, SegmentFile::Log, 0), |bytes| bytes[position + 6] = 1);
    }, "00000000000000000000.log", "the next segment begins at 16"),
    ("a batch's leader epoch changes", Symptom::CorruptEpochs, |dir| {
        let (position, _) = batches(dir, 1)[0];
        change(&file(dir, SegmentFile::Log, 1), |bytes| bytes[position + 15] = 9);
    }, "00000000000000000016.log", "leader epoch 9, and leader-epoch-checkpoint says 0"),
    ("zeros in the middle of a segment", Symptom::NoBatch, |dir| {
        let (position, header) = batches(dir, 1)[1];
        change(&file(dir, SegmentFile::Log, 1), |bytes| bytes[position..position + header.size_in_bytes()].fill(0));
    }, "00000000000000000016.log", "the next sound one begins at position"),
    ("a sealed segment is cut off", Symptom::NoBatch, |dir| {
        change(&file(dir, SegmentFile::Log, 0), |bytes| bytes.truncate(bytes.len() - 5));
    }, "00000000000000000000.log", "up to the end of the segment are no batch"),
    ("the last segment is cut off", Symptom::TornTail, |dir| {
        change(&file(dir, SegmentFile::Log, 2), |bytes| bytes.truncate(bytes.len() - 5));
    }, "00000000000000000029.log", "are no whole batch"),
    ("the last batch is gone", Symptom::CheckpointAhead, |dir| {
        let (position, _) = *batches(dir, 2).last().unwrap();
        change(&file(dir, SegmentFile::Log, 2), |bytes| bytes.truncate(position));
    }, "t-0", "recovery-point-offset-checkpoint says that it was synced up to 41"),
    ("a segment is gone", Symptom::MissingOffsets, |dir| {
        for kind in SegmentFile::ALL {
            let _ = fs::remove_file(file(dir, kind, 1));
        }
    }, "00000000000000000029.log", "the segment before it ends at offset 16"),
    ("only the log file of a segment is gone", Symptom::OrphanIndex, |dir| {
        fs::remove_file(file(dir, SegmentFile::Log, 1)).unwrap();
    }, "00000000000000000016.timeindex", "an index without its segment"),
    ("a segment is there twice", Symptom::OffsetsOutOfOrder, |dir| {
        let other = SegmentFile::Log.path(&dir.join("t-0"), 18);
        fs::copy(file(dir, SegmentFile::Log, 1), other).unwrap();
    }, "00000000000000000016.log", "a batch has offsets up to 19, and the next segment begins at 18"),
    ("all segments are gone", Symptom::NoSegment, |dir| {
        for (kind, index) in SegmentFile::ALL.into_iter().flat_map(|kind| (0..3).map(move |index| (kind, index))) {
            let _ = fs::remove_file(file(dir, kind, index));
        }
    }, "t-0", "known to have had records up to offset 41"),
    ("records that their header miscounts", Symptom::CorruptRecords, |dir| {
        resum(&file(dir, SegmentFile::Log, 1), batches(dir, 1)[0].0, |batch| batch[60] = 1);
    }, "00000000000000000016.log", "the records of a batch cannot be read"),
    ("more records than offsets", Symptom::CorruptRecords, |dir| {
        resum(&file(dir, SegmentFile::Log, 1), batches(dir, 1)[0].0, |batch| batch[60] = 100);
    }, "00000000000000000016.log", "has 100 records, and has 2 offsets"),
    ("what does not decompress", Symptom::CorruptRecords, |dir| {
        resum(&file(dir, SegmentFile::Log, 0), batches(dir, 0)[1].0, |batch| batch[HEADER_SIZE..].fill(7));
    }, "00000000000000000000.log", "the records of a batch cannot be read"),
    ("an offset index is missing", Symptom::MissingIndex, |dir| {
        fs::remove_file(file(dir, SegmentFile::OffsetIndex, 0)).unwrap();
    }, "00000000000000000000.index", "the file is missing"),
    ("a time index is missing", Symptom::MissingIndex, |dir| {
        fs::remove_file(file(dir, SegmentFile::TimeIndex, 2)).unwrap();
    }, "00000000000000000029.timeindex", "the file is missing"),
    ("an index entry's position is wrong", Symptom::CorruptOffsetIndex, |dir| {
        change_entry(&file(dir, SegmentFile::OffsetIndex, 1), 0, |entry| {
            let entry = OffsetPosition::decode(entry, SEGMENTS[1]);
            OffsetPosition { position: entry.position + 1, ..entry }.encode(SEGMENTS[1])
        });
    }, "00000000000000000016.index", "no batch begins at position"),
    ("an index entry's offset is that of an earlier batch", Symptom::CorruptOffsetIndex, |dir| {
        change_entry(&file(dir, SegmentFile::OffsetIndex, 1), 0, |entry| {
            let entry = OffsetPosition::decode(entry, SEGMENTS[1]);
            OffsetPosition { offset: SEGMENTS[1], ..entry }.encode(SEGMENTS[1])
        });
    }, "00000000000000000016.index", "the entry says offset 16, and the batch at position"),
    ("an index entry's offset is in the middle of a later batch", Symptom::CorruptOffsetIndex, |dir| {
        change_entry(&file(dir, SegmentFile::OffsetIndex, 1), 1, |entry| {
            let entry = OffsetPosition::decode(entry, SEGMENTS[1]);
            OffsetPosition { offset: entry.offset + 1, ..entry }.encode(SEGMENTS[1])
        });
    }, "00000000000000000016.index", "no batch ends with the offset"),
    ("an index reaches behind its segment", Symptom::CorruptOffsetIndex, |dir| {
        let entry = OffsetPosition { offset: 999, position: 9_999 }.encode(SEGMENTS[2]);
        change(&file(dir, SegmentFile::OffsetIndex, 2), |bytes| bytes.extend(entry));
    }, "00000000000000000029.index", "position 9999, behind the end of the segment"),
    ("an index entry comes twice", Symptom::CorruptOffsetIndex, |dir| {
        change(&file(dir, SegmentFile::OffsetIndex, 1), |bytes| { let entry = bytes[..8].to_vec(); bytes.splice(0..0, entry); });
    }, "00000000000000000016.index", "does not rise"),
    ("an index ends inside of an entry", Symptom::CorruptOffsetIndex, |dir| {
        change(&file(dir, SegmentFile::OffsetIndex, 1), |bytes| bytes.truncate(bytes.len() - 1));
    }, "00000000000000000016.index", "no whole entry of 8"),
    ("a time entry's timestamp is wrong", Symptom::CorruptTimeIndex, |dir| {
        change_entry(&file(dir, SegmentFile::TimeIndex, 1), 0, |entry| {
            let entry = TimestampOffset::decode(entry, SEGMENTS[1]);
            TimestampOffset { timestamp: entry.timestamp - 1, ..entry }.encode(SEGMENTS[1])
        });
    }, "00000000000000000016.timeindex", "whose batch has"),
    ("a time entry is true, and hides a later record before it", Symptom::CorruptTimeIndex, |dir| {
        let (position, header) = batches(dir, 0)[2];
        assert!(position > 0 && header.max_timestamp < NOW + 50);
        let entry = TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
        change_entry(&file(dir, SegmentFile::TimeIndex, 0), 0, |_| entry.encode(0));
    }, "00000000000000000000.timeindex", "none is later than"),
    ("a time entry's offset is not the segment's", Symptom::CorruptTimeIndex, |dir| {
        let entry = TimestampOffset { timestamp: NOW + 1_000_000, offset: 999 }.encode(SEGMENTS[1]);
        change(&file(dir, SegmentFile::TimeIndex, 1), |bytes| bytes.extend(entry));
    }, "00000000000000000016.timeindex", "behind the end of the segment"),
    ("a time index lacks its last entry", Symptom::CorruptTimeIndex, |dir| {
        change(&file(dir, SegmentFile::TimeIndex, 1), |bytes| bytes.truncate(bytes.len() - 12));
    }, "00000000000000000016.timeindex", "lookups by time miss it"),
    ("a transaction index lacks a transaction", Symptom::CorruptTransactionIndex, |dir| {
        fs::remove_file(file(dir, SegmentFile::TransactionIndex, 0)).unwrap();
    }, "00000000000000000000.txnindex", "it does not say that producer 8 aborted a transaction of offsets 4..9"),
    ("a transaction index has one that was committed", Symptom::CorruptTransactionIndex, |dir| {
        let entry = AbortedTransaction { producer_id: 9, first_offset: 18, last_offset: 20, last_stable_offset: 18 };
        fs::write(file(dir, SegmentFile::TransactionIndex, 1), entry.encode()).unwrap();
    }, "00000000000000000016.txnindex", "and the batches do not"),
    ("a transaction index is torn", Symptom::CorruptTransactionIndex, |dir| {
        change(&file(dir, SegmentFile::TransactionIndex, 0), |bytes| bytes.truncate(30));
    }, "00000000000000000000.txnindex", "not a multiple of 34"),
    ("a producer snapshot does not match its checksum", Symptom::CorruptSnapshot, |dir| {
        change(&file(dir, SegmentFile::ProducerSnapshot, 1), |bytes| bytes[20] ^= 1);
    }, "00000000000000000016.snapshot", "does not match its checksum"),
    ("a producer snapshot has another sequence", Symptom::CorruptSnapshot, |dir| {
        rewrite_snapshot(dir, |entry| entry.last_sequence += 1);
    }, "00000000000000000016.snapshot", "and its last batch is at"),
    ("a producer snapshot has another open transaction", Symptom::CorruptSnapshot, |dir| {
        rewrite_snapshot(dir, |entry| entry.current_txn_first_offset = 3);
    }, "00000000000000000016.snapshot", "a transaction open since offset 3, and it has no open transaction"),
    ("a producer snapshot knows what comes later", Symptom::CorruptSnapshot, |dir| {
        rewrite_snapshot(dir, |entry| entry.last_offset = 20);
    }, "00000000000000000016.snapshot", "behind the snapshot's own"),
    ("a producer snapshot is ahead of the log", Symptom::SnapshotAhead, |dir| {
        let ahead = SegmentFile::ProducerSnapshot.path(&dir.join("t-0"), 99);
        fs::copy(file(dir, SegmentFile::ProducerSnapshot, 1), ahead).unwrap();
    }, "00000000000000000099.snapshot", "the log ends at 41"),
    ("leader epochs are missing", Symptom::CorruptEpochs, |dir| {
        fs::remove_file(dir.join("t-0/leader-epoch-checkpoint")).unwrap();
    }, "leader-epoch-checkpoint", "is missing or empty"),
    ("leader epochs cannot be understood", Symptom::CorruptEpochs, |dir| {
        fs::write(dir.join("t-0/leader-epoch-checkpoint"), "0\n2\n4 0\n3 9\n").unwrap();
    }, "leader-epoch-checkpoint", "do not rise"),
    ("leader epochs begin elsewhere", Symptom::CorruptEpochs, |dir| {
        fs::write(dir.join("t-0/leader-epoch-checkpoint"), "0\n1\n0 0\n").unwrap();
    }, "00000000000000000016.log", "the leader epoch 3, and leader-epoch-checkpoint says 0"),
    ("a leader epoch is ahead of the log", Symptom::CorruptEpochs, |dir| {
        change(&dir.join("t-0/leader-epoch-checkpoint"), |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap().replace("0\n3\n", "0\n4\n");
            *bytes = (text + "8 77\n").into_bytes();
        });
    }, "t-0", "an epoch that begins at 77"),
    ("a topic's id cannot be understood", Symptom::CorruptMetadata, |dir| {
        fs::write(dir.join("t-0/partition.metadata"), "version: 0\ntopic_id: x").unwrap();
    }, "partition.metadata", "topic id is due"),
    ("a checkpoint cannot be understood", Symptom::CorruptCheckpoint, |dir| {
        fs::write(dir.join("replication-offset-checkpoint"), "0\n1\nt 0\n").unwrap();
    }, "replication-offset-checkpoint", "malformed"),
    ("the high watermark is ahead of the log", Symptom::CheckpointAhead, |dir| {
        fs::write(dir.join("replication-offset-checkpoint"), "0\n1\nt 0 50\n").unwrap();
    }, "t-0", "everything was committed before 50"),
    ("the log's start is ahead of the log", Symptom::CheckpointAhead, |dir| {
        fs::write(dir.join("log-start-offset-checkpoint"), "0\n1\nt 0 43\n").unwrap();
    }, "t-0", "it begins at 43"),
    ("nothing says whose directory it is", Symptom::CorruptMetadata, |dir| {
        fs::remove_file(dir.join("meta.properties")).unwrap();
    }, "meta.properties", "whose directory this is is missing"),
];

/// Changes a batch, and makes its checksum that of what it is then.
fn resum(path: &Path, position: usize, with: impl FnOnce(&mut [u8])) {
    change(path, |bytes| {
        let size = BatchHeader::parse(&bytes[position..]).unwrap().size_in_bytes();
        let batch = &mut bytes[position..position + size];
        with(batch);
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    });
}

/// Changes what the snapshot before the second segment says of producer 7.
fn rewrite_snapshot(dir: &Path, with: impl FnOnce(&mut producer_snapshot::SnapshotEntry)) {
    change(&file(dir, SegmentFile::ProducerSnapshot, 1), |bytes| {
        let mut entries = producer_snapshot::decode(bytes).unwrap();
        with(entries.iter_mut().find(|entry| entry.producer_id == 7).unwrap());
        *bytes = producer_snapshot::encode(entries.into_iter());
    });
}

#[test]
fn every_damage_of_the_table_is_found_and_named() {
    for (what, symptom, damage, file, text) in TABLE {
        let dir = broker();
        damage(dir.path());
        let seen = look(dir.path(), DEEP);
        let damages = damages(&seen);
        let named = damages
            .iter()
            .any(|seen| seen.symptom == *symptom && seen.file.ends_with(file) && seen.text.contains(text));
        assert!(named, "{what}: {:#?}", seen.all);
        // What follows from one damage is told too, but not as a flood.
        assert!(damages.len() <= 20, "{what}: {damages:#?}");
    }
}

#[test]
fn verifying_changes_nothing() {
    let snapshot = |dir: &Path| {
        let mut files = Vec::new();
        for dir in [dir.to_owned(), dir.join("t-0")] {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file())
            {
                let modified = entry.metadata().unwrap().modified().unwrap();
                files.push((entry.path(), fs::read(entry.path()).unwrap(), modified));
            }
        }
        files.sort();
        files
    };
    for (_, _, damage, ..) in TABLE {
        let dir = broker();
        damage(dir.path());
        let before = snapshot(dir.path());
        look(dir.path(), DEEP);
        for place in discover(dir.path()).unwrap().places {
            segments::list(&place, Retention { ms: 1, bytes: 1 }, NOW).unwrap();
        }
        assert!(snapshot(dir.path()) == before);
    }
}

#[test]
fn where_and_which_offsets_are_told() {
    let dir = broker();
    let (position, header) = batches(dir.path(), 1)[2];
    change(&file(dir.path(), SegmentFile::Log, 1), |bytes| bytes[position + 70] ^= 1);
    let seen = look(dir.path(), VerifyOptions::default());
    let damages = damages(&seen);
    assert_eq!(damages.len(), 1, "what is behind the batch is sound, and checked: {damages:#?}");
    assert_eq!(damages[0].position, Some(position as u64));
    assert_eq!(
        (damages[0].offset, damages[0].last_offset),
        (Some(header.base_offset), Some(header.last_offset()))
    );
    // A header that is none hides its batch; the next one is found without it.
    let dir = broker();
    change(&file(dir.path(), SegmentFile::Log, 1), |bytes| bytes[position + 16] = 77);
    let seen = look(dir.path(), VerifyOptions::default());
    let damages: Vec<_> = seen.all.iter().filter(|seen| seen.symptom == Symptom::NoBatch).collect();
    assert_eq!((damages.len(), damages[0].position), (1, Some(position as u64)));
    assert_eq!(
        (damages[0].offset, damages[0].last_offset),
        (Some(header.base_offset), Some(header.last_offset()))
    );
}

#[test]
fn what_a_crash_leaves_is_a_note_and_only_behind_the_recovery_point() {
    let torn: fn(&Path) = |dir| {
        change(&file(dir, SegmentFile::Log, 2), |bytes| bytes.truncate(bytes.len() - 5));
    };
    let index: fn(&Path) = |dir| change(&file(dir, SegmentFile::OffsetIndex, 2), |bytes| bytes.fill(9));
    let zeros: fn(&Path) = |dir| change(&file(dir, SegmentFile::Log, 2), |bytes| bytes.extend([0; 500]));
    let snapshot: fn(&Path) =
        |dir| fs::write(SegmentFile::ProducerSnapshot.path(&dir.join("t-0"), END), "").unwrap();
    for (damage, symptom) in [
        (torn, Symptom::TornTail),
        (zeros, Symptom::TornTail),
        (index, Symptom::CorruptOffsetIndex),
        (snapshot, Symptom::CorruptSnapshot),
    ] {
        let dir = killed();
        // What was committed is known to be less; the rest of the test is about the log alone.
        fs::remove_file(dir.path().join("replication-offset-checkpoint")).unwrap();
        damage(dir.path());
        let seen = look(dir.path(), DEEP);
        assert!(damages(&seen).is_empty(), "{:#?}", seen.all);
        let told = seen.all.iter().filter(|seen| seen.symptom == symptom).collect::<Vec<_>>();
        assert!(
            !told.is_empty() && told.iter().all(|seen| seen.text.contains("the next start")),
            "{told:#?}"
        );
        // The next start does mend it.
        let data = open(&dir);
        data.open_log(&partition(), config(), NOW).unwrap();
        drop(data);
        assert!(damages(&look(dir.path(), DEEP)).is_empty());
    }
    // Before the recovery point nothing may be missing, and a bit that flips is no crash's doing.
    let dir = killed();
    change(&file(dir.path(), SegmentFile::OffsetIndex, 0), |bytes| bytes.fill(9));
    assert!(!damages(&look(dir.path(), DEEP)).is_empty());
    let dir = killed();
    let (position, _) = batches(dir.path(), 2)[1];
    change(&file(dir.path(), SegmentFile::Log, 2), |bytes| bytes[position + 70] ^= 1);
    assert_eq!(damages(&look(dir.path(), DEEP))[0].symptom, Symptom::CorruptBatch);
}

#[test]
fn the_end_of_a_log_that_is_being_written_is_in_motion_and_the_rest_is_not() {
    let place = |dir: &TempDir| {
        let mut place: Place = discover(dir.path()).unwrap().places.remove(0);
        (place.around.in_use, place.around.clean) = (true, false);
        place
    };
    let dir = killed();
    change(&file(dir.path(), SegmentFile::Log, 2), |bytes| bytes.truncate(bytes.len() - 5));
    let seen = verify(&place(&dir), &DEEP);
    assert_eq!((seen.damaged, seen.observations[0].symptom), (0, Symptom::TornTail), "{seen:#?}");
    assert!(seen.observations[0].text.contains("the broker may be writing it"));
    change(&file(dir.path(), SegmentFile::Log, 1), |bytes| bytes.truncate(bytes.len() - 5));
    assert!(verify(&place(&dir), &DEEP).damaged > 0);
    // A batch that is followed by another is not on its way.
    let dir = killed();
    let (position, _) = batches(dir.path(), 2)[1];
    change(&file(dir.path(), SegmentFile::Log, 2), |bytes| bytes[position + 8] = 100);
    let seen = verify(&place(&dir), &DEEP);
    assert!(seen.observations.iter().any(|seen| seen.symptom == Symptom::NoBatch), "{seen:#?}");
    fs::remove_dir_all(dir.path().join("t-0")).unwrap();
    let gone = Place { dir: dir.path().join("t-0"), ..place(&killed()) };
    let seen = verify(&gone, &DEEP);
    assert_eq!((seen.damaged, seen.observations[0].symptom), (0, Symptom::NotChecked));
}

#[test]
fn what_was_left_over_is_told_as_what_it_is() {
    let dir = broker();
    let log = dir.path().join("t-0");
    for name in [
        "x.tmp",
        "00000000000000000000.log.deleted",
        "00000000000000000001.log.cleaned",
        "00000000000000000002.log.swap",
    ] {
        fs::write(log.join(name), "").unwrap();
    }
    for suffix in ["delete", "stray", "future"] {
        fs::create_dir(dir.path().join(format!("u-1.00000000000000000000000000000000-{suffix}"))).unwrap();
    }
    let seen = look(dir.path(), DEEP);
    assert!(damages(&seen).is_empty());
    for (name, text) in [
        ("x.tmp", "take another's place"),
        ("00000000000000000000.log.deleted", "to be removed"),
        ("00000000000000000001.log.cleaned", "compaction"),
        ("00000000000000000002.log.swap", "compaction"),
        ("u-1.00000000000000000000000000000000-delete", "being deleted"),
        ("u-1.00000000000000000000000000000000-stray", "kept aside"),
        ("u-1.00000000000000000000000000000000-future", "being moved"),
    ] {
        assert!(seen.all.iter().any(|seen| seen.file.ends_with(name) && seen.text.contains(text)), "{name}");
    }
}

#[test]
fn what_compaction_took_out_is_not_missing() {
    let dir = broker();
    for kind in SegmentFile::ALL {
        let _ = fs::remove_file(file(dir.path(), kind, 1));
    }
    let offsets = Offsets::from([(partition(), 29)]);
    taffrail_log::offset_checkpoint::write(
        &FileStorage::default(),
        &dir.path().join("cleaner-offset-checkpoint"),
        &offsets,
    )
    .unwrap();
    assert!(damages(&look(dir.path(), DEEP)).is_empty());
    let place = discover(dir.path()).unwrap().places.remove(0);
    let rows = segments::list(&place, Retention { ms: -1, bytes: -1 }, NOW).unwrap();
    let cleaned: Vec<_> = rows.iter().map(|row| row.cleaned.map(segments::Cleaned::name)).collect();
    assert_eq!(cleaned, [Some("clean"), Some("dirty")]);
}

#[test]
fn directories_are_found_in_every_form_and_others_are_refused() {
    let dir = broker();
    let names = |path: &Path| {
        let places = discover(path).unwrap().places;
        places.iter().map(|place| place.partition.clone().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(dir.path()), ["t-0"]);
    assert_eq!(names(&dir.path().join("t-0")), ["t-0"]);
    let place = discover(&dir.path().join("t-0")).unwrap().places.remove(0);
    assert_eq!(place.around.recovery_point, Some(END), "the directory above tells of it");
    let dev = TempDir::new().unwrap();
    fs::create_dir_all(dev.path().join("brokers")).unwrap();
    for broker_id in ["0", "1"] {
        let broker = broker().keep();
        fs::rename(broker, dev.path().join("brokers").join(broker_id)).unwrap();
    }
    assert_eq!(names(dev.path()), ["t-0", "t-0"]);
    let empty = TempDir::new().unwrap();
    assert!(matches!(discover(empty.path()), Err(ExamineError::NoLogs { .. })));
    assert!(matches!(discover(&empty.path().join("x")), Err(ExamineError::Read { .. })));
}

#[test]
fn segments_are_listed_with_what_retention_would_delete() {
    let dir = broker();
    let place = discover(dir.path()).unwrap().places.remove(0);
    let rows = segments::list(&place, Retention { ms: 1000, bytes: -1 }, NOW + 1_250).unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (row.base_offset, row.end_offset, row.active)).collect();
    assert_eq!(shown, [(0, 16, false), (16, 29, false), (29, 41, true)]);
    assert_eq!(rows.iter().map(|row| row.records).sum::<u64>(), END as u64);
    assert_eq!(rows[0].compression.iter().copied().collect::<Vec<_>>(), ["lz4", "none"]);
    let deleted = |rows: &[segments::SegmentRow]| {
        rows.iter().map(|row| row.retention_deletes.map(segments::DeletedBy::name)).collect::<Vec<_>>()
    };
    assert_eq!(deleted(&rows), [Some("age"), None, None]);
    let two = rows[1].bytes + rows[2].bytes;
    let rows = segments::list(&place, Retention { ms: -1, bytes: two as i64 }, NOW).unwrap();
    assert_eq!(deleted(&rows), [Some("size"), None, None]);
    change(&file(dir.path(), SegmentFile::Log, 1), |bytes| bytes[16] = 9);
    let rows = segments::list(&place, Retention { ms: -1, bytes: -1 }, NOW).unwrap();
    assert!(rows[1].unreadable.as_ref().unwrap().starts_with("from position 0 on"));
}

fn rebuild_all(dir: &Path, interval: u32) -> (Vec<rebuild::Rebuilt>, Vec<Observation>) {
    let place = discover(dir).unwrap().places.remove(0);
    rebuild::rebuild(&place, interval).unwrap()
}

#[test]
fn indexes_made_anew_are_those_that_the_log_made_byte_for_byte() {
    let dir = broker();
    let (rebuilt, seen) = rebuild_all(dir.path(), 100);
    assert!(rebuilt.iter().all(|file| file.changed_from.is_none()), "{rebuilt:#?}");
    assert_eq!((rebuilt.len(), seen), (7, vec![]));
    let kinds = [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex];
    let read = |kind, index| fs::read(file(dir.path(), kind, index)).ok();
    let before: Vec<_> = kinds.iter().flat_map(|kind| (0..3).map(move |index| read(*kind, index))).collect();
    let damages: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| change(path, |bytes| bytes.fill(9)),
        |path| change(path, |bytes| bytes.truncate(bytes.len() / 2 + 1)),
        |path| change(path, |bytes| bytes.extend([1; 40])),
    ];
    for damage in damages {
        for (kind, index) in kinds.iter().flat_map(|kind| (0..3).map(move |index| (*kind, index))) {
            let path = file(dir.path(), kind, index);
            if path.exists() {
                damage(&path);
                let (rebuilt, _) = rebuild_all(dir.path(), 100);
                let changed: Vec<_> = rebuilt.iter().filter(|file| file.changed_from.is_some()).collect();
                assert_eq!(changed.len(), 1);
                assert_eq!(changed[0].file, path);
            }
        }
        let after: Vec<_> =
            kinds.iter().flat_map(|kind| (0..3).map(move |index| read(*kind, index))).collect();
        assert!(before == after);
    }
    assert!(damages_of(dir.path()).is_empty());
}

fn damages_of(dir: &Path) -> Vec<Observation> {
    let seen = look(dir, DEEP);
    damages(&seen).into_iter().cloned().collect()
}

#[test]
fn no_index_made_anew_leads_to_a_damaged_batch_and_transactions_are_then_left_alone() {
    let dir = broker();
    for (position, _) in &batches(dir.path(), 1)[1..3] {
        change(&file(dir.path(), SegmentFile::Log, 1), |bytes| bytes[position + 70] ^= 1);
    }
    fs::remove_file(file(dir.path(), SegmentFile::OffsetIndex, 1)).unwrap();
    fs::remove_file(file(dir.path(), SegmentFile::TimeIndex, 1)).unwrap();
    let aborted = fs::read(file(dir.path(), SegmentFile::TransactionIndex, 0)).unwrap();
    let (rebuilt, seen) = rebuild_all(dir.path(), 0);
    assert!(seen.iter().any(|seen| seen.severity == Severity::Damage && seen.position.is_some()));
    assert!(seen.iter().any(|seen| seen.text.contains("transaction indexes are left as they are")));
    let index = rebuilt.iter().find(|file| file.entries_before.is_none()).unwrap();
    assert_eq!(index.entries, batches(dir.path(), 1).len() as u64 - 3, "the first batch never has an entry");
    assert_eq!(fs::read(file(dir.path(), SegmentFile::TransactionIndex, 0)).unwrap(), aborted);
    let left = damages_of(dir.path());
    assert!(left.iter().all(|seen| seen.symptom == Symptom::CorruptBatch), "{left:#?}");
}

#[test]
fn a_directory_of_apache_kafka_is_sound_also_with_preallocated_indexes() {
    let captured = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captured-0");
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("captured-0");
    fs::create_dir(&log).unwrap();
    for entry in fs::read_dir(captured).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), log.join(entry.file_name())).unwrap();
    }
    for (kind, len) in [(SegmentFile::OffsetIndex, 10_485_760), (SegmentFile::TimeIndex, 10_485_756)] {
        fs::OpenOptions::new().write(true).open(kind.path(&log, 68)).unwrap().set_len(len).unwrap();
    }
    fs::write(dir.path().join("meta.properties"), "node.id=1\ndirectory.id=x\nversion=1\ncluster.id=y\n")
        .unwrap();
    fs::write(dir.path().join("replication-offset-checkpoint"), "0\n1\ncaptured 0 71\n").unwrap();
    fs::write(dir.path().join(".kafka_cleanshutdown"), "{\"version\":0,\"brokerEpoch\":8}").unwrap();
    let verified = verified(dir.path());
    assert_eq!((verified.observations, verified.records, verified.log_end_offset), (vec![], 71, 71));
    // It writes no transaction index for a segment without an aborted transaction, and neither is one made.
    let (rebuilt, seen) = rebuild_all(dir.path(), 200);
    assert!(
        seen.is_empty() && rebuilt.iter().all(|file| file.changed_from.is_none()),
        "{rebuilt:#?} {seen:#?}"
    );
}

#[test]
fn messages_of_older_formats_are_told_and_are_no_damage() {
    let dir = broker();
    let mut message = vec![0; 12];
    let body = [&[1_u8, 0][..], &[0; 8], &(-1_i32).to_be_bytes(), &3_i32.to_be_bytes(), b"old"].concat();
    let crc = body.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    });
    message[11] = (4 + body.len()) as u8;
    message.extend((!crc).to_be_bytes());
    message.extend(body);
    for kind in SegmentFile::ALL {
        (0..3).for_each(|index| drop(fs::remove_file(file(dir.path(), kind, index))));
    }
    fs::write(file(dir.path(), SegmentFile::Log, 0), message).unwrap();
    let place = Place { around: Default::default(), ..discover(dir.path()).unwrap().places.remove(0) };
    let verified = verify(&place, &DEEP);
    let told: Vec<_> = verified.observations.iter().map(|seen| (seen.symptom, seen.severity)).collect();
    assert!(told.contains(&(Symptom::OldFormat, Severity::Note)), "{told:?}");
    assert!(
        !told.iter().any(|(symptom, _)| matches!(symptom, Symptom::NoBatch | Symptom::TornTail)),
        "{told:?}"
    );
    let (_, seen) = rebuild::rebuild(&place, 100).unwrap();
    assert!(seen.iter().any(|seen| seen.symptom == Symptom::OldFormat));
}
