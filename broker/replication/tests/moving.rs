//! A replica's log on its way from one directory to another.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use taffrail_control::session::{LogClaim, Member, PartitionRecord};
use taffrail_log::cleaner::{Cleaner, CleanerLimits, Pace, Stopped};
use taffrail_log::storage::{Access, Effect, Fault, Operation};
use taffrail_log::{
    EpochEntry, LogConfig, LogDir, MemoryStorage, MetaProperties, Replaced, Storage, StorageFile,
    TopicPartition,
};
use taffrail_protocol::Uuid;
use taffrail_protocol::record_batch::{BatchBuilder, BatchHeader, Batches, Compression};
use taffrail_replication::disk::logs::{
    Checkpointed, Condition, LogsStartError, Positions, RecoveredLogs, ReplicaLogs,
};
use taffrail_replication::disk::moving::{Move, MoveError, Placed, Progress};
use taffrail_replication::partition::{Effects, Partition, RequiredAcks};

const NOW: i64 = 1_700_000_000_000;
const ME: Member = Member { broker_id: 1, incarnation: 9 };
const UNIQUE: Uuid = Uuid([0xab; 16]);

/// Offset and value of each.
type Records = Vec<(i64, Vec<u8>)>;

fn t() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn record(leader_epoch: i32) -> PartitionRecord {
    PartitionRecord {
        topic_id: Uuid([7; 16]),
        partition: 0,
        creation: 1,
        replicas: vec![1],
        leader: Some(ME),
        leader_epoch,
        partition_epoch: leader_epoch,
        isr: vec![ME],
        elr: vec![],
        min_isr: 1,
        adding: vec![],
        removing: vec![],
        unclean_epoch: None,
    }
}

/// Small segments, so that copies have several.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 2_000, index_interval_bytes: 100, ..LogConfig::default() }
}

fn logs_in(
    storage: &MemoryStorage,
    dirs: &[&str],
) -> Result<ReplicaLogs<MemoryStorage>, Box<LogsStartError>> {
    let open = |path: &&str| {
        let directory_id = Uuid([path.as_bytes()[1]; 16]);
        let properties = MetaProperties { cluster_id: "c".to_owned(), node_id: 1, directory_id };
        (LogDir::open(storage.clone(), PathBuf::from(path), properties).unwrap(), RecoveredLogs::new())
    };
    let dirs = dirs.iter().map(open).collect();
    let made = ReplicaLogs::new(storage.clone(), dirs, Vec::new(), ME, LogClaim::SameBoot, NOW);
    made.map(|(logs, _)| logs).map_err(Box::new)
}

/// A broker with a replica that it leads.
struct Rig {
    storage: MemoryStorage,
    logs: ReplicaLogs<MemoryStorage>,
    replica: Mutex<Partition<MemoryStorage, &'static str>>,
    effects: Effects<&'static str>,
}

impl Rig {
    fn new() -> Self {
        Self::with(config())
    }

    /// The replica is in `/a`.
    fn with(config: LogConfig) -> Self {
        let storage = MemoryStorage::new();
        let logs = logs_in(&storage, &["/a", "/b"]).unwrap();
        Self::on(storage, logs, config)
    }

    fn on(storage: MemoryStorage, logs: ReplicaLogs<MemoryStorage>, config: LogConfig) -> Self {
        let opened = logs.open("t", &record(0), config, Some(Path::new("/a")), Uuid([1; 16]), NOW).unwrap();
        let opened = opened.log.unwrap();
        logs.note_epochs([&record(0)]).unwrap();
        let nobody = PartitionRecord { leader: None, ..record(0) };
        let replica = Partition::new(opened.log, nobody, opened.high_watermark, ME, "itself");
        let mut rig = Self { storage, logs, replica: Mutex::new(replica), effects: Effects::new() };
        let epoch = rig.replica.lock().log().latest_epoch();
        rig.lead(epoch.unwrap_or(0));
        rig
    }

    fn lead(&mut self, epoch: i32) {
        self.replica.lock().assign(NOW, record(epoch), &mut self.effects).unwrap();
    }

