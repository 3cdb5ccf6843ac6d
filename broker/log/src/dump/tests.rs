use std::fs;

use serde_json::Value;
use taffrail_protocol::record_batch::{
    ATTRIBUTES_OFFSET, BatchBuilder, BatchMut, CRC_OFFSET, Compression, HEADER_SIZE, RECORD_COUNT_OFFSET,
};
use tempfile::TempDir;

use super::*;
use crate::offset_index::OffsetPosition;
use crate::time_index::TimestampOffset;

const TIMESTAMP: i64 = 1_700_000_000_000;
const TEXT: DumpOptions = DumpOptions { json: false, records: true, max_batch_bytes: 1 << 20 };
const JSON: DumpOptions = DumpOptions { json: true, ..TEXT };

fn dumped(path: &Path, options: &DumpOptions) -> (DumpReport, String) {
    let mut out = Vec::new();
    let report = dump(path, options, &mut out).unwrap();
    (report, String::from_utf8(out).unwrap())
}

fn json(path: &Path) -> (DumpReport, Vec<Value>) {
    let (report, text) = dumped(path, &JSON);
    (report, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn file(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Puts a partition directory that Apache Kafka 4.3 wrote in place; a transactional producer aborted and committed.
fn kafkas(dir: &TempDir) {
    macro_rules! copy {
        ($($name:literal),*) => { $(file(dir, $name, include_bytes!(concat!("testdata/tx-0/", $name)));)* };
    }
    copy!("00000000000000000000.log", "00000000000000000000.timeindex", "00000000000000000003.log");
    copy!("00000000000000000003.snapshot", "00000000000000000003.txnindex");
    copy!("leader-epoch-checkpoint", "partition.metadata");
}

/// Three batches of two records each, from offset 100 on, and where each begins.
fn batches(compression: Compression) -> (Vec<u8>, [u32; 3]) {
    let mut bytes = Vec::new();
    let positions = [100, 102, 104].map(|base_offset: i64| {
        let position = bytes.len() as u32;
        let batch = BatchBuilder::new(compression)
            .base_offset(base_offset)
            .partition_leader_epoch(4)
            .append(
                TIMESTAMP + base_offset,
                Some(b"key"),
                Some(b"value"),
                &[("h", Some(b"\xff")), ("h", None)],
            )
            .append(TIMESTAMP + base_offset + 1, None, None, &[])
            .build()
            .unwrap();
        bytes.extend_from_slice(&batch);
        position
    });
    (bytes, positions)
}

#[test]
fn a_segment_is_printed_a_line_a_batch_and_a_line_a_record() {
    let dir = TempDir::new().unwrap();
    let (bytes, positions) = batches(Compression::None);
    let path = file(&dir, "00000000000000000100.log", &bytes);
    let (report, text) = dumped(&path, &TEXT);
    assert_eq!(report, DumpReport { entries: 3, damaged: 0 });
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 9);
    let start = format!("batch position={} size={} offsets=102..103 count=2 ", positions[1], positions[1]);
    assert!(lines[3].starts_with(&start), "{}", lines[3]);
    assert!(lines[3].contains(
        "leader_epoch=4 compression=none CreateTime=2023-11-14T22:13:20.102Z..2023-11-14T22:13:20.103Z crc=0x"
    ));
    assert!(lines[3].ends_with(" ok"));
    let record = r#"  offset=102 timestamp=2023-11-14T22:13:20.102Z key="key" value="value" headers="h":"\xff","h":null"#;
    assert_eq!(lines[4], record);
    assert_eq!(lines[5], "  offset=103 timestamp=2023-11-14T22:13:20.103Z key=null value=null");

    let (report, text) = dumped(&path, &DumpOptions { records: false, ..TEXT });
    assert_eq!((report.entries, text.lines().count()), (3, 3));
}

#[test]
fn json_says_the_same_with_every_codec() {
    for compression in Compression::ALL {
        let dir = TempDir::new().unwrap();
        let path = file(&dir, "00000000000000000100.log", &batches(compression).0);
        let (report, lines) = json(&path);
        assert_eq!((report.is_damaged(), lines.len()), (false, 9));
        assert_eq!(lines[3]["type"], "batch");
        assert_eq!(lines[3]["compression"], compression.name());
        assert_eq!((&lines[3]["base_offset"], &lines[3]["crc_valid"]), (&102.into(), &true.into()));
        let record = serde_json::json!({
            "type": "record", "offset": 102, "timestamp": TIMESTAMP + 102, "key": "key", "value": "value",
            "headers": [{"key": "h", "value": {"hex": "ff"}}, {"key": "h", "value": null}],
        });
        assert_eq!(lines[4], record);
    }
}

#[test]
fn a_batch_with_a_wrong_crc_is_marked_and_the_next_ones_are_printed() {
    let dir = TempDir::new().unwrap();
    let (mut bytes, positions) = batches(Compression::None);
    bytes[positions[1] as usize + HEADER_SIZE + 10] ^= 1;
    let path = file(&dir, "00000000000000000100.log", &bytes);
    for records in [false, true] {
        let (report, text) = dumped(&path, &DumpOptions { records, ..TEXT });
        assert_eq!(report, DumpReport { entries: 3, damaged: 1 });
        let marked: Vec<_> = text.lines().filter(|line| line.ends_with("DAMAGED")).collect();
        assert!(marked.len() == 1 && marked[0].contains("offsets=102..103"), "{text}");
    }
    let (_, lines) = json(&path);
    assert_eq!(lines.iter().filter(|line| line["crc_valid"] == false).count(), 1);
}

#[test]
fn a_torn_tail_and_a_zeroed_tail_are_told() {
    let dir = TempDir::new().unwrap();
    let (bytes, positions) = batches(Compression::None);
    for (tail, entries) in [(&bytes[..bytes.len() - 1], 2), (&[&bytes[..], &[0; 40]].concat(), 3)] {
        let path = file(&dir, "00000000000000000100.log", tail);
        let (report, text) = dumped(&path, &DumpOptions { records: false, ..TEXT });
        assert_eq!(report, DumpReport { entries, damaged: 1 });
        let position = if entries == 2 { positions[2] as usize } else { bytes.len() };
        let last = text.lines().last().unwrap();
        assert!(last.starts_with(&format!("DAMAGED at position {position}: ")), "{last}");
    }
}

#[test]
fn records_that_do_not_match_their_header_are_damage() {
    let dir = TempDir::new().unwrap();
    let (mut bytes, positions) = batches(Compression::None);
    let first = &mut bytes[..positions[1] as usize];
    first[RECORD_COUNT_OFFSET + 3] = 3;
    let crc = crc32c::crc32c(&first[ATTRIBUTES_OFFSET..]);
    first[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
    let path = file(&dir, "00000000000000000100.log", &bytes);
    let (report, text) = dumped(&path, &TEXT);
    assert_eq!(report, DumpReport { entries: 3, damaged: 1 });
    assert!(text.contains("DAMAGED at position 0: record 2 of the batch is invalid"), "{text}");
}

#[test]
fn batches_above_the_limit_are_checked_without_being_held() {
    let dir = TempDir::new().unwrap();
    let value = vec![b'x'; 600_000];
    let mut builder = BatchBuilder::new(Compression::None);
    let mut bytes = builder.append(0, None, Some(&value), &[]).build().unwrap();
    let options = DumpOptions { max_batch_bytes: 500_000, ..TEXT };
    let (report, text) = dumped(&file(&dir, "00000000000000000000.log", &bytes), &options);
    assert_eq!(report, DumpReport { entries: 1, damaged: 0 });
    assert!(text.ends_with("note: its records are not shown: it has more than 500000 bytes\n"));
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(dumped(&file(&dir, "00000000000000000000.log", &bytes), &options).0.damaged, 1);

    let bomb = BatchBuilder::new(Compression::Zstd).append(0, None, Some(&value), &[]).build().unwrap();
    let (report, text) = dumped(&file(&dir, "00000000000000000000.log", &bomb), &options);
    assert_eq!(report.damaged, 1);
    assert!(text.contains("decompress with zstd to more than the allowed 500000 bytes"), "{text}");
}

#[test]
fn delete_horizon_and_append_time_are_shown() {
    let dir = TempDir::new().unwrap();
    let mut bytes = BatchBuilder::new(Compression::None)
        .producer(9, 2, 5)
        .log_append_time(TIMESTAMP)
        .append(TIMESTAMP, None, None, &[])
        .build()
        .unwrap();
    bytes[ATTRIBUTES_OFFSET + 1] |= 0x40;
    BatchMut::new(&mut bytes).unwrap().set_partition_leader_epoch(0);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_OFFSET..]);
    bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
    let (report, text) = dumped(&file(&dir, "00000000000000000000.log", &bytes), &TEXT);
    assert!(!report.is_damaged(), "{text}");
    assert!(
        text.contains("LogAppendTime=..2023-11-14T22:13:20.000Z delete_horizon=2023-11-14T22:13:20.000Z ")
    );
    assert!(text.contains("producer_id=9 producer_epoch=2 sequences=5..5"));
}

#[test]
fn a_directory_that_apache_kafka_wrote_is_printed_and_sound() {
    let dir = TempDir::new().unwrap();
    kafkas(&dir);
    let path = |name: &str| dir.path().join(name);
    let (report, text) = dumped(&path("00000000000000000003.log"), &TEXT);
    assert_eq!(report, DumpReport { entries: 7, damaged: 0 });
    assert_eq!(text.matches("marker=abort coordinator_epoch=0").count(), 2);
    assert_eq!(text.matches("marker=commit coordinator_epoch=0").count(), 2);
    assert!(text.contains(r#"key="k1" value="v2-1""#), "{text}");
    assert!(text.contains(" transactional control crc="), "{text}");

    for name in ["00000000000000000000.timeindex", "leader-epoch-checkpoint", "partition.metadata"] {
        assert_eq!(dumped(&path(name), &TEXT).0, DumpReport { entries: 1, damaged: 0 }, "{name}");
    }
    let (report, lines) = json(&path("00000000000000000003.snapshot"));
    assert_eq!(report, DumpReport { entries: 1, damaged: 0 });
    assert_eq!((&lines[0]["last_sequence"], &lines[0]["last_offset"]), (&2.into(), &2.into()));
    assert_eq!(lines[0]["current_txn_first_offset"], 0);
    let (report, text) = dumped(&path("00000000000000000003.txnindex"), &TEXT);
    assert_eq!(report, DumpReport { entries: 2, damaged: 0 });
    assert!(text.starts_with("producer_id=1 offsets=0..3 last_stable_offset=4\n"), "{text}");
}

/// An offset index beside the three batches: entries for the second and third, as changed by `change`.
fn offset_index(dir: &TempDir, change: impl Fn(&mut [OffsetPosition; 2])) -> Vec<u8> {
    let (bytes, positions) = batches(Compression::None);
    file(dir, "00000000000000000100.log", &bytes);
    let mut entries = [
        OffsetPosition { offset: 103, position: positions[1] },
        OffsetPosition { offset: 105, position: positions[2] },
    ];
    change(&mut entries);
    entries.map(|entry| entry.encode(100)).concat()
}

#[test]
fn an_offset_index_is_checked_against_its_segment() {
    type Change = fn(&mut [OffsetPosition; 2]);
    let cases: [(Change, Option<&str>); 5] = [
        (|_| {}, None),
        (|entries| entries[1].position += 1, Some("no batch begins at position")),
        (|entries| entries[1].position = 1 << 30, Some("no batch begins at position")),
        (|entries| entries[1].offset = 104, Some("ends with offset 105")),
        (|entries| entries.swap(0, 1), Some("does not rise")),
    ];
    for (change, reason) in cases {
        let dir = TempDir::new().unwrap();
        let path = file(&dir, "00000000000000000100.index", &offset_index(&dir, change));
        let (report, text) = dumped(&path, &TEXT);
        assert_eq!(report, DumpReport { entries: 2, damaged: u64::from(reason.is_some()) }, "{text}");
        assert!(text.contains(reason.unwrap_or("offset=105 position=")), "{text}");
    }
}

#[test]
fn an_index_may_end_in_unused_zeros_and_in_nothing_else() {
    let dir = TempDir::new().unwrap();
    let index = offset_index(&dir, |_| {});
    let path = file(&dir, "00000000000000000100.index", &[&index[..], &vec![0; 200_000]].concat());
    let (report, text) = dumped(&path, &TEXT);
    assert_eq!(report, DumpReport { entries: 2, damaged: 0 });
    assert!(text.ends_with("note: the file is preallocated and unused from position 16 on\n"), "{text}");
    let mut bytes = [&index[..], &vec![0; 200_000]].concat();
    bytes[150_000] = 1;
    assert_eq!(dumped(&file(&dir, "00000000000000000100.index", &bytes), &TEXT).0.damaged, 1);
    let (report, text) = dumped(&file(&dir, "00000000000000000100.index", &index[..13]), &TEXT);
    assert_eq!(report, DumpReport { entries: 1, damaged: 1 });
    assert!(text.ends_with("DAMAGED at position 8: the last 5 bytes are no whole entry of 8\n"), "{text}");
}

#[test]
fn an_index_without_a_segment_is_printed_with_a_note() {
    let dir = TempDir::new().unwrap();
    for name in ["00000000000000000100.index", "00000000000000000100.timeindex.deleted"] {
        let path = file(&dir, name, &[1; 24]);
        let (_, text) = dumped(&path, &TEXT);
        assert!(text.starts_with("note: there is no segment beside this index"), "{text}");
    }
}

#[test]
fn long_indexes_are_read_in_pieces() {
    let dir = TempDir::new().unwrap();
    let entries: Vec<u8> =
        (1..10_001).flat_map(|i| OffsetPosition { offset: i, position: i as u32 }.encode(0)).collect();
    let path = file(&dir, "00000000000000000000.index", &entries);
    assert_eq!(dumped(&path, &TEXT).0, DumpReport { entries: 10_000, damaged: 0 });
}

#[test]
fn a_time_index_is_checked_against_its_segment() {
    let entry = |timestamp, offset| TimestampOffset { timestamp: TIMESTAMP + timestamp, offset };
    let cases = [
        ([entry(101, 101), entry(105, 105)], None),
        ([entry(101, 101), entry(104, 105)], Some("has the maximum timestamp 1700000000105")),
        ([entry(101, 101), entry(107, 107)], Some("no batch with this offset")),
        ([entry(105, 105), entry(101, 101)], Some("does not rise")),
        ([entry(101, 101), entry(101, 103)], Some("does not rise")),
        ([entry(101, 101), entry(103, 99)], Some("before the segment")),
    ];
    for (entries, reason) in cases {
        let dir = TempDir::new().unwrap();
        file(&dir, "00000000000000000100.log", &batches(Compression::None).0);
        let bytes = entries.map(|entry| entry.encode(100)).concat();
        let (report, text) = dumped(&file(&dir, "00000000000000000100.timeindex", &bytes), &TEXT);
        assert_eq!(report, DumpReport { entries: 2, damaged: u64::from(reason.is_some()) }, "{text}");
        assert!(
            text.contains(reason.unwrap_or("timestamp=1700000000105 (2023-11-14T22:13:20.105Z) offset=105"))
        );
    }
}

#[test]
fn a_damaged_segment_does_not_stop_its_time_index() {
    let dir = TempDir::new().unwrap();
    let (bytes, positions) = batches(Compression::None);
    file(&dir, "00000000000000000100.log", &bytes[..positions[1] as usize + 20]);
    let entries =
        [101, 103, 105].map(|n| TimestampOffset { timestamp: TIMESTAMP + n, offset: n }.encode(100));
    let (report, text) = dumped(&file(&dir, "00000000000000000100.timeindex", &entries.concat()), &TEXT);
    assert_eq!(report, DumpReport { entries: 3, damaged: 2 });
    assert!(text.contains("the segment is damaged at position"), "{text}");
}

#[test]
fn disorder_in_a_transaction_index_is_damage() {
    let dir = TempDir::new().unwrap();
    kafkas(&dir);
    let sound = include_bytes!("testdata/tx-0/00000000000000000003.txnindex");
    let swapped = [&sound[34..], &sound[..34]].concat();
    let (report, _) = dumped(&file(&dir, "00000000000000000003.txnindex", &swapped), &TEXT);
    assert_eq!(report, DumpReport { entries: 2, damaged: 1 });
    let (report, text) = dumped(&file(&dir, "00000000000000000099.txnindex", sound), &TEXT);
    assert_eq!(report, DumpReport { entries: 2, damaged: 2 });
    assert!(text.contains("ended before the segment"));
}

#[test]
fn small_files_are_printed_and_their_damage_is_told() {
    let dir = TempDir::new().unwrap();
    let id = "BwcHBwcHBwcHBwcHBwcHBw";
    let own = format!("version=1\ncluster.id=c\nnode.id=3\ndirectory.id={id}\ntaffrail.version=1\n");
    let cases = [
        ("leader-epoch-checkpoint", "0\n2\n0 0\n3 17\n", "epoch=0 start_offset=0\nepoch=3 start_offset=17\n"),
        ("replication-offset-checkpoint", "0\n1\nt.a 2 17\n", "topic=t.a partition=2 offset=17\n"),
        ("recovery-point-offset-checkpoint", "0\n0\n", ""),
        ("cleaner-offset-checkpoint", "", "note: the file is empty, so nothing was noted yet\n"),
        ("leader-epoch-checkpoint", "", "note: the file is empty, so nothing was noted yet\n"),
        ("partition.metadata", &format!("version: 0\ntopic_id: {id}"), &format!("topic_id={id}\n")),
        ("meta.properties", &own, &format!("owner=taffrail cluster_id=c node_id=3 directory_id={id}\n")),
        ("meta.properties", "version=1\nnode.id=1\n", "owner=apache-kafka\n"),
        (".kafka_cleanshutdown", r#"{"version":0,"brokerEpoch":7}"#, "broker_epoch=7\n"),
        (".kafka_cleanshutdown", "", "broker_epoch=unknown\n"),
        (
            "cleaner-offset-checkpoint",
            "0\n2\nt 0 1\n",
            "DAMAGED: the file has 1 of the 2 entries it counts\n",
        ),
    ];
    for (name, content, expected) in cases {
        let path = file(&dir, name, content.as_bytes());
        let (report, text) = dumped(&path, &TEXT);
        assert_eq!(text, expected);
        assert_eq!(report.is_damaged(), expected.starts_with("DAMAGED"));
        assert_eq!(json(&path).1.len(), expected.lines().count());
    }
    let snapshot = file(&dir, "00000000000000000003.snapshot", &[0; 10]);
    assert_eq!(dumped(&snapshot, &TEXT).0, DumpReport { entries: 0, damaged: 1 });
}

#[test]
fn what_cannot_be_read_or_is_no_kind_of_file_is_an_error() {
    let dir = TempDir::new().unwrap();
    let mut out = Vec::new();
    let error = dump(&file(&dir, "notes.txt", b""), &TEXT, &mut out).unwrap_err();
    assert!(error.to_string().contains("its name tells no kind of file"), "{error}");
    for name in ["00000000000000000000.log", "partition.metadata"] {
        let error = dump(&dir.path().join(name), &TEXT, &mut out).unwrap_err();
        assert!(matches!(error, DumpError::Read { .. }), "{error}");
    }
    let path = file(&dir, "00000000000000000100.log", &batches(Compression::None).0);
    let mut full = &mut [0; 10][..];
    assert!(matches!(dump(&path, &TEXT, &mut full), Err(DumpError::Write { .. })));
}
