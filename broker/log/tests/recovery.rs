//! One test for each row of the recovery table, and one that the table is covered.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::path::PathBuf;

use common::{Batch, NOW, append, config, create, dir, everything, open, reopen, try_append};
use taffrail_log::names::SegmentFile;
use taffrail_log::storage::Access;
use taffrail_log::{
    Finding, Log, LogConfig, MemoryStorage, OpenError, OpenMode, RecoveryReport, Storage, StorageFile,
    Verdict,
};

const CLEAN: OpenMode = OpenMode { clean: true, recovery_point: 0, log_start_offset: 0 };

/// Three segments of six records each, and a fourth that is written to.
fn three_segments(storage: &MemoryStorage) -> Vec<u8> {
    let mut log = create(storage, small());
    for value in 0..14 {
        append(&mut log, &Batch::of(2).value(value + 10));
    }
    assert_eq!(log.segment_base_offsets().collect::<Vec<_>>(), [0, 8, 16, 24]);
    let all = everything(&mut log);
    log.close(NOW).unwrap();
    all
}

fn small() -> LogConfig {
    LogConfig { segment_bytes: 420, ..config() }
}

fn path(kind: SegmentFile, offset: i64) -> PathBuf {
    kind.path(&dir(), offset)
}

fn write(storage: &MemoryStorage, path: &std::path::Path, bytes: &[u8]) {
    storage.open(path, Access::Replace).unwrap().write_all_at(bytes, 0).unwrap();
}

fn read(storage: &MemoryStorage, path: &std::path::Path) -> Vec<u8> {
    storage.read_small(path, u64::MAX).unwrap().unwrap()
}

fn exists(storage: &MemoryStorage, path: &std::path::Path) -> bool {
    storage.len_of(path).unwrap().is_some()
}

/// Opens, finds exactly one kind of thing, and finds nothing when opened once more.
fn finds(storage: &MemoryStorage, mode: OpenMode, finding: Finding) -> (Log<MemoryStorage>, RecoveryReport) {
    let (log, report) = open(storage, small(), mode);
    assert!(report.found(finding), "{report:?}");
    assert!(report.findings.iter().all(|(found, _)| *found == finding), "{report:?}");
    if finding.verdict() != Verdict::Report {
        let (_, again) = open(storage, small(), mode);
        assert_eq!(again.findings, [], "mended once, it stays mended");
    }
    (log, report)
}

#[test]
fn a_log_closed_in_good_order_shows_nothing_and_is_not_scanned() {
    let storage = MemoryStorage::new();
    let all = three_segments(&storage);
    let (mut log, report) = open(&storage, small(), CLEAN);
    assert_eq!(report, RecoveryReport::default());
    assert_eq!(everything(&mut log), all);
    let (mut log, report) = open(&storage, small(), OpenMode::UNKNOWN);
    assert_eq!(report.findings, []);
    assert_eq!(report.scanned_segments, 4);
    assert_eq!(everything(&mut log), all);
}

#[test]
fn only_segments_from_the_recovery_point_on_are_scanned() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    let (log, report) = reopen(&storage, small(), 17);
    assert_eq!(report.scanned_segments, 2);
    assert_eq!(log.recovery_point(), 17);
}

#[test]
fn files_on_their_way_in_or_out_are_removed() {
    for (name, finding) in [
        ("leader-epoch-checkpoint.tmp", Finding::TemporaryFile),
        ("00000000000000000000.log.deleted", Finding::DeletedFile),
        ("00000000000000000008.index.deleted", Finding::DeletedFile),
        ("00000000000000000000.log.cleaned", Finding::CleanedFile),
    ] {
        let storage = MemoryStorage::new();
        let all = three_segments(&storage);
        write(&storage, &dir().join(name), b"anything");
        let (mut log, _) = finds(&storage, CLEAN, finding);
        assert!(!exists(&storage, &dir().join(name)));
        assert_eq!(everything(&mut log), all);
    }
}

#[test]
fn a_swap_of_a_compaction_that_did_not_end_is_removed() {
    let storage = MemoryStorage::new();
    let all = three_segments(&storage);
    write(&storage, &dir().join("00000000000000000008.log.cleaned"), b"");
    write(&storage, &dir().join("00000000000000000008.log.swap"), b"");
    let (mut log, report) = open(&storage, small(), CLEAN);
    let found: Vec<_> = report.findings.iter().map(|(finding, _)| *finding).collect();
    assert_eq!(found, [Finding::CleanedFile, Finding::UnfinishedSwap]);
    assert_eq!(everything(&mut log), all);
}