    fn try_produce(&mut self, producer: Option<(i64, i32)>, value: &str) -> bool {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, sequence)) = producer {
            builder.producer(id, 0, sequence);
        }
        builder.append(NOW, None, Some(value.as_bytes()), &[]);
        let mut bytes = builder.build().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        let produced =
            self.replica.lock().produce(NOW, &mut bytes, &header, RequiredAcks::All, &mut self.effects);
        produced.is_ok_and(|produced| !produced.info.duplicate)
    }

    fn produce(&mut self, records: std::ops::Range<usize>) {
        for number in records {
            assert!(self.try_produce(None, &format!("a record of some length, number {number}")));
        }
    }

    fn flush(&self) {
        self.replica.lock().log_mut().flush(NOW).unwrap();
    }

    fn checkpoint(&self) {
        let replica = self.replica.lock();
        let positions = Positions {
            recovery_point: replica.log().recovery_point(),
            log_start_offset: replica.log().log_start_offset(),
            high_watermark: replica.high_watermark(),
        };
        let path = replica.log().dir().to_owned();
        drop(replica);
        self.logs.checkpoint(|| vec![Checkpointed { partition: t(), path, positions }]).unwrap();
    }

    fn begin(&self) -> Move<MemoryStorage> {
        self.logs.begin_move(&t(), &self.replica, Path::new("/b"), UNIQUE, NOW).unwrap()
    }

    /// Copies until there is nothing left.
    fn copy(&self, moving: &mut Move<MemoryStorage>) {
        while moving.step(&self.replica, NOW).unwrap() != Progress::CaughtUp {}
        moving.settle(NOW).unwrap();
    }

    fn place(&mut self, moving: &mut Move<MemoryStorage>) -> Result<Placed, MoveError> {
        self.logs.take_place(moving, &self.replica, || true, None, NOW, &mut self.effects)
    }

    /// All at once.
    fn moved(&mut self) -> Placed {
        let mut moving = self.begin();
        self.copy(&mut moving);
        self.place(&mut moving).unwrap()
    }

    fn dir(&self) -> PathBuf {
        self.replica.lock().log().dir().to_owned()
    }

    /// All that can be read.
    fn records(&self) -> Records {
        let mut all = Vec::new();
        let mut replica = self.replica.lock();
        let mut offset = replica.log().log_start_offset();
        while let Some(range) = replica.log_mut().read(offset, 1000, true, i64::MAX).unwrap().records {
            let mut bytes = vec![0; range.len as usize];
            assert_eq!(range.file.read_at(&mut bytes, range.position).unwrap(), bytes.len());
            for view in Batches::new(&bytes).map_while(Result::ok) {
                view.verify_crc().unwrap();
                let records = view.records(1 << 20).unwrap();
                for (delta, record) in (0..).zip(records.iter()) {
                    let value = record.unwrap().value.unwrap_or_default().to_vec();
                    all.push((view.header().base_offset + delta, value));
                }
                offset = view.header().next_offset();
            }
        }
        all
    }

    /// The process ends; the next one looks at what is on the disk.
    fn restart(self) -> Self {
        self.restart_with(config())
    }

    fn restart_with(self, config: LogConfig) -> Self {
        let Self { storage, logs, replica, .. } = self;
        drop((replica, logs));
        let logs = logs_in(&storage, &["/a", "/b"]).unwrap();
        Self::on(storage, logs, config)
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = self.storage.list(Path::new(dir)).unwrap();
        entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect()
    }
}

#[test]
fn a_moved_replica_goes_on_where_it_was_and_opens_there_after_a_restart() {
    let mut rig = Rig::new();
    rig.produce(0..60);
    rig.replica.lock().log_mut().set_log_start_offset(7).unwrap();
    rig.checkpoint();
    let mut moving = rig.begin();
    rig.copy(&mut moving);
    rig.produce(60..80);
    let before = rig.records();
    assert!(matches!(rig.place(&mut moving).unwrap(), Placed::Moved { former: Some(_), trouble: None }));
    assert_eq!(rig.dir(), Path::new("/b/t-0"));
    assert_eq!(rig.records(), before);
    assert_eq!(rig.names("/a"), [format!("t-0.{}-delete", "ab".repeat(16))]);
    rig.produce(80..90);
    rig.flush();
    let before = rig.records();
    assert_eq!((before[0].0, before.len()), (7, 83));
    let again = rig.restart();
    assert_eq!(again.dir(), Path::new("/b/t-0"));
    assert_eq!(again.records(), before, "its start is that of the checkpoint");
    assert_eq!(again.replica.lock().high_watermark(), 90);
}

