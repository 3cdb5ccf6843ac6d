//! A log against a list of batches: whatever is done to it, and wherever the power is cut.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::collections::HashSet;

use common::{Batch, NOW, config, create, offsets_read, open, try_append};
use proptest::prelude::*;
use taffrail_log::{Finding, Log, LogConfig, MemoryStorage, OpenMode, Storage, StorageFile};
use taffrail_protocol::record_batch::{BatchHeader, BatchView, Batches, Compression};

#[derive(Debug, Clone)]
enum Op {
    Append { records: usize, padding: usize, later_ms: i64, codec: usize, sequence: bool },
    NewEpoch,
    Flush,
    Truncate(u8),
    StartAnew(u8),
    MoveStart(u8),
    DeleteOld,
    Retain { ms: Option<u8>, bytes: Option<u16>, high_watermark: u8 },
    Sweep(bool),
    CloseAndOpen,
    CloseTogetherAndOpen,
    Crash(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let append = (1..6usize, 0..120usize, -50..100i64, 0..5usize, any::<bool>()).prop_map(
        |(records, padding, later_ms, codec, sequence)| Op::Append {
            records,
            padding,
            later_ms,
            codec,
            sequence,
        },
    );
    let op = prop_oneof![
        12 => append,
        1 => Just(Op::NewEpoch),
        2 => Just(Op::Flush),
        1 => any::<u8>().prop_map(Op::Truncate),
        1 => any::<u8>().prop_map(Op::StartAnew),
        1 => any::<u8>().prop_map(Op::MoveStart),
        1 => Just(Op::DeleteOld),
        2 => (any::<Option<u8>>(), any::<Option<u16>>(), any::<u8>())
            .prop_map(|(ms, bytes, high_watermark)| Op::Retain { ms, bytes, high_watermark }),
        1 => any::<bool>().prop_map(Op::Sweep),
        1 => Just(Op::CloseAndOpen),
        1 => Just(Op::CloseTogetherAndOpen),
        2 => any::<u64>().prop_map(Op::Crash),
    ];
    proptest::collection::vec(op, 1..60)
}

/// A stored batch: its bytes.
type Stored = Vec<u8>;

struct Model {
    storage: MemoryStorage,
    config: LogConfig,
    log: Option<Log<MemoryStorage>>,
    batches: Vec<Stored>,
    /// All that ever was in the log.
    ever: HashSet<Stored>,
    end: i64,
    epoch: i32,
    now: i64,
    sequence: i32,
}

fn header(batch: &Stored) -> BatchHeader {
    *BatchView::new(batch).unwrap().header()
}

impl Model {
    fn new() -> Self {
        let storage = MemoryStorage::new();
        let config = LogConfig { segment_bytes: 900, index_interval_bytes: 150, ..config() };
        let log = Some(create(&storage, config.clone()));
        Self {
            storage,
            config,
            log,
            batches: Vec::new(),
            ever: HashSet::new(),
            end: 0,
            epoch: 0,
            now: NOW,
            sequence: 0,
        }
    }

    fn log(&mut self) -> &mut Log<MemoryStorage> {
        self.log.as_mut().unwrap()
    }