#[test]
fn a_swap_that_is_damaged_is_removed_as_what_it_replaces_is_still_there() {
    let storage = MemoryStorage::new();
    let all = three_segments(&storage);
    let mut swap = read(&storage, &path(SegmentFile::Log, 8));
    *swap.last_mut().unwrap() ^= 1;
    write(&storage, &dir().join("00000000000000000008.log.swap"), &swap);
    let (mut log, _) = finds(&storage, CLEAN, Finding::UnfinishedSwap);
    assert_eq!(everything(&mut log), all);
}

#[test]
fn a_swap_of_a_compaction_that_ended_takes_its_segments_place() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    // The second and third segment were compacted into one that begins as the second and ends as the third.
    let third = read(&storage, &path(SegmentFile::Log, 16));
    write(&storage, &dir().join("00000000000000000008.log.swap"), &third);
    let compact = LogConfig { compact: true, ..small() };
    let (mut log, report) = open(&storage, compact, CLEAN);
    assert!(report.found(Finding::FinishedSwap), "{report:?}");
    assert_eq!(log.segment_base_offsets().collect::<Vec<_>>(), [0, 8, 24]);
    assert!(!exists(&storage, &path(SegmentFile::Log, 16)));
    assert!(!exists(&storage, &path(SegmentFile::OffsetIndex, 16)));
    let bytes = everything(&mut log);
    assert_eq!(common::offsets_read(&mut log, 9, u32::MAX, 28), [16, 18, 20, 22]);
    assert!(bytes.len() > third.len());
}

#[test]
fn an_index_without_its_segment_is_removed() {
    for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex] {
        let storage = MemoryStorage::new();
        three_segments(&storage);
        write(&storage, &path(kind, 5), b"");
        finds(&storage, CLEAN, Finding::OrphanIndex);
        assert!(!exists(&storage, &path(kind, 5)));
    }
}

/// Damages an index of the second segment, and expects it as it was.
fn mends_index(
    kind: SegmentFile,
    finding: Finding,
    clean: bool,
    damage: impl Fn(&MemoryStorage, &std::path::Path),
) {
    let storage = MemoryStorage::new();
    let all = three_segments(&storage);
    let path = path(kind, 8);
    let before = read(&storage, &path);
    assert!(!before.is_empty());
    damage(&storage, &path);
    let mode = OpenMode { clean, recovery_point: 24, log_start_offset: 0 };
    let (mut log, _) = finds(&storage, mode, finding);
    assert_eq!(read(&storage, &path), before);
    assert_eq!(everything(&mut log), all);
}

#[test]
fn a_missing_index_is_written_anew() {
    for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        for clean in [false, true] {
            mends_index(kind, Finding::MissingIndex, clean, |storage, path| {
                storage.remove_file(path).unwrap()
            });
        }
    }
}

#[test]
fn an_index_that_contradicts_its_segment_is_written_anew() {
    mends_index(SegmentFile::OffsetIndex, Finding::CorruptIndex, false, |storage, path| {
        storage.open(path, Access::Write).unwrap().set_len(5).unwrap();
    });
    mends_index(SegmentFile::TimeIndex, Finding::CorruptIndex, false, |storage, path| {
        storage.open(path, Access::Write).unwrap().set_len(13).unwrap();
    });
    // Ahead of the log.
    mends_index(SegmentFile::OffsetIndex, Finding::CorruptIndex, false, |storage, path| {
        write(storage, path, &[0, 0, 0, 1, 0, 1, 0, 0]);
    });
    // Of another segment.
    mends_index(SegmentFile::TimeIndex, Finding::CorruptIndex, true, |storage, path| {
        write(storage, path, &[0xff; 12]);
    });
}

#[test]
fn an_index_that_has_nothing_of_several_batches_is_written_anew() {
    mends_index(SegmentFile::OffsetIndex, Finding::EmptyIndex, false, |storage, path| {
        write(storage, path, b"")
    });
}