#[test]
fn a_flush_of_the_former_log_tells_nothing_of_the_new_one() {
    let mut rig = Rig::new();
    rig.produce(0..5);
    let flush = rig.replica.lock().begin_flush(&mut rig.effects).unwrap().unwrap();
    rig.moved();
    rig.produce(5..6);
    // As where the directory that it syncs is gone.
    let name_ends_with = String::new();
    rig.storage.inject(Fault {
        operation: Operation::Sync,
        after: 0,
        name_ends_with,
        effect: Effect::IoError,
    });
    let flushed = flush.run();
    rig.replica.lock().finish_flush(NOW, flushed, &mut rig.effects).unwrap();
    let mut replica = rig.replica.lock();
    assert!(replica.log().poisoned().is_none());
    assert_eq!(replica.log().recovery_point(), 5);
    replica.log_mut().flush(NOW).unwrap();
    assert_eq!(replica.log().recovery_point(), 6);
}

#[test]
fn a_compaction_that_began_before_is_of_no_use_after() {
    let mut rig = Rig::with(LogConfig { compact: true, ..config() });
    rig.produce(0..60);
    rig.flush();
    let plan = {
        let mut replica = rig.replica.lock();
        let cleanable = replica.cleanable(NOW, &mut rig.effects).unwrap().unwrap();
        replica.begin_cleaning(cleanable, NOW).unwrap()
    };
    let limits = CleanerLimits { map_bytes: 1 << 16, load_factor: 0.9, io_bytes: 1 << 12 };
    let mut cleaner = Cleaner::new(limits, 7);
    let mut cleaning = cleaner.begin(plan, &mut Unhurried).unwrap();
    let replacement = cleaner.clean_next(&mut cleaning, &mut Unhurried).unwrap().unwrap();
    let before = rig.records();
    rig.moved();
    let replaced = rig.replica.lock().replace_segments(replacement, &mut rig.effects).unwrap();
    assert!(matches!(replaced, Replaced::Unwanted(_)));
    assert_eq!(rig.records(), before);
    assert_ne!(rig.dir(), cleaning.dir());
}

#[test]
fn what_is_mended_meanwhile_is_copied_as_it_is_then() {
    let mut rig = Rig::new();
    rig.produce(0..60);
    rig.flush();
    let bases: Vec<i64> = rig.replica.lock().log().segment_base_offsets().collect();
    let bytes = |base: i64| {
        let path = PathBuf::from(format!("/a/t-0/{base:020}.log"));
        rig.storage.read_small(&path, 1 << 20).unwrap().unwrap()
    };
    let (second, third) = (bases[1], bases[2]);
    // As another replica has it, which has compacted the first record of the second segment away.
    let whole = bytes(second);
    let first = Batches::new(&whole).next().unwrap().unwrap().bytes().len();
    let mended = whole[first..].to_vec();
    let mut moving = rig.begin();
    rig.copy(&mut moving);
    {
        let mut replica = rig.replica.lock();
        replica.log_mut().update_config(LogConfig { compact: true, ..config() });
        let mut repair = replica.begin_repair(second, NOW).unwrap().unwrap();
        repair.append(&mended).unwrap();
        let replacement = repair.finish().unwrap();
        let replaced = replica.finish_repair(replacement, second..third, &mut rig.effects).unwrap();
        assert!(matches!(replaced, Replaced::InPlace));
    }
    rig.copy(&mut moving);
    let before = rig.records();
    rig.place(&mut moving).unwrap();
    assert_eq!(rig.records(), before);
    assert!(!before.iter().any(|(offset, _)| *offset == second), "it was mended");
}

struct Unhurried;

impl Pace for Unhurried {
    fn spend(&mut self, _bytes: u64) -> Result<(), Stopped> {
        Ok(())
    }
}

