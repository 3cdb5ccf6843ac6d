//! For how long does it hold a partition up that its old segments are deleted? Over the shipped partition and real files, step
//! by step: each row is a time that a producer or a consumer may have to wait. And what does a round cost that deletes
//! nothing?
//!
//! Run with `cargo bench -p taffrail-server --bench retention`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use taffrail_control::session::{Member, PartitionRecord};
use taffrail_log::{FileStorage, Log, LogConfig, OpenMode};
use taffrail_protocol::Uuid;
use taffrail_protocol::record_batch::{BatchBuilder, BatchHeader, Compression};
use taffrail_replication::partition::{Effects, Partition, RequiredAcks};

const SEGMENTS: usize = 1000;
const IDLE: usize = 10_000;
const NOW_MS: i64 = 1_700_000_000_000;
const ME: Member = Member { broker_id: 0, incarnation: 1 };

type Replica = Partition<FileStorage, ()>;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 150, retention_ms: 1000, ..LogConfig::default() }
}

/// A partition that is led around a log.
fn led(log: Log<FileStorage>) -> Replica {
    let record = PartitionRecord {
        topic_id: Uuid([1; 16]),
        partition: 0,
        creation: 1,
        replicas: vec![0],
        leader: Some(ME),
        leader_epoch: 0,
        partition_epoch: 0,
        isr: vec![ME],
        elr: Vec::new(),
        min_isr: 1,
        adding: vec![],
        removing: vec![],
        unclean_epoch: None,
    };
    let mut partition = Partition::new(log, record.clone(), 0, ME, ());
    partition.assign(NOW_MS, record, &mut Effects::new()).expect("the partition can be led");
    partition
}

fn make(dir: PathBuf) -> Replica {
    let log = Log::create(FileStorage::new(64), dir, config(), Uuid([1; 16]), NOW_MS);
    led(log.expect("a log can be made"))
}

/// Appends so many records, each to a segment of its own.
fn append(partition: &mut Replica, records: usize) {
    for _ in 0..records {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(NOW_MS, None, Some(&[7; 40]), &[]);
        let mut batch = builder.build().expect("a batch can be built");
        let header = BatchHeader::parse(&batch).expect("which is sound");
        partition
            .produce(NOW_MS, &mut batch, &header, RequiredAcks::Leader, &mut Effects::new())
            .expect("a batch can be appended");
    }
}

fn timed<R>(row: &str, work: impl FnOnce() -> R) -> (R, Duration) {
    let started = Instant::now();
    let result = work();
    let took = started.elapsed();
    println!("{row:50} {:9.3} ms", took.as_secs_f64() * 1e3);
    (result, took)
}

fn delete(partition: &mut Replica) {
    let (late, mut effects) = (NOW_MS + 2000, Effects::new());
    let (retained, first) =
        timed("  retain", || partition.retain(late, &mut effects).expect("nothing fails"));
    let segments = retained.map_or(0, |retained| retained.due.segments());
    assert_eq!(segments, SEGMENTS, "all but the segment that was begun for it are old");
    let start = partition.log().log_start_offset();
    let (deleted, second) = timed("  delete_old_segments, once the start is written", || {
        partition.start_written(start, &mut effects);
        partition.delete_old_segments(&mut effects).expect("nothing fails")
    });
    assert_eq!(deleted, SEGMENTS);
    let (sweep, third) =
        timed("  begin_sweep", || partition.begin_sweep(late, true).expect("files are left"));
    println!(
        "{:50} {:9.3} ms",
        "the partition is held for, in all",
        (first + second + third).as_secs_f64() * 1e3
    );
    timed("a sweep that holds nothing", || sweep.run().expect("nothing fails"));
}

fn idle(dir: &Path) {
    let mut partitions: Vec<Replica> =
        (0..IDLE).map(|number| make(dir.join(format!("idle-{number}")))).collect();
    partitions.iter_mut().for_each(|partition| append(partition, 2));
    let mut round = || {
        for partition in &mut partitions {
            let retained = partition.retain(NOW_MS, &mut Effects::new());
            assert_eq!(retained.expect("nothing fails"), None);
        }
    };
    round();
    timed("a round over 10,000 partitions of 2 segments", round);
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    println!("{SEGMENTS} segments, as they were written:");
    let mut partition = make(dir.path().join("written"));
    append(&mut partition, SEGMENTS);
    delete(&mut partition);

    println!("{SEGMENTS} segments, after a restart:");
    let reopened = dir.path().join("reopened");
    let mut partition = make(reopened.clone());
    append(&mut partition, SEGMENTS);
    partition.log_mut().close(NOW_MS).expect("the log can be closed");
    let mode = OpenMode { clean: true, recovery_point: SEGMENTS as i64, log_start_offset: 0 };
    let opened = Log::open(FileStorage::new(64), reopened, config(), mode, NOW_MS);
    let mut partition = led(opened.expect("the log can be opened").0);
    delete(&mut partition);

    idle(dir.path());
}