    /// An offset between the log's start and a little behind its end.
    fn pick(&mut self, fraction: u8) -> i64 {
        let start = self.log().log_start_offset();
        start + (self.end + 3 - start) * i64::from(fraction) / 255
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Append { records, padding, later_ms, codec, sequence } => {
                self.now += later_ms;
                let mut batch =
                    Batch::of(records).padding(padding).timestamp(self.now).value(self.ever.len());
                batch = batch.compression(Compression::ALL[codec]);
                if sequence {
                    batch = batch.producer(1, 0, self.sequence);
                }
                let epoch = self.epoch;
                let info = match try_append(self.log(), &batch, epoch) {
                    Ok(info) => info,
                    // After a truncation or a crash the producer is behind or ahead of what is known of it.
                    Err(error) => return assert!(sequence, "{error}"),
                };
                if sequence {
                    self.sequence += records as i32;
                }
                if info.duplicate {
                    return;
                }
                assert_eq!(info.base_offset, self.end);
                self.end = info.last_offset + 1;
                let stored = self.stored(info.base_offset);
                self.ever.insert(stored.clone());
                self.batches.push(stored);
            }
            Op::NewEpoch => {
                self.epoch += 1;
                let epoch = self.epoch;
                self.log().assign_leader_epoch(epoch).unwrap();
            }
            Op::Flush => self.log().flush(NOW).unwrap(),
            Op::Truncate(fraction) => {
                let offset = self.pick(fraction);
                let end = self.log().truncate_to(offset, NOW).unwrap();
                self.batches.retain(|batch| header(batch).last_offset() < offset);
                let start = self.log().log_start_offset();
                let kept = self.batches.last().map_or(start, |batch| header(batch).next_offset());
                assert!(end == kept.max(start) || end == offset.min(self.end), "{end}");
                self.end = end;
            }
            Op::StartAnew(fraction) => {
                let offset = self.pick(fraction);
                self.log().truncate_fully_and_start_at(offset, NOW).unwrap();
                self.batches.clear();
                self.end = offset;
            }
            Op::MoveStart(fraction) => {
                let offset = self.pick(fraction);
                self.log().set_log_start_offset(offset).unwrap();
            }
            Op::DeleteOld => {
                self.log().delete_old_segments().unwrap();
            }
            Op::Retain { ms, bytes, high_watermark } => {
                let (high_watermark, now) = (self.pick(high_watermark).min(self.end), self.now);
                let config = LogConfig {
                    retention_ms: ms.map_or(-1, i64::from),
                    retention_bytes: bytes.map_or(-1, i64::from),
                    ..self.config.clone()
                };
                let start = self.log().log_start_offset();
                self.log().update_config(config);
                let retained = self.log().retain(high_watermark, now).unwrap();
                let now_at = self.log().log_start_offset();
                match retained {
                    Some(retained) => {
                        assert_eq!((retained.from, retained.to), (start, now_at));
                        assert!(start < now_at && now_at <= high_watermark && retained.due.segments() > 0);
                    }
                    None => assert_eq!(start, now_at),
                }
            }
            Op::Sweep(at_once) => {
                let sweep = self.log().begin_sweep(NOW, at_once);
                sweep.into_iter().for_each(|sweep| sweep.run().unwrap());
            }
            Op::CloseAndOpen | Op::CloseTogetherAndOpen => {
                let mut log = self.log.take().unwrap();
                // A crash before the first flush took it away.
                let is_nameless = log.topic_id().is_none();
                let (recovery_point, log_start_offset) = (log.recovery_point(), log.log_start_offset());
                if matches!(op, Op::CloseAndOpen) {
                    log.close(NOW).unwrap();
                } else {
                    log.begin_close().unwrap();
                    let lock = self.storage.lock(std::path::Path::new("/data/.lock")).unwrap().unwrap();
                    self.storage.sync_all(&lock).unwrap();
                    log.finish_close(NOW).unwrap();
                }
                assert_eq!(log.recovery_point(), self.end);
                // Nothing is lost that a clean stop counts on.
                self.storage.crash(self.end as u64);
                let mode = OpenMode { clean: true, recovery_point, log_start_offset };
                let (log, report) = open(&self.storage, self.config.clone(), mode);
                for (finding, _) in &report.findings {
                    let expected = match finding {
                        Finding::UnreadableMetadata => is_nameless,
                        Finding::DeletedFile | Finding::OrphanIndex => true,
                        finding => *finding == Finding::StraySnapshot,
                    };
                    assert!(expected, "{report:?}");
                }
                assert_eq!(report.scanned_segments, 0);
                self.log = Some(log);
            }
            Op::Crash(seed) => self.crash(seed),
        }
    }