#[test]
fn what_is_taken_back_meanwhile_is_not_copied() {
    let mut rig = Rig::new();
    rig.produce(0..60);
    let mut moving = rig.begin();
    rig.copy(&mut moving);
    assert_eq!(moving.end_offset(), 60);
    rig.replica.lock().log_mut().truncate_to(41, NOW).unwrap();
    rig.produce(100..105);
    assert!(matches!(moving.step(&rig.replica, NOW).unwrap(), Progress::Copied(1..)));
    rig.copy(&mut moving);
    let before = rig.records();
    rig.place(&mut moving).unwrap();
    assert_eq!(rig.records(), before);
    assert_eq!((before.len(), before.last().unwrap().0), (46, 45));
}

#[test]
fn a_log_that_begins_anew_or_is_shortened_at_its_start_is_followed() {
    for anew in [true, false] {
        let mut rig = Rig::new();
        rig.produce(0..60);
        let mut moving = rig.begin();
        assert!(matches!(moving.step(&rig.replica, NOW).unwrap(), Progress::Copied(1..)));
        {
            let mut replica = rig.replica.lock();
            match anew {
                true => replica.log_mut().truncate_fully_and_start_at(50, NOW).unwrap(),
                false => {
                    assert!(replica.log_mut().set_log_start_offset(50).unwrap());
                    assert!(replica.log_mut().delete_old_segments().unwrap() > 1);
                }
            }
        }
        if anew {
            let mut bytes = BatchBuilder::new(Compression::None);
            bytes.append(NOW, None, Some(b"anew"), &[]);
            let mut bytes = bytes.build().unwrap();
            bytes[..8].copy_from_slice(&50_i64.to_be_bytes());
            rig.replica.lock().log_mut().append_as_follower(&bytes, NOW).unwrap();
        }
        rig.copy(&mut moving);
        let before = rig.records();
        rig.place(&mut moving).unwrap();
        assert_eq!(rig.records(), before);
        assert_eq!((before[0].0, before.len()), (50, if anew { 1 } else { 10 }));
    }
}

#[test]
fn a_compacted_log_goes_along_with_its_holes_and_how_far_it_is_compacted() {
    let config = LogConfig { compact: true, ..config() };
    let mut rig = Rig::with(config.clone());
    rig.produce(0..60);
    rig.flush();
    {
        let mut replica = rig.replica.lock();
        replica.log_mut().set_cleaned_to(40);
        // As where compaction has left nothing of the last sealed segment.
        replica.log_mut().skip_to(75, NOW).unwrap();
    }
    let mut moving = rig.begin();
    rig.copy(&mut moving);
    assert_eq!(moving.end_offset(), 75);
    rig.produce(75..80);
    let before = rig.records();
    rig.place(&mut moving).unwrap();
    assert_eq!((rig.records(), before.len()), (before, 65));
    assert_eq!(rig.replica.lock().log().cleaned_to(), 40);
    rig.flush();
    let again = rig.restart_with(config);
    assert_eq!((again.records().len(), again.replica.lock().log().cleaned_to()), (65, 40));
}

#[test]
fn epochs_and_producers_without_records_go_along_and_stay() {
    let mut rig = Rig::new();
    assert!(rig.try_produce(Some((5, 0)), "once"));
    rig.lead(3);
    rig.produce(1..60);
    rig.lead(4);
    {
        // The producer's batch is gone, and what is known of it is not.
        let mut replica = rig.replica.lock();
        replica.log_mut().set_log_start_offset(50).unwrap();
        replica.log_mut().delete_old_segments().unwrap();
    }
    rig.checkpoint();
    let epochs = rig.replica.lock().log().leader_epochs().to_vec();
    assert_eq!(epochs.last(), Some(&EpochEntry { epoch: 4, start_offset: 60 }));
    rig.moved();
    assert_eq!(rig.replica.lock().log().leader_epochs(), epochs);
    assert!(!rig.try_produce(Some((5, 0)), "once"), "it is the same batch again");
    let mut again = rig.restart();
    again.lead(5);
    assert!(!again.try_produce(Some((5, 0)), "once"), "after a restart too");
    assert!(again.try_produce(Some((5, 1)), "twice"));
}