#[test]
fn an_index_that_is_too_short_costs_a_longer_walk_and_nothing_else() {
    let storage = MemoryStorage::new();
    let all = three_segments(&storage);
    // Of the active segment: the entries that are due are added when its end is read.
    let path = path(SegmentFile::OffsetIndex, 24);
    let before = read(&storage, &path);
    write(&storage, &path, b"");
    let (mut log, report) = open(&storage, small(), CLEAN);
    assert_eq!(report.findings, []);
    assert_eq!(everything(&mut log), all);
    append(&mut log, &Batch::of(1));
    log.close(NOW).unwrap();
    assert!(read(&storage, &path).starts_with(&before));
}

#[test]
fn a_transaction_index_is_kept_as_far_as_it_is_sound() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    let entry = taffrail_log::transaction_index::AbortedTransaction {
        producer_id: 1,
        first_offset: 8,
        last_offset: 9,
        last_stable_offset: 10,
    };
    let mut bytes = entry.encode().to_vec();
    bytes.extend_from_slice(&[0; 7]);
    write(&storage, &path(SegmentFile::TransactionIndex, 8), &bytes);
    let mode = OpenMode { clean: false, recovery_point: 24, log_start_offset: 0 };
    finds(&storage, mode, Finding::CorruptTransactionIndex);
    assert_eq!(read(&storage, &path(SegmentFile::TransactionIndex, 8)), entry.encode());
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    let storage = MemoryStorage::new();
    let all = three_segments(&storage);
    let path = path(SegmentFile::Log, 24);
    let whole = read(&storage, &path);
    let batch = whole.len() / 2;
    for len in batch..whole.len() {
        write(&storage, &path, &whole[..len]);
        let (mut log, report) = reopen(&storage, small(), 0);
        assert_eq!(report.found(Finding::TornTail), len > batch, "{len}");
        assert!(!report.lost_whole_batches, "a write that was interrupted leaves that");
        assert_eq!(report.truncated_bytes, (len - batch) as u64);
        assert_eq!(log.log_end_offset(), 26);
        assert_eq!(everything(&mut log), all[..all.len() - batch]);
        assert_eq!(read(&storage, &path), whole[..batch]);
    }
}

#[test]
fn a_clean_log_whose_tail_is_torn_all_the_same_is_mended() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    let path = path(SegmentFile::Log, 24);
    let whole = read(&storage, &path);
    write(&storage, &path, &whole[..whole.len() - 1]);
    storage.remove_file(&common::dir().join("00000000000000000028.snapshot")).unwrap();
    let (log, _) = finds(&storage, CLEAN, Finding::TornTail);
    assert_eq!(log.log_end_offset(), 26);
}

#[test]
fn zeros_and_flipped_bits_at_the_end_are_cut_off() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    let path = path(SegmentFile::Log, 24);
    let whole = read(&storage, &path);
    let batch = whole.len() / 2;
    let mut zeros = whole[..batch].to_vec();
    zeros.resize(whole.len() * 4, 0);
    write(&storage, &path, &zeros);
    let (log, report) = reopen(&storage, small(), 0);
    assert!(report.found(Finding::TornTail));
    assert_eq!(log.log_end_offset(), 26);
    // The leader epoch lies outside of the checksum, as in Apache Kafka: it alone can change unnoticed.
    for index in (batch..whole.len()).filter(|index| !(batch + 12..batch + 16).contains(index)) {
        let mut flipped = whole.clone();
        flipped[index] ^= 0x40;
        write(&storage, &path, &flipped);
        let (log, report) = reopen(&storage, small(), 0);
        let higher_offset = (batch..batch + 8).contains(&index) && !report.found(Finding::TornTail);
        assert!(higher_offset || report.found(Finding::TornTail), "byte {index}");
        assert!(higher_offset || log.log_end_offset() == 26, "byte {index}");
        // A length that reaches behind the file's end looks like a write that was interrupted.
        let looks_torn = (batch + 8..batch + 12).contains(&index);
        assert!(higher_offset || looks_torn || report.lost_whole_batches, "byte {index}");
    }
}

#[test]
fn segments_behind_a_torn_one_go() {
    let storage = MemoryStorage::new();
    let all = three_segments(&storage);
    let path = path(SegmentFile::Log, 8);
    let whole = read(&storage, &path);
    write(&storage, &path, &whole[..whole.len() - 1]);
    let (mut log, report) = reopen(&storage, small(), 8);
    assert!(report.found(Finding::TornTail) && report.found(Finding::BehindTornTail));
    assert!(report.lost_whole_batches, "those behind were whole");
    assert_eq!(log.log_end_offset(), 14);
    let left = everything(&mut log);
    assert_eq!(left, all[..left.len()]);
    assert!(!exists(&storage, &common::dir().join("00000000000000000016.log")));
    assert!(report.found(Finding::SnapshotAhead), "{report:?}");
    append(&mut log, &Batch::of(1));
}

