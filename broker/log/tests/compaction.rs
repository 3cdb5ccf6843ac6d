//! Compaction against a map of the latest values, whatever is appended, wherever it stops and wherever the power is cut.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};

use common::{NOW, config, create, dir, open};
use proptest::prelude::*;
use taffrail_log::cleaner::{CleanError, Cleaner, CleanerLimits, Pace, Stopped};
use taffrail_log::names::{PartitionFile, SegmentFile};
use taffrail_log::storage::{Access, Effect, Fault, Operation};
use taffrail_log::transaction_index;
use taffrail_log::{AppendOrigin, Log, LogConfig, MemoryStorage, OpenMode, Replaced, Storage, StorageFile};
use taffrail_protocol::record_batch::{BatchBuilder, BatchHeader, BatchView, Batches, Compression};

const DELETE_RETENTION_MS: i64 = 1000;

#[derive(Debug, Clone)]
enum Op {
    /// Keys, each with a value or a tombstone; of a producer's transaction, of a producer, or of nobody.
    Append {
        keys: Vec<(u8, bool)>,
        codec: usize,
        producer: Option<(u8, bool)>,
    },
    EndTransaction {
        producer: u8,
        commit: bool,
    },
    Flush,
    Later(u16),
    Clean {
        map_entries: usize,
        stop_after: Option<u8>,
        fail: Option<(u8, u8)>,
    },
    MoveStart(u8),
    Truncate(u8),
    CloseAndOpen,
    Kill,
    Crash(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let keys = proptest::collection::vec((0..6u8, proptest::bool::weighted(0.75)), 1..6);
    let producer = proptest::option::weighted(0.5, (0..3u8, any::<bool>()));
    let append =
        (keys, 0..5usize, producer).prop_map(|(keys, codec, producer)| Op::Append { keys, codec, producer });
    let map_entries = prop_oneof![Just(1), Just(3), Just(1000)];
    let stop_after = proptest::option::weighted(0.2, any::<u8>());
    let fail = proptest::option::weighted(0.2, (0..7u8, 0..20u8));
    let op = prop_oneof![
        12 => append,
        2 => (0..3u8, any::<bool>()).prop_map(|(producer, commit)| Op::EndTransaction { producer, commit }),
        2 => Just(Op::Flush),
        1 => (0..900u16).prop_map(Op::Later),
        4 => (map_entries, stop_after, fail)
            .prop_map(|(map_entries, stop_after, fail)| Op::Clean { map_entries, stop_after, fail }),
        1 => any::<u8>().prop_map(Op::MoveStart),
        1 => any::<u8>().prop_map(Op::Truncate),
        1 => Just(Op::CloseAndOpen),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::Crash),
    ];
    proptest::collection::vec(op, 1..80)
}

/// A record that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    /// The transaction that it belongs to.
    transaction: Option<usize>,
    is_marker: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

/// After how many reads and writes to stop.
struct StopAfter(Option<u8>);

