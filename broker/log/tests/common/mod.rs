//! What the tests of a log share.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::PathBuf;

use taffrail_log::{
    AppendError, AppendInfo, AppendOrigin, Log, LogConfig, MemoryStorage, OpenMode, RecoveryReport, Storage,
    StorageFile,
};
use taffrail_protocol::Uuid;
use taffrail_protocol::record_batch::{BatchBuilder, Batches, Compression, ProduceLimits, validate_produced};

/// The time of all tests.
pub const NOW: i64 = 1_700_000_000_000;

/// The partition's directory in memory.
pub fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

/// Defaults, with an index entry for every other batch.
pub fn config() -> LogConfig {
    LogConfig { index_interval_bytes: 100, ..LogConfig::default() }
}

/// Makes an empty log.
pub fn create(storage: &MemoryStorage, config: LogConfig) -> Log<MemoryStorage> {
    Log::create(storage.clone(), dir(), config, Uuid([9; 16]), NOW).unwrap()
}

/// Opens a log that is there.
pub fn open(
    storage: &MemoryStorage,
    config: LogConfig,
    mode: OpenMode,
) -> (Log<MemoryStorage>, RecoveryReport) {
    Log::open(storage.clone(), dir(), config, mode, NOW).unwrap()
}

/// Opens a log after a crash.
pub fn reopen(
    storage: &MemoryStorage,
    config: LogConfig,
    recovery_point: i64,
) -> (Log<MemoryStorage>, RecoveryReport) {
    open(storage, config, OpenMode { clean: false, recovery_point, log_start_offset: 0 })
}

/// A batch to append.
#[derive(Clone)]
pub struct Batch {
    records: usize,
    timestamp: i64,
    value: usize,
    padding: usize,
    compression: Compression,
    producer: Option<(i64, i16, i32)>,
    transactional: bool,
}

impl Batch {
    /// One of so many records.
    pub fn of(records: usize) -> Self {
        Self {
            records,
            timestamp: NOW,
            value: 0,
            padding: 0,
            compression: Compression::None,
            producer: None,
            transactional: false,
        }
    }

    /// The first record's timestamp; each next is one later.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// What the records say.
    pub fn value(mut self, value: usize) -> Self {
        self.value = value;
        self
    }

    /// How many more bytes each record has.
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// The codec.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// An idempotent producer's id, epoch and sequence.
    pub fn producer(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        self.producer = Some((id, epoch, sequence));
        self
    }

    /// Part of a transaction.
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// The bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut builder = BatchBuilder::new(self.compression);
        if let Some((id, epoch, sequence)) = self.producer {
            builder.producer(id, epoch, sequence);
        }
        if self.transactional {
            builder.transactional();
        }
        for index in 0..self.records {
            let mut value = format!("value-{}-{index}", self.value).into_bytes();
            value.resize(value.len() + self.padding, b'.');
            builder.append(self.timestamp + index as i64, None, Some(&value), &[]);
        }
        builder.build().unwrap()
    }
}

/// Appends as a client's leader does.
pub fn try_append<S: Storage>(
    log: &mut Log<S>,
    batch: &Batch,
    epoch: i32,
) -> Result<AppendInfo, AppendError> {
    let mut bytes = batch.build();
    let header = validate_produced(&bytes, &ProduceLimits { max_message_bytes: usize::MAX }).unwrap();
    log.append_as_leader(&mut bytes, &header, epoch, AppendOrigin::Client, NOW)
}

/// The same in epoch 0, where it must go well.
pub fn append<S: Storage>(log: &mut Log<S>, batch: &Batch) -> AppendInfo {
    try_append(log, batch, 0).unwrap()
}

/// The base offsets of the whole batches that a read gives.
pub fn offsets_read<S: Storage>(log: &mut Log<S>, offset: i64, max_bytes: u32, max_offset: i64) -> Vec<i64> {
    let Some(range) = log.read(offset, max_bytes, true, max_offset).unwrap().records else {
        return Vec::new();
    };
    let mut bytes = vec![0; range.len as usize];
    assert_eq!(range.file.read_at(&mut bytes, range.position).unwrap(), bytes.len());
    Batches::new(&bytes).map_while(Result::ok).map(|view| view.header().base_offset).collect()
}

/// All bytes from the log's start to its end, as reads of one segment after the other give them.
pub fn everything<S: Storage>(log: &mut Log<S>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut offset = log.log_start_offset();
    while let Some(range) = log.read(offset, 1000, true, i64::MAX).unwrap().records {
        let mut bytes = vec![0; range.len as usize];
        assert_eq!(range.file.read_at(&mut bytes, range.position).unwrap(), bytes.len());
        let mut whole = 0;
        for view in Batches::new(&bytes).map_while(Result::ok) {
            view.verify_crc().unwrap();
            offset = view.header().next_offset();
            whole += view.bytes().len();
        }
        assert!(whole > 0, "a read gives one whole batch at least");
        all.extend_from_slice(&bytes[..whole]);
    }
    // The last records of a compacted log may be gone.
    assert!(offset == log.log_end_offset() || log.config().compact && offset < log.log_end_offset());
    all
}