#[test]
fn a_gap_between_segments_is_lost_records_but_in_a_compacted_log() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    let path = path(SegmentFile::Log, 8);
    let whole = read(&storage, &path);
    write(&storage, &path, &whole[..whole.len() / 4 * 3]);
    let (log, report) = open(&storage, LogConfig { compact: true, ..small() }, OpenMode::UNKNOWN);
    assert_eq!(report.findings, []);
    assert_eq!(log.log_end_offset(), 28);
    let (log, report) = reopen(&storage, small(), 0);
    assert!(report.found(Finding::GapBetweenSegments), "{report:?}");
    assert_eq!(log.log_end_offset(), 14);
}

#[test]
fn a_segment_that_begins_before_the_last_one_ends_goes() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    storage.rename(&path(SegmentFile::Log, 24), &path(SegmentFile::Log, 23)).unwrap();
    let (log, report) = reopen(&storage, LogConfig { compact: true, ..small() }, 0);
    assert!(report.found(Finding::OverlappingSegment), "{report:?}");
    assert_eq!(log.log_end_offset(), 24);
}

#[test]
fn an_empty_segment_goes_unless_it_is_the_last() {
    let storage = MemoryStorage::new();
    let all = three_segments(&storage);
    write(&storage, &path(SegmentFile::Log, 28), b"");
    write(&storage, &path(SegmentFile::OffsetIndex, 28), b"");
    write(&storage, &path(SegmentFile::TimeIndex, 28), b"");
    let (mut log, report) = open(&storage, small(), CLEAN);
    assert_eq!(report.findings, []);
    assert_eq!(log.segment_count(), 5);
    assert_eq!(everything(&mut log), all);
    append(&mut log, &Batch::of(1));
    log.close(NOW).unwrap();
    write(&storage, &path(SegmentFile::Log, 27), b"");
    finds(&storage, CLEAN, Finding::EmptySegment);
}

#[test]
fn segments_behind_one_that_lost_all_its_bytes_go_also_where_gaps_are_allowed() {
    for (at, compact) in [(0, false), (1, false), (1, true)] {
        let storage = MemoryStorage::new();
        three_segments(&storage);
        let bases: Vec<i64> = open(&storage, small(), CLEAN).0.segment_base_offsets().collect();
        write(&storage, &path(SegmentFile::Log, bases[at]), b"");
        let config = LogConfig { compact, ..small() };
        let (log, report) = open(&storage, config, OpenMode::UNKNOWN);
        assert!(report.found(Finding::BehindTornTail), "{report:?}");
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, bases[at]));
        assert_eq!(log.segment_base_offsets().collect::<Vec<_>>(), bases[..=at]);
    }
}

#[test]
fn a_log_that_ends_before_its_start_begins_anew_there() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    let (log, report) =
        open(&storage, small(), OpenMode { clean: false, recovery_point: 0, log_start_offset: 100 });
    assert!(report.found(Finding::EndsBeforeStart), "{report:?}");
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segment_count()), (100, 100, 1));
}

#[test]
fn a_directory_without_a_segment_gets_one() {
    let storage = MemoryStorage::new();
    storage.create_dir_all(&dir()).unwrap();
    let (mut log, report) =
        open(&storage, small(), OpenMode { clean: true, recovery_point: 0, log_start_offset: 7 });
    assert_eq!(report.findings, []);
    assert_eq!(log.topic_id(), None);
    assert_eq!(append(&mut log, &Batch::of(1)).base_offset, 7);
}

#[test]
fn snapshots_ahead_stray_or_unreadable_go() {
    for (offset, bytes, finding) in [
        (29, None, Finding::SnapshotAhead),
        (13, None, Finding::StraySnapshot),
        (28, Some(b"torn".as_slice()), Finding::UnreadableSnapshot),
    ] {
        let storage = MemoryStorage::new();
        three_segments(&storage);
        let path = path(SegmentFile::ProducerSnapshot, offset);
        let content =
            bytes.map_or_else(|| taffrail_log::producer_snapshot::encode([].into_iter()), <[u8]>::to_vec);
        write(&storage, &path, &content);
        finds(&storage, CLEAN, finding);
        assert!(!exists(&storage, &path));
    }
}