#[test]
fn a_log_without_records_moves_with_its_producers() {
    let mut rig = Rig::new();
    assert!(rig.try_produce(Some((5, 0)), "once"));
    {
        let mut replica = rig.replica.lock();
        replica.log_mut().set_log_start_offset(1).unwrap();
    }
    rig.checkpoint();
    rig.moved();
    assert_eq!(rig.records(), []);
    let mut again = rig.restart();
    again.lead(5);
    assert_eq!(again.replica.lock().log().log_start_offset(), 1);
    assert!(!again.try_produce(Some((5, 0)), "once"));
}

#[test]
fn a_corrupt_batch_ends_the_move_and_says_where() {
    let mut rig = Rig::new();
    rig.produce(0..5);
    let path = Path::new("/a/t-0/00000000000000000000.log");
    let size = rig.storage.len_of(path).unwrap().unwrap();
    rig.storage.open(path, Access::Write).unwrap().write_all_at(&[0xff], size - 3).unwrap();
    let mut moving = rig.begin();
    let error = loop {
        match moving.step(&rig.replica, NOW) {
            Ok(Progress::Copied(_)) => {}
            Ok(Progress::CaughtUp) => panic!("it was copied"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().starts_with("what is in /a/t-0 at offset 4 cannot be copied: "), "{error}");
    moving.discard().unwrap();
    assert!(rig.names("/b").is_empty());
}

#[test]
fn a_target_that_fails_or_is_full_leaves_the_log_where_it_is() {
    for (operation, name) in
        [(Operation::Write, ".log"), (Operation::Sync, "-future"), (Operation::Sync, "/b")]
    {
        let mut rig = Rig::new();
        rig.produce(0..60);
        rig.flush();
        let before = rig.records();
        let fault = Fault { operation, after: 0, name_ends_with: name.to_owned(), effect: Effect::NoSpace };
        let mut moving = rig.begin();
        let move_it = || -> Result<(), MoveError> {
            rig.storage.inject(fault);
            while moving.step(&rig.replica, NOW)? != Progress::CaughtUp {}
            rig.logs.take_place(&mut moving, &rig.replica, || true, None, NOW, &mut rig.effects).map(drop)
        };
        let error = move_it().unwrap_err();
        rig.storage.clear_faults();
        let _ = moving.discard();
        assert_eq!(rig.dir(), Path::new("/a/t-0"), "{error}");
        assert_eq!(rig.names("/b").iter().filter(|name| !name.ends_with("-delete")).count(), 0, "{error}");
        rig.produce(60..61);
        rig.flush();
        let again = rig.restart();
        assert_eq!((again.dir(), again.records().len()), (PathBuf::from("/a/t-0"), before.len() + 1));
        let moved = { again }.moved();
        assert!(matches!(moved, Placed::Moved { trouble: None, .. }), "asked again it moves");
    }
}

/// The sync of the target's names that comes `after` so many others fails, and with it the attempt to take the new name back.
/// Whether it was the one that makes the log's new name durable.
fn with_a_name_that_is_in_doubt(after: u64, stays: bool) -> bool {
    let (mut rig, mut moving, before) = about_to_move();
    let fault = |operation, after, name: &str| {
        let fault = Fault { operation, after, name_ends_with: name.to_owned(), effect: Effect::IoError };
        rig.storage.inject(fault);
    };
    fault(Operation::Sync, after, "/b");
    if stays {
        fault(Operation::Rename, 0, "/b/t-0");
    }
    let placed = rig.place(&mut moving);
    let has_name = rig.names("/b").contains(&"t-0".to_owned());
    if let Ok(Placed::Moved { .. }) = placed {
        return false;
    }
    rig.storage.clear_faults();
    drop(moving);
    // The replica goes on where it is, and what it acknowledges from now on is not lost.
    rig.produce(45..50);
    rig.flush();
    assert_eq!(rig.dir(), Path::new("/a/t-0"));
    let records = rig.records();
    assert_eq!(records.len(), before.len() + 5);
    let Rig { storage, logs, replica, .. } = rig;
    drop((logs, replica));
    match logs_in(&storage, &["/a", "/b"]) {
        Ok(logs) => {
            assert!(!has_name);
            assert_eq!(Rig::on(storage, logs, config()).records(), records);
            after > 3
        }
        Err(refused) => {
            assert!(has_name && stays, "{refused}");
            true
        }
    }
}

#[test]
fn a_name_that_cannot_be_made_durable_is_taken_back() {
    for stays in [false, true] {
        let in_doubt = (0..12).filter(|after| with_a_name_that_is_in_doubt(*after, stays)).count();
        assert!(in_doubt > 0);
    }
}

#[test]
fn nothing_is_appended_to_a_log_that_may_have_given_way() {
    let in_doubt = (0..12).find_map(|after| {
        let (mut rig, mut moving, before) = about_to_move();
        for (operation, after, name) in [
            (Operation::Sync, after, "/b"),
            (Operation::Rename, 0, "/b/t-0"),
            // The first time it is noted, the second time to be taken back.
            (Operation::Write, 1, "taffrail.moving.tmp"),
        ] {
            let name_ends_with = name.to_owned();
            rig.storage.inject(Fault { operation, after, name_ends_with, effect: Effect::NoSpace });
        }
        let placed = rig.place(&mut moving);
        drop(moving);
        rig.storage.clear_faults();
        matches!(placed, Err(MoveError::InDoubt { .. })).then_some((rig, before))
    });
    let (mut rig, before) = in_doubt.unwrap();
    assert!(!rig.try_produce(None, "lost"));
    let again = rig.restart();
    assert_eq!((again.dir(), again.records()), (PathBuf::from("/b/t-0"), before));
}

#[test]
fn a_directory_that_is_out_of_service_takes_and_gives_nothing() {
    for failed in ["/a", "/b"] {
        let mut rig = Rig::new();
        rig.produce(0..5);
        let mut moving = rig.begin();
        rig.copy(&mut moving);
        rig.logs.set_condition(Path::new(failed), Condition::Failed("broken".into()));
        assert!(matches!(rig.place(&mut moving), Err(MoveError::Logs(_))));
        let again = rig.logs.begin_move(&t(), &rig.replica, Path::new("/b"), Uuid([2; 16]), NOW);
        assert!(matches!(again, Err(MoveError::Logs(_))));
        assert_eq!(rig.dir(), Path::new("/a/t-0"));
    }
}

#[test]
fn a_replica_that_is_moved_aside_or_replaced_meanwhile_is_not_brought_back() {
    let mut rig = Rig::new();
    rig.produce(0..5);
    let mut moving = rig.begin();
    rig.copy(&mut moving);
    let replaced = rig.logs.take_place(&mut moving, &rig.replica, || false, None, NOW, &mut rig.effects);
    assert!(matches!(replaced, Err(MoveError::Gone(_))));
    rig.logs.set_aside(&t(), Uuid([3; 16]), NOW).unwrap();
    assert!(matches!(rig.place(&mut moving), Err(MoveError::Gone(_))));
    moving.discard().unwrap();
    assert!(rig.names("/b").is_empty());
    assert_eq!(rig.names("/a").len(), 1, "the stray");
}

/// A replica that is about to take its place in `/b`, all of it durable, and its records.
fn about_to_move() -> (Rig, Move<MemoryStorage>, Records) {
    let mut rig = Rig::new();
    rig.produce(0..40);
    rig.replica.lock().log_mut().set_log_start_offset(7).unwrap();
    rig.flush();
    rig.checkpoint();
    let mut moving = rig.begin();
    rig.copy(&mut moving);
    // Inside of the first segment of both.
    rig.replica.lock().log_mut().set_log_start_offset(9).unwrap();
    rig.produce(40..45);
    rig.flush();
    rig.checkpoint();
    let records = rig.records();
    (rig, moving, records)
}

#[test]
fn every_crash_point_leaves_one_log_with_all_records_and_its_start() {
    let (mut stayed, mut moved) = (0, 0);
    for operations in 0.. {
        let mut ended = false;
        // `None`: the process dies alone.
        for seed in [None, Some(0), Some(1), Some(2), Some(3), Some(4)] {
            let (mut rig, mut moving, before) = about_to_move();
            rig.storage.halt_after(Some(operations));
            let placed = rig.place(&mut moving);
            ended = matches!(placed, Ok(Placed::Moved { trouble: None, .. }));
            drop(moving);
            rig.storage.halt_after(None);
            if let Some(seed) = seed {
                rig.storage.crash(seed);
            }
            let mut again = rig.restart();
            assert_eq!(again.records(), before, "after {operations} operations, seed {seed:?}");
            assert_eq!(again.replica.lock().high_watermark(), 45);
            let home = again.dir();
            match home.to_str().unwrap() {
                "/a/t-0" => stayed += 1,
                "/b/t-0" => moved += 1,
                other => panic!("{other}"),
            }
            assert!(!ended || home == Path::new("/b/t-0"));
            // And it is a replica like any other: it moves on, or back, and dies once more.
            again.produce(45..50);
            let records = again.records();
            let (target, other) = if home.starts_with("/a") { ("/b", "/a") } else { ("/a", "/b") };
            let unique = Uuid([0xcd; 16]);
            let mut moving =
                again.logs.begin_move(&t(), &again.replica, Path::new(target), unique, NOW).unwrap();
            again.copy(&mut moving);
            again.place(&mut moving).unwrap();
            drop(moving);
            again.storage.crash(seed.unwrap_or(9));
            let last = again.restart();
            assert!(last.dir().starts_with(target) && !last.names(other).contains(&"t-0".to_owned()));
            assert_eq!(last.records(), records);
        }
        if ended {
            break;
        }
    }
    assert!(stayed > 20 && moved > 20, "{stayed} stayed, {moved} moved");
}

/// The process dies when the target has the log, and before the source's is renamed.
fn dies_with_both(mut rig: Rig, mut moving: Move<MemoryStorage>) -> MemoryStorage {
    let fault = Fault {
        operation: Operation::Rename,
        after: 0,
        name_ends_with: "/a/t-0".into(),
        effect: Effect::IoError,
    };
    rig.storage.inject(fault);
    assert!(matches!(rig.place(&mut moving).unwrap(), Placed::Moved { former: None, trouble: Some(_) }));
    let Rig { storage, logs, replica, .. } = rig;
    drop((logs, replica, moving));
    storage
}

#[test]
fn a_log_that_was_about_to_give_way_is_taken_where_the_other_directory_is_missing() {
    let (rig, moving, before) = about_to_move();
    let storage = dies_with_both(rig, moving);
    assert!(storage.list(Path::new("/a/t-0")).is_ok() && storage.list(Path::new("/b/t-0")).is_ok());
    let logs = logs_in(&storage, &["/a"]).unwrap();
    let rig = Rig::on(storage, logs, config());
    assert_eq!(rig.records(), before);
    let Rig { storage, logs, replica, .. } = rig;
    drop((logs, replica));
    // What it acknowledged since may be missing in the other one.
    let Err(error) = logs_in(&storage, &["/a", "/b"]) else { panic!("one of two was taken") };
    assert!(error.to_string().contains("t-0 has a log both in /a and in /b"), "{error}");
}

#[test]
fn a_log_that_was_about_to_give_way_goes_when_its_directory_comes_back_later() {
    let (rig, moving, before) = about_to_move();
    let storage = dies_with_both(rig, moving);
    let mut rig = {
        let logs = logs_in(&storage, &["/b"]).unwrap();
        Rig::on(storage, logs, config())
    };
    assert_eq!(rig.records(), before);
    rig.produce(45..50);
    let records = rig.records();
    let again = rig.restart();
    assert_eq!((again.dir(), again.records()), (PathBuf::from("/b/t-0"), records));
    assert!(again.names("/a").is_empty());
}

#[test]
fn two_logs_that_give_way_to_one_another_are_refused() {
    let (rig, moving, _) = about_to_move();
    drop(moving);
    let Rig { storage, logs, replica, .. } = rig;
    drop((logs, replica));
    storage.create_dir_all(Path::new("/b/t-0")).unwrap();
    for dir in ["/a", "/b"] {
        let note = "0\n1\nt 0 45\n";
        storage.replace_small(&Path::new(dir).join("taffrail.moving"), note.as_bytes()).unwrap();
    }
    assert!(logs_in(&storage, &["/a", "/b"]).is_err());
}