impl Pace for StopAfter {
    fn spend(&mut self, _bytes: u64) -> Result<(), Stopped> {
        match &mut self.0 {
            Some(0) => Err(Stopped),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

struct Model {
    storage: MemoryStorage,
    config: LogConfig,
    log: Option<Log<MemoryStorage>>,
    /// All records there were, by offset.
    records: BTreeMap<i64, Record>,
    /// Whose they are, and what became of them.
    transactions: Vec<(i64, Fate)>,
    /// The open transaction of each producer.
    open: HashMap<u8, usize>,
    sequences: HashMap<u8, i32>,
    /// How often producers began anew, under other ids.
    lives: i64,
    now: i64,
    values: u32,
    /// Up to here records may have been compacted.
    touched: i64,
}

fn limits(map_bytes: usize, io_bytes: usize) -> CleanerLimits {
    CleanerLimits { map_bytes, load_factor: 0.9, io_bytes }
}

fn header_of(bytes: &[u8]) -> BatchHeader {
    *BatchView::new(bytes).unwrap().header()
}

impl Model {
    fn new() -> Self {
        let storage = MemoryStorage::new();
        let config = LogConfig {
            segment_bytes: 700,
            index_interval_bytes: 150,
            compact: true,
            delete: false,
            delete_retention_ms: DELETE_RETENTION_MS,
            ..config()
        };
        let log = Some(create(&storage, config.clone()));
        Self {
            storage,
            config,
            log,
            records: BTreeMap::new(),
            transactions: Vec::new(),
            open: HashMap::new(),
            sequences: HashMap::new(),
            lives: 0,
            now: NOW,
            values: 0,
            touched: 0,
        }
    }

    fn log(&mut self) -> &mut Log<MemoryStorage> {
        self.log.as_mut().unwrap()
    }

    fn pick(&mut self, fraction: u8) -> i64 {
        let (start, end) = (self.log().log_start_offset(), self.log().log_end_offset());
        start + (end - start) * i64::from(fraction) / 255
    }

    fn producer_id(&self, id: u8) -> i64 {
        i64::from(id) + 3 * self.lives
    }

    fn append(&mut self, mut bytes: Vec<u8>, origin: AppendOrigin, transaction: Option<usize>) {
        let header = header_of(&bytes);
        let now = self.now;
        let info = self.log().append_as_leader(&mut bytes, &header, 0, origin, now).unwrap();
        assert!(!info.duplicate);
        for record in BatchView::new(&bytes).unwrap().records(1 << 20).unwrap().iter() {
            let record = record.unwrap();
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            let is_marker = header.is_control();
            let record = Record { key, value, timestamp: record.timestamp, transaction, is_marker };
            self.records.insert(info.base_offset + self.records_in(info.base_offset), record);
        }
    }

    fn end_transaction(&mut self, number: usize, commit: bool) {
        let (producer_id, _) = self.transactions[number];
        let mut builder = BatchBuilder::new(Compression::None);
        builder.producer(producer_id, 0, -1).transactional().control();
        builder.append(self.now, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0; 6]), &[]);
        self.append(builder.build().unwrap(), AppendOrigin::Coordinator, Some(number));
        self.transactions[number].1 = if commit { Fate::Committed } else { Fate::Aborted };
    }

    fn records_in(&self, from: i64) -> i64 {
        self.records.range(from..).count() as i64
    }

    fn step(&mut self, op: &Op) {
        self.now += 1;
        match op {
            Op::Append { keys, codec, producer } => {
                let mut builder = BatchBuilder::new(Compression::ALL[*codec]);
                let mut transaction = None;
                if let Some((id, transactional)) = *producer {
                    // A producer with an open transaction writes in it.
                    let in_transaction = transactional || self.open.contains_key(&id);
                    let sequence = *self.sequences.entry(id).or_default();
                    let producer_id = self.producer_id(id);
                    builder.producer(producer_id, 0, sequence);
                    if in_transaction {
                        builder.transactional();
                        let next = self.transactions.len();
                        let number = *self.open.entry(id).or_insert(next);
                        if number == next {
                            self.transactions.push((producer_id, Fate::Open));
                        }
                        transaction = Some(number);
                    }
                }
                for (index, (key, has_value)) in keys.iter().enumerate() {
                    self.values += 1;
                    let value = format!("{}-{}", self.values, ".".repeat(usize::from(*key) * 9));
                    let value = has_value.then_some(value.as_bytes());
                    builder.append(self.now + index as i64, Some(&[b'k', *key]), value, &[]);
                }
                self.append(builder.build().unwrap(), AppendOrigin::Client, transaction);
                if let Some((id, _)) = *producer {
                    *self.sequences.entry(id).or_default() += keys.len() as i32;
                }
            }
            Op::EndTransaction { producer, commit } => {
                if let Some(number) = self.open.remove(producer) {
                    self.end_transaction(number, *commit);
                }
            }
            Op::Flush => {
                let now = self.now;
                self.log().flush(now).unwrap();
            }
            Op::Later(ms) => self.now += i64::from(*ms),
            Op::Clean { map_entries, stop_after, fail } => {
                if let Some((operation, after)) = *fail {
                    let operation = [
                        Operation::Open,
                        Operation::Read,
                        Operation::Write,
                        Operation::SetLen,
                        Operation::Sync,
                        Operation::Rename,
                        Operation::Remove,
                    ][usize::from(operation)];
                    let (name_ends_with, after) = (String::new(), u64::from(after));
                    self.storage.inject(Fault { operation, after, name_ends_with, effect: Effect::IoError });
                }
                let end = self.log().log_end_offset();
                let cleaned = self.clean(*map_entries, *stop_after);
                assert_eq!(self.log().log_end_offset(), end);
                self.storage.clear_faults();
                assert!(cleaned || stop_after.is_some() || fail.is_some());
                if self.log().poisoned().is_some() {
                    self.reopen(None);
                } else if cleaned && *map_entries > 100 {
                    self.check_compacted();
                }
            }
            Op::MoveStart(fraction) => {
                let offset = self.pick(*fraction).min(self.stable());
                self.log().set_log_start_offset(offset).unwrap();
                self.log().delete_old_segments().unwrap();
            }
            Op::Truncate(fraction) => {
                let now = self.now;
                let offset = self.pick(*fraction).max(self.touched);
                self.log().truncate_to(offset, now).unwrap();
                let end = self.log().log_end_offset();
                if !self.records.split_off(&end).is_empty() {
                    self.begin_anew();
                }
            }
            Op::CloseAndOpen => {
                let mut log = self.log.take().unwrap();
                log.close(self.now).unwrap();
                let mode = OpenMode {
                    clean: true,
                    recovery_point: log.recovery_point(),
                    log_start_offset: log.log_start_offset(),
                };
                let cleaned_to = log.cleaned_to();
                drop(log);
                let (mut log, report) = open(&self.storage, self.config.clone(), mode);
                log.set_cleaned_to(cleaned_to);
                assert_eq!(report.scanned_segments, 0, "{report:?}");
                self.log = Some(log);
            }
            Op::Kill => self.reopen(None),
            Op::Crash(seed) => self.reopen(Some(*seed)),
        }
    }

    /// Where the oldest open transaction begins.
    fn stable(&mut self) -> i64 {
        let end = self.log().log_end_offset();
        self.log().last_stable_offset(end)
    }

    /// Compacts all that can be. False when it was stopped.
    fn clean(&mut self, map_entries: usize, stop_after: Option<u8>) -> bool {
        let (now, end) = (self.now, self.log().log_end_offset());
        let Ok(cleanable) = self.log().cleanable(end, now) else { return false };
        let Some(cleanable) = cleanable else { return true };
        self.touched = self.touched.max(cleanable.first_uncleanable);
        let plan = self.log().begin_cleaning(cleanable, now).unwrap();
        let mut cleaner = Cleaner::new(limits((map_entries + 1) * 24 * 10 / 9 + 24, 300), 42);
        let mut pace = StopAfter(stop_after);
        let run = || -> Result<bool, CleanError> {
            let mut cleaning = cleaner.begin(plan, &mut pace)?;
            while let Some(replacement) = cleaner.clean_next(&mut cleaning, &mut pace)? {
                match self.log.as_mut().unwrap().replace_segments(replacement) {
                    Ok(Replaced::InPlace) => {}
                    Ok(Replaced::Unwanted(_)) => panic!("nothing has changed meanwhile"),
                    Err(_poisoned) => return Ok(false),
                }
            }
            if cleaning.sync().is_err() {
                return Ok(false);
            }
            self.log.as_mut().unwrap().note_cleaned(cleaning.end_offset());
            Ok(true)
        };
        let ran = run();
        match &ran {
            Err(CleanError::Corrupt { .. } | CleanError::Batch { .. }) => panic!("{ran:?}"),
            _ => ran.unwrap_or(false),
        }
    }

    /// The process ends, and with a seed the power too.
    fn reopen(&mut self, crash: Option<u64>) {
        let log = self.log.take().unwrap();
        let mode = OpenMode {
            clean: false,
            recovery_point: log.recovery_point(),
            log_start_offset: log.log_start_offset(),
        };
        let (end, cleaned_to) = (log.log_end_offset(), log.cleaned_to());
        drop(log);
        if let Some(seed) = crash {
            self.storage.crash(seed);
        }
        let (mut log, report) = open(&self.storage, self.config.clone(), mode);
        log.set_cleaned_to(cleaned_to);
        assert!(log.log_end_offset() >= mode.recovery_point, "{report:?}");
        assert!(crash.is_some() || log.log_end_offset() == end, "{report:?}");
        let leftover = self.storage.list(&dir()).unwrap().into_iter().find(|entry| {
            !matches!(PartitionFile::parse(&entry.name), PartitionFile::Live(..) | PartitionFile::Other)
        });
        assert!(leftover.is_none(), "{leftover:?}");
        // What was cut off does not come back with the next crash.
        log.flush(self.now).unwrap();
        self.log = Some(log);
        let known = self.records.len();
        if crash.is_some() {
            // Between segments that were not synced a hole may be one that compaction has left, or one of lost records: a
            // replica that may have lost some takes what follows from its leader.
            let (found, safe) = (self.found(), mode.recovery_point.max(mode.log_start_offset));
            let lost = self.records.range(safe..).find(|(offset, _)| !found.contains_key(offset));
            if let Some(offset) = lost.map(|(offset, _)| *offset) {
                let now = self.now;
                self.log().truncate_to(offset, now).unwrap();
            }
        }
        let end = self.log().log_end_offset();
        self.records.split_off(&end);
        if self.records.len() < known {
            self.begin_anew();
        }
        if self.log().log_start_offset() > 0 {
            // Of producers that wrote before it nothing may be known any more.
            for number in std::mem::take(&mut self.open).into_values() {
                self.end_transaction(number, false);
            }
            self.sequences.clear();
            self.lives += 1;
        }
    }

    /// The log has lost something at its end.
    fn begin_anew(&mut self) {
        // Markers may be lost. Whoever decided remembers, and writes them again; producers begin anew.
        self.open.clear();
        self.sequences.clear();
        self.lives += 1;
        for number in 0..self.transactions.len() {
            let of_it = |record: &&Record| record.transaction == Some(number);
            let (records, markers): (Vec<&Record>, Vec<&Record>) =
                self.records.values().filter(of_it).partition(|record| !record.is_marker);
            if markers.is_empty() {
                let commit = self.transactions[number].1 == Fate::Committed;
                if !records.is_empty() {
                    self.end_transaction(number, commit);
                }
            }
        }
    }

    /// Every batch of the log.
    fn batches(&mut self) -> Vec<Vec<u8>> {
        let bytes = common::everything(self.log());
        Batches::new(&bytes).map(|view| view.unwrap().bytes().to_vec()).collect()
    }

    /// What the log holds, by offset, from its start on.
    fn found(&mut self) -> BTreeMap<i64, Record> {
        let start = self.log().log_start_offset();
        let mut found = BTreeMap::new();
        for batch in self.batches() {
            let view = BatchView::new(&batch).unwrap();
            view.verify_crc().unwrap();
            for record in view.records(1 << 20).unwrap().iter() {
                let record = record.unwrap();
                let known = self.records.get(&record.offset).expect("a record that was appended");
                let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
                assert_eq!((&key, &value), (&known.key, &known.value), "at {}", record.offset);
                assert_eq!(record.timestamp, known.timestamp, "at {}", record.offset);
                assert_eq!(view.header().is_control(), known.is_marker);
                if record.offset >= start {
                    found.insert(record.offset, known.clone());
                }
            }
        }
        found
    }

    fn is_aborted(&self, record: &Record) -> bool {
        record.transaction.is_some_and(|number| self.transactions[number].1 == Fate::Aborted)
    }

    /// The log says what the map says.
    fn check(&mut self) {
        let found = self.found();
        let start = self.log().log_start_offset();
        let mut latest: BTreeMap<Vec<u8>, (i64, Record)> = BTreeMap::new();
        for (offset, record) in self.records.range(start..) {
            if !record.is_marker && !self.is_aborted(record) {
                latest.insert(record.key.clone().unwrap(), (*offset, record.clone()));
            }
        }
        for (key, (offset, record)) in latest {
            let found_last = found
                .iter()
                .rfind(|(_, found)| {
                    !found.is_marker && found.key.as_ref() == Some(&key) && !self.is_aborted(found)
                })
                .map(|(offset, _)| *offset);
            let may_be_gone = record.value.is_none() && self.now - record.timestamp > DELETE_RETENTION_MS;
            assert!(
                found_last == Some(offset) || may_be_gone && found_last.is_none(),
                "{key:?} is at {offset}, and at {found_last:?} in the log"
            );
        }
        // Whatever can still be taken back stays as it is.
        let stable = self.stable();
        for (offset, record) in self.records.range(stable.max(start)..) {
            assert_eq!(found.get(offset), Some(record));
        }
        self.check_aborted(&found);
    }

    /// A reader that is told of aborted transactions by the indexes sees none of their records, and all others.
    fn check_aborted(&mut self, found: &BTreeMap<i64, Record>) {
        let bases: Vec<i64> = self.log().segment_base_offsets().collect();
        let mut told = Vec::new();
        for base in bases {
            let path = SegmentFile::TransactionIndex.path(&dir(), base);
            let bytes = self.storage.read_small(&path, 1 << 20).unwrap().unwrap_or_default();
            told.extend(transaction_index::decode(&bytes, base).unwrap());
        }
        let start = self.log().log_start_offset();
        told.retain(|aborted| aborted.last_offset >= start);
        let mut markers: HashSet<i64> = HashSet::new();
        for batch in self.batches() {
            let header = header_of(&batch);
            if header.is_control() && header.record_count > 0 {
                markers.insert(header.base_offset);
            }
        }
        for aborted in &told {
            assert!(markers.contains(&aborted.last_offset), "{aborted:?} has no marker any more");
        }
        for (offset, record) in found.iter().filter(|(_, record)| !record.is_marker) {
            let producer = record.transaction;
            let is_told = told.iter().any(|aborted| {
                aborted.first_offset <= *offset
                    && *offset < aborted.last_offset
                    && self.records[&aborted.last_offset].transaction == producer
            });
            assert_eq!(is_told, self.is_aborted(record), "the record at {offset}");
        }
    }

    /// After a compaction of everything: one record of each key at most, up to where it went.
    fn check_compacted(&mut self) {
        let (found, end) = (self.found(), self.log().cleaned_to());
        let mut keys = HashSet::new();
        for (offset, record) in found.range(..end).filter(|(_, record)| !record.is_marker) {
            assert!(keys.insert(record.key.clone()), "the record at {offset} is not its key's first");
            assert!(!self.is_aborted(record), "the record at {offset} was aborted");
        }
    }

    /// The producers' state, as an appender meets it.
    fn producers(&mut self) -> Vec<Option<i64>> {
        let ids = [0, 1, 2].map(|id| self.producer_id(id));
        ids.into_iter().map(|id| self.log().last_offset_of_producer(id)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_agrees_with_a_map_of_the_latest_values(ops in ops()) {
        let mut model = Model::new();
        for op in &ops {
            let before = model.producers();
            model.step(op);
            if matches!(op, Op::Clean { .. } | Op::CloseAndOpen | Op::Kill) {
                // What lies before a log's start is not read again.
                if model.log().log_start_offset() == 0 {
                    prop_assert_eq!(&model.producers(), &before, "after {:?}", op);
                }
            }
            if !matches!(op, Op::Append { .. } | Op::Flush | Op::Later(_)) {
                model.check();
            }
        }
        model.check();
        if model.log().log_start_offset() > 0 {
            return Ok(());
        }
        // A process that knows nothing of the log but its batches finds the same producers.
        let before = model.producers();
        let names: Vec<String> =
            model.storage.list(&dir()).unwrap().into_iter().map(|entry| entry.name).collect();
        for name in names.iter().filter(|name| name.ends_with(".snapshot")) {
            model.storage.remove_file(&dir().join(name)).unwrap();
        }
        model.reopen(None);
        prop_assert_eq!(model.log().log_start_offset(), 0);
        prop_assert_eq!(model.producers(), before);
    }
}

#[test]
fn a_corrupt_batch_is_named_and_nothing_is_changed() {
    let mut model = Model::new();
    for round in 0..12u8 {
        let keys = vec![(round % 3, true); 5];
        model.step(&Op::Append { keys, codec: 0, producer: None });
    }
    model.step(&Op::Flush);
    let before = model.batches();
    let path = SegmentFile::Log.path(&dir(), 0);
    let file = model.storage.open(&path, Access::Write).unwrap();
    let at = before[0].len() as u64 + 70;
    let mut byte = [0];
    file.read_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let (now, end) = (model.now, model.log().log_end_offset());
    let cleanable = model.log().cleanable(end, now).unwrap().unwrap();
    let plan = model.log().begin_cleaning(cleanable, now).unwrap();
    let failed = Cleaner::new(limits(1 << 16, 1000), 1).begin(plan, &mut StopAfter(None)).err().unwrap();
    let text = failed.to_string();
    let position = before[0].len();
    assert!(
        text.contains(&format!("{} has a corrupt batch at position {position}", path.display())),
        "{text}"
    );
    file.write_all_at(&byte, at).unwrap();
    assert_eq!(model.batches(), before);
}

#[test]
fn what_was_compacted_of_a_log_that_changed_meanwhile_is_not_put_in_place() {
    type Change = fn(&mut Log<MemoryStorage>);
    let cut: Change = |log| {
        log.truncate_to(log.log_end_offset() - 1, NOW).unwrap();
    };
    let shorten: Change = |log| {
        log.set_log_start_offset(20).unwrap();
        log.delete_old_segments().unwrap();
    };
    let keep_all: Change = |log| log.update_config(LogConfig { compact: false, ..log.config().clone() });
    for change in [cut, shorten, keep_all] {
        let mut model = Model::new();
        for round in 0..12u8 {
            model.step(&Op::Append { keys: vec![(round % 3, true); 5], codec: 0, producer: None });
        }
        model.step(&Op::Flush);
        let (now, end) = (model.now, model.log().log_end_offset());
        let cleanable = model.log().cleanable(end, now).unwrap().unwrap();
        let plan = model.log().begin_cleaning(cleanable, now).unwrap();
        let mut cleaner = Cleaner::new(limits(1 << 16, 1000), 1);
        let mut cleaning = cleaner.begin(plan, &mut StopAfter(None)).unwrap();
        let replacement = cleaner.clean_next(&mut cleaning, &mut StopAfter(None)).unwrap().unwrap();
        change(model.log());
        let before = model.batches();
        match model.log().replace_segments(replacement).unwrap() {
            Replaced::InPlace => panic!("it was put in place"),
            Replaced::Unwanted(unwanted) => unwanted.discard(),
        }
        assert_eq!(model.batches(), before);
        let names = model.storage.list(&dir()).unwrap();
        assert!(!names.iter().any(|entry| entry.name.ends_with(".swap") || entry.name.ends_with(".cleaned")));
    }
}

#[test]
fn tombstones_go_once_every_reader_had_the_time_to_see_them() {
    let mut model = Model::new();
    let filler = |model: &mut Model| {
        for _ in 0..4 {
            model.step(&Op::Append { keys: vec![(5, true); 5], codec: 0, producer: None });
        }
        model.step(&Op::Flush);
    };
    model.step(&Op::Append { keys: vec![(0, true), (1, true)], codec: 0, producer: None });
    model.step(&Op::Append { keys: vec![(0, false)], codec: 4, producer: None });
    filler(&mut model);
    let tombstone = |model: &mut Model| model.found().values().any(|record| record.value.is_none());
    assert!(model.clean(1000, None) && tombstone(&mut model));
    // A thousand milliseconds count from the compaction that met it, not from when it was written.
    model.now += DELETE_RETENTION_MS - 50;
    filler(&mut model);
    assert!(model.clean(1000, None) && tombstone(&mut model));
    model.now += 60;
    filler(&mut model);
    assert!(model.clean(1000, None) && !tombstone(&mut model));
    let keys: HashSet<_> = model.found().values().map(|record| record.key.clone()).collect();
    assert_eq!(keys, HashSet::from([Some(vec![b'k', 1]), Some(vec![b'k', 5])]));
}

#[test]
fn small_segments_become_one_and_an_idle_log_is_rolled_in_time() {
    let mut model = Model::new();
    for round in 0..40u8 {
        model.step(&Op::Append { keys: vec![(round % 6, true); 3], codec: 0, producer: None });
    }
    model.step(&Op::Flush);
    let before = model.log().segment_count();
    model.config.segment_bytes = 100_000;
    let config = model.config.clone();
    model.log().update_config(config);
    assert!(before > 8 && model.clean(1000, None));
    assert_eq!(model.log().segment_count(), 2, "one of what is left, and the active one");
    model.config.max_compaction_lag_ms = 500;
    let (config, now) = (model.config.clone(), model.now);
    model.log().update_config(config);
    assert!(!model.log().roll_overdue(now).unwrap());
    assert!(model.log().roll_overdue(now + 600).unwrap());
    assert!(!model.log().roll_overdue(now + 600).unwrap(), "the new one is empty");
    model.step(&Op::Flush);
    let end = model.log().log_end_offset();
    let cleanable = model.log().cleanable(end, now + 600).unwrap().unwrap();
    assert!(cleanable.overdue && cleanable.is_due(1.0));
    assert!(model.clean(1000, None));
    model.check_compacted();
    assert_eq!(model.log().cleaned_to(), end);
}