#[test]
fn leader_epochs_are_found_again_in_the_batches() {
    let storage = MemoryStorage::new();
    let mut log = create(&storage, small());
    for epoch in [0, 0, 3, 3, 3, 3, 3, 5] {
        try_append(&mut log, &Batch::of(2), epoch).unwrap();
    }
    let epochs = log.leader_epochs().to_vec();
    assert_eq!(epochs.len(), 3);
    log.close(NOW).unwrap();
    let path = dir().join("leader-epoch-checkpoint");
    let before = read(&storage, &path);
    for (content, finding) in [
        (None, Finding::MissingEpochs),
        (Some(b"0\n3\n0 0\n3 4\n5 1".as_slice()), Finding::UnreadableEpochs),
        (Some(b"0\n4\n0 0\n3 4\n5 14\n6 99\n".as_slice()), Finding::EpochsAhead),
    ] {
        match content {
            None => storage.remove_file(&path).unwrap(),
            Some(content) => write(&storage, &path, content),
        }
        let (log, _) = finds(&storage, CLEAN, finding);
        assert_eq!(log.leader_epochs(), epochs);
        assert_eq!(read(&storage, &path), before);
    }
    // An old state of the file that is sound: what was begun behind the recovery point is found again.
    write(&storage, &path, b"0\n1\n0 0\n");
    let (log, _) = reopen(&storage, small(), 0);
    assert_eq!(log.leader_epochs(), epochs);
}

#[test]
fn metadata_that_cannot_be_understood_is_reported_and_kept() {
    let storage = MemoryStorage::new();
    three_segments(&storage);
    let path = dir().join("partition.metadata");
    write(&storage, &path, b"version: 0\ntopic_id: ");
    let (log, _) = finds(&storage, CLEAN, Finding::UnreadableMetadata);
    assert_eq!(log.topic_id(), None);
    assert!(exists(&storage, &path));
}

#[test]
fn messages_of_an_older_format_are_refused_and_left_alone() {
    let storage = MemoryStorage::new();
    drop(create(&storage, small()));
    // A message of format 0: offset, length, CRC-32 of the rest, magic, attributes, key and value.
    let message = [
        0u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'k', 0, 0, 0, 4, b'd', b'a',
        b't', b'a',
    ];
    let crc = message[16..].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    });
    let mut old = message.to_vec();
    old[12..16].copy_from_slice(&(!crc).to_be_bytes());
    write(&storage, &path(SegmentFile::Log, 0), &old);
    for mode in [CLEAN, OpenMode::UNKNOWN] {
        let opened = Log::open(storage.clone(), dir(), small(), mode, NOW);
        assert!(
            matches!(opened, Err(OpenError::OldFormat { magic: 0, offset: 0, .. })),
            "{:?}",
            opened.err()
        );
        assert_eq!(read(&storage, &path(SegmentFile::Log, 0)), old);
    }
    // The same with a wrong checksum is damage.
    old[12] ^= 1;
    write(&storage, &path(SegmentFile::Log, 0), &old);
    assert!(reopen(&storage, small(), 0).1.found(Finding::TornTail));
}

#[test]
fn every_row_of_the_table_is_tested_here() {
    let tests = include_str!("recovery.rs");
    for finding in Finding::ALL {
        assert!(tests.contains(&format!("Finding::{finding:?}")), "{finding:?}");
    }
}

#[test]
fn a_recovery_point_from_before_a_truncation_hides_no_damage() {
    for seed in 0..100 {
        let storage = MemoryStorage::new();
        let mut log = create(&storage, small());
        for value in 0..14 {
            append(&mut log, &Batch::of(2).value(value + 10));
        }
        log.flush(NOW).unwrap();
        let checkpointed = log.recovery_point();
        assert_eq!(checkpointed, 28);
        log.truncate_to(4, NOW).unwrap();
        for value in 0..14 {
            try_append(&mut log, &Batch::of(2).value(value + 50), 1).unwrap();
        }
        let written = everything(&mut log);
        storage.crash(seed);
        let (mut log, _) = reopen(&storage, small(), checkpointed);
        let survived = everything(&mut log);
        assert!(written.starts_with(&survived), "seed {seed}: what survived is not what was written");
    }
}