    /// What must be there is there, what is there was appended once, and it is whole and without holes.
    fn crash(&mut self, seed: u64) {
        let log = self.log.take().unwrap();
        let (recovery_point, log_start_offset) = (log.recovery_point(), log.log_start_offset());
        drop(log);
        self.storage.crash(seed);
        let mode = OpenMode { clean: false, recovery_point, log_start_offset };
        let (log, _) = open(&self.storage, self.config.clone(), mode);
        self.log = Some(log);
        let found = self.read_all();
        let synced = |batch: &&Stored| {
            let header = header(batch);
            header.last_offset() < recovery_point && header.last_offset() >= log_start_offset
        };
        let must: Vec<&Stored> = self.batches.iter().filter(synced).collect();
        assert!(found.len() >= must.len(), "{} of {} synced batches are there", found.len(), must.len());
        for (found, must) in found.iter().zip(must) {
            assert_eq!(found, must, "a synced batch");
        }
        assert!(found.iter().all(|batch| self.ever.contains(batch)));
        for pair in found.windows(2) {
            assert_eq!(header(&pair[0]).next_offset(), header(&pair[1]).base_offset);
        }
        self.end = self.log().log_end_offset();
        assert!(self.end >= recovery_point || self.end == log_start_offset);
        self.batches = found;
    }

    fn stored(&mut self, offset: i64) -> Stored {
        let range = self.log().read(offset, 1, true, i64::MAX).unwrap().records.unwrap();
        let mut bytes = vec![0; range.len as usize];
        range.file.read_at(&mut bytes, range.position).unwrap();
        bytes
    }

    fn read_all(&mut self) -> Vec<Stored> {
        let bytes = common::everything(self.log());
        Batches::new(&bytes).map(|view| view.unwrap().bytes().to_vec()).collect()
    }

    /// The log says what the list says.
    fn check(&mut self) {
        let start = self.log().log_start_offset();
        let end = self.end;
        assert_eq!(self.log().log_end_offset(), end);
        let visible: Vec<Stored> =
            self.batches.iter().filter(|batch| header(batch).last_offset() >= start).cloned().collect();
        assert_eq!(self.read_all(), visible);
        for batch in &visible {
            let header = header(batch);
            for offset in [header.base_offset.max(start), header.last_offset()] {
                assert_eq!(offsets_read(self.log(), offset, 1, end), [header.base_offset]);
                let below = offsets_read(self.log(), start, u32::MAX, offset);
                assert!(below.iter().all(|base| *base < offset));
            }
        }
        let records: Vec<(i64, i64)> = visible
            .iter()
            .flat_map(|batch| {
                let records = BatchView::new(batch).unwrap().records(1 << 20).unwrap();
                records
                    .iter()
                    .map(|record| record.unwrap())
                    .map(|r| (r.timestamp, r.offset))
                    .collect::<Vec<_>>()
            })
            .filter(|(_, offset)| *offset >= start)
            .collect();
        let middle = records.get(records.len() / 2).map_or(NOW, |(timestamp, _)| *timestamp);
        for timestamp in [0, middle - 1, middle, middle + 1, NOW + 100_000] {
            let wanted = records.iter().find(|(stamp, _)| *stamp >= timestamp).copied();
            let found = self.log().offset_for_timestamp(timestamp).unwrap();
            assert_eq!(found.map(|found| (found.timestamp, found.offset)), wanted, "{timestamp}");
        }
        let epochs = self.log().leader_epochs().to_vec();
        for batch in &visible {
            let header = header(batch);
            let epoch = self.log().epoch_for_offset(header.base_offset.max(start));
            assert_eq!(epoch, Some(header.partition_leader_epoch), "{epochs:?} at {}", header.base_offset);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_agrees_with_a_list_of_batches(ops in ops()) {
        let mut model = Model::new();
        for op in &ops {
            model.step(op);
            if !matches!(op, Op::Append { .. } | Op::NewEpoch | Op::Flush) {
                model.check();
            }
        }
        model.check();
    }
}
